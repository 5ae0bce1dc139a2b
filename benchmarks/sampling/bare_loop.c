/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare_loop.c - the least that a sampling loop can be: what our loop is compared with
 *
 *   bare_loop PERIOD_NS SECONDS PRIORITY CPU [FILE...]
 *
 * Sleeps to absolute deadlines, reads each FILE with one pread between two time stamps, stores nothing.
 * A period of 0 never sleeps. Without files it only wakes up. After an overrun it goes on at the next grid
 * point, as our loop does, so that both count slots alike. Its histogram of lateness, and nothing else,
 * is the price of being measured. Prints one line of JSON; the first 100 ms are not counted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP_NS INT64_C(100000000)

enum { MAX_FILES = 64, BINS = 100000 /* of 1 us */ };

static int files[MAX_FILES];
static int file_count;
static uint32_t lateness_us[BINS + 1];

struct counted {
	uint64_t ticks;
	uint64_t slots;
	int64_t cpu_ns;
	int64_t begin_ns;
};

static int64_t now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void sleep_until(int64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void read_files(void)
{
	char text[32];

	for (int i = 0; i < file_count; i++) {
		volatile int64_t begin = now_ns(CLOCK_MONOTONIC);
		volatile int64_t end;

		if (pread(files[i], text, sizeof(text), 0) < 0)
			exit(3);
		end = now_ns(CLOCK_MONOTONIC);
		(void)begin;
		(void)end;
	}
}

static void run(int64_t period_ns, int64_t until_ns, struct counted *counted)
{
	int64_t t0 = now_ns(CLOCK_MONOTONIC);
	int64_t deadline = t0;
	int64_t now = t0;
	int64_t late_us;

	while (now < until_ns) {
		if (period_ns) {
			deadline += period_ns;
			sleep_until(deadline);
		}
		now = now_ns(CLOCK_MONOTONIC);
		read_files();
		if (!counted->begin_ns) {
			if (now - t0 < WARM_UP_NS)
				continue;
			*counted = (struct counted){ .begin_ns = now, .cpu_ns = -now_ns(CLOCK_THREAD_CPUTIME_ID) };
		}
		counted->ticks++;
		if (!period_ns)
			continue;
		late_us = (now - deadline) / 1000;
		lateness_us[late_us < BINS ? late_us : BINS]++;
		counted->slots++;
		now = now_ns(CLOCK_MONOTONIC);
		if (now >= deadline + period_ns) {
			int64_t passed = (now - deadline) / period_ns;

			counted->slots += (uint64_t)passed;
			deadline += passed * period_ns;
		}
	}
	counted->cpu_ns += now_ns(CLOCK_THREAD_CPUTIME_ID);
}

static int take_rights(int priority, int cpu)
{
	struct sched_param param = { .sched_priority = priority };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (cpu >= 0 && sched_setaffinity(0, sizeof(set), &set))
		return -1;
	if (priority > 0 && sched_setscheduler(0, SCHED_FIFO, &param))
		return -1;
	return mlockall(MCL_CURRENT | MCL_FUTURE);
}

int main(int argc, char **argv)
{
	struct counted counted = { 0 };
	const char *separator = "";
	int64_t begin;

	if (argc < 5 || argc - 5 > MAX_FILES) {
		fprintf(stderr, "usage: bare_loop PERIOD_NS SECONDS PRIORITY CPU [FILE...]\n");
		return 2;
	}
	for (int i = 5; i < argc; i++) {
		files[file_count] = open(argv[i], O_RDONLY | O_CLOEXEC);
		if (files[file_count++] < 0) {
			perror(argv[i]);
			return 1;
		}
	}
	if (take_rights(atoi(argv[3]), atoi(argv[4]))) {
		perror("bare_loop: real-time rights");
		return 1;
	}
	begin = now_ns(CLOCK_MONOTONIC);
	run(atoll(argv[1]), begin + WARM_UP_NS + (int64_t)(atof(argv[2]) * 1e9), &counted);
	printf("{\"ticks\": %llu, \"slots\": %llu, \"cpu_ns\": %lld, \"elapsed_ns\": %lld, \"lateness\": [",
	       (unsigned long long)counted.ticks, (unsigned long long)counted.slots, (long long)counted.cpu_ns,
	       (long long)(now_ns(CLOCK_MONOTONIC) - counted.begin_ns));
	for (int i = 0; i <= BINS; i++) {
		if (!lateness_us[i])
			continue;
		printf("%s[%d, %d, %u]", separator, i * 1000, (i + 1) * 1000, lateness_us[i]);
		separator = ", ";
	}
	printf("]}\n");
	return 0;
}
