/* SPDX-License-Identifier: Apache-2.0 */
/* ring_file.c - the ring's file: made whole before anyone sees it, checked before anyone believes it */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring.h"

#define MAX_FILE_BYTES (UINT64_C(1) << 40)

static uint64_t tick_bytes(uint32_t readings)
{
	return 8 * ((uint64_t)RING_TICK_WORDS + RING_READING_WORDS * (uint64_t)readings);
}

static int map_file(struct np_ring *ring, int fd, size_t bytes, bool writable)
{
	void *base = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	ring->header = base;
	ring->epochs = (shared_u64 *)((char *)base + RING_HEADER_BYTES);
	ring->ticks = (shared_u64 *)((char *)base + RING_TICKS_AT);
	ring->bytes = bytes;
	ring->writer = writable;
	return 0;
}

void ring_unmap(struct np_ring *ring)
{
	if (ring->header)
		munmap(ring->header, ring->bytes);
	ring->header = NULL;
}

/* Take the header's numbers over if the file can really hold what they promise. */
static int check_header(struct np_ring *ring)
{
	uint64_t readings = shared_load(&ring->header->readings);
	uint64_t capacity = shared_load(&ring->header->capacity);
	uint64_t stride = shared_load(&ring->header->stride);

	if (shared_load(&ring->header->magic) != RING_MAGIC)
		return -NP_ENOTRING;
	if (shared_load(&ring->header->version) != RING_VERSION)
		return -NP_EVERSION;
	if (readings < 1 || readings > RING_MAX_READINGS || stride != tick_bytes((uint32_t)readings))
		return -NP_ENOTRING;
	if (capacity < 2 || capacity > MAX_FILE_BYTES / stride)
		return -NP_ENOTRING;
	if (ring->bytes < RING_TICKS_AT + capacity * stride)
		return -NP_ETRUNCATED;
	ring->readings = (uint32_t)readings;
	ring->capacity = capacity;
	ring->words = stride / 8;
	return 0;
}

int ring_map(struct np_ring *ring, int fd, bool writable)
{
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -NP_ENOTRING;
	/* Touching a page past the end of the file would be a SIGBUS: look at the size first. */
	if (st.st_size < RING_TICKS_AT) {
		uint64_t magic = 0;

		if (pread(fd, &magic, sizeof(magic), 0) != (ssize_t)sizeof(magic))
			return st.st_size == 0 ? -NP_ETRUNCATED : -NP_ENOTRING;
		return magic == RING_MAGIC ? -NP_ETRUNCATED : -NP_ENOTRING;
	}
	err = map_file(ring, fd, (size_t)st.st_size, writable);
	if (err)
		return err;
	err = check_header(ring);
	if (err)
		ring_unmap(ring);
	return err;
}

static int allocate(int fd, uint64_t bytes)
{
	int err;

	do
		err = posix_fallocate(fd, 0, (off_t)bytes);
	while (err == EINTR);
	return -err;
}

static int random_id(uint64_t id[2])
{
	do {
		if (getrandom(id, 16, 0) != 16)
			return errno ? -errno : -EIO;
	} while (!id[0] && !id[1]); /* all zero means "none" */
	return 0;
}

int ring_boot_id(uint64_t id[2])
{
	char text[64] = { 0 };
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t length;
	int digits = 0;

	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	id[0] = id[1] = 0;
	for (ssize_t i = 0; i < length && digits < 32; i++) {
		const char *hex = "0123456789abcdef";
		const char *digit = strchr(hex, text[i]);

		if (!digit || !text[i])
			continue;
		id[digits / 16] = id[digits / 16] << 4 | (uint64_t)(digit - hex);
		digits++;
	}
	return digits == 32 ? 0 : -EIO;
}

static int fill_header(struct np_ring *ring, uint32_t readings, uint64_t capacity, const uint64_t previous[2])
{
	struct ring_header *header = ring->header;
	uint64_t stream[2];
	uint64_t boot[2];
	int err = random_id(stream);

	if (!err)
		err = ring_boot_id(boot);
	if (err)
		return err;
	for (int i = 0; i < 2; i++) {
		shared_store(&header->stream[i], stream[i]);
		shared_store(&header->previous[i], previous[i]);
		shared_store(&header->boot[i], boot[i]);
	}
	shared_store(&header->version, RING_VERSION);
	shared_store(&header->stride, tick_bytes(readings));
	shared_store(&header->capacity, capacity);
	shared_store(&header->readings, readings);
	shared_store(&header->next_epoch, 1);
	shared_store(&header->magic, RING_MAGIC);
	return check_header(ring);
}

int ring_make(const char *path, uint32_t readings, uint64_t capacity, const uint64_t previous[2], struct np_ring *ring)
{
	uint64_t bytes = RING_TICKS_AT + capacity * tick_bytes(readings);
	char *fresh;
	int fd;
	int err;

	if (capacity > MAX_FILE_BYTES / tick_bytes(readings))
		return -EFBIG;
	if (asprintf(&fresh, "%s.new", path) < 0)
		return -ENOMEM;
	/* What a killed predecessor left half made; the lock is ours. */
	unlink(fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0) {
		err = -errno;
		free(fresh);
		return err;
	}
	/* The group reads the ring, whatever the umask of the service. */
	err = fchmod(fd, 0640) ? -errno : allocate(fd, bytes);
	if (!err)
		err = map_file(ring, fd, (size_t)bytes, true);
	if (!err)
		err = fill_header(ring, readings, capacity, previous);
	/* Readers of the old stream keep the old file; the name changes hands in one step. */
	if (!err && rename(fresh, path))
		err = -errno;
	if (err) {
		ring_unmap(ring);
		unlink(fresh);
	}
	close(fd);
	free(fresh);
	return err;
}
