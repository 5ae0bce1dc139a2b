/* SPDX-License-Identifier: Apache-2.0 */
/* ring.c - the writer's side of the ring, and what both sides share */
#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"

/* ---- Lifecycle ------------------------------------------------------------------------------ */

/*
 * The lock is a file beside the ring, because the ring's own file is replaced when a stream begins. The
 * kernel drops it with the process, however that ends.
 */
static int take_lock(const char *path, int *fd)
{
	char *name;
	int err = 0;

	if (asprintf(&name, "%s.lock", path) < 0)
		return -ENOMEM;
	*fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (*fd < 0)
		err = -errno;
	free(name);
	if (!err && flock(*fd, LOCK_EX | LOCK_NB)) {
		err = errno == EWOULDBLOCK ? -NP_EHELD : -errno;
		close(*fd);
		*fd = -1;
	}
	return err;
}

/* A writer killed between a tick's commit and the header's index has still written the tick. */
static bool find_next(struct np_ring *ring)
{
	uint64_t next = shared_load(&ring->header->next_index);

	if (next > 0 && shared_load(ring_tick(ring, next - 1) + TICK_COMMIT) != next)
		return false;
	while (shared_load(ring_tick(ring, next) + TICK_COMMIT) == next + 1)
		next++;
	ring->next = next;
	shared_store(&ring->header->next_index, next);
	return true;
}

static bool find_next_epoch(struct np_ring *ring)
{
	uint64_t next = shared_load(&ring->header->next_epoch);

	if (next < 1 || next > UINT32_MAX - 1)
		return false;
	if (shared_load(ring_entry(ring, next) + ENTRY_COMMIT) == next)
		shared_store(&ring->header->next_epoch, next + 1);
	return true;
}

static bool same_boot(const struct np_ring *ring)
{
	uint64_t boot[2];

	return !ring_boot_id(boot) && shared_load(&ring->header->boot[0]) == boot[0] &&
	       shared_load(&ring->header->boot[1]) == boot[1];
}

/*
 * Map the file that is there. Returns 1 if it goes on, 0 if a new stream must begin (previous is then
 * set where the old one could be read), or an error.
 */
static int try_resume(const char *path, uint32_t readings, uint64_t capacity, struct np_ring *ring,
		      uint64_t previous[2])
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int err;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	err = ring_map(ring, fd, true);
	close(fd);
	if (err == -NP_ETRUNCATED || err == -NP_EVERSION)
		return 0;
	if (err)
		return err;
	/* One that is much larger than asked for holds locked memory that nobody wants any more. */
	if (ring->readings == readings && ring->capacity >= capacity && ring->capacity / RING_MOST_TIMES <= capacity &&
	    same_boot(ring) && find_next(ring) && find_next_epoch(ring))
		return 1;
	previous[0] = shared_load(&ring->header->stream[0]);
	previous[1] = shared_load(&ring->header->stream[1]);
	ring_unmap(ring);
	return 0;
}

static bool good_period(int64_t period_ns)
{
	return period_ns >= 1 && period_ns <= RING_MAX_PERIOD_NS;
}

static void set_grid(struct np_ring *ring, int64_t period_ns)
{
	int64_t now = np_clock_monotonic(&np_system_clock);
	int64_t t0 = (int64_t)shared_load(&ring->header->t0_ns);

	if ((int64_t)shared_load(&ring->header->period_ns) != period_ns || t0 <= 0 || t0 > now) {
		/* A period of 0 marks the pair as incomplete, should we die in between. */
		t0 = now;
		shared_store(&ring->header->period_ns, 0);
		shared_store(&ring->header->t0_ns, (uint64_t)t0);
		shared_store(&ring->header->period_ns, (uint64_t)period_ns);
	}
	ring->period_ns = period_ns;
	ring->t0_ns = t0;
}

int np_ring_create(const char *path, uint32_t readings, int64_t period_ns, uint64_t capacity, struct np_ring **out)
{
	uint64_t previous[2] = { 0, 0 };
	struct np_ring *ring;
	int err;

	if (!path || !out || readings < 1 || readings > RING_MAX_READINGS || !good_period(period_ns) || capacity < 2)
		return -EINVAL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	err = take_lock(path, &ring->lock_fd);
	if (err) {
		free(ring);
		return err;
	}
	err = try_resume(path, readings, capacity, ring, previous);
	ring->resumed = err == 1;
	if (err == 0)
		err = ring_make(path, readings, capacity, previous, ring);
	if (err < 0) {
		close(ring->lock_fd);
		free(ring);
		return err;
	}
	set_grid(ring, period_ns);
	atomic_init(&ring->holders, 1);
	*out = ring;
	return 0;
}

int np_ring_open(const char *path, struct np_ring **out)
{
	struct np_ring *ring;
	int fd;
	int err;

	if (!path || !out)
		return -EINVAL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ring = calloc(1, sizeof(*ring));
	err = ring ? ring_map(ring, fd, false) : -ENOMEM;
	close(fd);
	if (err) {
		free(ring);
		return err;
	}
	ring->lock_fd = -1;
	atomic_init(&ring->holders, 1);
	*out = ring;
	return 0;
}

int np_ring_close(struct np_ring *ring)
{
	if (!ring)
		return 0;
	if (atomic_load(&ring->busy))
		return -EBUSY;
	atomic_store(&ring->closed, true);
	ring_unmap(ring);
	if (ring->lock_fd >= 0)
		close(ring->lock_fd);
	ring_let_go(ring);
	return 0;
}

void ring_hold(struct np_ring *ring)
{
	atomic_fetch_add(&ring->holders, 1);
}

void ring_let_go(struct np_ring *ring)
{
	if (atomic_fetch_sub(&ring->holders, 1) == 1)
		free(ring);
}

/* ---- Mutation ------------------------------------------------------------------------------- */

static int writer_check(struct np_ring *ring)
{
	if (!ring->writer)
		return -EBADF;
	return atomic_load(&ring->busy) ? -EBUSY : 0;
}

int np_ring_set_period(struct np_ring *ring, int64_t period_ns)
{
	int err = writer_check(ring);

	if (!err && !good_period(period_ns))
		err = -EINVAL;
	if (!err)
		set_grid(ring, period_ns);
	return err;
}

int np_ring_begin_epoch(struct np_ring *ring, const uint8_t *document, uint32_t length, uint32_t *number)
{
	uint64_t next = shared_load(&ring->header->next_epoch);
	shared_u64 *entry = ring_entry(ring, next);
	int err = writer_check(ring);

	if (err)
		return err;
	if (length > RING_DOCUMENT_BYTES)
		return -EMSGSIZE;
	shared_store(entry + ENTRY_COMMIT, 0);
	shared_store(entry + ENTRY_FIRST_INDEX, ring->next);
	shared_store(entry + ENTRY_LENGTH, length);
	for (uint32_t at = 0; at < length; at += 8) {
		uint64_t word = 0;

		memcpy(&word, document + at, length - at < 8 ? length - at : 8);
		shared_store(entry + ENTRY_DOCUMENT + at / 8, word);
	}
	shared_store(entry + ENTRY_COMMIT, next);
	shared_store(&ring->header->next_epoch, next + 1);
	*number = (uint32_t)next;
	return 0;
}

void ring_tick_words(uint64_t *words, uint64_t index, uint64_t slot, int64_t t_ns, uint32_t epoch,
		     const struct np_reading *readings, uint32_t n)
{
	words[TICK_COMMIT] = index + 1;
	words[TICK_INDEX] = index;
	words[TICK_SLOT] = slot;
	words[TICK_T_NS] = (uint64_t)t_ns;
	words[TICK_EPOCH_AND_N] = epoch | (uint64_t)n << 32;
	memcpy(words + RING_TICK_WORDS, readings, n * sizeof(*readings));
}

void ring_publish(struct np_ring *ring, uint64_t slot, int64_t t_ns, uint32_t epoch, const struct np_reading *readings)
{
	uint64_t words[RING_TICK_WORDS + RING_READING_WORDS * RING_MAX_READINGS];
	uint64_t index = ring->next;
	shared_u64 *tick = ring_tick(ring, index);

	ring_tick_words(words, index, slot, t_ns, epoch, readings, ring->readings);
	shared_store(tick + TICK_COMMIT, 0);
	for (uint64_t i = 1; i < ring->words; i++)
		shared_store(tick + i, words[i]);
	shared_store(tick + TICK_COMMIT, index + 1);
	ring->next = index + 1;
	shared_store(&ring->header->next_index, index + 1);
}

int np_ring_append(struct np_ring *ring, uint64_t slot, int64_t t_ns, uint32_t epoch,
		   const struct np_reading *readings)
{
	int err = writer_check(ring);

	if (!err)
		ring_publish(ring, slot, t_ns, epoch, readings);
	return err;
}
