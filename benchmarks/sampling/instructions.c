/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instructions.c - the C functions of a tick alone, for a count of their instructions
 *
 *   instructions TICKS FOLDER
 *
 * Each stage is a function that callgrind collects in (--toggle-collect=stage_...), called once a tick. The
 * values in the files change between ticks, outside the stages; the clock stands still.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ring.h"
#include "source.h"

enum { READINGS = 6, CAPACITY = 4096 };

static struct np_ring *ring;
static struct np_ring *reader;
static struct np_source *source;
static struct np_reading readings[READINGS];
static uint64_t words[RING_TICK_WORDS + READINGS * RING_READING_WORDS];

static int64_t fixed_now(const struct np_clock *clock, int id)
{
	(void)clock;
	(void)id;
	return 1000000000;
}

static const struct np_clock fixed_clock = { .now = fixed_now };

/* Parse six files and judge their freshness. */
__attribute__((noinline)) void stage_read(void)
{
	source->ops->read(source, &fixed_clock, 1000000000, readings);
}

__attribute__((noinline)) void stage_store(uint64_t slot)
{
	ring_publish(ring, slot, 1000000000, 1, readings);
}

__attribute__((noinline)) int64_t stage_read_back(uint64_t index)
{
	uint64_t first;
	uint64_t lost;

	return np_ring_read(reader, index, 1, words, &first, &lost);
}

static int open_all(const char *folder, int files[READINGS])
{
	static char names[READINGS + 1][4096];
	const char *paths[READINGS];
	int64_t scales[READINGS];

	for (int i = 0; i < READINGS; i++) {
		snprintf(names[i], sizeof(names[i]), "%s/in%d_input", folder, i + 1);
		files[i] = open(names[i], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (files[i] < 0)
			return -1;
		paths[i] = names[i];
		scales[i] = 1000;
	}
	snprintf(names[READINGS], sizeof(names[READINGS]), "%s/ticks.ring", folder);
	if (np_source_hwmon(paths, scales, READINGS, 0, 0, &source))
		return -1;
	if (np_ring_create(names[READINGS], READINGS, 1000000, CAPACITY, &ring))
		return -1;
	return np_ring_open(names[READINGS], &reader);
}

/* Four digits and a line's end, another value each third tick, as a chip slower than the loop gives. */
static int change(const int files[READINGS], uint64_t tick)
{
	char text[16];

	for (int i = 0; i < READINGS; i++) {
		int length = snprintf(text, sizeof(text), "%d\n", 5000 + i + (int)(tick / 3 % 100));

		if (pwrite(files[i], text, (size_t)length, 0) != length)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int files[READINGS];
	uint64_t ticks;

	if (argc != 3 || open_all(argv[2], files))
		return 1;
	ticks = strtoull(argv[1], NULL, 10);
	for (uint64_t tick = 0; tick < ticks; tick++) {
		if (change(files, tick))
			return 1;
		stage_read();
		stage_store(tick);
		if (stage_read_back(tick) != 1 || readings[0].state == NP_MISSING)
			return 1;
	}
	return 0;
}
