/* SPDX-License-Identifier: Apache-2.0 */
/* tick_check.h - ticks that carry their own checksum */
#ifndef TICK_CHECK_H
#define TICK_CHECK_H

#include "check.h"
#include "ring.h"

/* Every word of reading k of tick `index` follows from index and k. */
static inline void fill_readings(struct np_reading *readings, uint32_t n, uint64_t index)
{
	for (uint32_t k = 0; k < n; k++) {
		uint64_t word = scatter(index * 64 + k);

		memset(&readings[k], 0, sizeof(readings[k]));
		readings[k].value = (int64_t)word;
		readings[k].begin_ns = (uint32_t)word;
		readings[k].end_ns = (uint32_t)(word >> 32);
		readings[k].state = word & 3;
		readings[k].error = (uint8_t)(word >> 8);
	}
}

static inline void append_checked(struct np_ring *ring, uint32_t epoch)
{
	struct np_reading readings[RING_MAX_READINGS];
	uint64_t index = ring->next;

	fill_readings(readings, ring->readings, index);
	CHECK_EQUAL(np_ring_append(ring, 3 * index, (int64_t)scatter(index), epoch, readings), 0);
}

static inline void check_tick(const uint64_t *words, uint32_t n, uint64_t index)
{
	struct np_reading expected[RING_MAX_READINGS];

	fill_readings(expected, n, index);
	CHECK_EQUAL(words[TICK_COMMIT], index + 1);
	CHECK_EQUAL(words[TICK_INDEX], index);
	CHECK_EQUAL(words[TICK_SLOT], 3 * index);
	CHECK_EQUAL(words[TICK_T_NS], scatter(index));
	CHECK_EQUAL(words[TICK_EPOCH_AND_N] >> 32, n);
	CHECK(!memcmp(words + RING_TICK_WORDS, expected, n * sizeof(expected[0])));
}

#endif
