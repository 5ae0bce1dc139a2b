/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - what the C tests share: a check that ends the program, a folder of their own, random numbers */
#ifndef CHECK_H
#define CHECK_H

#include <ftw.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                      \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                             \
		}                                                                             \
	} while (0)

#define CHECK_EQUAL(a, b)                                                                                    \
	do {                                                                                                 \
		int64_t a_ = (int64_t)(a), b_ = (int64_t)(b);                                                \
		if (a_ != b_) {                                                                              \
			fprintf(stderr, "%s:%d: %s is %" PRId64 ", not %" PRId64 "\n", __FILE__, __LINE__, #a, a_, b_); \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

static char test_folder[64];

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static inline void remove_folder(void)
{
	nftw(test_folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* A path in a new folder that goes away when the program ends well. */
static inline const char *test_path(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	if (!test_folder[0]) {
		strcpy(test_folder, "/tmp/np-test-XXXXXX");
		CHECK(mkdtemp(test_folder));
		atexit(remove_folder);
	}
	snprintf(path, sizeof(paths[0]), "%s/%s", test_folder, name);
	return path;
}

static inline void write_file(const char *path, const void *bytes, size_t length)
{
	FILE *file = fopen(path, "wb");

	CHECK(file);
	CHECK(fwrite(bytes, 1, length, file) == length);
	CHECK(fclose(file) == 0);
}

static inline void write_text(const char *path, const char *text)
{
	write_file(path, text, strlen(text));
}

static inline uint64_t scatter(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

#endif
