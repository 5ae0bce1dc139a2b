/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - the ring file in memory; docs/ring.md explains every byte
 *
 * Every word that two threads or processes may touch is a C11 atomic. There is no fence and no plain
 * payload: payload words are stored with release and loaded with acquire, so a reader that sees one word
 * of a newer tick also sees that its commit word was cleared before.
 */
#ifndef NP_RING_H
#define NP_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sampler.h"

#define RING_MOST_TIMES 4 /* a ring is kept up to so many times the capacity asked for: a longer period needs less */
#define RING_MAGIC UINT64_C(0x3130474e4952504e) /* the bytes "NPRING01" */
#define RING_VERSION 1

enum {
	RING_HEADER_BYTES = 4096,
	RING_EPOCHS = 64,
	RING_DOCUMENT_BYTES = 8192,
	RING_EPOCH_WORDS = 8 + RING_DOCUMENT_BYTES / 8,
	RING_TICKS_AT = RING_HEADER_BYTES + RING_EPOCHS * RING_EPOCH_WORDS * 8,
	RING_TICK_WORDS = 5,	/* before the readings */
	RING_READING_WORDS = 3,
	RING_MAX_READINGS = 64
};

/* A day: slot times period stays far from the end of an int64. */
#define RING_MAX_PERIOD_NS INT64_C(86400000000000)

typedef _Atomic uint64_t shared_u64;

static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "the ring needs lock-free 64 bit atomics");
static_assert(sizeof(shared_u64) == 8, "a shared word is eight bytes");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the ring file is little-endian");
static_assert(sizeof(struct np_reading) == RING_READING_WORDS * 8, "a reading is three words");
static_assert(RING_TICKS_AT % 4096 == 0, "ticks begin on a page");

struct ring_header {
	shared_u64 magic;
	shared_u64 version;
	shared_u64 stride;		/* bytes per tick */
	shared_u64 capacity;		/* ticks */
	shared_u64 readings;
	shared_u64 stream[2];
	shared_u64 previous[2];
	shared_u64 boot[2];
	shared_u64 period_ns;		/* 0 while the grid is being changed */
	shared_u64 t0_ns;
	shared_u64 next_epoch;
	shared_u64 spare[2];
	shared_u64 next_index;		/* on a cache line of its own */
};

static_assert(offsetof(struct ring_header, stream) == 40, "see docs/ring.md");
static_assert(offsetof(struct ring_header, next_index) == 128, "see docs/ring.md");

/* An epoch's entry: these, then the document. */
enum { ENTRY_COMMIT, ENTRY_FIRST_INDEX, ENTRY_LENGTH, ENTRY_DOCUMENT = 8 };

/* A tick: these, then three words for each reading. */
enum { TICK_COMMIT, TICK_INDEX, TICK_SLOT, TICK_T_NS, TICK_EPOCH_AND_N };

struct np_ring {
	struct ring_header *header;
	shared_u64 *epochs;
	shared_u64 *ticks;
	size_t bytes;
	/* Checked copies: what the file says later is not trusted. */
	uint64_t capacity;
	uint64_t words;		/* per tick */
	uint32_t readings;
	/* The writer's own. */
	bool writer;
	bool resumed;
	int lock_fd;
	uint64_t next;
	int64_t period_ns;
	int64_t t0_ns;
	atomic_bool busy;	/* a sampler writes into it */
	atomic_bool closed;	/* unmapped and unlocked: nothing but its size is known any more */
	atomic_uint holders;	/* its owner and the samplers made with it; the last one to let go frees it */
};

/* A sampler holds its ring from create to destroy, as it does its source. */
void ring_hold(struct np_ring *ring);
void ring_let_go(struct np_ring *ring);

static inline uint64_t shared_load(const shared_u64 *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static inline void shared_store(shared_u64 *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

static inline shared_u64 *ring_tick(const struct np_ring *ring, uint64_t index)
{
	return ring->ticks + (index % ring->capacity) * ring->words;
}

static inline shared_u64 *ring_entry(const struct np_ring *ring, uint64_t number)
{
	return ring->epochs + (number % RING_EPOCHS) * RING_EPOCH_WORDS;
}

/* Lay the readings of one tick out as the words that a file, a reader and np_simulate() see. */
void ring_tick_words(uint64_t *words, uint64_t index, uint64_t slot, int64_t t_ns, uint32_t epoch,
		     const struct np_reading *readings, uint32_t n);

/* np_ring_append() without its checks: the loop's way in. */
void ring_publish(struct np_ring *ring, uint64_t slot, int64_t t_ns, uint32_t epoch,
		  const struct np_reading *readings);

/* ring_file.c: map a file that is a whole ring of this version. Sets header .. readings. */
int ring_map(struct np_ring *ring, int fd, bool writable);
/* Make a file of its full size at path with a new stream in it, in place of what is there. */
int ring_make(const char *path, uint32_t readings, uint64_t capacity, const uint64_t previous[2], struct np_ring *ring);
/* This boot's random id. */
int ring_boot_id(uint64_t id[2]);
void ring_unmap(struct np_ring *ring);

#endif
