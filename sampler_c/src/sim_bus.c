/* SPDX-License-Identifier: Apache-2.0 */
/* sim_bus.c - the wire in software, and what goes wrong on it on demand */
#include "sim_bus.h"

#include <errno.h>

enum { TRANSFER_BITS = 48, BITS_BEFORE_DATA = 30 };

/* Until the transfer that began at begin_ns is over; the loop is told nothing of a signal. */
static void let_pass(const struct np_clock *clock, int64_t until_ns)
{
	while (np_clock_monotonic(clock) < until_ns) {
		int err = clock->sleep_until(clock, until_ns);

		if (err && err != -EINTR)
			return;
	}
}

/* Bring the chip to the moment at which it answers; 0 or -ESTALE. */
static int transfer(struct sim_bus *bus, const struct np_clock *clock, uint32_t chip, int64_t *answer_ns)
{
	int64_t begin = np_clock_monotonic(clock);
	int err;

	*answer_ns = begin + bus->transfer_ns * BITS_BEFORE_DATA / TRANSFER_BITS;
	if (bus->transfer_ns > 0)
		let_pass(clock, begin + bus->transfer_ns);
	err = chip_advance(&bus->chips[chip], *answer_ns);
	bus->underrun |= err != 0;
	return err;
}

int sim_bus_read(struct sim_bus *bus, const struct np_clock *clock, uint32_t chip, uint8_t reg, uint16_t *value)
{
	int64_t answer;
	int err = transfer(bus, clock, chip, &answer);

	if (!err)
		*value = chip_register_read(&bus->chips[chip], reg);
	return err;
}

int sim_bus_write(struct sim_bus *bus, const struct np_clock *clock, uint32_t chip, uint8_t reg, uint16_t value)
{
	int64_t answer;
	int err = transfer(bus, clock, chip, &answer);

	return err ? err : chip_register_write(&bus->chips[chip], reg, value, answer);
}

static bool strikes(const struct np_sim_error *error, uint64_t read)
{
	if (read < error->first)
		return false;
	return (error->every ? (read - error->first) % error->every : read - error->first) < error->count;
}

int sim_bus_fault(struct sim_bus *bus, uint32_t chip, uint8_t reg)
{
	uint64_t read = bus->asked[chip][reg]++;

	for (uint32_t i = 0; i < bus->error_count; i++) {
		if (bus->error_chip[i] == chip && bus->error_register[i] == reg && strikes(&bus->errors[i], read))
			return bus->errors[i].error;
	}
	return 0;
}

/* ---- As a bus of registers ------------------------------------------------------------------ */

static int bus_read(struct i2c_bus *base, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t *value)
{
	struct sim_bus *bus = (struct sim_bus *)base;
	uint32_t chip = address - (uint32_t)SIM_ADDRESS;
	uint16_t unused;
	int fault;

	if (chip >= bus->chip_count)
		return -ENXIO;
	fault = reg >= CHIP_SHUNT_1 && reg < CHIP_CRITICAL_1 ? sim_bus_fault(bus, chip, reg) : 0;
	if (!fault)
		return sim_bus_read(bus, clock, chip, reg, value);
	sim_bus_read(bus, clock, chip, reg, &unused); /* it takes its time all the same */
	return -fault;
}

static int bus_write(struct i2c_bus *base, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t value)
{
	struct sim_bus *bus = (struct sim_bus *)base;
	uint32_t chip = address - (uint32_t)SIM_ADDRESS;

	return chip < bus->chip_count ? sim_bus_write(bus, clock, chip, reg, value) : -ENXIO;
}

static void bus_close(struct i2c_bus *base)
{
	(void)base; /* a part of its source */
}

static const struct i2c_bus_ops sim_ops = { .read = bus_read, .write = bus_write, .close = bus_close };

void sim_bus_init(struct sim_bus *bus, int32_t bus_hz)
{
	bus->bus.ops = &sim_ops;
	bus->transfer_ns = bus_hz > 0 ? TRANSFER_BITS * INT64_C(1000000000) / bus_hz : 0;
}
