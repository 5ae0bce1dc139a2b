/* SPDX-License-Identifier: Apache-2.0 */
/* test_registers.c - the chip as the wire sees it: reset values, flags, restarts, single shots, sums and limits */
#define _GNU_SOURCE
#include <math.h>

#include "check.h"
#include "chip.h"

enum { RESET = 0x7127, FAST = 0x7007 };

static const int64_t SECOND = 1000000000;

static struct np_timeline *line;

/* 5 V over 10 mOhm: 1 W is 2000 uV, 50 steps. Rails draw 1, 2 and 3 W. */
static struct np_chip make(uint16_t config, struct np_sim_options sim)
{
	static const int64_t idle[8] = { 1000000, 2000000, 3000000 };
	struct np_chip_options options = { .config = config,
					   .rail = { 0, 1, 2 },
					   .bus_uv = { 5000000, 5000000, 5000000 },
					   .shunt_uohm = { 10000, 10000, 10000 } };
	struct np_chip chip;

	if (!line)
		CHECK_EQUAL(np_timeline_memory(NULL, 0, idle, &line), 0);
	CHECK_EQUAL(chip_init(&chip, &options, &sim, 0), 0);
	chip_start(&chip, line, SECOND);
	CHECK_EQUAL(chip_advance(&chip, SECOND), 0);
	return chip;
}

static bool ready(struct np_chip *chip)
{
	return chip_register_read(chip, CHIP_MASK_ENABLE) & CHIP_CVRF;
}

/* Datasheet, table 5. A reset bit in config brings them back and clears itself. */
static void test_reset_values(void)
{
	struct np_chip chip = make(FAST, (struct np_sim_options){ 0 });

	CHECK_EQUAL(chip_register_read(&chip, CHIP_CONFIG), FAST);
	CHECK_EQUAL(chip_register_write(&chip, CHIP_CRITICAL_1, 0x1237, SECOND), 0);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_CRITICAL_1), 0x1230);
	CHECK_EQUAL(chip_register_write(&chip, CHIP_CONFIG, 0x8000, SECOND), 0);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_CONFIG), RESET);
	for (uint8_t reg = CHIP_SHUNT_1; reg < CHIP_CRITICAL_1; reg++)
		CHECK_EQUAL(chip_register_read(&chip, reg), 0);
	for (uint8_t reg = CHIP_CRITICAL_1; reg < CHIP_SUM; reg++)
		CHECK_EQUAL(chip_register_read(&chip, reg), 0x7ff8);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_SUM_LIMIT), 0x7ffe);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_MASK_ENABLE), 0x0002);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_POWER_VALID_HIGH), 0x2710);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_POWER_VALID_LOW), 0x2328);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_MANUFACTURER), 0x5449);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_DIE), 0x3220);
	CHECK_EQUAL(chip_register_read(&chip, 0x42), 0);
	/* Results and identity are not to be written. */
	CHECK_EQUAL(chip_register_write(&chip, CHIP_SHUNT_1, 0x7777, SECOND), 0);
	CHECK_EQUAL(chip_register_write(&chip, CHIP_DIE, 0x7777, SECOND), 0);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_SHUNT_1), 0);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_DIE), 0x3220);
}

/* Results stand three bits up, negative ones with their sign; the sum of chosen channels one bit up. */
static void test_results(void)
{
	struct np_chip chip = make(FAST, (struct np_sim_options){ 0 });

	CHECK_EQUAL(chip_register_read(&chip, 0x01), 50 << 3);
	CHECK_EQUAL(chip_register_read(&chip, 0x02), 625 << 3);
	CHECK_EQUAL(chip_register_read(&chip, 0x05), 150 << 3);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_SUM), 0);
	chip_register_write(&chip, CHIP_MASK_ENABLE, 0x5000, SECOND);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_SUM), (50 + 150) << 1);
	chip = make(FAST, (struct np_sim_options){ .offset_uv = -4000 });
	CHECK_EQUAL((int16_t)chip_register_read(&chip, 0x01), -50 * 8);
}

/* The ready flag is set when a scan ends, cleared by a look and by a config write, which begins the scan anew. */
static void test_ready_flag(void)
{
	struct np_chip chip = make(RESET, (struct np_sim_options){ .seed = 1 });
	int64_t scan_ns = 6600000;
	int64_t now = SECOND;

	ready(&chip);
	for (int scan = 0; scan < 20; scan++) {
		int64_t end = chip.began_ns + (6 - chip.position) * INT64_C(1100000);

		CHECK_EQUAL(chip_advance(&chip, end - 1), 0);
		CHECK(!ready(&chip));
		CHECK_EQUAL(chip_advance(&chip, end), 0);
		CHECK(ready(&chip));
		CHECK(!ready(&chip));
		now = end + 3000000; /* in the middle of the third conversion */
		CHECK_EQUAL(chip_advance(&chip, now), 0);
	}
	CHECK_EQUAL(chip_advance(&chip, now + 2 * scan_ns), 0);
	now += 2 * scan_ns;
	CHECK_EQUAL(chip_register_write(&chip, CHIP_CONFIG, RESET, now), 0);
	CHECK(!ready(&chip));
	CHECK_EQUAL(chip_advance(&chip, now + scan_ns - 1), 0);
	CHECK(!ready(&chip));
	CHECK_EQUAL(chip_advance(&chip, now + scan_ns), 0);
	CHECK(ready(&chip));
}

/* As an option the flag comes with every N-th scan, N being the averaging. */
static void test_ready_per_averaging(void)
{
	for (int code = 0; code < 4; code++) {
		const int n = (const int[]){ 1, 4, 16, 64 }[code];
		struct np_chip chip = make((uint16_t)(FAST | code << 9), (struct np_sim_options){ .averaged_ready = 1 });
		int flags = 0;

		for (int scan = 0; scan < 640; scan++) {
			CHECK_EQUAL(chip_advance(&chip, chip.began_ns + 840000), 0);
			flags += ready(&chip);
		}
		CHECK(flags >= 640 / n - 1 && flags <= 640 / n + 1);
	}
}

/* A single shot is one scan; powered down, nothing is converted and registers keep what they hold. */
static void test_modes(void)
{
	struct np_chip chip = make(FAST, (struct np_sim_options){ 0 });
	uint64_t scans;

	CHECK_EQUAL(chip_register_write(&chip, CHIP_CONFIG, 0x7003, SECOND), 0);
	scans = chip.scans;
	CHECK_EQUAL(chip_advance(&chip, SECOND + 839999), 0);
	CHECK(!ready(&chip));
	CHECK_EQUAL(chip_advance(&chip, 2 * SECOND), 0);
	CHECK_EQUAL(chip.scans, scans + 1);
	CHECK(ready(&chip));
	for (uint16_t mode = 0; mode <= 4; mode += 4) {
		CHECK_EQUAL(chip_register_write(&chip, CHIP_CONFIG, 0x7000 | mode, 2 * SECOND), 0);
		CHECK_EQUAL(chip_advance(&chip, 3 * SECOND), 0);
		CHECK_EQUAL(chip.scans, scans + 1);
		CHECK(!ready(&chip));
		CHECK_EQUAL(chip_register_read(&chip, 0x01), 50 << 3);
	}
	/* Bus voltages only. */
	CHECK_EQUAL(chip_register_write(&chip, CHIP_CONFIG, 0x7002, 3 * SECOND), 0);
	CHECK_EQUAL(chip_advance(&chip, 3 * SECOND + 420000), 0);
	CHECK(ready(&chip));
}

/* Limits are compared with each conversion (critical) and with the average (warning); latched flags wait for a look. */
static void test_alerts(void)
{
	struct np_chip chip = make(FAST, (struct np_sim_options){ 0 });

	chip_register_read(&chip, CHIP_MASK_ENABLE);
	chip_register_write(&chip, CHIP_CRITICAL_1, 49 << 3, SECOND);
	chip_register_write(&chip, CHIP_WARNING_1 + 4, 150 << 3, SECOND);
	chip_register_write(&chip, CHIP_POWER_VALID_HIGH, 600 << 3, SECOND);
	chip_register_write(&chip, CHIP_MASK_ENABLE, 0x7400, SECOND);
	chip_register_write(&chip, CHIP_SUM_LIMIT, 299 << 1, SECOND);
	CHECK_EQUAL(chip_advance(&chip, SECOND + 2000000), 0);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_MASK_ENABLE), 0x7400 | 0x0200 | 0x0040 | 0x0004 | 0x0003);
	chip_register_write(&chip, CHIP_WARNING_1 + 4, 149 << 3, SECOND);
	chip_register_write(&chip, CHIP_CRITICAL_1, 50 << 3, SECOND);
	chip_register_write(&chip, CHIP_SUM_LIMIT, 300 << 1, SECOND);
	CHECK_EQUAL(chip_advance(&chip, SECOND + 4000000), 0);
	CHECK_EQUAL(chip_register_read(&chip, CHIP_MASK_ENABLE), 0x7400 | 0x0008 | 0x0004 | 0x0003);
}

/* Offset and gain are the converter's, in both inputs by the same share of their steps. */
static void test_errors_of_the_converter(void)
{
	struct np_chip chip = make(FAST, (struct np_sim_options){ .offset_uv = 80, .gain_ppm = 20000 });

	CHECK_EQUAL(chip_register_read(&chip, 0x05) >> 3, 153 + 2);
	CHECK_EQUAL(chip_register_read(&chip, 0x06) >> 3, 638 + 2); /* 637.5 + 2, rounded */
}

/* A supply with resistance gives its power at a lower voltage and a higher current. */
static void test_droop(void)
{
	struct np_chip chip = make(FAST, (struct np_sim_options){ .droop_uohm = 500000 });
	double volts = (5 + sqrt(25 - 4 * 0.5 * 3)) / 2;

	CHECK_EQUAL(chip_register_read(&chip, 0x06) >> 3, floor(volts / 8e-3 + 0.5));
	CHECK_EQUAL(chip_register_read(&chip, 0x05) >> 3, floor(3 / volts * 0.01 / 40e-6 + 0.5));
	CHECK(fabs(volts * (5 - volts) - 0.5 * 3) < 1e-9);
	chip = make(FAST, (struct np_sim_options){ .droop_uohm = 5000000 }); /* more than it can give */
	CHECK_EQUAL(chip_register_read(&chip, 0x06) >> 3, floor(2.5 / 8e-3 + 0.5));
}

/* The oscillator: a constant, a drawn error per chip, a sine, a walk that grows with the root of time. */
static void test_clock(void)
{
	struct np_sim_options swing = { .clock_ppm = 1000, .swing_ppm = 50, .swing_s = 10 };
	struct np_sim_options walk = { .walk_ppm = 2 };
	struct np_sim_options spread = { .spread_ppm = 20000 };
	double low = 1e9, high = 0, squares = 0, draws = 0;
	struct chip_clock clock;

	chip_clock_init(&clock, &swing, 1);
	for (int64_t t = 0; t < 10 * SECOND; t += SECOND / 100) {
		double length = chip_clock_length(&clock, 1e6, t, 0);

		low = fmin(low, length);
		high = fmax(high, length);
	}
	CHECK(fabs(low - 1000950) < 0.1 && fabs(high - 1001050) < 0.1);
	for (uint64_t seed = 0; seed < 200; seed++) {
		chip_clock_init(&clock, &walk, seed);
		for (uint64_t i = 0; i < 4000; i++)
			chip_clock_length(&clock, 1e6, 0, i);
		squares += clock.walked_ppm * clock.walked_ppm;
		chip_clock_init(&clock, &spread, seed);
		draws += clock.error_ppm * clock.error_ppm;
	}
	CHECK(fabs(sqrt(squares / 200) / 4 - 1) < 0.2); /* 2 ppm in a second: 4 ppm in 4 s */
	CHECK(fabs(sqrt(draws / 200) / 20000 - 1) < 0.2);
}

int main(void)
{
	test_reset_values();
	test_results();
	test_ready_flag();
	test_ready_per_averaging();
	test_modes();
	test_alerts();
	test_errors_of_the_converter();
	test_droop();
	test_clock();
	np_timeline_close(line);
	puts("test_registers: ok");
	return 0;
}
