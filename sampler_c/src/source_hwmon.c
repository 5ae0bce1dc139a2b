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
 *
 * Times. Each read of the clock ends one reading and begins the next; the first begins with the tick. What is done with
 * a value is thus within the next reading's time: a read of a file lies between its begin and its end all the same.
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

/* The number that a read gave, or its errno. */
static int value_of(const struct hwmon_input *input, const char *text, int length, int64_t *value)
{
	int err;

	if (length < 0)
		return -length;
	err = -sysfs_parse_one(text, (size_t)length, value);
	if (!err && __builtin_mul_overflow(*value, input->scale, value))
		err = ERANGE;
	return err;
}

/* Of a good read that began at begin_ns or later. */
static bool certainly_new(struct source_hwmon *hwmon, struct hwmon_input *input, int64_t begin_ns)
{
	if (hwmon->waits && waited_enough(&input->memory, ++hwmon->inputs[input->chip].scans))
		return true;
	return hwmon->scan_ns > 0 && begin_ns - input->read_ns >= hwmon->scan_ns;
}

static void hwmon_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns,
		       struct np_reading *readings)
{
	struct source_hwmon *hwmon = (struct source_hwmon *)source;
	struct hwmon_input *input = hwmon->inputs;
	struct np_reading *reading = readings;
	const bool thinned = source->held;
	uint32_t begin_offset = 0;
	int64_t begin = t_ns;

	for (; reading < readings + source->readings; input++, reading++) {
		char text[SYSFS_TEXT_BYTES];
		int64_t value;
		int64_t end;
		int length;
		int err;

		if (thinned && source_holds(source, (uint32_t)(reading - readings), reading))
			continue;
		length = sysfs_file_read(&input->file, text);
		end = np_clock_monotonic(clock);
		err = value_of(input, text, length, &value);

		reading->begin_ns = begin_offset;
		reading->end_ns = begin_offset = reading_offset(end, t_ns);
		if (err) {
			reading_miss(reading, err);
		} else {
			reading_set(reading, &input->memory, value, certainly_new(hwmon, input, begin));
			input->read_ns = end;
		}
		if (thinned)
			source_keep(source, (uint32_t)(reading - readings), reading);
		begin = end;
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

static void hwmon_start(struct np_source *source, int64_t now_ns)
{
	(void)now_ns;
	source_hold_none(source);
}

static const struct np_source_ops hwmon_ops = {
	.start = hwmon_start,
	.read = hwmon_read,
	.revive = hwmon_revive,
	.close = hwmon_close,
	.decimates = true,
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
