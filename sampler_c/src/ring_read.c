/* SPDX-License-Identifier: Apache-2.0 */
/* ring_read.c - reading the ring by index, beside a writer that never waits */
#include <errno.h>
#include <string.h>

#include "ring.h"

/* The slot of the next index is being overwritten at any time: what lies in it is gone already. */
static uint64_t oldest_index(const struct np_ring *ring, uint64_t next)
{
	return next >= ring->capacity ? next - ring->capacity + 1 : 0;
}

void np_ring_info(const struct np_ring *ring, struct np_ring_info *out)
{
	const struct ring_header *header = ring->header;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < 2; i++) {
		uint64_t stream = shared_load(&header->stream[i]);
		uint64_t previous = shared_load(&header->previous[i]);

		memcpy(out->stream + 8 * i, &stream, 8);
		memcpy(out->previous + 8 * i, &previous, 8);
	}
	out->capacity = ring->capacity;
	out->next_index = shared_load(&header->next_index);
	out->oldest = oldest_index(ring, out->next_index);
	out->period_ns = (int64_t)shared_load(&header->period_ns);
	out->t0_ns = (int64_t)shared_load(&header->t0_ns);
	out->readings = ring->readings;
	out->next_epoch = (uint32_t)shared_load(&header->next_epoch);
	out->resumed = ring->resumed;
}

/*
 * Whole or not at all. If any word copied belongs to a newer tick, loading it with acquire has made the
 * clearing of the commit word visible, and the second look at the commit word finds it changed.
 */
static bool copy_tick(const struct np_ring *ring, uint64_t index, uint64_t *out)
{
	const shared_u64 *tick = ring_tick(ring, index);

	if (shared_load(tick + TICK_COMMIT) != index + 1)
		return false;
	out[TICK_COMMIT] = index + 1;
	for (uint64_t i = 1; i < ring->words; i++)
		out[i] = shared_load(tick + i);
	return shared_load(tick + TICK_COMMIT) == index + 1;
}

int64_t np_ring_read(const struct np_ring *ring, uint64_t first, uint64_t max, uint64_t *out, uint64_t *got_first,
		     uint64_t *lost)
{
	uint64_t index = first;
	uint64_t margin = 0;

	*lost = 0;
	*got_first = first;
	if (max > INT64_MAX)
		return -EINVAL;
	/* Each turn that copies nothing starts further from the writer, so a few turns are enough. */
	while (margin < ring->capacity) {
		uint64_t next = shared_load(&ring->header->next_index);
		uint64_t oldest = oldest_index(ring, next);
		uint64_t count = 0;

		if (next > ring->capacity)
			oldest = margin < next - oldest ? oldest + margin : next;
		if (index < oldest)
			index = oldest;
		*got_first = index;
		*lost = index - first;
		if (index >= next)
			return 0;
		while (count < max && index + count < next && copy_tick(ring, index + count, out + count * ring->words))
			count++;
		if (count > 0 || max == 0)
			return (int64_t)count;
		margin = margin ? 2 * margin : ring->capacity / 16 + 1;
	}
	return 0;
}

int np_ring_epoch(const struct np_ring *ring, uint32_t number, uint64_t *first_index, uint8_t *document,
		  uint32_t *length)
{
	const shared_u64 *entry = ring_entry(ring, number);
	uint64_t first;
	uint64_t bytes;

	if (number == 0 || shared_load(entry + ENTRY_COMMIT) != number)
		return -ENOENT;
	first = shared_load(entry + ENTRY_FIRST_INDEX);
	bytes = shared_load(entry + ENTRY_LENGTH);
	if (bytes > RING_DOCUMENT_BYTES)
		return -ENOENT;
	for (uint64_t at = 0; at < bytes; at += 8) {
		uint64_t word = shared_load(entry + ENTRY_DOCUMENT + at / 8);

		memcpy(document + at, &word, bytes - at < 8 ? bytes - at : 8);
	}
	if (shared_load(entry + ENTRY_COMMIT) != number)
		return -ENOENT;
	*first_index = first;
	*length = (uint32_t)bytes;
	return 0;
}
