/* SPDX-License-Identifier: Apache-2.0 */
/* sysfs_file.c - one pread at offset 0 a read; opening again happens beside the loop */
#define _GNU_SOURCE
#include "sysfs_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int sysfs_file_open(struct sysfs_file *file, const char *path)
{
	int fd = open_path(path);

	atomic_init(&file->fd, fd < 0 ? -1 : fd);
	atomic_init(&file->open_error, fd < 0 ? -fd : 0);
	atomic_init(&file->dead, false);
	file->path = strdup(path);
	return file->path ? 0 : -ENOMEM;
}

void sysfs_file_close(struct sysfs_file *file)
{
	int fd = atomic_load(&file->fd);

	if (fd >= 0)
		close(fd);
	free(file->path);
}

/* Errors after which the same descriptor never works again. */
static bool is_final(int err)
{
	return err == ENODEV || err == ENXIO || err == EBADF || err == ESTALE || err == ENOENT;
}

int sysfs_file_read(struct sysfs_file *file, char text[SYSFS_TEXT_BYTES])
{
	int fd = atomic_load_explicit(&file->fd, memory_order_acquire);
	ssize_t length;
	int err;

	if (fd < 0)
		return -atomic_load_explicit(&file->open_error, memory_order_relaxed);
	length = pread(fd, text, SYSFS_TEXT_BYTES, 0);
	err = length < 0 ? errno : 0;
	atomic_store_explicit(&file->dead, is_final(err), memory_order_relaxed);
	return err ? -err : (int)length;
}

/* Whether the path now leads to another file than the one that is open. */
static bool is_replaced(const struct sysfs_file *file, int fd)
{
	struct stat here;
	struct stat there;

	if (fstat(fd, &here) || stat(file->path, &there))
		return false;
	return here.st_dev != there.st_dev || here.st_ino != there.st_ino;
}

bool sysfs_file_revive(struct sysfs_file *file)
{
	int old = atomic_load_explicit(&file->fd, memory_order_acquire);
	int fd;

	if (old >= 0 && !atomic_load_explicit(&file->dead, memory_order_relaxed) && !is_replaced(file, old))
		return false;
	fd = open_path(file->path);
	if (fd < 0) {
		atomic_store_explicit(&file->open_error, -fd, memory_order_relaxed);
		return false;
	}
	if (old < 0) {
		atomic_store_explicit(&file->fd, fd, memory_order_release);
		return true;
	}
	/* The loop may be reading it: exchange the file behind the number, never close the number. */
	dup3(fd, old, O_CLOEXEC);
	close(fd);
	return true;
}

static int parse_one(const char *text, size_t length, size_t *at, int64_t *out)
{
	bool negative = *at < length && text[*at] == '-';
	size_t digits = 0;
	int64_t value = 0;

	if (*at < length && (text[*at] == '-' || text[*at] == '+'))
		++*at;
	for (; *at < length && text[*at] >= '0' && text[*at] <= '9'; ++*at, digits++) {
		int64_t digit = text[*at] - '0';

		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, negative ? -digit : digit, &value))
			return -ERANGE;
	}
	*out = value;
	return digits ? 0 : -EBADMSG;
}

static void skip_blanks(const char *text, size_t length, size_t *at)
{
	while (*at < length && (text[*at] == '\n' || text[*at] == ' '))
		++*at;
}

int sysfs_parse(const char *text, size_t length, int64_t *values, size_t count)
{
	size_t at = 0;

	for (size_t i = 0; i < count; i++) {
		size_t before = at;
		int err;

		skip_blanks(text, length, &at);
		if ((i > 0) != (at > before))
			return -EBADMSG; /* nothing before the first, something between the others */
		err = parse_one(text, length, &at, &values[i]);
		if (err)
			return err;
	}
	skip_blanks(text, length, &at);
	/* A text that fills the buffer may go on. */
	return at == length && length < SYSFS_TEXT_BYTES ? 0 : -EBADMSG;
}
