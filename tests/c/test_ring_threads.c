/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ring_threads.c - writer and readers on ONE mapping, so that ThreadSanitizer sees every race
 *
 * Two mappings of one file would hide them: it tells accesses apart by address.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "check.h"
#include "ring.h"
#include "tick_check.h"

enum { READINGS = 6, CAPACITY = 64, READERS = 3, TICKS = 150000 };

struct reader {
	const struct np_ring *ring;
	uint64_t step;
	uint64_t taken;
	uint64_t lost;
};

static atomic_bool finished;

static void *read_all(void *arg)
{
	struct reader *reader = arg;
	uint64_t words[CAPACITY * (RING_TICK_WORDS + RING_READING_WORDS * READINGS)];
	uint64_t next = 0;

	for (;;) {
		bool last = atomic_load(&finished);
		uint64_t first, lost;
		int64_t count = np_ring_read(reader->ring, next, reader->step, words, &first, &lost);

		CHECK(count >= 0);
		for (int64_t i = 0; i < count; i++)
			check_tick(words + (uint64_t)i * reader->ring->words, READINGS, first + (uint64_t)i);
		reader->taken += (uint64_t)count;
		reader->lost += lost;
		next = first + (uint64_t)count;
		if (last && next == TICKS)
			return NULL;
		if (!count)
			sched_yield();
	}
}

int main(void)
{
	struct reader readers[READERS];
	pthread_t threads[READERS];
	struct np_ring *ring;

	CHECK_EQUAL(np_ring_create(test_path("ring"), READINGS, 1000, CAPACITY, &ring), 0);
	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .ring = ring, .step = (uint64_t)(1 + 30 * i) };
		CHECK_EQUAL(pthread_create(&threads[i], NULL, read_all, &readers[i]), 0);
	}
	for (uint64_t i = 0; i < TICKS; i++) {
		append_checked(ring, 1);
		/* In bursts, so that readers keep up at times and are lapped at times. */
		if (i % 40 == 0 && scatter(i) % 2)
			sched_yield();
	}
	atomic_store(&finished, true);
	for (int i = 0; i < READERS; i++) {
		CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
		CHECK_EQUAL(readers[i].taken + readers[i].lost, TICKS);
		printf("  reader %d: %" PRIu64 " ticks whole, %" PRIu64 " lost\n", i, readers[i].taken, readers[i].lost);
	}
	np_ring_close(ring);
	puts("test_ring_threads: ok");
	return 0;
}
