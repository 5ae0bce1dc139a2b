/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_iio.c - the files of NVIDIA's ina3221x driver (JetPack 4)
 *
 * A file `ui_input_N` holds "mV mA" of one moment and is read once a tick, whatever number of readings come
 * from it; any other file holds one integer in mV, mA or mW. The driver never waits, so only a changed value
 * is certainly new.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"
#include "source.h"
#include "sysfs_file.h"

struct iio_reading {
	uint32_t file;
	int quantity;
	struct value_memory memory;
};

struct iio_file {
	struct sysfs_file file;
	bool pair;		/* ui_input_N */
	/* What this tick's read gave. */
	int error;
	int64_t values[2];
	uint32_t begin_ns;
	uint32_t end_ns;
};

struct source_iio {
	struct np_source source;
	uint32_t file_count;
	struct iio_file files[RING_MAX_READINGS];
	struct iio_reading readings[RING_MAX_READINGS];
};

static void read_file(struct iio_file *file, const struct np_clock *clock, int64_t t_ns)
{
	char text[SYSFS_TEXT_BYTES];
	int length;

	file->begin_ns = reading_offset(np_clock_monotonic(clock), t_ns);
	length = sysfs_file_read(&file->file, text);
	file->end_ns = reading_offset(np_clock_monotonic(clock), t_ns);
	if (length < 0)
		file->error = -length;
	else
		file->error = -sysfs_parse(text, (size_t)length, file->values, file->pair ? 2 : 1);
}

/* mV, mA or mW in thousandths; mV x mA is uW as it stands. */
static int value_of(const struct iio_file *file, int quantity, int64_t *value)
{
	bool overflow;

	if (file->pair && quantity == NP_POWER_UW)
		overflow = __builtin_mul_overflow(file->values[0], file->values[1], value);
	else
		overflow = __builtin_mul_overflow(file->values[file->pair && quantity == NP_CURRENT_UA], 1000, value);
	return overflow ? ERANGE : 0;
}

static void iio_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns, struct np_reading *readings)
{
	struct source_iio *iio = (struct source_iio *)source;

	for (uint32_t i = 0; i < iio->file_count; i++)
		read_file(&iio->files[i], clock, t_ns);
	for (uint32_t i = 0; i < source->readings; i++) {
		const struct iio_file *file = &iio->files[iio->readings[i].file];
		int64_t value = 0;
		int err = file->error ? file->error : value_of(file, iio->readings[i].quantity, &value);

		readings[i].begin_ns = file->begin_ns;
		readings[i].end_ns = file->end_ns;
		if (err)
			reading_miss(&readings[i], err);
		else
			reading_set(&readings[i], &iio->readings[i].memory, value, false);
	}
}

static int iio_revive(struct np_source *source)
{
	struct source_iio *iio = (struct source_iio *)source;
	int opened = 0;

	for (uint32_t i = 0; i < iio->file_count; i++)
		opened += sysfs_file_revive(&iio->files[i].file);
	return opened;
}

static void iio_close(struct np_source *source)
{
	struct source_iio *iio = (struct source_iio *)source;

	for (uint32_t i = 0; i < iio->file_count; i++)
		sysfs_file_close(&iio->files[i].file);
	free(iio);
}

static const struct np_source_ops iio_ops = { .read = iio_read, .revive = iio_revive, .close = iio_close };

static bool is_pair(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !strncmp(slash ? slash + 1 : path, "ui_input_", strlen("ui_input_"));
}

/* The file at this path, opened if no reading before came from it; -ENOMEM. */
static int file_at(struct source_iio *iio, const char *path)
{
	struct iio_file *file;

	for (uint32_t i = 0; i < iio->file_count; i++) {
		if (!strcmp(iio->files[i].file.path, path))
			return (int)i;
	}
	file = &iio->files[iio->file_count];
	file->pair = is_pair(path);
	if (sysfs_file_open(&file->file, path)) {
		sysfs_file_close(&file->file);
		return -ENOMEM;
	}
	return (int)iio->file_count++;
}

int np_source_iio(const char *const *paths, const int32_t *quantities, uint32_t readings, struct np_source **out)
{
	struct source_iio *iio;

	if (readings < 1 || readings > RING_MAX_READINGS)
		return -EINVAL;
	iio = calloc(1, sizeof(*iio));
	if (!iio)
		return -ENOMEM;
	source_init(&iio->source, &iio_ops, readings);
	for (uint32_t i = 0; i < readings; i++) {
		int file = file_at(iio, paths[i]);
		int quantity = quantities[i];

		if (file < 0 || (quantity != NP_BUS_UV && quantity != NP_CURRENT_UA && quantity != NP_POWER_UW)) {
			iio_close(&iio->source);
			return file < 0 ? file : -EINVAL;
		}
		iio->readings[i].file = (uint32_t)file;
		iio->readings[i].quantity = quantity;
	}
	*out = &iio->source;
	return 0;
}
