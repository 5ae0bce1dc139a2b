/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ring_torture.c - a writer that is killed at any instant, again and again
 *
 * Writers are processes killed with SIGKILL after a random time; readers are processes with mappings of
 * their own that check every word of every tick they get, and that ticks read and ticks lost add up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"
#include "ring.h"
#include "tick_check.h"

enum { READINGS = 4, CAPACITY = 48, READERS = 3, KILLS = 250, CREATIONS = 150, DOCUMENT = 3000 };

static _Atomic bool *done; /* shared by all processes */

static void nap_us(uint64_t us)
{
	struct timespec ts = { .tv_sec = 0, .tv_nsec = (long)us * 1000 };

	nanosleep(&ts, NULL);
}

static void begin_epoch(struct np_ring *ring)
{
	uint8_t document[DOCUMENT];
	uint32_t number;

	memset(document, (int)(shared_load(&ring->header->next_epoch) & 0xff), sizeof(document));
	CHECK_EQUAL(np_ring_begin_epoch(ring, document, sizeof(document), &number), 0);
}

static _Noreturn void write_until_killed(const char *path)
{
	struct np_ring *ring;

	CHECK_EQUAL(np_ring_create(path, READINGS, 1000, CAPACITY, &ring), 0);
	for (;;) {
		begin_epoch(ring);
		for (int i = 0; i < 500; i++)
			append_checked(ring, 1);
		/* Now and then slow enough that the readers keep up. */
		if (scatter(ring->next) % 4 == 0)
			nap_us(100);
	}
}

static void check_epochs(const struct np_ring *ring)
{
	struct np_ring_info info;
	uint32_t number;

	np_ring_info(ring, &info);
	number = info.next_epoch;
	for (uint32_t i = number > RING_EPOCHS ? number - RING_EPOCHS : 1; i < number; i++) {
		uint8_t document[RING_DOCUMENT_BYTES];
		uint64_t first;
		uint32_t length;

		if (np_ring_epoch(ring, i, &first, document, &length))
			continue;
		CHECK_EQUAL(length, DOCUMENT);
		for (uint32_t at = 0; at < length; at++)
			CHECK_EQUAL(document[at], i & 0xff);
	}
}

static _Noreturn void read_until_done(const char *path, int which)
{
	uint64_t words[CAPACITY * (RING_TICK_WORDS + RING_READING_WORDS * READINGS)];
	uint64_t next = 0, taken = 0, missed = 0;
	struct np_ring *ring;

	CHECK_EQUAL(np_ring_open(path, &ring), 0);
	for (uint64_t turn = 0;; turn++) {
		bool last = *done;
		uint64_t first, lost;
		int64_t count = np_ring_read(ring, next, (uint64_t)(1 + which * 20), words, &first, &lost);

		CHECK(count >= 0);
		CHECK_EQUAL(first, next + lost);
		for (int64_t i = 0; i < count; i++)
			check_tick(words + (uint64_t)i * ring->words, READINGS, first + (uint64_t)i);
		taken += (uint64_t)count;
		missed += lost;
		next = first + (uint64_t)count;
		if (turn % 64 == 0)
			check_epochs(ring);
		if (last && !count)
			break;
		if (!count)
			sched_yield();
	}
	CHECK_EQUAL(taken + missed, shared_load(&ring->header->next_index));
	CHECK(taken > 0);
	printf("  reader %d: %" PRIu64 " ticks whole, %" PRIu64 " lost\n", which, taken, missed);
	fflush(stdout);
	np_ring_close(ring);
	_exit(0);
}

static void kill_after(pid_t child, uint64_t us)
{
	int status;

	nap_us(us);
	kill(child, SIGKILL);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Killed while it writes: the stream goes on without a hole and no reader ever gets a torn tick. */
static void test_killed_writing(void)
{
	const char *path = test_path("ring");
	pid_t readers[READERS];
	struct np_ring *ring;
	struct np_ring_info first, info;

	CHECK_EQUAL(np_ring_create(path, READINGS, 1000, CAPACITY, &ring), 0);
	np_ring_info(ring, &first);
	np_ring_close(ring);
	for (int i = 0; i < READERS; i++) {
		readers[i] = fork();
		if (!readers[i])
			read_until_done(path, i);
	}
	for (uint64_t i = 0; i < KILLS; i++) {
		pid_t writer = fork();

		if (!writer)
			write_until_killed(path);
		kill_after(writer, scatter(i) % 3000);
	}
	CHECK_EQUAL(np_ring_create(path, READINGS, 1000, CAPACITY, &ring), 0);
	np_ring_info(ring, &info);
	CHECK(info.resumed && !memcmp(info.stream, first.stream, 16));
	CHECK_EQUAL(info.t0_ns, first.t0_ns);
	append_checked(ring, 1);
	*done = true;
	for (int i = 0; i < READERS; i++) {
		int status;

		CHECK(waitpid(readers[i], &status, 0) == readers[i] && status == 0);
	}
	printf("  %d kills, %" PRIu64 " ticks, %u epochs\n", KILLS, info.next_index, info.next_epoch);
	np_ring_close(ring);
}

/* Killed while it makes the file: a reader sees a whole ring or none, and the next writer succeeds. */
static void test_killed_creating(void)
{
	const char *path = test_path("fresh");
	int seen = 0;

	for (uint64_t i = 0; i < CREATIONS; i++) {
		struct np_ring *ring;
		pid_t writer;
		int err;

		unlink(path);
		writer = fork();
		if (!writer)
			write_until_killed(path);
		kill_after(writer, scatter(i) % 1000);
		err = np_ring_open(path, &ring);
		CHECK(err == 0 || err == -ENOENT);
		seen += !err;
		if (!err)
			np_ring_close(ring);
		CHECK_EQUAL(np_ring_create(path, READINGS, 1000, CAPACITY, &ring), 0);
		CHECK_EQUAL(ring->resumed, !err);
		np_ring_close(ring);
	}
	printf("  killed while creating %d times, %d of them after the file was there\n", CREATIONS, seen);
}

int main(void)
{
	done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(done != MAP_FAILED);
	test_killed_writing();
	test_killed_creating();
	puts("test_ring_torture: ok");
	return 0;
}
