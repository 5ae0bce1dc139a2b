/* SPDX-License-Identifier: Apache-2.0 */
/* test_chip.c - the chip in software against the datasheet's numbers */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>

#include "check.h"
#include "chip.h"
#include "ring.h"
#include "timeline_file.h"

enum { RESET = 0x7127, FAST = 0x7007, FAST_SHUNT_1 = 0x4005 };

static const int64_t SECOND = 1000000000;

/* 5 V over 10 mOhm: 1 W is 200 mA is 2000 uV, 50 steps. */
static const struct np_chip_options WIRING = {
	.rail = { 0, 1, 2 },
	.bus_uv = { 5000000, 5000000, 5000000 },
	.shunt_uohm = { 10000, 10000, 10000 },
};

static const double UV_PER_UW = 10000.0 / 5000000.0;

static struct np_chip_options wired(uint16_t config)
{
	struct np_chip_options options = WIRING;

	options.config = config;
	return options;
}

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

/* One reading of the first shunt per period, from a random power in pieces. */
struct series {
	struct np_timeline_record *records;
	uint64_t pieces;
	int64_t *t;
	uint64_t *words;
	uint64_t ticks;
	uint64_t stride;
};

static struct series make_series(uint64_t pieces, int64_t piece_ns, int64_t top_uw, uint64_t ticks, int64_t first_ns,
				 int64_t period_ns)
{
	struct series series = { .pieces = pieces, .ticks = ticks, .stride = RING_TICK_WORDS + RING_READING_WORDS };

	series.records = calloc(pieces, sizeof(*series.records));
	series.t = calloc(ticks, sizeof(*series.t));
	series.words = calloc(ticks * series.stride, sizeof(*series.words));
	for (uint64_t i = 0; i < pieces; i++) {
		series.records[i].start_ns = (int64_t)i * piece_ns;
		series.records[i].end_ns = (int64_t)(i + 1) * piece_ns;
		series.records[i].power_uw[0] = (int64_t)(scatter(i) % (uint64_t)top_uw);
	}
	for (uint64_t i = 0; i < ticks; i++)
		series.t[i] = first_ns + (int64_t)i * period_ns;
	return series;
}

static void free_series(struct series *series)
{
	free(series->records);
	free(series->t);
	free(series->words);
}

static void run_series(struct series *series, uint16_t config, struct np_sim_options sim)
{
	const struct np_sim_channel channel = { 0, 0, 0 };
	struct np_chip_options options = wired(config);
	const int64_t idle[8] = { 0 };
	struct np_timeline *line;
	struct np_source *source;

	CHECK_EQUAL(np_timeline_memory(series->records, series->pieces, idle, &line), 0);
	CHECK_EQUAL(np_source_sim(line, &options, 1, &channel, 1, &sim, NULL, 0, &source), 0);
	CHECK_EQUAL(np_simulate(source, series->t, series->ticks, 1, series->words), series->ticks);
	CHECK_EQUAL(np_source_underruns(source), 0);
	np_source_close(source);
}

static int64_t value_of(const struct series *series, uint64_t tick)
{
	return (int64_t)series->words[tick * series->stride + RING_TICK_WORDS];
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

/* Conversions that tile the time keep energy: readings and input have the same mean, with any lag or delay. */
static void test_energy(void)
{
	const struct np_sim_options sims[] = {
		{ .seed = 1 },
		{ .seed = 2, .delay_ns = 300000 },
		{ .seed = 3, .lag_ns = 900000 },
		{ .seed = 4, .lag_ns = 2500000, .delay_ns = 70000, .noise_uv = 200 },
	};

	for (size_t s = 0; s < sizeof(sims) / sizeof(*sims); s++) {
		/* 3 s of pieces of 37 us; one reading for each conversion of 140 us */
		struct series series = make_series(81081, 37000, 40000000, 21300, 2000000, 140000);
		double input = 0;
		double output = 0;

		run_series(&series, FAST_SHUNT_1, sims[s]);
		for (uint64_t i = 0; i < series.pieces; i++)
			input += (double)series.records[i].power_uw[0];
		for (uint64_t i = 0; i < series.ticks; i++)
			output += (double)value_of(&series, i);
		input = input / (double)series.pieces * UV_PER_UW;
		output /= (double)series.ticks;
		CHECK(fabs(output / input - 1) < 0.002);
		free_series(&series);
	}
}

/* Mean over [a, b] after one pole of lag and a delay, in closed form for a step at 1 s. */
static double step_mean(double a, double b, double lag, double height)
{
	if (b <= 0)
		return 0;
	if (a < 0)
		return step_mean(0, b, lag, height) * b / (b - a);
	return lag > 0 ? height * (1 - lag / (b - a) * (exp(-a / lag) - exp(-b / lag))) : height;
}

/* A conversion that ends at t is the mean over [t - conversion - delay, t - delay] of the lagged rail. */
static void test_delay_and_lag(void)
{
	const struct np_sim_options sims[] = {
		{ .seed = 1 },
		{ .seed = 2, .delay_ns = 333333 },
		{ .seed = 3, .lag_ns = 1000000 },
		{ .seed = 4, .lag_ns = 50000, .delay_ns = 1234567, .clock_ppm = -30000 },
	};

	for (size_t s = 0; s < sizeof(sims) / sizeof(*sims); s++) {
		struct np_timeline_record record = { .start_ns = SECOND, .end_ns = 2 * SECOND, .power_uw = { 80000000 } };
		const int64_t idle[8] = { 0 };
		struct np_chip_options options = wired(FAST_SHUNT_1);
		struct np_timeline *line;
		struct np_chip chip;

		CHECK_EQUAL(np_timeline_memory(&record, 1, idle, &line), 0);
		CHECK_EQUAL(chip_init(&chip, &options, &sims[s], 0), 0);
		chip_start(&chip, line, SECOND);
		for (int k = 0; k < 100; k++) {
			int64_t begin = chip.began_ns - sims[s].delay_ns - SECOND;
			uint64_t before = chip.conversions;
			double mean;

			for (int64_t now = chip.began_ns; chip.conversions == before; now += 1000 + k)
				CHECK_EQUAL(chip_advance(&chip, now), 0);
			mean = step_mean((double)begin, (double)(chip.began_ns - sims[s].delay_ns - SECOND),
					 (double)sims[s].lag_ns, 80e6 * UV_PER_UW);
			CHECK(fabs((double)chip.results[0][0].steps * 40 - mean) <= 20 + 1e-6);
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

/* Noise has the deviation asked for, and mean nothing. */
static void test_noise(void)
{
	struct series series = make_series(1, 10 * SECOND, 1, 20000, SECOND, 140000);
	double sum = 0;
	double squares = 0;

	series.records[0].power_uw[0] = 20000000;
	run_series(&series, FAST_SHUNT_1, (struct np_sim_options){ .seed = 1, .noise_uv = 300 });
	for (uint64_t i = 0; i < series.ticks; i++) {
		double error = (double)value_of(&series, i) - 40000;

		sum += error;
		squares += error * error;
	}
	CHECK(fabs(sum / 20000) < 10);
	CHECK(fabs(sqrt(squares / 20000) - 300) < 10);
	free_series(&series);
}

/* The register holds 13 bits with a sign and no more. */
static void test_saturation(void)
{
	struct series series = make_series(1, 10 * SECOND, 1, 10, SECOND, 1000000);

	series.records[0].power_uw[0] = INT64_MAX;
	run_series(&series, FAST, (struct np_sim_options){ .seed = 1 });
	CHECK_EQUAL(value_of(&series, 9), 4095 * 40);
	series.records[0].power_uw[0] = INT64_MIN;
	run_series(&series, FAST, (struct np_sim_options){ .seed = 1 });
	CHECK_EQUAL(value_of(&series, 9), -4096 * 40);
	free_series(&series);
}

/* A read that needs what has not been published is missing, and counted; then the chip goes on, losing nothing. */
static void test_underrun(void)
{
	struct line_file file = line_create(test_path("timeline"), 0, 0);
	const struct np_sim_channel channels[2] = { { 0, 0, 0 }, { 0, 0, 1 } };
	struct np_chip_options options = wired(FAST);
	struct np_sim_options sim = { .seed = 1, .delay_ns = 500000 };
	const int64_t early[] = { 10000000, 11000000, 12000000, 20000000 };
	uint64_t words[4 * (RING_TICK_WORDS + 2 * RING_READING_WORDS)];
	struct np_reading readings[4][2];
	struct np_source *source;

	options.rail[2] = -1;
	line_append(&file, 0, 11000000, 1000000);
	line_state(&file, 1);
	CHECK_EQUAL(np_source_sim(line_open(&file), &options, 1, channels, 2, &sim, NULL, 0, &source), 0);
	CHECK_EQUAL(np_simulate(source, early, 4, 1, words), 4);
	for (uint64_t i = 0; i < 4; i++) {
		memcpy(readings[i], words + i * (RING_TICK_WORDS + 6) + RING_TICK_WORDS, sizeof(readings[i]));
		CHECK_EQUAL(readings[i][0].state == NP_MISSING, i >= 2);
		CHECK_EQUAL(readings[i][0].error, i >= 2 ? ESTALE : 0);
		CHECK_EQUAL(readings[i][1].error, i >= 2 ? ESTALE : 0);
	}
	CHECK_EQUAL(readings[1][0].value, 2000);
	CHECK_EQUAL(np_source_underruns(source), 2);
	line_append(&file, 11000000, 30000000, 3000000);
	CHECK_EQUAL(np_simulate(source, early, 4, 1, words), 4);
	memcpy(readings[3], words + 3 * (RING_TICK_WORDS + 6) + RING_TICK_WORDS, sizeof(readings[3]));
	CHECK_EQUAL(readings[3][0].value, 6000);
	CHECK_EQUAL(np_source_underruns(source), 2);
	np_source_close(source);
	line_remove(&file);
}

/* What cannot be a chip, a channel or a sensor is refused. */
static void test_refused(void)
{
	const int64_t idle[8] = { 0 };
	struct np_sim_channel channel = { 0, 0, 0 };
	const struct np_sim_options bad[] = { { .delay_ns = -1 }, { .lag_ns = -1 },	     { .noise_uv = -1 },
					      { .noise_uv = NAN }, { .clock_ppm = -1000000 }, { .clock_ppm = NAN } };
	struct np_chip_options options = wired(FAST);
	struct np_sim_options sim = { 0 };
	struct np_timeline *line;
	struct np_source *source;

	CHECK_EQUAL(np_timeline_memory(NULL, 0, idle, &line), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_EQUAL(np_source_sim(line, &options, 1, &channel, 1, &bad[i], NULL, 0, &source), -EINVAL);
	options.bus_uv[1] = 0;
	CHECK_EQUAL(np_source_sim(line, &options, 1, &channel, 1, &sim, NULL, 0, &source), -EINVAL);
	options.rail[1] = -1;
	channel.chip = 1;
	CHECK_EQUAL(np_source_sim(line, &options, 1, &channel, 1, &sim, NULL, 0, &source), -EINVAL);
	channel = (struct np_sim_channel){ 0, 3, 0 };
	CHECK_EQUAL(np_source_sim(line, &options, 1, &channel, 1, &sim, NULL, 0, &source), -EINVAL);
	channel.channel = 2;
	CHECK_EQUAL(np_source_sim(line, &options, 1, &channel, 1, &sim, NULL, 0, &source), 0);
	np_source_close(source);
}

int main(void)
{
	test_scan_times();
	test_order();
	test_fresh_rate();
	test_averaging();
	test_energy();
	test_delay_and_lag();
	test_clock_error();
	test_determinism();
	test_noise();
	test_saturation();
	test_underrun();
	test_refused();
	puts("test_chip: ok");
	return 0;
}
