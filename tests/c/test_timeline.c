/* SPDX-License-Identifier: Apache-2.0 */
/* test_timeline.c - following a power timeline: holes, horizon, damage, lateness, being lapped */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>

#include "check.h"
#include "timeline.h"
#include "timeline_file.h"

static const int64_t FAR = INT64_C(1) << 60;

/* Power of the first rail at t (-1: past the horizon), after a look at how long it holds. */
static int64_t power_at(struct np_cursor *cursor, int64_t t, int64_t until_expected)
{
	const double *power;
	int64_t until;
	int err = np_cursor_at(cursor, t, FAR, &power, &until);

	if (err) {
		CHECK_EQUAL(err, -ESTALE);
		return -1;
	}
	CHECK_EQUAL(until, until_expected);
	return (int64_t)power[0];
}

/* As power_at, but asked only for the moment. */
static int64_t power_now(struct np_cursor *cursor, int64_t t)
{
	const double *power;
	int64_t until;

	return np_cursor_at(cursor, t, t + 1, &power, &until) ? -1 : (int64_t)power[0];
}

/* Where no record lies, before, between or after, a closed timeline idles. */
static void test_holes(void)
{
	struct line_file file = line_create(test_path("holes"), 7, 8);
	struct np_timeline *line = line_open(&file);
	struct np_cursor cursor;

	line_append(&file, 100, 200, 50);
	line_append(&file, 200, 300, 60);
	line_append(&file, 400, 500, 70);
	np_cursor_seek(&cursor, line, 0);
	CHECK_EQUAL(power_at(&cursor, 0, 100), 7);
	CHECK_EQUAL(power_at(&cursor, 100, 200), 50);
	CHECK_EQUAL(power_at(&cursor, 150, 200), 50);
	CHECK_EQUAL(power_at(&cursor, 200, 300), 60);
	CHECK_EQUAL(power_at(&cursor, 300, 400), 7);
	CHECK_EQUAL(power_at(&cursor, 499, 500), 70);
	CHECK_EQUAL(power_at(&cursor, 500, FAR), 7);
	CHECK_EQUAL(cursor.underruns, 0);
	np_cursor_seek(&cursor, line, 450);
	CHECK_EQUAL(power_at(&cursor, 450, 500), 70);
	np_cursor_seek(&cursor, line, 350);
	CHECK_EQUAL(power_at(&cursor, 350, 400), 7);
	np_timeline_close(line);
	line_remove(&file);
}

/* While a writer is attached, nothing is known past its last record; then the cursor goes on where it was. */
static void test_horizon(void)
{
	struct line_file file = line_create(test_path("horizon"), 7, 8);
	struct np_timeline *line = line_open(&file);
	struct np_cursor cursor;

	line_append(&file, 100, 200, 50);
	line_state(&file, 1);
	np_cursor_seek(&cursor, line, 0);
	CHECK_EQUAL(power_at(&cursor, 0, 100), 7);
	CHECK_EQUAL(power_at(&cursor, 199, 200), 50);
	CHECK_EQUAL(power_at(&cursor, 200, 0), -1);
	CHECK_EQUAL(power_at(&cursor, 200, 0), -1);
	line_append(&file, 250, 300, 60);
	CHECK_EQUAL(power_at(&cursor, 200, 250), 7);
	CHECK_EQUAL(power_at(&cursor, 250, 300), 60);
	CHECK_EQUAL(power_at(&cursor, 300, 0), -1);
	line_state(&file, 0);
	CHECK_EQUAL(power_at(&cursor, 300, FAR), 7);
	CHECK_EQUAL(cursor.underruns, 0);
	np_timeline_close(line);
	line_remove(&file);
}

/* A record whose check does not hold is not there yet; one published without the count is. */
static void test_damage(void)
{
	struct line_file file = line_create(test_path("damage"), 7, 8);
	struct np_timeline *line = line_open(&file);
	struct np_cursor cursor;

	line_append(&file, 100, 200, 50);
	line_state(&file, 1);
	line_put(&file, 1, 200, 300, 60);
	line_store(&file, LINE_HEADER + 96 + 24, 61); /* a torn power */
	np_cursor_seek(&cursor, line, 100);
	CHECK_EQUAL(power_at(&cursor, 100, 200), 50);
	CHECK_EQUAL(power_at(&cursor, 200, 0), -1);
	line_put(&file, 1, 200, 300, 60);
	CHECK_EQUAL(power_at(&cursor, 200, 300), 60);
	/* An overlap belongs to the record before, and an end before the start is no time at all. */
	line_put(&file, 2, 250, 400, 70);
	line_put(&file, 3, 500, 450, 80);
	line_put(&file, 4, 600, 700, 90);
	CHECK_EQUAL(power_at(&cursor, 299, 300), 60);
	CHECK_EQUAL(power_at(&cursor, 300, 400), 70);
	CHECK_EQUAL(power_at(&cursor, 400, 500), 7);
	CHECK_EQUAL(power_at(&cursor, 500, 600), 7);
	CHECK_EQUAL(power_at(&cursor, 600, 700), 90);
	np_timeline_close(line);
	line_remove(&file);
}

/* A record that begins before what has been told already is an underrun. */
static void test_late_record(void)
{
	struct line_file file = line_create(test_path("late"), 7, 8);
	struct np_timeline *line = line_open(&file);
	struct np_cursor cursor;

	np_cursor_seek(&cursor, line, 0);
	CHECK_EQUAL(power_now(&cursor, 1000), 7);
	line_append(&file, 1001, 1100, 50);
	CHECK_EQUAL(power_now(&cursor, 1001), 50);
	CHECK_EQUAL(cursor.underruns, 0);
	CHECK_EQUAL(power_now(&cursor, 1200), 7);
	line_append(&file, 1150, 1300, 60);
	CHECK_EQUAL(power_now(&cursor, 1250), 60);
	CHECK_EQUAL(cursor.underruns, 1);
	/* Who comes later has been told nothing wrong. */
	np_cursor_seek(&cursor, line, 1210);
	CHECK_EQUAL(power_now(&cursor, 1210), 60);
	CHECK_EQUAL(cursor.underruns, 0);
	np_timeline_close(line);
	line_remove(&file);
}

/* A reader that fell more than the capacity behind finds its place again, and that is counted. */
static void test_lapped(void)
{
	struct line_file file = line_create(test_path("lapped"), 7, 8);
	struct np_timeline *line = line_open(&file);
	struct np_cursor cursor;

	for (int64_t i = 0; i < 10; i++)
		line_append(&file, i * 10, i * 10 + 10, i);
	line_state(&file, 1);
	np_cursor_seek(&cursor, line, 0);
	CHECK_EQUAL(power_at(&cursor, 5, 10), 0);
	for (int64_t i = 10; i < 1000; i++)
		line_append(&file, i * 10, i * 10 + 10, i);
	CHECK_EQUAL(power_at(&cursor, 9905, 9910), 990);
	CHECK_EQUAL(cursor.underruns, 1);
	CHECK_EQUAL(power_at(&cursor, 9999, 10000), 999);
	CHECK_EQUAL(power_at(&cursor, 10000, 0), -1);
	CHECK_EQUAL(cursor.underruns, 1);
	/* Further behind than anything held: idle until the oldest that is safe to read. */
	np_cursor_seek(&cursor, line, 50);
	CHECK_EQUAL(power_at(&cursor, 50, 10 * (1000 - LINE_CAPACITY / 2)), 7);
	np_timeline_close(line);
	line_remove(&file);
}

/* A writer that makes no sense cannot hold the reader in a loop. */
static void test_nonsense(void)
{
	struct line_file file = line_create(test_path("nonsense"), 7, 8);
	struct np_timeline *line = line_open(&file);
	struct np_cursor cursor;

	line_put(&file, UINT64_MAX - LINE_CAPACITY + 1, 0, 10, 1);
	line_state(&file, 1);
	np_cursor_seek(&cursor, line, 0);
	CHECK_EQUAL(power_at(&cursor, 5, 0), -1);
	line_store(&file, 24, UINT64_MAX);
	np_cursor_seek(&cursor, line, 0);
	CHECK_EQUAL(power_at(&cursor, 5, 0), -1);
	np_timeline_close(line);
	line_remove(&file);
}

/* Files that are no timeline are refused by what is wrong with them; rails are found by name. */
static void test_open(void)
{
	struct line_file file = line_create(test_path("open"), 7, 8);
	struct np_timeline *line = line_open(&file);

	CHECK_EQUAL(np_timeline_rail(line, "VDD_IN"), 0);
	CHECK_EQUAL(np_timeline_rail(line, "VDD_GPU"), 1);
	CHECK_EQUAL(np_timeline_rail(line, "VDD"), -ENOENT);
	CHECK_EQUAL(np_timeline_rail(line, ""), -ENOENT);
	CHECK_EQUAL(np_timeline_rail(line, "a name of more than thirty-one characters"), -ENOENT);
	np_timeline_close(line);
	line_store(&file, 16, LINE_CAPACITY + 1);
	CHECK_EQUAL(np_timeline_open(file.path, &line), -NP_ETRUNCATED);
	line_store(&file, 16, UINT64_MAX);
	CHECK_EQUAL(np_timeline_open(file.path, &line), -NP_ETRUNCATED);
	line_store(&file, 16, 0);
	CHECK_EQUAL(np_timeline_open(file.path, &line), -NP_ENOTTIMELINE);
	line_store(&file, 8, 2 | (uint64_t)LINE_RAILS << 32);
	CHECK_EQUAL(np_timeline_open(file.path, &line), -NP_EVERSION);
	line_store(&file, 8, 1 | (uint64_t)9 << 32);
	CHECK_EQUAL(np_timeline_open(file.path, &line), -NP_ENOTTIMELINE);
	line_store(&file, 0, 0);
	CHECK_EQUAL(np_timeline_open(file.path, &line), -NP_ENOTTIMELINE);
	CHECK_EQUAL(truncate(file.path, 100), 0);
	CHECK_EQUAL(np_timeline_open(file.path, &line), -NP_ENOTTIMELINE);
	CHECK_EQUAL(np_timeline_open(test_path("nothing"), &line), -ENOENT);
	line_remove(&file);
}

int main(void)
{
	test_holes();
	test_horizon();
	test_damage();
	test_late_record();
	test_lapped();
	test_nonsense();
	test_open();
	puts("test_timeline: ok");
	return 0;
}
