/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - where time comes from
 *
 * Everything that reads or waits for time does it through one of these, so that a test can suspend the
 * machine, step the wall clock or run hours in a moment.
 */
#ifndef NP_CLOCK_H
#define NP_CLOCK_H

#include <stdint.h>

struct np_clocks;

struct np_clock {
	/* id: CLOCK_MONOTONIC, CLOCK_BOOTTIME or CLOCK_REALTIME */
	int64_t (*now)(const struct np_clock *clock, int id);
	/* until CLOCK_MONOTONIC has reached deadline_ns; 0 or a negative errno, -EINTR included */
	int (*sleep_until)(const struct np_clock *clock, int64_t deadline_ns);
};

extern const struct np_clock np_system_clock;

int64_t np_clock_monotonic(const struct np_clock *clock);

/* np_clocks() on a clock of the caller's choice */
int np_clocks_bracket(const struct np_clock *clock, struct np_clocks *out);

#endif
