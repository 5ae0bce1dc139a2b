/* SPDX-License-Identifier: Apache-2.0 */
/* np_ring.h - the file that holds the newest ticks: one writer, any number of readers */
#ifndef NEURALPOWER_RING_H
#define NEURALPOWER_RING_H

#include <stdint.h>

#include "np_reading.h"

/* cffi begin */

/* ---- Ring: lifecycle ------------------------------------------------------------------------ */

struct np_ring;

struct np_ring_info {
	uint8_t stream[16];
	uint8_t previous[16];	/* all zero: no stream before this one */
	uint64_t capacity;	/* ticks */
	uint64_t next_index;	/* of the tick that will be written next */
	uint64_t oldest;	/* the oldest index that can still be read */
	int64_t period_ns;
	int64_t t0_ns;		/* origin of the slot grid; slot n is due at t0 + n * period */
	uint32_t readings;	/* per tick */
	uint32_t next_epoch;
	int32_t resumed;	/* writer only: goes on in a stream that was there */
};

/*
 * Open the ring as its only writer. The lock on PATH.lock comes before anything else: -NP_EHELD when
 * another process has it. A ring of this boot, with this many readings and at least this capacity, is
 * resumed at its next index, on its grid when the period is the same. Anything else that was once a
 * ring is replaced by a new stream; a file that never was one is left alone (-NP_ENOTRING). -EINVAL: not 1 to
 * 64 readings, a period outside 1 ns to a day, or room for fewer than two ticks.
 *
 * *out is the caller's, with the lock, until np_ring_close(); it is untouched on an error. The path is not kept.
 */
int np_ring_create(const char *path, uint32_t readings, int64_t period_ns, uint64_t capacity,
		   struct np_ring **out);

/*
 * Open the ring as a reader: mapped read-only, nothing locked. *out is the caller's until np_ring_close(), untouched
 * on an error. A writer that replaces the file leaves this mapping as it was: the stream that ended.
 */
int np_ring_open(const char *path, struct np_ring **out);

/*
 * Give a ring back: the mapping and the lock go at once, and no call may be given it any more. The file stays.
 * -EBUSY while a sampler writes into it; it is the caller's still.
 */
int np_ring_close(struct np_ring *ring);

/* ---- Ring: writer's calls (-EBADF on a reader, -EBUSY while a sampler runs) ------------------- */

/* A changed period (1 ns to a day, or -EINVAL) sets a new grid origin at the present; an unchanged one keeps the grid. */
int np_ring_set_period(struct np_ring *ring, int64_t period_ns);

/*
 * Enter a document of at most 8192 bytes (-EMSGSIZE) in the epoch table; its number is stored in *number. The bytes are
 * copied. The table keeps the newest: np_ring_epoch() says which are gone.
 */
int np_ring_begin_epoch(struct np_ring *ring, const uint8_t *document, uint32_t length, uint32_t *number);

/* Write one tick; its readings are copied. The loop does this itself; the call is for tests and importers. */
int np_ring_append(struct np_ring *ring, uint64_t slot, int64_t t_ns, uint32_t epoch,
		   const struct np_reading *readings);

/* ---- Ring: anyone's calls ------------------------------------------------------------------- */

/* What the ring is and how far it is, at this moment, copied into *out. */
void np_ring_info(const struct np_ring *ring, struct np_ring_info *out);

/*
 * Copy up to max ticks from index first on into out (the caller's, max * (5 + 3 * readings) words). Returns how many,
 * contiguous from *got_first; *lost ticks between first and *got_first were overwritten. A first beyond
 * the next index gives 0 ticks; a max that no int64_t holds -EINVAL. Never returns a torn tick, never waits.
 */
int64_t np_ring_read(const struct np_ring *ring, uint64_t first, uint64_t max, uint64_t *out,
		     uint64_t *got_first, uint64_t *lost);

/*
 * Copy epoch number's document (room for 8192 bytes, the caller's), its length, and the index of its first tick.
 * -ENOENT: never written, or pushed out by a newer one; *first_index and *length are then as they were, the document
 * may hold anything.
 */
int np_ring_epoch(const struct np_ring *ring, uint32_t number, uint64_t *first_index, uint8_t *document,
		  uint32_t *length);

/* cffi end */

#endif
