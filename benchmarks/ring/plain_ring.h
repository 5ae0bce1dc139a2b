/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_ring.h - a ring for one writer and one reader: what ours is compared with
 *
 * The usual one: the two indices on cache lines of their own, each side with a copy of the other's index
 * that it renews only when it must. The writer waits when the ring is full.
 */
#ifndef PLAIN_RING_H
#define PLAIN_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct plain_ring {
	alignas(64) _Atomic uint64_t written;
	uint64_t read_seen;	/* the writer's copy of read */
	alignas(64) _Atomic uint64_t read;
	uint64_t written_seen;	/* the reader's copy of written */
	alignas(64) char *slots;
	uint64_t capacity;
	size_t stride;
};

static inline bool plain_ring_make(struct plain_ring *ring, uint64_t capacity, size_t stride)
{
	memset(ring, 0, sizeof(*ring));
	ring->capacity = capacity;
	ring->stride = stride;
	ring->slots = calloc(capacity, stride);
	return ring->slots != NULL;
}

static inline bool plain_ring_write(struct plain_ring *ring, const void *from)
{
	uint64_t at = atomic_load_explicit(&ring->written, memory_order_relaxed);

	if (at - ring->read_seen == ring->capacity) {
		ring->read_seen = atomic_load_explicit(&ring->read, memory_order_acquire);
		if (at - ring->read_seen == ring->capacity)
			return false;
	}
	memcpy(ring->slots + at % ring->capacity * ring->stride, from, ring->stride);
	atomic_store_explicit(&ring->written, at + 1, memory_order_release);
	return true;
}

static inline bool plain_ring_read(struct plain_ring *ring, void *to)
{
	uint64_t at = atomic_load_explicit(&ring->read, memory_order_relaxed);

	if (at == ring->written_seen) {
		ring->written_seen = atomic_load_explicit(&ring->written, memory_order_acquire);
		if (at == ring->written_seen)
			return false;
	}
	memcpy(to, ring->slots + at % ring->capacity * ring->stride, ring->stride);
	atomic_store_explicit(&ring->read, at + 1, memory_order_release);
	return true;
}

#endif
