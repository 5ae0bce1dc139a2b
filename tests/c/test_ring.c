/* SPDX-License-Identifier: Apache-2.0 */
/* test_ring.c - lifecycle, resuming and reading of the ring file */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"
#include "ring.h"
#include "tick_check.h"

enum { READINGS = 3, CAPACITY = 32, PERIOD = 1000000 };

static struct np_ring *make(const char *path, uint32_t readings, int64_t period, uint64_t capacity)
{
	struct np_ring *ring;

	CHECK_EQUAL(np_ring_create(path, readings, period, capacity, &ring), 0);
	return ring;
}

static struct np_ring_info info_of(const struct np_ring *ring)
{
	struct np_ring_info info;

	np_ring_info(ring, &info);
	return info;
}

/* A ring that is opened again goes on in its stream, at its index, on its grid, with its epochs. */
static void test_resume(void)
{
	const char *path = test_path("resume");
	struct np_ring *ring = make(path, READINGS, PERIOD, CAPACITY);
	struct np_ring_info before = info_of(ring);
	struct np_ring_info after;
	uint32_t number;

	CHECK(!before.resumed);
	CHECK_EQUAL(before.next_index, 0);
	CHECK_EQUAL(np_ring_begin_epoch(ring, (const uint8_t *)"first", 5, &number), 0);
	CHECK_EQUAL(number, 1);
	for (int i = 0; i < 5; i++)
		append_checked(ring, number);
	CHECK_EQUAL(np_ring_close(ring), 0);

	ring = make(path, READINGS, PERIOD, CAPACITY);
	after = info_of(ring);
	CHECK(after.resumed);
	CHECK(!memcmp(before.stream, after.stream, 16));
	CHECK_EQUAL(after.next_index, 5);
	CHECK_EQUAL(after.t0_ns, before.t0_ns);
	CHECK_EQUAL(np_ring_begin_epoch(ring, (const uint8_t *)"second", 6, &number), 0);
	CHECK_EQUAL(number, 2);
	np_ring_close(ring);

	ring = make(path, READINGS, 2 * PERIOD, CAPACITY / 2);
	after = info_of(ring);
	CHECK(after.resumed);
	CHECK(after.t0_ns > before.t0_ns);
	CHECK_EQUAL(after.period_ns, 2 * PERIOD);
	CHECK_EQUAL(after.capacity, CAPACITY);
	np_ring_close(ring);
}

/* A grid whose change was interrupted is not taken for the old one. */
static void test_half_changed_grid(void)
{
	const char *path = test_path("grid");
	struct np_ring *ring = make(path, READINGS, PERIOD, CAPACITY);
	int64_t t0 = ring->t0_ns;

	shared_store(&ring->header->period_ns, 0);
	np_ring_close(ring);
	ring = make(path, READINGS, PERIOD, CAPACITY);
	CHECK(ring->resumed && ring->t0_ns > t0);
	CHECK_EQUAL(np_ring_set_period(ring, PERIOD), 0);
	t0 = ring->t0_ns;
	CHECK_EQUAL(ring->t0_ns, t0);
	CHECK_EQUAL(np_ring_set_period(ring, 5 * PERIOD), 0);
	CHECK(ring->t0_ns > t0);
	CHECK_EQUAL(np_ring_set_period(ring, 0), -EINVAL);
	np_ring_close(ring);
}

/* Another number of readings, a larger ring, another boot or version: a new stream that names the old. */
static void test_new_stream(void)
{
	const char *path = test_path("stream");
	struct np_ring *old = make(path, READINGS, PERIOD, CAPACITY);
	struct np_ring_info first = info_of(old);
	struct np_ring_info next;
	struct np_ring *reader;
	struct np_ring *ring;

	append_checked(old, 1);
	CHECK_EQUAL(np_ring_open(path, &reader), 0);
	np_ring_close(old);

	ring = make(path, READINGS + 1, PERIOD, CAPACITY);
	next = info_of(ring);
	CHECK(!next.resumed && !memcmp(next.previous, first.stream, 16));
	CHECK_EQUAL(next.next_index, 0);
	/* Who had the old one open still has all of it. */
	CHECK_EQUAL(info_of(reader).next_index, 1);
	np_ring_close(reader);
	np_ring_close(ring);

	ring = make(path, READINGS + 1, PERIOD, CAPACITY + 1);
	CHECK(!memcmp(info_of(ring).previous, next.stream, 16));
	shared_store(&ring->header->boot[0], 1);
	next = info_of(ring);
	np_ring_close(ring);

	ring = make(path, READINGS + 1, PERIOD, CAPACITY + 1);
	CHECK(!ring->resumed && !memcmp(info_of(ring).previous, next.stream, 16));
	shared_store(&ring->header->version, 99);
	CHECK_EQUAL(np_ring_open(path, &reader), -NP_EVERSION);
	np_ring_close(ring);
	ring = make(path, READINGS + 1, PERIOD, CAPACITY + 1);
	CHECK(!ring->resumed);
	np_ring_close(ring);

	/* Much less asked for: the memory of the large one is given back. */
	ring = make(path, READINGS + 1, PERIOD, 4 * CAPACITY);
	next = info_of(ring);
	np_ring_close(ring);
	ring = make(path, READINGS + 1, PERIOD, CAPACITY);
	CHECK(ring->resumed && info_of(ring).capacity == 4 * CAPACITY);
	np_ring_close(ring);
	ring = make(path, READINGS + 1, PERIOD, CAPACITY - 1);
	CHECK(!ring->resumed && info_of(ring).capacity == CAPACITY - 1);
	CHECK(!memcmp(info_of(ring).previous, next.stream, 16));
	np_ring_close(ring);
}

/* Whatever lies at the path, the writer takes it over or leaves it alone, and the reader says what it is. */
static void test_strange_files(void)
{
	const char *path = test_path("strange");
	struct np_ring *ring = make(path, READINGS, PERIOD, CAPACITY);
	struct np_ring *reader;
	char page[8192] = { 0 };
	struct stat st;

	np_ring_close(ring);
	CHECK_EQUAL(stat(path, &st), 0);
	for (off_t size = st.st_size - 1; size > 0; size = size / 2) {
		CHECK_EQUAL(truncate(path, size), 0);
		CHECK_EQUAL(np_ring_open(path, &reader), size < 8 ? -NP_ENOTRING : -NP_ETRUNCATED);
	}
	CHECK_EQUAL(truncate(path, 0), 0);
	CHECK_EQUAL(np_ring_open(path, &reader), -NP_ETRUNCATED);
	ring = make(path, READINGS, PERIOD, CAPACITY);
	CHECK(!ring->resumed);
	np_ring_close(ring);

	write_file(path, page, sizeof(page));
	CHECK_EQUAL(np_ring_open(path, &reader), -NP_ENOTRING);
	CHECK_EQUAL(np_ring_create(path, READINGS, PERIOD, CAPACITY, &ring), -NP_ENOTRING);
	write_text(path, "my notes");
	CHECK_EQUAL(np_ring_create(path, READINGS, PERIOD, CAPACITY, &ring), -NP_ENOTRING);
	CHECK_EQUAL(stat(path, &st), 0);
	CHECK_EQUAL(st.st_size, 8);
	CHECK_EQUAL(np_ring_open(test_path("none"), &reader), -ENOENT);
	CHECK_EQUAL(np_ring_open(test_folder, &reader), -NP_ENOTRING);
	CHECK_EQUAL(np_ring_create(test_path("no/such"), READINGS, PERIOD, CAPACITY, &ring), -ENOENT);
	CHECK_EQUAL(np_ring_create(test_path("huge"), READINGS, PERIOD, UINT64_MAX, &ring), -EFBIG);
	CHECK_EQUAL(np_ring_create(test_path("slow"), READINGS, INT64_MAX, CAPACITY, &ring), -EINVAL);
	CHECK_EQUAL(np_ring_create(test_path("many"), RING_MAX_READINGS + 1, PERIOD, CAPACITY, &ring), -EINVAL);
	CHECK(access(test_path("huge"), F_OK) && access(test_path("huge.new"), F_OK));
}

/* A header that promises what the file does not hold is refused before anything is touched. */
static void test_hostile_header(void)
{
	const char *path = test_path("hostile");
	const uint64_t capacities[] = { 0, 1, CAPACITY + 1, UINT64_MAX, UINT64_MAX / 112 + 1 };
	struct np_ring *ring = make(path, READINGS, PERIOD, CAPACITY);
	struct np_ring *reader;

	for (size_t i = 0; i < sizeof(capacities) / sizeof(*capacities); i++) {
		shared_store(&ring->header->capacity, capacities[i]);
		CHECK(np_ring_open(path, &reader) < 0);
	}
	shared_store(&ring->header->capacity, CAPACITY);
	shared_store(&ring->header->stride, 8);
	CHECK_EQUAL(np_ring_open(path, &reader), -NP_ENOTRING);
	shared_store(&ring->header->stride, 40 + 24 * READINGS);
	/* An index that no tick stands behind: not resumed. */
	shared_store(&ring->header->next_index, 7);
	np_ring_close(ring);
	ring = make(path, READINGS, PERIOD, CAPACITY);
	CHECK(!ring->resumed);
	np_ring_close(ring);
}

/* The lock is per ring, seen by other processes, and dropped with its owner. */
static void test_one_writer(void)
{
	const char *path = test_path("held");
	struct np_ring *ring = make(path, READINGS, PERIOD, CAPACITY);
	struct np_ring *second;
	int status;
	pid_t child;

	CHECK_EQUAL(np_ring_create(path, READINGS, PERIOD, CAPACITY, &second), -NP_EHELD);
	child = fork();
	if (!child)
		_exit(np_ring_create(path, READINGS + 1, PERIOD, CAPACITY, &second) == -NP_EHELD ? 0 : 1);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	np_ring_close(ring);
	np_ring_close(make(path, READINGS, PERIOD, CAPACITY));
	CHECK_EQUAL(np_ring_open(path, &second), 0);
	CHECK_EQUAL(np_ring_begin_epoch(second, (const uint8_t *)"x", 1, &(uint32_t){ 0 }), -EBADF);
	CHECK_EQUAL(np_ring_set_period(second, PERIOD), -EBADF);
	np_ring_close(second);
}

/* A writer that dies after a tick's commit and before the header's index has written that tick. */
static void test_commit_counts(void)
{
	const char *path = test_path("commit");
	struct np_ring *ring = make(path, READINGS, PERIOD, CAPACITY);

	for (int i = 0; i < 2 * CAPACITY; i++)
		append_checked(ring, 1);
	shared_store(&ring->header->next_index, 2 * CAPACITY - 1);
	/* and one that dies within a tick has not */
	shared_store(ring_tick(ring, 2 * CAPACITY) + TICK_COMMIT, 0);
	np_ring_close(ring);
	ring = make(path, READINGS, PERIOD, CAPACITY);
	CHECK(ring->resumed);
	CHECK_EQUAL(ring->next, 2 * CAPACITY);
	np_ring_close(ring);
}

/* A reader that comes late learns how many ticks are gone; beyond the end there is nothing yet. */
static void test_lapped(void)
{
	struct np_ring *ring = make(test_path("lapped"), READINGS, PERIOD, CAPACITY);
	uint64_t words[CAPACITY * (RING_TICK_WORDS + RING_READING_WORDS * READINGS)];
	uint64_t first, lost;

	CHECK_EQUAL(np_ring_read(ring, 0, CAPACITY, words, &first, &lost), 0);
	CHECK_EQUAL(lost, 0);
	for (int i = 0; i < CAPACITY; i++)
		append_checked(ring, 1);
	CHECK_EQUAL(info_of(ring).oldest, 1);
	for (int i = 0; i < 100; i++)
		append_checked(ring, 1);
	CHECK_EQUAL(info_of(ring).oldest, 101);
	CHECK_EQUAL(np_ring_read(ring, 40, CAPACITY, words, &first, &lost), CAPACITY - 1);
	CHECK_EQUAL(first, 101);
	CHECK_EQUAL(lost, 61);
	for (uint64_t i = 0; i < CAPACITY - 1; i++)
		check_tick(words + i * ring->words, READINGS, first + i);
	CHECK_EQUAL(np_ring_read(ring, 130, 4, words, &first, &lost), 2);
	CHECK_EQUAL(np_ring_read(ring, 132, 4, words, &first, &lost), 0);
	CHECK_EQUAL(np_ring_read(ring, 1000, 4, words, &first, &lost), 0);
	CHECK_EQUAL(first, 1000);
	CHECK_EQUAL(lost, 0);
	CHECK_EQUAL(np_ring_read(ring, 0, 0, words, &first, &lost), 0);
	np_ring_close(ring);
}

/* The table holds the newest 64 epochs, each whole. */
static void test_epochs(void)
{
	struct np_ring *ring = make(test_path("epochs"), READINGS, PERIOD, CAPACITY);
	uint8_t document[RING_DOCUMENT_BYTES + 1];
	uint64_t first;
	uint32_t length;
	uint32_t number;

	for (uint32_t i = 1; i <= 100; i++) {
		memset(document, (int)i, sizeof(document));
		append_checked(ring, i - 1);
		CHECK_EQUAL(np_ring_begin_epoch(ring, document, 81 * i, &number), 0);
		CHECK_EQUAL(number, i);
	}
	CHECK_EQUAL(np_ring_begin_epoch(ring, document, sizeof(document), &number), -EMSGSIZE);
	CHECK_EQUAL(np_ring_begin_epoch(ring, document, RING_DOCUMENT_BYTES, &number), 0);
	for (uint32_t i = 0; i <= 102; i++) {
		int err = np_ring_epoch(ring, i, &first, document, &length);

		CHECK_EQUAL(err, i < 38 || i > 101 ? -ENOENT : 0);
		if (err || i == 101)
			continue;
		CHECK_EQUAL(first, i);
		CHECK_EQUAL(length, 81 * i);
		CHECK(document[0] == i && document[length - 1] == i);
	}
	np_ring_close(ring);
}

int main(void)
{
	test_resume();
	test_half_changed_grid();
	test_new_stream();
	test_strange_files();
	test_hostile_header();
	test_one_writer();
	test_commit_counts();
	test_lapped();
	test_epochs();
	puts("test_ring: ok");
	return 0;
}
