/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_hwmon.c - integers in sysfs files, kept open
 *
 * One pread per reading. Nothing that a driver answers stops the loop: every failure is the errno of one
 * reading. Files that are gone are opened again by revive(), beside the loop.
 *
 * Freshness. A changed value is certainly new. An unchanged one is so in two cases:
 *
 *   - the reads are further apart than a scan lasts;
 *   - the driver waits for a scan's end in each read, and three ended since this file was read.
 *
 * Reads of files in one folder are reads of one chip.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"
#include "source.h"
#include "sysfs_file.h"

struct hwmon_input {
	struct sysfs_file file;
	int64_t scale;
	struct value_memory memory;
	int64_t read_ns;	/* when the last good read ended */
	uint32_t chip;		/* first input of the same folder */
	uint64_t scans;		/* of that one: scans that reads of the chip have waited for */
};

struct source_hwmon {
	struct np_source source;
	bool waits;
	int64_t scan_ns;
	struct hwmon_input inputs[];
};

static int read_value(struct hwmon_input *input, int64_t *value)
{
	char text[SYSFS_TEXT_BYTES];
	int length = sysfs_file_read(&input->file, text);
	int err;

	if (length < 0)
		return -length;
	err = -sysfs_parse(text, (size_t)length, value, 1);
	if (!err && __builtin_mul_overflow(*value, input->scale, value))
		err = ERANGE;
	return err;
}

static bool certainly_new(const struct source_hwmon *hwmon, struct hwmon_input *input, uint64_t scans,
			  int64_t begin_ns)
{
	bool waited = waited_enough(&input->memory, scans) && hwmon->waits;

	return waited || (hwmon->scan_ns > 0 && begin_ns - input->read_ns >= hwmon->scan_ns);
}

static void hwmon_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns,
		       struct np_reading *readings)
{
	struct source_hwmon *hwmon = (struct source_hwmon *)source;

	for (uint32_t i = 0; i < source->readings; i++) {
		struct hwmon_input *input = &hwmon->inputs[i];
		struct hwmon_input *chip = &hwmon->inputs[input->chip];
		int64_t begin = np_clock_monotonic(clock);
		int64_t value = 0;
		int err = read_value(input, &value);
		int64_t end = np_clock_monotonic(clock);

		readings[i].begin_ns = reading_offset(begin, t_ns);
		readings[i].end_ns = reading_offset(end, t_ns);
		if (err) {
			reading_miss(&readings[i], err);
			continue;
		}
		chip->scans++;
		reading_set(&readings[i], &input->memory, value, certainly_new(hwmon, input, chip->scans, begin));
		input->read_ns = end;
	}
}

static int hwmon_revive(struct np_source *source)
{
	struct source_hwmon *hwmon = (struct source_hwmon *)source;
	int opened = 0;

	for (uint32_t i = 0; i < source->readings; i++)
		opened += sysfs_file_revive(&hwmon->inputs[i].file);
	return opened;
}

static void hwmon_close(struct np_source *source)
{
	struct source_hwmon *hwmon = (struct source_hwmon *)source;

	for (uint32_t i = 0; i < source->readings; i++)
		sysfs_file_close(&hwmon->inputs[i].file);
	free(hwmon);
}

static const struct np_source_ops hwmon_ops = {
	.read = hwmon_read,
	.revive = hwmon_revive,
	.close = hwmon_close,
};

static size_t folder_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

static uint32_t chip_of(const char *const *paths, uint32_t input)
{
	size_t length = folder_length(paths[input]);

	for (uint32_t i = 0; i < input; i++) {
		if (folder_length(paths[i]) == length && !strncmp(paths[i], paths[input], length))
			return i;
	}
	return input;
}

int np_source_hwmon(const char *const *paths, const int64_t *scales, uint32_t readings, int waits, int64_t scan_ns,
		    struct np_source **out)
{
	struct source_hwmon *hwmon;

	if (readings < 1 || readings > RING_MAX_READINGS || scan_ns < 0)
		return -EINVAL;
	hwmon = calloc(1, sizeof(*hwmon) + readings * sizeof(hwmon->inputs[0]));
	if (!hwmon)
		return -ENOMEM;
	source_init(&hwmon->source, &hwmon_ops, 0);
	hwmon->waits = waits != 0;
	hwmon->scan_ns = scan_ns;
	for (uint32_t i = 0; i < readings; i++) {
		struct hwmon_input *input = &hwmon->inputs[i];

		input->scale = scales[i];
		input->chip = chip_of(paths, i);
		hwmon->source.readings++; /* close() closes what is there */
		if (sysfs_file_open(&input->file, paths[i])) {
			hwmon_close(&hwmon->source);
			return -ENOMEM;
		}
	}
	*out = &hwmon->source;
	return 0;
}
