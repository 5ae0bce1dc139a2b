/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - the system's clocks behind the clock interface */
#define _GNU_SOURCE
#include "clock.h"

#include <time.h>

#include "sampler.h"

#define NS_PER_S INT64_C(1000000000)
#define BRACKET_TRIES 5

static int64_t system_now(const struct np_clock *clock, int id)
{
	struct timespec ts = { 0 };

	(void)clock;
	clock_gettime((clockid_t)id, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int system_sleep_until(const struct np_clock *clock, int64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S) };

	(void)clock;
	return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

const struct np_clock np_system_clock = { .now = system_now, .sleep_until = system_sleep_until };

int64_t np_clock_monotonic(const struct np_clock *clock)
{
	return clock->now(clock, CLOCK_MONOTONIC);
}

int np_clocks_bracket(const struct np_clock *clock, struct np_clocks *out)
{
	for (int i = 0; i < BRACKET_TRIES; i++) {
		int64_t before = np_clock_monotonic(clock);
		int64_t boottime = clock->now(clock, CLOCK_BOOTTIME);
		int64_t realtime = clock->now(clock, CLOCK_REALTIME);
		int64_t width = np_clock_monotonic(clock) - before;

		if (i > 0 && width >= out->bracket_ns)
			continue;
		out->monotonic_ns = before + width / 2;
		out->boottime_ns = boottime;
		out->realtime_ns = realtime;
		out->bracket_ns = width;
	}
	return 0;
}

int np_clocks(struct np_clocks *out)
{
	return np_clocks_bracket(&np_system_clock, out);
}
