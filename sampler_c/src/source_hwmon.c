/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_hwmon.c - integers in sysfs files, kept open
 *
 * One pread at offset 0 per reading. Nothing that a driver answers stops the loop: every failure is the
 * errno of one reading. Files that are gone are opened again by revive(), beside the loop.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring.h"
#include "source.h"

enum { TEXT_BYTES = 32 };

struct hwmon_input {
	char *path;
	int64_t scale;
	/* Written by revive(), read by the loop: once open, a descriptor stays valid until close(). */
	atomic_int fd;
	atomic_int open_error;
	/* Written by the loop, read by revive(). */
	atomic_bool dead;
	struct value_memory memory;
};

struct source_hwmon {
	struct np_source source;
	struct hwmon_input inputs[];
};

/* "-123\n": a sign, digits, blanks. EBADMSG: anything else, or nothing; ERANGE: too large. */
static int parse_integer(const char *text, size_t length, int64_t *out)
{
	bool negative = length > 0 && text[0] == '-';
	size_t at = length > 0 && (text[0] == '-' || text[0] == '+');
	size_t digits = 0;
	int64_t value = 0;

	for (; at < length && text[at] >= '0' && text[at] <= '9'; at++, digits++) {
		int64_t digit = text[at] - '0';

		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, negative ? -digit : digit, &value))
			return ERANGE;
	}
	for (; at < length; at++) {
		if (text[at] != '\n' && text[at] != ' ')
			return EBADMSG;
	}
	*out = value;
	/* A text that fills the buffer may go on. */
	return digits > 0 && length < TEXT_BYTES ? 0 : EBADMSG;
}

static int read_value(struct hwmon_input *input, int64_t *value)
{
	char text[TEXT_BYTES];
	int fd = atomic_load_explicit(&input->fd, memory_order_acquire);
	ssize_t length;
	int err;

	if (fd < 0)
		return atomic_load_explicit(&input->open_error, memory_order_relaxed);
	length = pread(fd, text, sizeof(text), 0);
	if (length < 0)
		return errno;
	err = parse_integer(text, (size_t)length, value);
	if (!err && __builtin_mul_overflow(*value, input->scale, value))
		err = ERANGE;
	return err;
}

/* Errors after which the same descriptor never works again. */
static bool is_final(int err)
{
	return err == ENODEV || err == ENXIO || err == EBADF || err == ESTALE || err == ENOENT;
}

static void hwmon_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns,
		       struct np_reading *readings)
{
	struct source_hwmon *hwmon = (struct source_hwmon *)source;

	for (uint32_t i = 0; i < source->readings; i++) {
		struct hwmon_input *input = &hwmon->inputs[i];
		int64_t value = 0;
		int err;

		readings[i].begin_ns = reading_offset(np_clock_monotonic(clock), t_ns);
		err = read_value(input, &value);
		readings[i].end_ns = reading_offset(np_clock_monotonic(clock), t_ns);
		if (err)
			reading_miss(&readings[i], err);
		else
			reading_set(&readings[i], &input->memory, value);
		atomic_store_explicit(&input->dead, is_final(err), memory_order_relaxed);
	}
}

static int open_input(const struct hwmon_input *input)
{
	int fd = open(input->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Whether the path now leads to another file than the one that is open. */
static bool is_replaced(const struct hwmon_input *input, int fd)
{
	struct stat here;
	struct stat there;

	if (fstat(fd, &here) || stat(input->path, &there))
		return false;
	return here.st_dev != there.st_dev || here.st_ino != there.st_ino;
}

static bool revive_input(struct hwmon_input *input)
{
	int old = atomic_load_explicit(&input->fd, memory_order_acquire);
	int fd;

	if (old >= 0 && !atomic_load_explicit(&input->dead, memory_order_relaxed) && !is_replaced(input, old))
		return false;
	fd = open_input(input);
	if (fd < 0) {
		atomic_store_explicit(&input->open_error, -fd, memory_order_relaxed);
		return false;
	}
	if (old < 0) {
		atomic_store_explicit(&input->fd, fd, memory_order_release);
		return true;
	}
	/* The loop may be reading it: exchange the file behind the number, never close the number. */
	dup3(fd, old, O_CLOEXEC);
	close(fd);
	return true;
}

static int hwmon_revive(struct np_source *source)
{
	struct source_hwmon *hwmon = (struct source_hwmon *)source;
	int opened = 0;

	for (uint32_t i = 0; i < source->readings; i++)
		opened += revive_input(&hwmon->inputs[i]);
	return opened;
}

static void hwmon_close(struct np_source *source)
{
	struct source_hwmon *hwmon = (struct source_hwmon *)source;

	for (uint32_t i = 0; i < source->readings; i++) {
		int fd = atomic_load(&hwmon->inputs[i].fd);

		if (fd >= 0)
			close(fd);
		free(hwmon->inputs[i].path);
	}
	free(hwmon);
}

static const struct np_source_ops hwmon_ops = {
	.read = hwmon_read,
	.revive = hwmon_revive,
	.close = hwmon_close,
};

int np_source_hwmon(const char *const *paths, const int64_t *scales, uint32_t readings, struct np_source **out)
{
	struct source_hwmon *hwmon;

	if (readings < 1 || readings > RING_MAX_READINGS)
		return -EINVAL;
	hwmon = calloc(1, sizeof(*hwmon) + readings * sizeof(hwmon->inputs[0]));
	if (!hwmon)
		return -ENOMEM;
	source_init(&hwmon->source, &hwmon_ops, readings);
	for (uint32_t i = 0; i < readings; i++)
		atomic_init(&hwmon->inputs[i].fd, -1);
	for (uint32_t i = 0; i < readings; i++) {
		struct hwmon_input *input = &hwmon->inputs[i];
		int fd;

		input->path = strdup(paths[i]);
		if (!input->path) {
			hwmon_close(&hwmon->source);
			return -ENOMEM;
		}
		input->scale = scales[i];
		fd = open_input(input);
		atomic_init(&input->fd, fd < 0 ? -1 : fd);
		atomic_init(&input->open_error, fd < 0 ? -fd : 0);
	}
	*out = &hwmon->source;
	return 0;
}
