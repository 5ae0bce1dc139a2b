/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeline_attach.c - any bytes as a power timeline that another process writes, followed by a cursor in time
 *
 * The bytes are the times at which the cursor asks, and then the file: its header's first words and its records, with checks that fit
 * where that is wished, since no search finds one by chance.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "timeline.h"

enum { HEADER = 4096, RECORD = 96, HEAD = 8, ASKED = 12 };

static void require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void seal(uint8_t *record)
{
	uint64_t words[12];
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	memcpy(words, record, RECORD);
	for (int i = 0; i < 11; i++)
		hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
	memcpy(record + 88, &hash, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[32];
	static const int64_t idle[TIMELINE_RAILS] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t file[HEADER + 16 * RECORD] = { 0 };
	const uint32_t words[2] = { 1, 3 };
	struct np_timeline *line;
	struct np_cursor cursor;
	size_t records;
	int64_t t_ns = 0;

	if (size < HEAD + 128)
		return 0;
	if (fd < 0) {
		fd = memfd_create("timeline", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	records = (size - HEAD - 128) / RECORD < 16 ? (size - HEAD - 128) / RECORD : 16;
	memcpy(file, data + HEAD, 128);
	if (data[0] & 1) {
		memcpy(file, "NPTLINE1", 8);
		memcpy(file + 8, words, 8);
	}
	memcpy(file + HEADER, data + HEAD + 128, records * RECORD);
	for (size_t i = 0; i < records && data[0] & 2; i++)
		seal(file + HEADER + i * RECORD);
	require(!ftruncate(fd, 0) && pwrite(fd, file, HEADER + records * RECORD, 0) > 0, "the file");
	if (np_timeline_open(path, &line)) {
		if (np_timeline_memory((const struct np_timeline_record *)(file + HEADER), records, idle, &line))
			return 0;
	}
	np_timeline_rail(line, "VDD_IN");
	np_cursor_seek(&cursor, line, t_ns);
	for (int i = 0; i < ASKED; i++) {
		const double *power;
		int64_t until;
		int64_t limit = t_ns + ((int64_t)data[1 + i % 7] << (i * 5 % 40));

		if (np_cursor_at(&cursor, t_ns, limit, &power, &until))
			break;
		require(until <= limit, "no longer than was asked for");
		require(until > t_ns || until == limit, "time goes on");
		t_ns = until > t_ns ? until : t_ns + 1;
	}
	np_timeline_close(line);
	return 0;
}
