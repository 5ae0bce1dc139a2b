/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_attach.c - a ring's file with any words changed and any length, to a reader and to a writer that would go on in it
 *
 * The bytes are: what is done, how long the file is, and the words that are changed, each as a place and a value.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring.h"

enum { READINGS = 2, CAPACITY = 24, TICKS = 40, HEAD = 4, CHANGE = 11 };

static char folder[] = "/dev/shm/np-fuzz-XXXXXX";
static char path[64];
static uint8_t *sound;
static size_t sound_bytes;

static void require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void clear_away(void)
{
	char lock[80];

	snprintf(lock, sizeof(lock), "%s.lock", path);
	unlink(lock);
	unlink(path);
	rmdir(folder);
}

/* A ring that has gone round once, with two epochs. */
static void make_sound(void)
{
	struct np_reading readings[READINGS] = { { .value = 5000000 }, { .value = -40 } };
	struct np_ring *ring;
	struct stat st;
	uint32_t epoch;
	int fd;

	require(mkdtemp(folder) != NULL, "a folder");
	snprintf(path, sizeof(path), "%s/ticks.ring", folder);
	atexit(clear_away);
	require(!np_ring_create(path, READINGS, 1000000, CAPACITY, &ring), "a ring");
	for (uint64_t slot = 0; slot < TICKS; slot++) {
		if (slot % 30 == 0)
			require(!np_ring_begin_epoch(ring, (const uint8_t *)"document", 8, &epoch), "an epoch");
		require(!np_ring_append(ring, slot, (int64_t)slot * 1000000, epoch, readings), "a tick");
	}
	np_ring_close(ring);
	fd = open(path, O_RDONLY);
	require(fd >= 0 && !fstat(fd, &st), "its file");
	sound_bytes = (size_t)st.st_size;
	sound = malloc(sound_bytes);
	require(read(fd, sound, sound_bytes) == (ssize_t)sound_bytes, "its bytes");
	close(fd);
}

/* Word number `place` of the header, of the two newest epochs' entries, or of the ticks. */
static size_t offset_of(uint8_t kind, uint16_t place)
{
	size_t word = place;

	if (kind % 3 == 0)
		return word % (RING_HEADER_BYTES / 8) * 8;
	if (kind % 3 == 1)
		return RING_HEADER_BYTES + word % (3 * RING_EPOCH_WORDS) * 8;
	return RING_TICKS_AT + word % ((sound_bytes - RING_TICKS_AT) / 8) * 8;
}

static void write_changed(const uint8_t *data, size_t size)
{
	size_t length = sound_bytes;
	int fd;

	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	require(fd >= 0, "a file");
	if (data[1] == 1)
		length = (size_t)(data[2] | data[3] << 8);
	else if (data[1] == 2)
		length = sound_bytes - (size_t)(data[2] | data[3] << 8) % sound_bytes;
	else if (data[1] == 3)
		length = sound_bytes + (size_t)(data[2] | data[3] << 8);
	require(write(fd, sound, length < sound_bytes ? length : sound_bytes) >= 0, "its bytes");
	for (size_t at = HEAD; at + CHANGE <= size; at += CHANGE) {
		size_t offset = offset_of(data[at], (uint16_t)(data[at + 1] | data[at + 2] << 8));

		if (offset + 8 <= length)
			require(pwrite(fd, data + at + 3, 8, (off_t)offset) == 8, "a word");
	}
	require(!ftruncate(fd, (off_t)length), "its length");
	close(fd);
}

static void read_all(struct np_ring *ring)
{
	struct np_ring_info info;
	uint8_t *document = malloc(RING_DOCUMENT_BYTES);
	uint64_t *out;
	uint64_t firsts[5];
	uint64_t got_first;
	uint64_t lost;
	uint64_t most = 30;
	uint32_t length;

	np_ring_info(ring, &info);
	firsts[0] = 0;
	firsts[1] = info.oldest;
	firsts[2] = info.next_index - 1;
	firsts[3] = info.next_index + 1;
	firsts[4] = UINT64_MAX;
	out = malloc(most * 8 * (RING_TICK_WORDS + RING_READING_WORDS * (uint64_t)info.readings));
	for (int i = 0; i < 5; i++) {
		int64_t count = np_ring_read(ring, firsts[i], most, out, &got_first, &lost);

		require(count >= 0 && count <= (int64_t)most, "as many ticks as were asked for, or fewer");
		require(got_first - firsts[i] == lost, "what is lost stands before what is given");
	}
	for (uint32_t number = 0; number < 70; number++) {
		uint64_t first;

		if (!np_ring_epoch(ring, number, &first, document, &length))
			require(length <= RING_DOCUMENT_BYTES, "a document that fits");
	}
	np_ring_epoch(ring, info.next_epoch - 1, &firsts[0], document, &length);
	free(document);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct np_ring *ring;

	if (size < HEAD)
		return 0;
	if (!sound)
		make_sound();
	write_changed(data, size);
	if (!np_ring_open(path, &ring)) {
		read_all(ring);
		np_ring_close(ring);
	}
	if (data[0] & 1 && !np_ring_create(path, READINGS, data[0] & 2 ? 1000000 : 2000000, CAPACITY, &ring)) {
		struct np_reading readings[READINGS] = { { .value = 1 }, { .value = 2 } };
		uint32_t epoch = 0;

		if (!np_ring_begin_epoch(ring, (const uint8_t *)"new", 3, &epoch))
			for (uint64_t slot = 0; slot < 3; slot++)
				require(!np_ring_append(ring, slot, 5, epoch, readings), "a tick");
		read_all(ring);
		np_ring_close(ring);
	}
	return 0;
}
