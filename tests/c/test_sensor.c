/* SPDX-License-Identifier: Apache-2.0 */
/* test_sensor.c - what the chip in software sees of the rails: energy, delay, lag, noise, and where the timeline ends */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>

#include "series.h"
#include "timeline_file.h"

/* Conversions that tile the time keep energy: readings and input have the same mean, with any lag or delay. */
static void test_energy(void)
{
	const struct np_sim_options sims[] = {
		{ .seed = 1 },
		{ .seed = 2, .delay_ns = 300000 },
		{ .seed = 3, .lag_ns = 900000 },
		{ .seed = 4, .lag_ns = 2500000, .delay_ns = 70000, .noise_uv = 200 },
		{ .seed = 5, .lag_ns = 700000, .second_lag_ns = 300000 },
		{ .seed = 6, .lag_ns = 500000, .second_lag_ns = 500000 },
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

/* The same after two different poles: their partial fractions. */
static double step_mean_of(double a, double b, const struct np_sim_options *sim, double height)
{
	double first = (double)sim->lag_ns;
	double second = (double)sim->second_lag_ns;

	if (first == second)
		return first > 0 ? NAN : step_mean(a, b, 0, height);
	return (first * step_mean(a, b, first, height) - second * step_mean(a, b, second, height)) / (first - second);
}

/* A conversion that ends at t is the mean over [t - conversion - delay, t - delay] of the lagged rail. */
static void test_delay_and_lag(void)
{
	const struct np_sim_options sims[] = {
		{ .seed = 1 },
		{ .seed = 2, .delay_ns = 333333 },
		{ .seed = 3, .lag_ns = 1000000 },
		{ .seed = 4, .lag_ns = 50000, .delay_ns = 1234567, .clock_ppm = -30000 },
		{ .seed = 5, .lag_ns = 700000, .second_lag_ns = 300000 },
		{ .seed = 6, .lag_ns = 300000, .second_lag_ns = 700000, .delay_ns = 333333 },
		{ .seed = 7, .lag_ns = 500000, .second_lag_ns = 500001 },
		{ .seed = 8, .second_lag_ns = 1000000 },
		{ .seed = 9, .lag_ns = 20, .second_lag_ns = 1500000 },
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
			mean = step_mean_of((double)begin, (double)(chip.began_ns - sims[s].delay_ns - SECOND), &sims[s],
					    80e6 * UV_PER_UW);
			CHECK(fabs((double)chip.results[0][0].steps * 40 - mean) <= 20 + 1e-6);
		}
		np_timeline_close(line);
	}
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
	const struct np_sim_options bad[] = { { .delay_ns = -1 }, { .lag_ns = -1 },	     { .second_lag_ns = -1 },
					      { .noise_uv = -1 },  { .noise_uv = NAN }, { .clock_ppm = -1000000 }, { .clock_ppm = NAN } };
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
	test_energy();
	test_delay_and_lag();
	test_noise();
	test_saturation();
	test_underrun();
	test_refused();
	puts("test_sensor: ok");
	return 0;
}
