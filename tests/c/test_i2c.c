/* SPDX-License-Identifier: Apache-2.0 */
/* test_i2c.c - what is said of register reads against what the chip in software really did */
#define _GNU_SOURCE
#include <errno.h>

#include "check.h"
#include "i2c_reader.h"
#include "sim_bus.h"
#include "virtual_clock.h"

enum { RESET = 0x7127, FAST = 0x7007, CHANNELS = 6 };

static const int64_t SECOND = 1000000000;

/* A bus that notes from which scan each value it hands out really is, and can fail or steal flags. */
struct witness {
	struct i2c_bus bus;
	struct sim_bus *chips;
	uint64_t scan[CHIP_CRITICAL_1];
	bool looked;
	uint64_t origin;	/* scans that had ended at the first look that succeeded: where the reader begins to count */
	int fail_every;
	int transfers;
	int64_t overhead_ns;	/* what a transfer takes beside its bits */
};

static int witness_read(struct i2c_bus *bus, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t *value)
{
	struct witness *witness = (struct witness *)bus;
	const struct np_chip *chip = &witness->chips->chips[0];
	int err = witness->chips->bus.ops->read(&witness->chips->bus, clock, address, reg, value);

	clock->sleep_until(clock, np_clock_monotonic(clock) + witness->overhead_ns);
	if (reg != CHIP_MASK_ENABLE)
		witness->scan[reg] = chip->results[(reg - 1) / 2][(reg - 1) % 2].scan;
	if (witness->fail_every && ++witness->transfers % witness->fail_every == 0)
		return -EIO;
	if (reg == CHIP_MASK_ENABLE && !witness->looked) {
		witness->looked = true;
		witness->origin = chip->scans;
	}
	return err;
}

static const struct i2c_bus_ops witness_ops = { .read = witness_read };

struct counts {
	uint64_t fresh, repeated, unknown, missing, placed, exact, mixed;
	uint64_t missed_slots, last_missed, held;
};

struct bench {
	struct sim_bus chips;
	struct witness witness;
	struct np_source source;
	struct i2c_reader reader;
	struct np_timeline *line;
	uint64_t before[CHANNELS];	/* scan of the last good reading */
	bool had[CHANNELS];
};

static const struct np_source_ops bench_ops = { .decimates = true };

static struct bench *make_bench(uint16_t config, int32_t bus_hz, struct np_sim_options sim)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct np_chip_options wiring = { .config = config,
					  .rail = { 0, 1, 2 },
					  .bus_uv = { 5000000, 5000000, 5000000 },
					  .shunt_uohm = { 10000, 10000, 10000 } };
	static const int64_t idle[8] = { 1000000, 2000000, 3000000 };

	CHECK_EQUAL(np_timeline_memory(NULL, 0, idle, &bench->line), 0);
	sim_bus_init(&bench->chips, bus_hz);
	bench->chips.chip_count = 1;
	CHECK_EQUAL(chip_init(&bench->chips.chips[0], &wiring, &sim, 0), 0);
	bench->witness = (struct witness){ .bus = { &witness_ops }, .chips = &bench->chips };
	bench->reader.bus = &bench->witness.bus;
	bench->reader.chip_count = 1;
	bench->reader.chips[0] = (struct i2c_reader_chip){ .address = SIM_ADDRESS, .config = config };
	for (uint8_t i = 0; i < 3; i++) {
		if (chip_enabled(config, i)) {
			bench->reader.channels[bench->reader.channel_count++] =
				(struct i2c_reader_channel){ .channel = i, .bus = true };
			bench->reader.channels[bench->reader.channel_count++] =
				(struct i2c_reader_channel){ .channel = i, .bus = false };
		}
	}
	CHECK_EQUAL(i2c_reader_init(&bench->reader), 0);
	source_init(&bench->source, &bench_ops, bench->reader.channel_count);
	chip_start(&bench->chips.chips[0], bench->line, SECOND);
	return bench;
}

static void free_bench(struct bench *bench)
{
	np_timeline_close(bench->line);
	free(bench->source.held);
	free(bench);
}

/* Voltages in every n-th tick only. */
static void decimate(struct bench *bench, uint8_t every)
{
	uint8_t numbers[CHANNELS];

	for (uint32_t i = 0; i < bench->reader.channel_count; i++)
		numbers[i] = bench->reader.channels[i].bus ? every : 1;
	CHECK_EQUAL(np_source_decimate(&bench->source, numbers), 0);
}

/* Every claim of a tick is held against the truth; the input is constant, so no change gives anything away. */
static void check_tick_claims(struct bench *bench, const struct np_reading *readings, struct counts *counts)
{
	for (uint32_t i = 0; i < bench->reader.channel_count; i++) {
		const struct np_reading *reading = &readings[i];
		uint64_t scan = bench->witness.scan[bench->reader.channels[i].reg];
		uint64_t pair = bench->witness.scan[bench->reader.channels[i ^ 1].reg];

		counts->missing += reading->state == NP_MISSING;
		if (reading->state == NP_MISSING)
			continue;
		if (reading->state == NP_FRESH)
			CHECK(bench->had[i] && scan > bench->before[i]);
		if (reading->state == NP_REPEATED)
			CHECK(bench->had[i] && scan == bench->before[i]);
		if (reading->flags & NP_SCAN) {
			uint64_t from = scan - bench->witness.origin;

			CHECK(from <= reading->scan && from + reading->span >= reading->scan);
		}
		if (!(reading->flags & NP_MIXED) && readings[i ^ 1].state != NP_MISSING)
			CHECK_EQUAL(scan, pair);
		if (reading->flags & NP_HELD)
			CHECK(reading->state == NP_REPEATED && reading->begin_ns == 0 && reading->end_ns == 0);
		counts->held += (reading->flags & NP_HELD) != 0;
		counts->fresh += reading->state == NP_FRESH;
		counts->repeated += reading->state == NP_REPEATED;
		counts->unknown += reading->state == NP_UNKNOWN;
		counts->placed += (reading->flags & NP_SCAN) != 0;
		counts->exact += reading->flags & NP_SCAN && reading->span == 0;
		counts->mixed += reading->flags & NP_MIXED;
		bench->before[i] = scan;
		bench->had[i] = true;
	}
}

static struct counts run_ticks(struct bench *bench, uint64_t ticks, int64_t period_ns)
{
	struct virtual_clock clock = VIRTUAL_CLOCK(SECOND);
	struct counts counts = { 0 };

	for (uint64_t tick = 0; tick < ticks; tick++) {
		struct np_reading readings[CHANNELS] = { 0 };

		if (clock.now_ns > SECOND + (int64_t)tick * period_ns) {
			counts.missed_slots++;
			counts.last_missed = tick;
			continue;
		}
		clock.now_ns = SECOND + (int64_t)tick * period_ns;
		bench->source.due_ns = clock.now_ns + period_ns;
		i2c_reader_read(&bench->reader, &bench->source, &clock.clock, clock.now_ns, readings);
		check_tick_claims(bench, readings, &counts);
	}
	return counts;
}

/* Whatever config, wire, period and clock: no claim is wrong. */
static void test_no_claim_is_wrong(void)
{
	const uint16_t configs[] = { RESET, FAST, 0x7007 | 1 << 3, 0x4007, 0x6127, 0x7007 | 2 << 6 | 2 << 3, 0x7ff7 };
	const int64_t periods[] = { 500000, 1000000, 1333333, 5000000, 20000000 };
	const int32_t wires[] = { 0, 400000, 100000 };

	for (uint64_t seed = 0; seed < 6; seed++) {
		for (size_t c = 0; c < sizeof(configs) / sizeof(*configs); c++) {
			for (size_t p = 0; p < sizeof(periods) / sizeof(*periods); p++) {
				struct np_sim_options sim = { .seed = seed,
							      .spread_ppm = seed % 2 ? 20000 : 0,
							      .swing_ppm = 50,
							      .swing_s = 60,
							      .walk_ppm = 5 };
				struct bench *bench = make_bench(configs[c], wires[(seed + c + p) % 3], sim);

				if (seed >= 3)
					decimate(bench, (uint8_t)(2 + 4 * (seed - 3)));
				run_ticks(bench, 2000, periods[p]);
				free_bench(bench);
			}
		}
	}
}

/* A failed transfer may have cleared the flag: claims stop until the scans are found again, and stay right. */
static void test_failing_wire(void)
{
	const int every[] = { 2, 3, 7, 50, 333 };

	for (size_t i = 0; i < sizeof(every) / sizeof(*every); i++) {
		struct bench *bench = make_bench(RESET, 400000, (struct np_sim_options){ .seed = i, .spread_ppm = 20000 });
		struct counts counts;

		bench->witness.fail_every = every[i];
		counts = run_ticks(bench, 5000, 1000000);
		CHECK(counts.missing > 30000 / (uint64_t)every[i] / 2);
		CHECK(every[i] < 7 || counts.placed > 1000);
		free_bench(bench);
	}
}

/*
 * At the reset setting and 1 kHz most readings are placed in their one scan, and the count of scans gives the fresh
 * rate. What stays open is the time in which a look and a transfer lie.
 */
static void test_placed(void)
{
	for (uint64_t seed = 0; seed < 5; seed++) {
		struct np_sim_options sim = { .seed = seed, .spread_ppm = 20000, .swing_ppm = 50, .swing_s = 60 };
		struct bench *bench = make_bench(RESET, 400000, sim);
		struct counts counts = run_ticks(bench, 10000, 1000000);
		uint64_t scans = bench->chips.chips[0].scans - bench->witness.origin;

		CHECK(counts.placed > 59000);
		CHECK(counts.exact > 54000);
		CHECK(counts.repeated > 42000 && counts.fresh > scans * 6 / 2 && counts.unknown < 10000);
		CHECK(bench->reader.chips[0].track.slack <= 1);
		CHECK(scans - bench->reader.chips[0].track.count <= 1);
		free_bench(bench);
	}
}

/* Ticks further apart than a scan: once its length is learnt, at the price of some ticks, every reading is certainly fresh. */
static void test_slow_ticks(void)
{
	const int64_t periods[] = { 1000000, 2000000 };

	for (int p = 0; p < 2; p++) {
		struct np_sim_options sim = { .seed = 1, .spread_ppm = 20000, .swing_ppm = 50, .swing_s = 60 };
		struct bench *bench = make_bench(FAST, 400000, sim);
		struct counts counts = run_ticks(bench, 1000, periods[p]);

		CHECK(counts.fresh > 6 * 950);
		CHECK_EQUAL(counts.unknown, 6);
		free_bench(bench);
	}
}

/*
 * A tick that nearly fills its period: learning the length of a scan costs some slots, once. The second look, which would
 * not be over in time, costs none after it, and the readings are fresh all the same.
 */
static void test_no_time_left(void)
{
	const int64_t overheads[] = { 0, 5000, 7600, 20000 };
	const uint64_t learning = 32 * 6 * 140 / 1000 + 4;

	for (size_t i = 0; i < sizeof(overheads) / sizeof(*overheads); i++) {
		struct np_sim_options sim = { .seed = 1, .spread_ppm = 20000, .swing_ppm = 50, .swing_s = 60 };
		struct bench *bench = make_bench(FAST, 400000, sim);
		struct counts counts;

		bench->witness.overhead_ns = overheads[i];
		counts = run_ticks(bench, 5000, 1000000);
		CHECK(counts.missed_slots > 0 && counts.missed_slots < learning);
		CHECK(counts.last_missed < learning + 4);
		CHECK(counts.fresh > 6 * 4900);
		free_bench(bench);
	}
}

/* Voltages in every third tick, one each: four transfers and the flag fit where seven do not. */
static void test_decimated(void)
{
	struct bench *bench = make_bench(RESET, 100000, (struct np_sim_options){ .seed = 1 });
	struct counts counts;

	decimate(bench, 3);
	counts = run_ticks(bench, 2000, 2500000);
	CHECK(counts.missed_slots == 1);	/* the first tick reads all */
	CHECK_EQUAL(counts.held, 2 * (2000 - 1 - 1));
	free_bench(bench);
}

/* A tick that may wait for the flag finds all six registers of one scan, where the wire is quick enough. */
static void test_waiting(void)
{
	struct bench *bench = make_bench(RESET, 400000, (struct np_sim_options){ .seed = 1 });
	struct counts counts;

	bench->reader.wait_ns = 10000000;
	counts = run_ticks(bench, 500, 20000000);
	CHECK_EQUAL(counts.mixed, 0);
	CHECK(counts.placed > 2850);
	CHECK(counts.fresh > 2850);
	free_bench(bench);
}

/* Registers are read as the chip overwrites them, whatever the order of the readings. */
static void test_order(void)
{
	struct bench *bench = make_bench(RESET, 0, (struct np_sim_options){ .seed = 1 });

	for (uint32_t i = 0; i < CHANNELS; i++)
		CHECK_EQUAL(bench->reader.order[i], i ^ 1);
	free_bench(bench);
}

/* A chip that is powered down, or does single shots, has no scans to count; a channel that is off has no value. */
static void test_no_scans(void)
{
	struct bench *bench = make_bench(0x4003, 0, (struct np_sim_options){ .seed = 1 });
	struct counts counts = run_ticks(bench, 50, 1000000);

	CHECK_EQUAL(counts.unknown, 2 * 50);
	CHECK_EQUAL(counts.placed, 0);
	free_bench(bench);
	bench = make_bench(0x7000, 0, (struct np_sim_options){ .seed = 1 });
	CHECK_EQUAL(run_ticks(bench, 50, 1000000).missing, 6 * 50);
	free_bench(bench);
}

/* The device tree's offset lessens the amount of the shunt voltage and leaves the bus voltage alone. */
static void test_offset(void)
{
	struct bench *bench = make_bench(RESET, 0, (struct np_sim_options){ .seed = 1 });
	struct virtual_clock clock = VIRTUAL_CLOCK(SECOND);
	struct np_reading readings[CHANNELS] = { 0 };

	bench->reader.chips[0].offset_uv[1] = 120;
	bench->reader.chips[0].offset_uv[2] = -80;
	i2c_reader_read(&bench->reader, &bench->source, &clock.clock, SECOND, readings);
	CHECK_EQUAL(readings[0].value, 5000000);
	CHECK_EQUAL(readings[1].value, 2000);
	CHECK_EQUAL(readings[2].value, 5000000);
	CHECK_EQUAL(readings[3].value, 4000 - 120);
	CHECK_EQUAL(readings[5].value, 6000 + 80);
	free_bench(bench);
}

int main(void)
{
	test_no_claim_is_wrong();
	test_failing_wire();
	test_placed();
	test_slow_ticks();
	test_no_time_left();
	test_decimated();
	test_waiting();
	test_order();
	test_no_scans();
	test_offset();
	puts("test_i2c: ok");
	return 0;
}
