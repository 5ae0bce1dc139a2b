/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sysfs_file.h - a small text file that is kept open and read from its start again and again
 *
 * read() belongs to the loop, revive() to another thread beside it; open and close come before and after both.
 */
#ifndef NP_SYSFS_FILE_H
#define NP_SYSFS_FILE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SYSFS_TEXT_BYTES = 48 };

struct sysfs_file {
	char *path;
	/* Written by revive(), read by the loop: once open, a descriptor stays valid until close(). */
	atomic_int fd;
	atomic_int open_error;
	/* Written by the loop, read by revive(). */
	atomic_bool dead;
};

/* Copies the path. A file that cannot be opened is no error: only -ENOMEM is. */
int sysfs_file_open(struct sysfs_file *file, const char *path);

void sysfs_file_close(struct sysfs_file *file);

/* The file's text: how many bytes, or a negative errno. */
int sysfs_file_read(struct sysfs_file *file, char text[SYSFS_TEXT_BYTES]);

/* Open it again if it is gone or was replaced; whether it was opened. */
bool sysfs_file_revive(struct sysfs_file *file);

/*
 * `count` integers, each a sign and digits, with blanks between and after: "-123\n", "5000 120\n". -EBADMSG: anything
 * else, or nothing; -ERANGE: too large.
 */
int sysfs_parse(const char *text, size_t length, int64_t *values, size_t count);

/*
 * The same for one integer, quickly where it is as drivers print it: so few digits that they cannot overflow, and the
 * line's end, which stops them.
 */
static inline int sysfs_parse_one(const char *text, size_t length, int64_t *value)
{
	const char *at = text;
	int64_t amount = 0;
	bool negative;
	unsigned digit;

	if (length < 2 || length > 19 || text[length - 1] != '\n')
		return sysfs_parse(text, length, value, 1);
	negative = *at == '-';
	at += negative;
	if (*at == '\n')
		return -EBADMSG;
	for (; (digit = (unsigned char)*at - (unsigned)'0') <= 9; at++)
		amount = amount * 10 + digit;
	if (at != text + length - 1)
		return sysfs_parse(text, length, value, 1);
	*value = negative ? -amount : amount;
	return 0;
}

#endif
