/* SPDX-License-Identifier: Apache-2.0 */
/* timeline_file.h - a power timeline's writer, for tests; docs/wire.md has the bytes */
#ifndef TIMELINE_FILE_H
#define TIMELINE_FILE_H

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "check.h"
#include "sampler.h"

enum { LINE_CAPACITY = 64, LINE_RAILS = 2, LINE_HEADER = 4096 };

struct line_file {
	uint8_t *bytes;
	size_t length;
	uint64_t next;
	const char *path;
};

static inline void line_store(struct line_file *file, size_t at, uint64_t value)
{
	atomic_store((_Atomic uint64_t *)(file->bytes + at), value);
}

static inline struct line_file line_create(const char *path, int64_t idle0, int64_t idle1)
{
	struct line_file file = { .length = LINE_HEADER + LINE_CAPACITY * 96, .path = path };
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)file.length) == 0);
	file.bytes = mmap(NULL, file.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(file.bytes != MAP_FAILED);
	close(fd);
	memcpy(file.bytes, "NPTLINE1", 8);
	line_store(&file, 8, 1 | (uint64_t)LINE_RAILS << 32);
	line_store(&file, 16, LINE_CAPACITY);
	line_store(&file, 40, (uint64_t)idle0);
	line_store(&file, 48, (uint64_t)idle1);
	strcpy((char *)file.bytes + 104, "VDD_IN");
	strcpy((char *)file.bytes + 136, "VDD_GPU");
	return file;
}

static inline void line_remove(struct line_file *file)
{
	munmap(file->bytes, file->length);
	unlink(file->path);
}

static inline void line_state(struct line_file *file, uint64_t open)
{
	line_store(file, 32, open);
}

/* Without the count: what a reader sees between record and count. */
static inline void line_put(struct line_file *file, uint64_t index, int64_t start, int64_t end, int64_t power0)
{
	struct np_timeline_record record = { index, start, end, { power0, 2 * power0 }, UINT64_C(0xcbf29ce484222325) };
	uint64_t words[12];

	memcpy(words, &record, sizeof(words));
	for (int i = 0; i < 11; i++)
		words[11] = (words[11] ^ words[i]) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < 12; i++)
		line_store(file, LINE_HEADER + index % LINE_CAPACITY * 96 + 8 * i, words[i]);
}

static inline void line_append(struct line_file *file, int64_t start, int64_t end, int64_t power0)
{
	line_put(file, file->next, start, end, power0);
	file->next++;
	line_store(file, 24, file->next);
}

static inline struct np_timeline *line_open(const struct line_file *file)
{
	struct np_timeline *line;

	CHECK_EQUAL(np_timeline_open(file->path, &line), 0);
	return line;
}

#endif
