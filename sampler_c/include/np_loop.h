/* SPDX-License-Identifier: Apache-2.0 */
/* np_loop.h - the thread that reads a source into a ring at absolute deadlines */
#ifndef NEURALPOWER_LOOP_H
#define NEURALPOWER_LOOP_H

#include <stdint.h>

#include "np_ring.h"
#include "np_source.h"

/* cffi begin */

struct np_sampler;

struct np_sampler_options {
	uint32_t epoch;		/* carried by every tick */
	int32_t priority;	/* of SCHED_FIFO; 0: leave the scheduling class alone */
	int32_t cpu;		/* -1: any */
	int32_t lock_memory;
	int64_t spin_ns;	/* poll the clock for so long before each deadline instead of sleeping; at most half a period */
};

struct np_stats {
	uint64_t ticks;
	uint64_t missed_slots;	/* grid points this sampler passed over */
	uint64_t last_slot;
	int64_t last_t_ns;
	int64_t lateness_max_ns;
	int64_t thread_cpu_ns;
	uint64_t underruns;	/* of a simulated source */
	uint64_t locked_bytes;
	int32_t policy;		/* > 0: SCHED_FIFO at this priority; 0: not asked; < 0: refused with this error */
	int32_t cpu;		/* -1: not pinned */
	int32_t lock_error;	/* why something stayed unlocked, or 0 */
	int32_t running;
	int32_t error;		/* what ended the loop, or 0 */
};

enum { NP_LATENESS_BINS = 352 };

/*
 * Put a writer's ring and a source together. *out is the caller's until np_sampler_destroy(), untouched on an error; it
 * holds ring and source until then, whoever closes them, and copies the options. -EBADF: the ring is a reader's, or one
 * of the two is NULL. -EINVAL: their readings differ in number, a priority outside 0 to 99, a spin_ns out of range.
 */
int np_sampler_create(struct np_ring *ring, struct np_source *source, const struct np_sampler_options *options,
		      struct np_sampler **out);

/*
 * Returns when the thread has its rights and memory and waits for its first deadline. From here to np_sampler_stop()
 * ring and source are the loop's: nobody else may write, read the source or close (-EBUSY). After an error nothing was
 * started, and a new try is allowed: -EBUSY: another sampler has one of them; -EBADF: one was closed; -EALREADY: it
 * runs; -NP_ECPU: not on this CPU; -NP_EFORKED. A refused priority is no error: np_stats.policy says it.
 */
int np_sampler_start(struct np_sampler *sampler);

/*
 * Ends the thread within one period or 100 ms, whichever is shorter, plus one read of the source.
 * Returns what had ended the loop before, if anything. Ring and source are the caller's again. Doing it twice is
 * harmless. -NP_EFORKED in a child of fork(): nothing was stopped.
 */
int np_sampler_stop(struct np_sampler *sampler);

/* Stops, then frees, and lets go of ring and source. In a child of fork() it does nothing. */
void np_sampler_destroy(struct np_sampler *sampler);

/* How the loop fares, copied into *out; from any thread, before start and after stop too. */
void np_sampler_stats(struct np_sampler *sampler, struct np_stats *out);

/* Copied into counts[NP_LATENESS_BINS], the caller's, from any thread; the last bin is the overflow. */
void np_sampler_lateness(const struct np_sampler *sampler, uint64_t *counts);

/* Lower edge of a bin; bins are at most 1/16 wide relative to it (64 ns below 2 us). */
int64_t np_lateness_edge(uint32_t bin);

/* Copied into counts[256], the caller's, by errno, of one reading; from any thread. -EINVAL: no such reading. */
int np_sampler_errors(const struct np_sampler *sampler, uint32_t reading, uint64_t *counts);

/* cffi end */

#endif
