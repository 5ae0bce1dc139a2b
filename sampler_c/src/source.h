/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - what every source is to the loop
 *
 * An implementation embeds struct np_source as its first member and fills in the ops. To add one: a file
 * source_<name>.c with a constructor declared in np_source.h or, with what only it needs, a header of its own.
 */
#ifndef NP_SOURCE_H
#define NP_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "sampler.h"

struct np_source;

/* A reading that is not taken in each tick. */
struct held_reading {
	uint8_t every;
	uint8_t left;		/* ticks until it is taken again */
	uint8_t next;		/* what left will be then: first its turn, later every - 1 */
	struct np_reading last;
};

struct np_source_ops {
	/* Before the first read, not in the loop: may allocate and take its time. Optional. */
	void (*start)(struct np_source *source, int64_t now_ns);
	/* In the loop: no allocation, no opening, no logging. Fills every reading; t_ns is the tick's time. */
	void (*read)(struct np_source *source, const struct np_clock *clock, int64_t t_ns, struct np_reading *readings);
	/* Beside the loop, at most once a second: may open files. Returns how many it opened. Optional. */
	int (*revive)(struct np_source *source);
	void (*close)(struct np_source *source);
	bool decimates;	/* read() asks source_holds() and tells source_keep() */
};

struct np_source {
	const struct np_source_ops *ops;
	uint32_t readings;
	struct held_reading *held;	/* one per reading; NULL: all are taken in each tick */
	int64_t due_ns;			/* when the tick after the one being read is due, by whoever reads; 0: not known */
	_Atomic uint64_t underruns;
	_Atomic int64_t revived_ns;	/* when revive last ran */
	atomic_bool busy;		/* a sampler reads it */
	atomic_bool closed;		/* its owner has given it back: nothing reads it any more */
	atomic_uint holders;		/* its owner and the samplers made with it; the last one to let go frees it */
};

void source_init(struct np_source *source, const struct np_source_ops *ops, uint32_t readings);

/* A sampler holds its source from create to destroy, closed or not: its memory stays until the last holder lets go. */
void source_hold(struct np_source *source);
void source_let_go(struct np_source *source);

/* Before the first tick: all readings are due. */
void source_hold_none(struct np_source *source);

/* Whether this reading is not to be taken in this tick; then it is filled in. To be asked once a tick. */
static inline bool source_holds(struct np_source *source, uint32_t i, struct np_reading *reading)
{
	struct held_reading *held;

	if (!source->held)
		return false;
	held = &source->held[i];
	if (!held->left)
		return false;
	held->left--;
	*reading = held->last;
	return true;
}

/* It was taken: remember it for the ticks that follow. */
static inline void source_keep(struct np_source *source, uint32_t i, const struct np_reading *reading)
{
	struct held_reading *held;

	if (!source->held || source->held[i].every <= 1)
		return;
	held = &source->held[i];
	held->left = held->next;
	held->next = (uint8_t)(held->every - 1);
	held->last = *reading;
	held->last.begin_ns = held->last.end_ns = 0;
	held->last.flags |= NP_HELD;
	if (held->last.state != NP_MISSING)
		held->last.state = NP_REPEATED;
}

/* t - origin as a reading holds it: 0 .. 2^32 - 1 */
static inline uint32_t reading_offset(int64_t t_ns, int64_t origin_ns)
{
	int64_t offset = t_ns - origin_ns;

	return offset < 0 ? 0 : offset > UINT32_MAX ? UINT32_MAX : (uint32_t)offset;
}

/* A changed value is certainly new; an unchanged one proves nothing, unless the source knows better. */
struct value_memory {
	int64_t value;
	bool known;
	uint64_t scans; /* for waited_enough() */
};

/*
 * For a driver that waits for a scan's end in each read: `scans` are those that reads of the chip have waited for.
 * The chip may have ended one between the driver's look at its flag and its look at the register, and that register may
 * already have been the first of the next scan; the third scan after a reading certainly began after it.
 */
static inline bool waited_enough(struct value_memory *memory, uint64_t scans)
{
	uint64_t ended = scans - memory->scans;

	memory->scans = scans;
	return ended >= 3;
}

/* certain: the source knows that the chip has converted since the value in the memory. */
static inline void reading_set(struct np_reading *reading, struct value_memory *memory, int64_t value, bool certain)
{
	reading->value = value;
	reading->state = memory->known && (certain || memory->value != value) ? NP_FRESH : NP_UNKNOWN;
	reading->error = 0;
	memory->value = value;
	memory->known = true;
}

void reading_miss(struct np_reading *reading, int err);

#endif
