/* SPDX-License-Identifier: Apache-2.0 */
/* test_chip.c - the chip in software against the datasheet's numbers */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>

#include "series.h"

static double scan_ns(uint16_t config, double ppm)
{
	struct np_chip_options options = wired(config);
	struct np_sim_options sim = { .clock_ppm = ppm };
	struct np_chip chip;

	CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
	return chip_scan_ns(&chip);
}

/* Scan times follow from enabled channels, mode and both conversion times, not from averaging. */
static void test_scan_times(void)
{
	const double each_us[8] = { 140, 204, 332, 588, 1100, 2116, 4156, 8244 };

	CHECK(fabs(scan_ns(RESET, 0) - 6.6e6) < 1e-3);
	CHECK(fabs(scan_ns(FAST, 0) - 0.84e6) < 1e-3);
	CHECK(fabs(scan_ns(FAST | 7 << 9, 0) - 0.84e6) < 1e-3);
	CHECK(fabs(scan_ns(0x7005, 0) - 0.42e6) < 1e-3);	/* shunt only */
	CHECK(fabs(scan_ns(0x4007, 0) - 0.28e6) < 1e-3);	/* one channel */
	CHECK(fabs(scan_ns(0x7000 | 0 << 6 | 1 << 3 | 7, 0) - 1.032e6) < 1e-3); /* shunt 204, bus 140: 969 Hz */
	CHECK(scan_ns(0x7000, 0) == 0 && scan_ns(0x7004, 0) == 0 && scan_ns(0x0007, 0) == 0);
	for (int code = 0; code < 8; code++)
		CHECK(fabs(scan_ns((uint16_t)(0x7007 | code << 6 | code << 3), 0) - 6e3 * each_us[code]) < 1e-3);
}

/* Conversions come one after another: shunt 1, bus 1, shunt 2, ... each visible only when it ends. */
static void test_order(void)
{
	struct np_timeline_record record = { .start_ns = 0, .end_ns = SECOND, .power_uw = { 1000000, 2000000, 3000000 } };
	const int64_t idle[8] = { 0 };
	struct np_chip_options options = wired(RESET);
	struct np_sim_options sim = { .clock_ppm = 0 };
	struct np_timeline *line;
	struct np_chip chip;
	int64_t uv;

	CHECK_EQUAL(np_timeline_memory(&record, 1, idle, &line), 0);
	CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
	chip_start(&chip, line, SECOND / 2);
	for (uint32_t step = 0; step < 6; step++) {
		int64_t end = chip.began_ns + 1100000;

		CHECK_EQUAL(chip_advance(&chip, end - 1), 0);
		CHECK_EQUAL(chip_read(&chip, step / 2, step % 2, &uv), -EAGAIN);
		CHECK_EQUAL(chip_advance(&chip, end), 0);
		CHECK_EQUAL(chip_read(&chip, step / 2, step % 2, &uv), 0);
		CHECK_EQUAL(uv, step % 2 ? 5000000 : 2000 * (int64_t)(step / 2 + 1));
	}
	CHECK_EQUAL(chip.conversions, 6);
	/* A register that nothing is converted into has no value. */
	options.config = 0x5005;
	CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
	chip_start(&chip, line, SECOND / 2);
	CHECK_EQUAL(chip_advance(&chip, SECOND / 2), 0);
	CHECK_EQUAL(chip_read(&chip, 0, false, &uv), 0);
	CHECK_EQUAL(chip_read(&chip, 0, true, &uv), -ENODATA);
	CHECK_EQUAL(chip_read(&chip, 1, false, &uv), -ENODATA);
	CHECK_EQUAL(chip_read(&chip, 2, false, &uv), 0);
	np_timeline_close(line);
}

/* Read each millisecond for 10 s at the reset setting, a varying rail shows 10 s / 6.6 ms = 1515 values. */
static void test_fresh_rate(void)
{
	struct series series = make_series(20000, 1000000, 40000000, 10000, SECOND, 1000000);
	int changes = 0;
	int fresh = 0;

	run_series(&series, RESET, (struct np_sim_options){ .seed = 1 });
	for (uint64_t i = 1; i < series.ticks; i++) {
		struct np_reading reading;

		memcpy(&reading, series.words + i * series.stride + RING_TICK_WORDS, sizeof(reading));
		changes += value_of(&series, i) != value_of(&series, i - 1);
		fresh += reading.state == NP_FRESH;
	}
	CHECK(changes >= 1512 && changes <= 1516);
	CHECK_EQUAL(fresh, changes);
	free_series(&series);
}

/* Scans in ten seconds against the ceilings that the datasheet's conversion times give. */
static void test_ceilings(void)
{
	const struct {
		uint16_t config;
		int hz;
	} cases[] = {
		{ 0x7007, 1190 }, { 0x7007 | 1 << 6 | 1 << 3, 817 }, { 0x7007 | 2 << 6 | 2 << 3, 502 },
		{ 0x7007 | 3 << 6 | 3 << 3, 283 }, { RESET, 152 }, { 0x7005, 2381 }, { 0x4007, 3571 },
		{ 0x7007 | 1 << 3, 969 },
	};
	const int64_t idle[8] = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct np_chip_options options = wired(cases[i].config);
		struct np_sim_options sim = { .seed = i };
		struct np_timeline *line;
		struct np_chip chip;
		uint64_t before;

		CHECK_EQUAL(np_timeline_memory(NULL, 0, idle, &line), 0);
		CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
		chip_start(&chip, line, SECOND);
		CHECK_EQUAL(chip_advance(&chip, SECOND), 0);
		before = chip.scans;
		CHECK_EQUAL(chip_advance(&chip, 11 * SECOND), 0);
		CHECK(fabs((double)(chip.scans - before) / 10 - cases[i].hz) < 0.7);
		np_timeline_close(line);
	}
}

/* With an average of 13 bits, steps smaller than N are lost: the register stays up to N - 1 steps short. */
static void test_narrow_average(void)
{
	for (int code = 0; code < 8; code++) {
		const int n = (const int[]){ 1, 4, 16, 64, 128, 256, 512, 1024 }[code];
		struct np_timeline_record record = { .start_ns = SECOND, .end_ns = 9 * SECOND, .power_uw = { 80000000 } };
		const int64_t idle[8] = { 0 };
		struct np_chip_options options = wired((uint16_t)(FAST_SHUNT_1 | code << 9));
		struct np_sim_options sim = { .seed = 3, .narrow = 1 };
		struct np_timeline *line;
		struct np_chip chip;
		int32_t expected;

		CHECK_EQUAL(np_timeline_memory(&record, 1, idle, &line), 0);
		CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
		chip_start(&chip, line, SECOND);
		CHECK_EQUAL(chip_advance(&chip, SECOND + 140000), 0);
		expected = chip.results[0][0].steps;
		for (int k = 0; k < 20000; k++) {
			CHECK_EQUAL(chip_advance(&chip, chip.began_ns + 140000), 0);
			expected += (4000 - expected) / n;
			CHECK_EQUAL(chip.results[0][0].steps, expected);
		}
		CHECK_EQUAL(4000 - expected, n - 1);
		np_timeline_close(line);
	}
}

/* Averaging over N is a recursive filter: a step is approached as 1 - (1 - 1/N)^k after k scans. */
static void test_averaging(void)
{
	for (int code = 0; code < 8; code++) {
		const double n = (const double[]){ 1, 4, 16, 64, 128, 256, 512, 1024 }[code];
		struct np_timeline_record record = { .start_ns = SECOND, .end_ns = 9 * SECOND, .power_uw = { 80000000 } };
		const int64_t idle[8] = { 0 };
		struct np_chip_options options = wired((uint16_t)(FAST_SHUNT_1 | code << 9));
		struct np_sim_options sim = { .seed = 3 };
		struct np_timeline *line;
		struct np_chip chip;
		double split;

		CHECK_EQUAL(np_timeline_memory(&record, 1, idle, &line), 0);
		CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
		chip_start(&chip, line, SECOND);
		CHECK_EQUAL(chip_advance(&chip, SECOND + 140000), 0);
		/* The first conversion after the step saw only a part of it. */
		split = chip.results[0][0].average * n / 4000;
		for (int k = 1; k < 2000; k++) {
			double rest = (1 - split / n) * pow(1 - 1 / n, k);

			CHECK_EQUAL(chip_advance(&chip, chip.began_ns + 140000), 0);
			CHECK(fabs(chip.results[0][0].average - 4000 * (1 - rest)) < 1e-6);
			CHECK_EQUAL(chip.results[0][0].steps, floor(4000 * (1 - rest) + 0.5 + 1e-9));
		}
		np_timeline_close(line);
	}
}

/* A chip whose clock is off by ppm is off by that, exactly, after a long time. */
static void test_clock_error(void)
{
	const int64_t idle[8] = { 0 };
	struct np_chip_options options = wired(FAST);
	struct np_sim_options sim = { .clock_ppm = 12345.678 };
	struct np_timeline *line;
	struct np_chip chip;
	int64_t start;

	CHECK_EQUAL(np_timeline_memory(NULL, 0, idle, &line), 0);
	CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
	chip_start(&chip, line, SECOND);
	start = chip.began_ns;
	CHECK_EQUAL(chip_advance(&chip, start + 60 * SECOND), 0);
	CHECK(fabs((double)(chip.began_ns - start) - (double)chip.conversions * 140000 * 1.012345678) < 1);
	np_timeline_close(line);
}

/* Registers do not depend on when they are read, and everything drawn follows from the seed. */
static void test_determinism(void)
{
	const struct np_sim_options sim = { .seed = 5, .noise_uv = 30, .lag_ns = 400000, .clock_ppm = 3000 };
	struct series dense = make_series(3000, 333333, 40000000, 9000, SECOND / 100, 100000);
	struct series sparse = make_series(3000, 333333, 40000000, 900, SECOND / 100, 1000000);
	struct series other = make_series(3000, 333333, 40000000, 900, SECOND / 100, 1000000);
	struct np_sim_options another = sim;
	int different = 0;

	another.seed = 6;
	run_series(&dense, FAST, sim);
	run_series(&sparse, FAST, sim);
	run_series(&other, FAST, another);
	for (uint64_t i = 0; i < sparse.ticks; i++) {
		CHECK_EQUAL(value_of(&sparse, i), value_of(&dense, 10 * i));
		different += value_of(&sparse, i) != value_of(&other, i);
	}
	CHECK(different > 800);
	free_series(&dense);
	free_series(&sparse);
	free_series(&other);
}

int main(void)
{
	test_scan_times();
	test_order();
	test_fresh_rate();
	test_ceilings();
	test_narrow_average();
	test_averaging();
	test_clock_error();
	test_determinism();
	puts("test_chip: ok");
	return 0;
}
