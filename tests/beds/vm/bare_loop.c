/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare_loop.c - the least a loop can do: wait for the deadline, time stamps, preads, nothing stored
 *
 * bare_loop PERIOD_NS TICKS FILE...
 * Prints the CPU time of its thread in nanoseconds and the number of ticks.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 64, SECOND = 1000000000 };

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

int main(int argc, char **argv)
{
	int64_t period_ns = argc > 2 ? atoll(argv[1]) : 0;
	int64_t ticks = argc > 2 ? atoll(argv[2]) : 0;
	struct sched_param fifo = { .sched_priority = 80 };
	volatile int64_t stamp;
	int64_t deadline, begin_cpu;
	int fds[MAX_FILES], files = argc - 3;

	if (period_ns < 1 || files < 1 || files > MAX_FILES)
		return 2;
	for (int i = 0; i < files; i++) {
		fds[i] = open(argv[i + 3], O_RDONLY);
		if (fds[i] < 0)
			return 1;
	}
	if (mlockall(MCL_CURRENT) || sched_setscheduler(0, SCHED_FIFO, &fifo))
		return 1;
	begin_cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
	deadline = now_ns(CLOCK_MONOTONIC);
	for (int64_t tick = 0; tick < ticks; tick++) {
		struct timespec until;
		char text[32];

		deadline += period_ns;
		until = (struct timespec){ .tv_sec = deadline / SECOND, .tv_nsec = deadline % SECOND };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		stamp = now_ns(CLOCK_MONOTONIC);
		for (int i = 0; i < files; i++) {
			stamp = now_ns(CLOCK_MONOTONIC);
			if (pread(fds[i], text, sizeof(text), 0) < 1)
				return 1;
			stamp = now_ns(CLOCK_MONOTONIC);
		}
	}
	(void)stamp;
	printf("%lld %lld\n", (long long)(now_ns(CLOCK_THREAD_CPUTIME_ID) - begin_cpu), (long long)ticks);
	return 0;
}
