/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwmon.c - numbers in files, whatever the files do; and the replay of what was read */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "check.h"
#include "ring.h"
#include "source.h"

static struct np_reading read_one(struct np_source *source)
{
	struct np_reading readings[RING_MAX_READINGS] = { 0 };

	source->ops->read(source, &np_system_clock, np_clock_monotonic(&np_system_clock), readings);
	return readings[0];
}

static struct np_source *open_one(const char *path, int64_t scale)
{
	struct np_source *source;

	CHECK_EQUAL(np_source_hwmon(&path, &scale, 1, 0, 0, &source), 0);
	return source;
}

/* Texts and what they are read as: a value, or the errno of a missing reading. */
static void test_texts(void)
{
	const struct {
		const char *text;
		int64_t scale;
		int error;
		int64_t value;
	} cases[] = {
		{ "5000\n", 1000, 0, 5000000 },
		{ "-40\n", 1, 0, -40 },
		{ "+7", 1, 0, 7 },
		{ "0\n", 1000, 0, 0 },
		{ "12 \n", 1, 0, 12 },
		{ "5\n\n", 1, 0, 5 },
		{ "007\n", 1, 0, 7 },
		{ "123456789012345678\n", 1, 0, 123456789012345678 },
		{ "-12345678901234567\n", 1, 0, -12345678901234567 },
		{ "-123456789012345678\n", 1, 0, -123456789012345678 },
		{ "1234567890123456789\n", 1, 0, 1234567890123456789 },
		{ "9223372036854775807\n", 1, 0, INT64_MAX },
		{ "-9223372036854775808\n", 1, 0, INT64_MIN },
		{ "9223372036854775808\n", 1, ERANGE, 0 },
		{ "-9223372036854775809\n", 1, ERANGE, 0 },
		{ "9223372036854775807\n", 2, ERANGE, 0 },
		{ "99999999999999999999999999999999999999999\n", 1, ERANGE, 0 },
		{ "", 1, EBADMSG, 0 },
		{ "\n", 1, EBADMSG, 0 },
		{ "-", 1, EBADMSG, 0 },
		{ "-\n", 1, EBADMSG, 0 },
		{ "-\n5\n", 1, EBADMSG, 0 },
		{ "5 6\n", 1, EBADMSG, 0 },
		{ "5\n6\n", 1, EBADMSG, 0 },
		{ "-5x\n", 1, EBADMSG, 0 },
		{ "--1", 1, EBADMSG, 0 },
		{ " 5", 1, EBADMSG, 0 },
		{ "5 mV\n", 1, EBADMSG, 0 },
		{ "0x10\n", 1, EBADMSG, 0 },
		{ "<not read>\n", 1, EBADMSG, 0 },
		{ "1                                                    ", 1, EBADMSG, 0 },
	};
	const char *path = test_path("in1_input");

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct np_source *source;
		struct np_reading reading;

		write_text(path, cases[i].text);
		source = open_one(path, cases[i].scale);
		reading = read_one(source);
		CHECK_EQUAL(reading.error, cases[i].error);
		CHECK_EQUAL(reading.state, cases[i].error ? NP_MISSING : NP_UNKNOWN);
		CHECK_EQUAL(reading.value, cases[i].value);
		CHECK(reading.end_ns >= reading.begin_ns);
		np_source_close(source);
	}
}

/* One look at the clock ends a reading and begins the next, the first begins with the tick; so does a missing one. */
static void test_times(void)
{
	const char *path = test_path("times_input");
	const int64_t scales[] = { 1, 1, 1 };
	struct np_reading readings[3] = { 0 };
	struct np_source *source;
	int64_t begin;
	int64_t end;

	write_text(path, "1\n");
	CHECK_EQUAL(np_source_hwmon((const char *[]){ path, "/dev/null", path }, scales, 3, 0, 0, &source), 0);
	begin = np_clock_monotonic(&np_system_clock);
	source->ops->read(source, &np_system_clock, begin, readings);
	end = np_clock_monotonic(&np_system_clock);
	CHECK_EQUAL(readings[0].begin_ns, 0);
	CHECK(readings[0].end_ns > 0);
	CHECK_EQUAL(readings[1].state, NP_MISSING);
	CHECK_EQUAL(readings[1].begin_ns, readings[0].end_ns);
	CHECK_EQUAL(readings[2].begin_ns, readings[1].end_ns);
	CHECK(readings[2].end_ns >= readings[2].begin_ns && readings[2].end_ns <= end - begin);
	np_source_close(source);
}

/* A changed value is fresh; an unchanged one, and the first, prove nothing. */
static void test_freshness(void)
{
	const char *path = test_path("curr1_input");
	struct np_source *source;

	write_text(path, "1\n");
	source = open_one(path, 1);
	CHECK_EQUAL(read_one(source).state, NP_UNKNOWN);
	CHECK_EQUAL(read_one(source).state, NP_UNKNOWN);
	write_text(path, "2\n");
	CHECK_EQUAL(read_one(source).state, NP_FRESH);
	CHECK_EQUAL(read_one(source).state, NP_UNKNOWN);
	write_text(path, "");
	CHECK_EQUAL(read_one(source).state, NP_MISSING);
	write_text(path, "2\n");
	CHECK_EQUAL(read_one(source).state, NP_UNKNOWN);
	np_source_close(source);
}

/* Where the driver waits, an equal value is fresh once three scans were waited for; where time tells, after that time. */
static void test_certain_freshness(void)
{
	const char *names[] = { test_path("in4_input"), test_path("in5_input"), test_path("in6_input") };
	const char *other = "/dev/null";
	const int64_t scales[] = { 1, 1, 1, 1 };
	struct np_reading readings[4];
	struct np_source *source;

	for (int i = 0; i < 3; i++)
		write_text(names[i], "5\n");
	for (uint32_t count = 1; count <= 3; count++) {
		CHECK_EQUAL(np_source_hwmon(names, scales, count, 1, 0, &source), 0);
		for (int tick = 0; tick < 5; tick++) {
			source->ops->read(source, &np_system_clock, 0, readings);
			for (uint32_t i = 0; i < count; i++)
				CHECK_EQUAL(readings[i].state, count == 3 && tick ? NP_FRESH : NP_UNKNOWN);
		}
		np_source_close(source);
	}
	/* A file elsewhere is another chip's, and a read that fails has not waited. */
	CHECK_EQUAL(np_source_hwmon((const char *[]){ names[0], other, names[1], other }, scales, 4, 1, 0, &source), 0);
	for (int tick = 0; tick < 5; tick++) {
		source->ops->read(source, &np_system_clock, 0, readings);
		CHECK_EQUAL(readings[0].state, NP_UNKNOWN);
		CHECK_EQUAL(readings[1].state, NP_MISSING);
	}
	np_source_close(source);
	CHECK_EQUAL(np_source_hwmon(names, scales, 1, 0, 2000000, &source), 0);
	CHECK_EQUAL(read_one(source).state, NP_UNKNOWN);
	usleep(2100);
	CHECK_EQUAL(read_one(source).state, NP_FRESH);
	np_source_close(source);
	CHECK_EQUAL(np_source_hwmon(names, scales, 1, 0, 3600000000000, &source), 0);
	CHECK_EQUAL(read_one(source).state, NP_UNKNOWN);
	CHECK_EQUAL(read_one(source).state, NP_UNKNOWN);
	np_source_close(source);
	CHECK_EQUAL(np_source_hwmon(names, scales, 1, 0, -1, &source), -EINVAL);
}

/* ui_input_N gives voltage, current and power of one read; other files one value in thousandths; never certain. */
static void test_iio(void)
{
	const char *pair = test_path("ui_input_0");
	const char *single = test_path("in_power0_input");
	const char *paths[] = { pair, pair, pair, single };
	const int32_t quantities[] = { NP_BUS_UV, NP_CURRENT_UA, NP_POWER_UW, NP_POWER_UW };
	const int32_t shunt = NP_SHUNT_UV;
	const char *broken[] = { "5000\n", "5000 120 3\n", "5000,120\n", "", "a b\n", "5000120\n" };
	struct np_reading readings[4];
	struct np_source *source;

	write_text(pair, "5000 120\n");
	write_text(single, "600\n");
	CHECK_EQUAL(np_source_iio(paths, &shunt, 1, &source), -EINVAL);
	CHECK_EQUAL(np_source_iio(paths, quantities, 0, &source), -EINVAL);
	CHECK_EQUAL(np_source_iio(paths, quantities, 4, &source), 0);
	for (int tick = 0; tick < 2; tick++) {
		const int64_t expected[] = { 5000000, 120000, 600000, 600000 };

		memset(readings, 0, sizeof(readings));
		source->ops->read(source, &np_system_clock, np_clock_monotonic(&np_system_clock), readings);
		for (int i = 0; i < 4; i++) {
			CHECK_EQUAL(readings[i].value, expected[i]);
			CHECK_EQUAL(readings[i].state, NP_UNKNOWN);
		}
		CHECK(readings[0].begin_ns == readings[2].begin_ns && readings[0].end_ns == readings[2].end_ns);
	}
	write_text(pair, "4992 -8\n");
	source->ops->read(source, &np_system_clock, 0, readings);
	CHECK_EQUAL(readings[1].value, -8000);
	CHECK_EQUAL(readings[2].value, -39936);
	CHECK_EQUAL(readings[2].state, NP_FRESH);
	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		write_text(pair, broken[i]);
		source->ops->read(source, &np_system_clock, 0, readings);
		CHECK_EQUAL(readings[0].error, EBADMSG);
		CHECK_EQUAL(readings[3].state, NP_UNKNOWN);
	}
	np_source_close(source);
}

static void allow_revive(struct np_source *source)
{
	atomic_store(&source->revived_ns, INT64_MIN / 2);
}

/* A file that comes, goes and is replaced is found again by revive, at most once a second. */
static void test_revive(void)
{
	const char *path = test_path("in2_input");
	const char *other = test_path("in2_other");
	struct np_source *source = open_one(path, 1);

	CHECK_EQUAL(read_one(source).error, ENOENT);
	CHECK_EQUAL(np_source_revive(source), 0);
	CHECK_EQUAL(mkdir(path, 0755), 0);
	allow_revive(source);
	CHECK_EQUAL(np_source_revive(source), 1);
	CHECK_EQUAL(read_one(source).error, EISDIR);
	CHECK_EQUAL(rmdir(path), 0);
	write_text(path, "3\n");
	CHECK_EQUAL(np_source_revive(source), 0); /* too soon */
	allow_revive(source);
	CHECK_EQUAL(np_source_revive(source), 1);
	CHECK_EQUAL(read_one(source).value, 3);
	allow_revive(source);
	CHECK_EQUAL(np_source_revive(source), 0); /* nothing to do */

	write_text(other, "4\n");
	CHECK_EQUAL(rename(other, path), 0);
	CHECK_EQUAL(read_one(source).value, 3);
	allow_revive(source);
	CHECK_EQUAL(np_source_revive(source), 1);
	CHECK_EQUAL(read_one(source).value, 4);
	CHECK_EQUAL(unlink(path), 0);
	allow_revive(source);
	CHECK_EQUAL(np_source_revive(source), 0); /* the open file is all there is */
	CHECK_EQUAL(read_one(source).value, 4);
	np_source_close(source);
}

static atomic_bool finished;

static void *read_on(void *arg)
{
	while (!atomic_load(&finished)) {
		struct np_reading reading = read_one(arg);

		CHECK(reading.state != NP_MISSING && (reading.value == 1000 || reading.value == 2000));
	}
	return NULL;
}

/* Files can be exchanged under a loop that reads without pause. */
static void test_revive_beside_reading(void)
{
	const char *path = test_path("in3_input");
	const char *other = test_path("in3_other");
	struct np_source *source;
	pthread_t thread;

	write_text(path, "1\n");
	source = open_one(path, 1000);
	CHECK_EQUAL(pthread_create(&thread, NULL, read_on, source), 0);
	for (int i = 0; i < 500; i++) {
		write_text(other, i % 2 ? "1\n" : "2\n");
		CHECK_EQUAL(rename(other, path), 0);
		allow_revive(source);
		CHECK_EQUAL(np_source_revive(source), 1);
	}
	atomic_store(&finished, true);
	pthread_join(thread, NULL);
	np_source_close(source);
}

/* What a driver or an odd file answers is the reading's errno: here an I/O error, a pipe and a folder. */
static void test_failing_reads(void)
{
	const char *pipe = test_path("pipe");
	const struct {
		const char *path;
		int error;
	} cases[] = { { "/proc/self/mem", EIO }, { pipe, ESPIPE }, { "/proc", EISDIR }, { "/proc/none/in", ENOENT } };

	CHECK_EQUAL(mkfifo(pipe, 0600), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct np_source *source = open_one(cases[i].path, 1);
		struct np_reading reading = read_one(source);

		CHECK_EQUAL(reading.state, NP_MISSING);
		CHECK_EQUAL(reading.error, cases[i].error);
		np_source_close(source);
	}
}

/* An impossible number of inputs is refused. */
static void test_limits(void)
{
	const char *path = "/dev/null";
	const int64_t scale = 1;
	struct np_source *source;

	CHECK_EQUAL(np_source_hwmon(&path, &scale, 0, 0, 0, &source), -EINVAL);
	CHECK_EQUAL(np_source_hwmon(&path, &scale, RING_MAX_READINGS + 1, 0, 0, &source), -EINVAL);
	source = open_one("/dev/null", 1);
	CHECK_EQUAL(read_one(source).error, EBADMSG);
	np_source_close(source);
}

/* Voltages in every third tick: all in the first, then one after the other; between, they are as they were last read. */
static void test_decimated(void)
{
	const char *paths[] = { test_path("v1"), test_path("i1"), test_path("v2") };
	const int64_t scales[] = { 1, 1, 1 };
	const uint8_t every[] = { 3, 1, 3 };
	const int taken[][3] = { { 1, 1, 1 }, { 1, 1, 0 }, { 0, 1, 1 }, { 0, 1, 0 }, { 1, 1, 0 }, { 0, 1, 1 }, { 0, 1, 0 }, { 1, 1, 0 } };
	struct np_reading last[3] = { 0 };
	struct np_source *source;

	for (int i = 0; i < 3; i++)
		write_text(paths[i], "7\n");
	CHECK_EQUAL(np_source_hwmon(paths, scales, 3, 0, 0, &source), 0);
	CHECK_EQUAL(np_source_decimate(source, (const uint8_t[]){ 3, 0, 3 }), -EINVAL);
	CHECK_EQUAL(np_source_decimate(source, every), 0);
	source->ops->start(source, 0);
	for (int tick = 0; tick < 8; tick++) {
		struct np_reading now[3] = { 0 };
		char text[8];

		snprintf(text, sizeof(text), "%d\n", 10 + tick);
		write_text(paths[0], text);
		write_text(paths[2], tick < 2 ? "x\n" : "3\n");
		source->ops->read(source, &np_system_clock, np_clock_monotonic(&np_system_clock), now);
		for (int i = 0; i < 3; i++) {
			CHECK_EQUAL(!(now[i].flags & NP_HELD), taken[tick][i]);
			if (taken[tick][i]) {
				CHECK(now[i].end_ns > 0);
				last[i] = now[i];
				continue;
			}
			CHECK_EQUAL(now[i].value, last[i].value);
			CHECK_EQUAL(now[i].error, last[i].error);
			CHECK_EQUAL(now[i].state, last[i].state == NP_MISSING ? NP_MISSING : NP_REPEATED);
			CHECK(now[i].begin_ns == 0 && now[i].end_ns == 0);
		}
		if (taken[tick][0])
			CHECK_EQUAL(now[0].value, 10 + tick);
	}
	np_source_close(source);
	CHECK_EQUAL(np_source_replay(last, 1, 3, 0, &source), 0);
	CHECK_EQUAL(np_source_decimate(source, every), -EOPNOTSUPP);
	np_source_close(source);
}

/* A replay gives its rows in order, then says that there are no more, or begins again. */
static void test_replay(void)
{
	struct np_reading rows[3] = { { .value = 1 }, { .value = 2, .state = NP_FRESH }, { .error = EIO, .state = NP_MISSING } };
	struct np_source *source;

	CHECK_EQUAL(np_source_replay(rows, 0, 1, 0, &source), -EINVAL);
	CHECK_EQUAL(np_source_replay(rows, UINT64_MAX / 8, 1, 0, &source), -ENOMEM);
	for (int repeat = 0; repeat < 2; repeat++) {
		CHECK_EQUAL(np_source_replay(rows, 3, 1, repeat, &source), 0);
		for (int i = 0; i < 3; i++) {
			struct np_reading reading = read_one(source);

			CHECK(!memcmp(&reading, &rows[i], sizeof(reading)));
		}
		CHECK_EQUAL(read_one(source).error, repeat ? 0 : ENODATA);
		np_source_close(source);
	}
}

int main(void)
{
	test_texts();
	test_times();
	test_freshness();
	test_certain_freshness();
	test_iio();
	test_revive();
	test_revive_beside_reading();
	test_failing_reads();
	test_limits();
	test_decimated();
	test_replay();
	puts("test_hwmon: ok");
	return 0;
}
