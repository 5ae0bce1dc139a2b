/* SPDX-License-Identifier: Apache-2.0 */
/* test_driver.c - the driver generations over the chip: how long a read takes, what is fresh, what goes wrong */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>

#include "check.h"
#include "ring.h"
#include "sampler.h"

enum { RESET = 0x7127, FAST = 0x7007, MAX_TICKS = 12000, CHANNELS = 6 };

static const int64_t SECOND = 1000000000;

static const struct np_sim_channel SIX[CHANNELS] = {
	{ 0, 0, NP_BUS_UV }, { 0, 0, NP_SHUNT_UV }, { 0, 1, NP_BUS_UV },
	{ 0, 1, NP_SHUNT_UV }, { 0, 2, NP_BUS_UV }, { 0, 2, NP_SHUNT_UV },
};

struct run {
	int64_t ticks;
	uint64_t slots[MAX_TICKS];
	struct np_reading readings[MAX_TICKS][CHANNELS];
};

struct setup {
	uint16_t config;
	uint32_t channels;
	int64_t period_ns;
	int64_t seconds;
	int64_t ramp_uw;	/* power gained in each 100 us */
	struct np_sim_options sim;
	struct np_sim_error errors[2];
	uint32_t error_count;
};

/* Power rises steadily, or stands still: the same times, other values. */
static struct run *run(const struct setup *setup)
{
	const struct np_chip_options wiring = { .config = setup->config,
						.rail = { 0, 1, 2 },
						.bus_uv = { 30000000, 30000000, 30000000 },
						.shunt_uohm = { 10000, 10000, 10000 } };
	uint64_t pieces = (uint64_t)setup->seconds * 10000;
	struct np_timeline_record *records = calloc(pieces, sizeof(*records));
	uint64_t count = (uint64_t)(setup->seconds * SECOND / setup->period_ns);
	uint64_t stride = RING_TICK_WORDS + (uint64_t)RING_READING_WORDS * setup->channels;
	uint64_t *words = calloc(count * stride, sizeof(*words));
	int64_t *t = calloc(count, sizeof(*t));
	struct run *out = calloc(1, sizeof(*out));
	static const int64_t idle[8] = { 1000000, 1000000, 1000000 };
	struct np_timeline *line;
	struct np_source *source;

	for (uint64_t i = 0; i < pieces; i++) {
		records[i].start_ns = SECOND + (int64_t)i * 100000;
		records[i].end_ns = records[i].start_ns + 100000;
		for (int rail = 0; rail < 3; rail++)
			records[i].power_uw[rail] = 1000000 + (int64_t)i * setup->ramp_uw;
	}
	for (uint64_t i = 0; i < count; i++)
		t[i] = SECOND + (int64_t)i * setup->period_ns;
	CHECK(count <= MAX_TICKS);
	CHECK_EQUAL(np_timeline_memory(records, pieces, idle, &line), 0);
	CHECK_EQUAL(np_source_sim(line, &wiring, 1, SIX, setup->channels, &setup->sim, setup->errors, setup->error_count,
				  &source), 0);
	out->ticks = np_simulate(source, t, count, 1, words);
	for (int64_t i = 0; i < out->ticks; i++) {
		out->slots[i] = words[(uint64_t)i * stride + TICK_SLOT];
		CHECK_EQUAL(words[(uint64_t)i * stride + TICK_INDEX], i);
		memcpy(out->readings[i], words + (uint64_t)i * stride + RING_TICK_WORDS,
		       setup->channels * sizeof(struct np_reading));
	}
	np_source_close(source);
	free(t);
	free(words);
	free(records);
	return out;
}

static double rate_hz(const struct setup *setup)
{
	struct run *taken = run(setup);
	double hz = (double)taken->ticks / (double)setup->seconds;

	free(taken);
	return hz;
}

/* Ticks of V+I on three rails under the waiting driver: one scan a read, rounded up to the grid where there is one. */
static void test_waiting_rates(void)
{
	struct setup setup = { RESET, 6, 1000000, 10, 0, { .driver = NP_DRIVER_WAITING, .seed = 1 }, { { 0 } }, 0 };

	CHECK(fabs(rate_hz(&setup) - 25) < 1);
	setup.period_ns = 100000000; /* slower than the chip: nothing is missed */
	CHECK(fabs(rate_hz(&setup) - 10) < 0.2);
	setup.config = FAST;
	setup.period_ns = 1000000;
	for (int32_t bus_hz = 0; bus_hz <= 400000; bus_hz += 400000) {
		double hz;

		setup.sim.bus_hz = bus_hz;
		hz = rate_hz(&setup);
		CHECK(hz > 165 && hz < 199);
	}
	setup.sim.bus_hz = 0;
	setup.period_ns = 250000;
	setup.seconds = 2;
	CHECK(rate_hz(&setup) > 190 && rate_hz(&setup) < 200);
}

/* Averaging multiplies the waiting driver's sleeps. */
static void test_waiting_with_averaging(void)
{
	struct setup setup = { FAST | 1 << 9, 2, 1000000, 10, 0, { .driver = NP_DRIVER_WAITING }, { { 0 } }, 0 };

	CHECK(rate_hz(&setup) < 400 && rate_hz(&setup) > 150);
	setup.config = FAST;
	CHECK(rate_hz(&setup) > 450);
}

/* A read costs 48 bit times; two under IIO; a single shot costs a scan and its polls. */
static void test_wire_time(void)
{
	const struct {
		int32_t driver;
		int32_t bus_hz;
		int64_t least_ns;
		int64_t most_ns;
	} cases[] = {
		{ NP_DRIVER_CONTINUOUS, 0, 0, 0 },
		{ NP_DRIVER_CONTINUOUS, 100000, 480000, 480000 },
		{ NP_DRIVER_CONTINUOUS, 400000, 120000, 120000 },
		{ NP_DRIVER_IIO, 100000, 960000, 960000 },
		{ NP_DRIVER_IIO, 0, 0, 0 },
		{ NP_DRIVER_I2C, 400000, 120000, 120000 },
		{ NP_DRIVER_SINGLE_SHOT, 100000, 6600000, 4 * 6600000 },
		{ NP_DRIVER_WAITING, 0, 0, 2 * 6600000 + 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct setup setup = { RESET, 2, 50000000, 10, 0,
				       { .driver = cases[i].driver, .bus_hz = cases[i].bus_hz }, { { 0 } }, 0 };
		struct run *taken = run(&setup);

		CHECK(taken->ticks == 200 || (cases[i].driver == NP_DRIVER_I2C && taken->ticks > 190)); /* it learns once */
		for (int64_t tick = 0; tick < taken->ticks; tick++) {
			for (int k = 0; k < 2; k++) {
				const struct np_reading *reading = &taken->readings[tick][k];
				int64_t took = (int64_t)reading->end_ns - reading->begin_ns;

				CHECK(took >= cases[i].least_ns && took <= cases[i].most_ns);
				CHECK(reading->state != NP_MISSING);
			}
		}
		free(taken);
	}
}

/* Six registers at 400 kHz fit in a millisecond, at 100 kHz one V+I pair does: slots that pass meanwhile are missed. */
static void test_missed_slots(void)
{
	struct setup setup = { FAST, 6, 1000000, 2, 0, { .bus_hz = 400000 }, { { 0 } }, 0 };
	struct run *taken = run(&setup);

	CHECK_EQUAL(taken->ticks, 2000);
	free(taken);
	setup.sim.bus_hz = 100000;
	taken = run(&setup);
	CHECK_EQUAL(taken->ticks, 667); /* 2.88 ms each */
	for (int64_t i = 0; i < taken->ticks; i++)
		CHECK_EQUAL(taken->slots[i], 3 * i);
	free(taken);
	setup.channels = 2;
	taken = run(&setup);
	CHECK_EQUAL(taken->ticks, 2000);
	free(taken);
}

/*
 * What states claim, from a run whose input stands still, against the truth, from a run with the same times whose
 * every conversion differs from the one before.
 */
static void test_claims(void)
{
	const uint16_t configs[] = { RESET, FAST };
	const uint32_t channels[] = { 1, 2, 6 };

	for (uint64_t seed = 0; seed < 4; seed++) {
		for (int32_t driver = NP_DRIVER_CONTINUOUS; driver <= NP_DRIVER_SINGLE_SHOT; driver++) {
			for (int c = 0; c < 6; c++) {
				struct setup setup = { configs[c % 2], channels[c / 2], 1000000, c % 2 ? 1 : 4, 0,
						       { .driver = driver, .seed = seed, .bus_hz = 100000 * (int32_t)seed,
							 .spread_ppm = 20000, .droop_uohm = 500000 }, { { 0 } }, 0 };
				struct run *still = run(&setup);
				struct run *rising;
				int64_t wrong = 0;
				int64_t fresh = 0;
				int64_t repeated = 0;

				setup.ramp_uw = 300000000 / (setup.seconds * 10000);
				rising = run(&setup);
				CHECK_EQUAL(rising->ticks, still->ticks);
				for (int64_t i = 1; i < still->ticks; i++) {
					for (uint32_t k = 0; k < setup.channels; k++) {
						bool changed = rising->readings[i][k].value != rising->readings[i - 1][k].value;
						/* The bus voltage is too coarse to change each time. */
						bool visible = SIX[k].quantity == NP_SHUNT_UV;

						fresh += still->readings[i][k].state == NP_FRESH;
						repeated += still->readings[i][k].state == NP_REPEATED;
						wrong += still->readings[i][k].state == NP_FRESH && visible && !changed;
						wrong += still->readings[i][k].state == NP_REPEATED && changed;
						CHECK(!changed || rising->readings[i][k].state == NP_FRESH);
					}
				}
				CHECK_EQUAL(wrong, 0);
				if (driver == NP_DRIVER_CONTINUOUS || driver == NP_DRIVER_IIO)
					CHECK(!fresh && !repeated);
				if (driver == NP_DRIVER_SINGLE_SHOT)
					CHECK_EQUAL(fresh, (still->ticks - 1) * setup.channels);
				if (driver == NP_DRIVER_WAITING)
					CHECK_EQUAL(fresh, setup.channels >= 3 ? (still->ticks - 1) * setup.channels : 0);
				free(still);
				free(rising);
			}
		}
	}
}

/* Errors come at the reads they were ordered for, with their errno, and take the time that they take. */
static void test_errors_on_demand(void)
{
	const int errnos[] = { EAGAIN, ENODATA, ETIMEDOUT, EIO };

	for (int32_t driver = NP_DRIVER_CONTINUOUS; driver <= NP_DRIVER_SINGLE_SHOT; driver++) {
		for (int e = 0; e < 4; e++) {
			struct setup setup = { RESET, 2, 100000000, 10, 0,
					       { .driver = driver, .bus_hz = 400000 },
					       { { 1, errnos[e], 3, 2, 10 }, { 0, EIO, 50, 1, 0 } }, 2 };
			struct run *taken = run(&setup);

			for (int64_t i = 0; i < taken->ticks; i++) {
				bool second = i >= 3 && (i - 3) % 10 < 2;
				bool first = i == 50;
				const struct np_reading *readings = taken->readings[i];

				if (driver == NP_DRIVER_IIO)
					first = second = first || second; /* one file */
				CHECK_EQUAL(readings[0].state == NP_MISSING, first);
				CHECK_EQUAL(readings[1].state == NP_MISSING, second);
				if (second && driver != NP_DRIVER_IIO)
					CHECK_EQUAL(readings[1].error, errnos[e]);
				if (second && errnos[e] == ETIMEDOUT && driver == NP_DRIVER_WAITING)
					CHECK((int64_t)readings[1].end_ns - readings[1].begin_ns > 2 * 6600000);
			}
			free(taken);
		}
	}
}

/* A chip that was powered down behind the waiting driver's back: every read gives up after two waits. */
static void test_times_out(void)
{
	struct setup setup = { 0x7004 & ~4, 2, 100000000, 2, 0, { .driver = NP_DRIVER_WAITING }, { { 0 } }, 0 };
	struct run *taken = run(&setup);

	/* The simulated driver knows the config, so it says ENODATA, as for channels that are off. */
	for (int64_t i = 0; i < taken->ticks; i++)
		CHECK_EQUAL(taken->readings[i][0].error, ENODATA);
	free(taken);
}

/* Two runs from one seed are the same to the bit; another seed gives another. */
static void test_deterministic(void)
{
	for (int32_t driver = NP_DRIVER_CONTINUOUS; driver <= NP_DRIVER_SINGLE_SHOT; driver++) {
		struct setup setup = { FAST, 6, 1000000, 1, 20000,
				       { .driver = driver, .bus_hz = 400000, .seed = 7, .spread_ppm = 20000, .swing_ppm = 50,
					 .swing_s = 60, .walk_ppm = 5, .noise_uv = 30 }, { { 0 } }, 0 };
		struct run *a = run(&setup);
		struct run *b = run(&setup);
		struct run *c;

		CHECK(!memcmp(a, b, sizeof(*a)));
		setup.sim.seed = 8;
		c = run(&setup);
		CHECK(memcmp(a, c, sizeof(*a)));
		free(a);
		free(b);
		free(c);
	}
}

int main(void)
{
	test_waiting_rates();
	test_waiting_with_averaging();
	test_wire_time();
	test_missed_slots();
	test_claims();
	test_errors_on_demand();
	test_times_out();
	test_deterministic();
	puts("test_driver: ok");
	return 0;
}
