/* SPDX-License-Identifier: Apache-2.0 */
/* timeline.c - reading the power timeline; docs/wire.md has its bytes */
#define _GNU_SOURCE
#include "timeline.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMELINE_MAGIC UINT64_C(0x31454e494c54504e) /* the bytes "NPTLINE1" */
#define TIMELINE_VERSION 1

enum { HEADER_BYTES = 4096, NAME_BYTES = 32, RECORD_WORDS = 12 };

static_assert(sizeof(struct np_timeline_record) == RECORD_WORDS * 8, "a record is twelve words");

typedef _Atomic uint64_t shared_u64;

struct timeline_header {
	shared_u64 magic;
	_Atomic uint32_t version;
	_Atomic uint32_t rails;
	shared_u64 capacity;
	shared_u64 count;
	shared_u64 state;
	shared_u64 idle_uw[TIMELINE_RAILS];
	char names[TIMELINE_RAILS][NAME_BYTES];
};

static_assert(offsetof(struct timeline_header, names) == 104, "see docs/wire.md");

struct np_timeline {
	/* A file: */
	struct timeline_header *header;
	const shared_u64 *shared;
	uint64_t capacity;
	size_t bytes;
	uint32_t rails;
	/* or memory: */
	const struct np_timeline_record *records;
	uint64_t count;
	int64_t idle_uw[TIMELINE_RAILS];
};

/* ---- Lifecycle ------------------------------------------------------------------------------ */

static int check_header(struct np_timeline *line)
{
	line->capacity = line->header->capacity;
	line->rails = line->header->rails;
	if (line->header->magic != TIMELINE_MAGIC)
		return -NP_ENOTTIMELINE;
	if (line->header->version != TIMELINE_VERSION)
		return -NP_EVERSION;
	if (line->rails < 1 || line->rails > TIMELINE_RAILS || line->capacity < 2)
		return -NP_ENOTTIMELINE;
	if (line->capacity > (line->bytes - HEADER_BYTES) / (RECORD_WORDS * 8))
		return -NP_ETRUNCATED;
	return 0;
}

static int map_timeline(struct np_timeline *line, int fd)
{
	struct stat st;
	void *base;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < HEADER_BYTES)
		return -NP_ENOTTIMELINE;
	line->bytes = (size_t)st.st_size;
	base = mmap(NULL, line->bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	line->header = base;
	line->shared = (const shared_u64 *)((char *)base + HEADER_BYTES);
	return check_header(line);
}

int np_timeline_open(const char *path, struct np_timeline **out)
{
	struct np_timeline *line;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	line = calloc(1, sizeof(*line));
	err = line ? map_timeline(line, fd) : -ENOMEM;
	close(fd);
	if (err) {
		np_timeline_close(line);
		return err;
	}
	*out = line;
	return 0;
}

int np_timeline_memory(const struct np_timeline_record *records, uint64_t count, const int64_t *idle_uw,
		       struct np_timeline **out)
{
	struct np_timeline *line = calloc(1, sizeof(*line));

	if (!line)
		return -ENOMEM;
	line->records = records;
	line->count = count;
	line->rails = TIMELINE_RAILS;
	memcpy(line->idle_uw, idle_uw, sizeof(line->idle_uw));
	*out = line;
	return 0;
}

int np_timeline_rail(const struct np_timeline *line, const char *name)
{
	if (!line->header || strlen(name) >= NAME_BYTES || !name[0])
		return -ENOENT;
	for (uint32_t rail = 0; rail < line->rails; rail++) {
		if (!strncmp(line->header->names[rail], name, NAME_BYTES))
			return (int)rail;
	}
	return -ENOENT;
}

void np_timeline_close(struct np_timeline *line)
{
	if (!line)
		return;
	if (line->header)
		munmap(line->header, line->bytes);
	free(line);
}

/* ---- Records -------------------------------------------------------------------------------- */

enum fetched { FETCHED, NOT_YET, OVERWRITTEN };

/* FNV-1a by words */
static uint64_t checksum(const uint64_t *words)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (int i = 0; i < RECORD_WORDS - 1; i++)
		hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static enum fetched fetch(const struct np_timeline *line, uint64_t index, struct np_timeline_record *record)
{
	uint64_t words[RECORD_WORDS];
	const shared_u64 *slot;

	if (!line->header) {
		if (index >= line->count)
			return NOT_YET;
		*record = line->records[index];
		return FETCHED;
	}
	slot = line->shared + index % line->capacity * RECORD_WORDS;
	for (int i = 0; i < RECORD_WORDS; i++)
		words[i] = atomic_load_explicit(&slot[i], memory_order_acquire);
	if (words[RECORD_WORDS - 1] != checksum(words))
		return NOT_YET; /* being written; what comes of it is seen at the next look */
	if (words[0] != index)
		return words[0] > index && words[0] % line->capacity == index % line->capacity ? OVERWRITTEN : NOT_YET;
	memcpy(record, words, sizeof(words));
	return FETCHED;
}

static bool is_open(const struct np_timeline *line)
{
	return line->header && atomic_load_explicit(&line->header->state, memory_order_acquire) != 0;
}

static uint64_t record_count(const struct np_timeline *line)
{
	return line->header ? atomic_load_explicit(&line->header->count, memory_order_acquire) : line->count;
}

/* ---- Cursor --------------------------------------------------------------------------------- */

static void hold(struct np_cursor *cursor, const struct np_timeline_record *record)
{
	/* Whatever a writer says, time goes forward: an overlap belongs to the record before. */
	int64_t start = cursor->held && record->start_ns < cursor->end_ns ? cursor->end_ns : record->start_ns;

	cursor->held = true;
	cursor->next = record->index + 1;
	cursor->start_ns = start;
	cursor->end_ns = record->end_ns < start ? start : record->end_ns;
	for (int rail = 0; rail < TIMELINE_RAILS; rail++)
		cursor->power_uw[rail] = (double)record->power_uw[rail];
}

/* Oldest index worth looking at: the writer may be busy in the slots after it. */
static uint64_t oldest_index(const struct np_timeline *line, uint64_t count)
{
	return line->header && count > line->capacity / 2 ? count - line->capacity / 2 : 0;
}

/* Hold the newest record that began at or before t: by halving, as records lie in time order. */
static void find(struct np_cursor *cursor, int64_t t_ns)
{
	uint64_t high = record_count(cursor->line);
	uint64_t low = oldest_index(cursor->line, high);
	struct np_timeline_record record;

	cursor->held = false;
	cursor->next = low;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (fetch(cursor->line, middle, &record) != FETCHED || record.start_ns > t_ns) {
			high = middle;
			continue;
		}
		low = middle + 1;
		record.index = middle;
		cursor->held = false;
		hold(cursor, &record);
	}
}

void np_cursor_seek(struct np_cursor *cursor, const struct np_timeline *line, int64_t t_ns)
{
	memset(cursor, 0, sizeof(*cursor));
	cursor->line = line;
	cursor->answered_ns = INT64_MIN;
	for (uint32_t rail = 0; rail < line->rails; rail++)
		cursor->idle_uw[rail] = line->header ? (double)(int64_t)atomic_load(&line->header->idle_uw[rail])
						     : (double)line->idle_uw[rail];
	find(cursor, t_ns);
}

/* Move on to the record that ends after t. False: it is not there yet. */
static bool reach(struct np_cursor *cursor, int64_t t_ns)
{
	bool resynchronised = false;

	while (!cursor->held || cursor->end_ns <= t_ns) {
		struct np_timeline_record record;
		enum fetched got = fetch(cursor->line, cursor->next, &record);

		/* Once per call: no writer, however broken, can keep the loop here. */
		if (got == NOT_YET || (got == OVERWRITTEN && resynchronised))
			return false;
		if (got == OVERWRITTEN) {
			resynchronised = true;
			cursor->underruns++;
			find(cursor, t_ns);
			continue;
		}
		record.index = cursor->next;
		hold(cursor, &record);
		if (cursor->start_ns < cursor->answered_ns && cursor->end_ns > cursor->start_ns)
			cursor->underruns++; /* its beginning has already been told as idle */
	}
	return true;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int np_cursor_at(struct np_cursor *cursor, int64_t t_ns, int64_t limit_ns, const double **power_uw, int64_t *until_ns)
{
	/* Looked at before the records: once it says closed, all of them are there. */
	bool open = !(cursor->held && cursor->end_ns > t_ns) && is_open(cursor->line);

	if (!reach(cursor, t_ns)) {
		if (open)
			return -ESTALE;
		*power_uw = cursor->idle_uw;
		*until_ns = limit_ns;
	} else if (t_ns < cursor->start_ns) {
		*power_uw = cursor->idle_uw;
		*until_ns = earlier(cursor->start_ns, limit_ns);
	} else {
		*power_uw = cursor->power_uw;
		*until_ns = earlier(cursor->end_ns, limit_ns);
	}
	cursor->answered_ns = *until_ns;
	return 0;
}
