/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sysfs_text.c - any bytes as what a driver's file says, through the sources that read such files
 *
 * The quick parser and the thorough one must agree on every text; a reading must be a value, or missing with an errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"
#include "source.h"
#include "sysfs_file.h"

static void require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void check_parsers(const char *text, size_t length)
{
	/* Of their own size, so that a byte too much is noticed. */
	char *exact = malloc(length ? length : 1);
	int64_t quick = 0;
	int64_t thorough = 0;
	int64_t pair[2];
	int err_quick;
	int err_thorough;

	memcpy(exact, text, length);
	err_quick = sysfs_parse_one(exact, length, &quick);
	err_thorough = sysfs_parse(exact, length, &thorough, 1);
	require(err_quick == err_thorough, "both parsers refuse the same texts");
	require(err_quick || quick == thorough, "both parsers read the same number");
	sysfs_parse(exact, length, pair, 2);
	free(exact);
}

static void check_source(struct np_source *source)
{
	struct np_reading readings[2] = { 0 };

	for (int tick = 0; tick < 3; tick++) {
		source->ops->read(source, &np_system_clock, np_clock_monotonic(&np_system_clock), readings);
		for (uint32_t i = 0; i < source->readings; i++) {
			require(readings[i].state <= NP_MISSING, "a state that there is");
			require((readings[i].state == NP_MISSING) == (readings[i].error != 0), "an errno where nothing was read");
			require(readings[i].begin_ns <= readings[i].end_ns, "a reading ends after it began");
		}
	}
	source->ops->close(source);
}

static char folder[] = "/dev/shm/np-fuzz-XXXXXX";
static char path[2][64];

static void clear_away(void)
{
	unlink(path[0]);
	unlink(path[1]);
	rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	const char *paths[2] = { path[0], path[1] };
	int64_t scales[2] = { 1, 1000 };
	int32_t quantities[2] = { NP_BUS_UV, NP_POWER_UW };
	struct np_source *source;
	size_t length = size > 2 ? size - 2 : 0;

	if (size < 2)
		return 0;
	if (fd < 0) {
		/* The name says how a file is read: one of these is a pair. */
		fd = memfd_create("text", 0);
		require(mkdtemp(folder) != NULL, "a folder");
		snprintf(path[0], sizeof(path[0]), "%s/in1_input", folder);
		snprintf(path[1], sizeof(path[1]), "%s/ui_input_0", folder);
		for (int i = 0; i < 2; i++) {
			char target[32];

			snprintf(target, sizeof(target), "/proc/self/fd/%d", fd);
			require(!symlink(target, path[i]), "a link");
		}
		atexit(clear_away);
	}
	data += 2;
	check_parsers((const char *)data, length < SYSFS_TEXT_BYTES ? length : SYSFS_TEXT_BYTES);
	require(!ftruncate(fd, 0) && pwrite(fd, data, length, 0) == (ssize_t)length, "the text");
	scales[0] = data[-1] & 1 ? INT64_MAX : data[-2];
	if (!np_source_hwmon(paths, scales, 2, data[-1] & 2, data[-1] & 4 ? 1000 : 0, &source))
		check_source(source);
	quantities[0] = data[-1] & 8 ? NP_CURRENT_UA : NP_BUS_UV;
	if (!np_source_iio(paths, quantities, 2, &source))
		check_source(source);
	return 0;
}
