/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_speed.c - one writer and its readers, on our ring or on a plain one
 *
 *   ring_speed ours|plain full|bursts|single READERS spin|poll SECONDS FILE
 *
 * full: the writer writes as fast as it can. bursts: eight ticks every 80 us, single: one every 10 us, each a
 * hundred times what a sampler writes at 1 kHz. Readers that spin look for a new tick all the time; readers
 * that poll take everything new each millisecond. The writer is pinned to the last processor, readers to the
 * others. Prints one line of JSON: writes_per_s; write_ns, the mean of a write in bursts, without those that
 * an interrupt hit; p50_read_ns and p99_read_ns of the first reader, from just before the write until the tick
 * is copied; reads.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "plain_ring.h"
#include "ring.h"

enum {
	READINGS = 6,
	CAPACITY = 65536,
	BATCH = 256,
	MAX_READERS = 16,
	BURST = 8,
	EVERY_NS = 10000,
	INTERRUPTED_NS = 20000,
	BINS = 200000,		/* of 10 ns */
	WORDS = RING_TICK_WORDS + READINGS * RING_READING_WORDS
};

static struct np_ring *ring;
static struct plain_ring plain;
static const char *ring_path;
static bool is_plain;
static bool is_polling;
static atomic_bool stop;
static uint32_t latency[BINS + 1];	/* of the first reader */
static _Atomic uint64_t reads;
static atomic_int ready;

struct result {
	uint64_t writes;
	int64_t elapsed_ns;
	uint64_t timed_writes;
	int64_t timed_ns;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void pin(bool to_last)
{
	int last = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1;
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int cpu = 0; cpu <= last; cpu++) {
		if ((cpu == last) == to_last || last == 0)
			CPU_SET((unsigned)cpu, &set);
	}
	sched_setaffinity(0, sizeof(set), &set);
}

/* Latency is to be the ring's, not the scheduler's. Threads inherit it; without the right to it they do without. */
static void keep_others_away(void)
{
	struct sched_param lowest = { .sched_priority = 1 };

	sched_setscheduler(0, SCHED_FIFO, &lowest);
}

/* ---- Readers -------------------------------------------------------------------------------- */

static void note_latency(const uint64_t *tick)
{
	int64_t bin = (now_ns() - (int64_t)tick[TICK_T_NS]) / 10;

	latency[bin < 0 ? 0 : bin < BINS ? bin : BINS]++;
}

static uint64_t read_some(struct np_ring *mapped, uint64_t *next, uint64_t *words)
{
	uint64_t first;
	uint64_t lost;
	int64_t count;

	if (is_plain)
		return plain_ring_read(&plain, words);
	count = np_ring_read(mapped, *next, is_polling ? BATCH : 1, words, &first, &lost);
	if (count <= 0)
		return 0;
	*next = first + (uint64_t)count;
	return (uint64_t)count;
}

static void *reader(void *is_first)
{
	static _Thread_local uint64_t words[BATCH * WORDS];
	struct timespec pause = { .tv_nsec = 1000000 };
	struct np_ring *mapped = NULL;
	struct np_ring_info info = { .next_index = 0 };
	uint64_t next;
	uint64_t done = 0;

	pin(false);
	if (!is_plain && np_ring_open(ring_path, &mapped))
		exit(1);
	if (mapped)
		np_ring_info(mapped, &info);
	next = info.next_index;
	atomic_fetch_add(&ready, 1);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t count = read_some(mapped, &next, words);

		done += count;
		if (count && is_first && !is_polling)
			note_latency(words + (count - 1) * WORDS);
		if (!count && is_polling)
			nanosleep(&pause, NULL);
	}
	np_ring_close(mapped);
	atomic_fetch_add(&reads, done);
	return NULL;
}

/* ---- Writer --------------------------------------------------------------------------------- */

static void write_one(uint64_t number, int64_t t_ns)
{
	struct np_reading readings[READINGS] = { { .value = (int64_t)number } };

	if (is_plain) {
		uint64_t words[WORDS];

		ring_tick_words(words, number, number, t_ns, 1, readings, READINGS);
		while (!plain_ring_write(&plain, words))
			;
	} else {
		ring_publish(ring, number, t_ns, 1, readings);
	}
}

static void write_full(int64_t seconds_ns, struct result *result)
{
	int64_t begin = now_ns();

	do {
		for (int i = 0; i < 64; i++)
			write_one(result->writes++, begin);
		result->elapsed_ns = now_ns() - begin;
	} while (result->elapsed_ns < seconds_ns);
}

/* Single ticks show latency; in bursts the time stamps weigh little. */
static void write_paced(int burst, int64_t seconds_ns, struct result *result)
{
	int64_t begin = now_ns();
	int64_t due = begin;

	do {
		int64_t start;
		int64_t took;

		due += burst * EVERY_NS;
		do
			start = now_ns();
		while (start < due);
		for (int i = 0; i < burst; i++)
			write_one(result->writes++, start);
		took = now_ns() - start;
		if (took < INTERRUPTED_NS) {
			result->timed_writes += (uint64_t)burst;
			result->timed_ns += took;
		}
		result->elapsed_ns = now_ns() - begin;
	} while (result->elapsed_ns < seconds_ns);
}

static double latency_ns(double share)
{
	uint64_t total = 0;
	uint64_t upto = 0;

	for (int i = 0; i <= BINS; i++)
		total += latency[i];
	for (int i = 0; i <= BINS; i++) {
		upto += latency[i];
		if (total && (double)upto >= share * (double)total)
			return (i + 0.5) * 10;
	}
	return -1;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_READERS];
	struct timespec pause = { .tv_nsec = 1000000 };
	struct result result = { 0 };
	int64_t seconds_ns;
	bool is_single;
	int readers;

	if (argc != 7)
		return 2;
	is_plain = !strcmp(argv[1], "plain");
	is_polling = !strcmp(argv[4], "poll");
	readers = atoi(argv[3]);
	seconds_ns = (int64_t)(atof(argv[5]) * 1e9);
	ring_path = argv[6];
	if (readers < 0 || readers > MAX_READERS || (is_plain && readers > 1))
		return 2;
	if (is_plain ? !plain_ring_make(&plain, CAPACITY, WORDS * 8)
		     : np_ring_create(ring_path, READINGS, 1000000, CAPACITY, &ring))
		return 1;
	is_single = !strcmp(argv[2], "single");
	if (is_single)
		keep_others_away();
	pin(true);
	for (uint64_t i = 0; !is_plain && i < CAPACITY; i++)
		write_one(i, now_ns());
	for (int i = 0; i < readers; i++)
		pthread_create(&threads[i], NULL, reader, i == 0 ? &threads : NULL);
	/* Asleep, not spinning: they begin on this processor. */
	while (atomic_load(&ready) < readers)
		nanosleep(&pause, NULL);
	if (!strcmp(argv[2], "full"))
		write_full(seconds_ns, &result);
	else
		write_paced(is_single ? 1 : BURST, seconds_ns, &result);
	atomic_store(&stop, true);
	for (int i = 0; i < readers; i++)
		pthread_join(threads[i], NULL);
	printf("{\"writes_per_s\": %.1f, \"write_ns\": %.3f, \"p50_read_ns\": %.1f, \"p99_read_ns\": %.1f, \"reads\": %llu}\n",
	       (double)result.writes / (double)result.elapsed_ns * 1e9,
	       result.timed_writes ? (double)result.timed_ns / (double)result.timed_writes : -1.0, latency_ns(0.5),
	       latency_ns(0.99),
	       (unsigned long long)reads);
	return 0;
}
