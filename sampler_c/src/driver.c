/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c - what the generations of the kernel's driver do for one attribute read */
#include "driver.h"

#include <errno.h>

#define KERNEL_TICK_NS INT64_C(4000000) /* CONFIG_HZ=250: Debian, JetPack */
#define TICKS_KEPT 2

uint16_t driver_config(enum np_driver kind, uint16_t config)
{
	return kind == NP_DRIVER_SINGLE_SHOT ? (uint16_t)(config & ~CHIP_MODE_CONTINUOUS) : config;
}

/* What the driver computes as the time for all conversions: enabled channels, both times, averaging. */
static int64_t computed_wait_ns(const struct np_chip *chip)
{
	uint16_t config = chip->plain[CHIP_CONFIG];
	int64_t channels = 0;

	for (uint32_t channel = 0; channel < CHIP_CHANNELS; channel++)
		channels += chip_enabled(config, channel);
	return channels * chip_averages(config) * 1000 *
	       (chip_conversion_us(config, false) + (int64_t)chip_conversion_us(config, true));
}

static int poll(struct sim_driver *driver, const struct np_clock *clock, uint32_t chip, bool *ready)
{
	uint16_t flags;
	int err = sim_bus_read(driver->bus, clock, chip, CHIP_MASK_ENABLE, &flags);

	*ready = !err && flags & CHIP_CVRF;
	return err;
}

/*
 * When a sleep of usleep_range(wait / 4 + 1, wait) ends: with the first tick of the kernel in this range, else after all of
 * it. A processor that idles for long stops its tick. Both as Debian's kernel does (tests/beds/vm).
 */
static int64_t wake_ns(int64_t now_ns, int64_t wait_ns)
{
	int64_t tick_ns = (now_ns + wait_ns / 4 + KERNEL_TICK_NS) / KERNEL_TICK_NS * KERNEL_TICK_NS;

	return wait_ns > TICKS_KEPT * KERNEL_TICK_NS || tick_ns > now_ns + wait_ns ? now_ns + wait_ns : tick_ns;
}

/* The kernel's read_poll_timeout(): look, give up after the time, sleep. */
static int wait_for_data(struct sim_driver *driver, const struct np_clock *clock, uint32_t chip, bool never)
{
	int64_t wait = computed_wait_ns(&driver->bus->chips[chip]);
	int64_t give_up = np_clock_monotonic(clock) + 2 * wait;
	bool ready;

	for (;;) {
		int err = poll(driver, clock, chip, &ready);
		int64_t now = np_clock_monotonic(clock);

		if (err || (ready && !never))
			return err;
		if (now > give_up) {
			err = poll(driver, clock, chip, &ready);
			return err || (ready && !never) ? err : -ETIMEDOUT;
		}
		err = clock->sleep_until(clock, wake_ns(now, wait));
		if (err && err != -EINTR)
			return err;
	}
}

/* Up to the moment at which the register may be read. */
static int prepare(struct sim_driver *driver, const struct np_clock *clock, uint32_t chip, int fault)
{
	uint16_t config = driver->bus->chips[chip].plain[CHIP_CONFIG];
	int err = 0;

	if (driver->kind == NP_DRIVER_SINGLE_SHOT)
		err = sim_bus_write(driver->bus, clock, chip, CHIP_CONFIG, config);
	if (!err && (driver->kind == NP_DRIVER_SINGLE_SHOT || driver->kind == NP_DRIVER_WAITING)) {
		err = wait_for_data(driver, clock, chip, fault == ETIMEDOUT);
		driver->scans[chip] += !err;
	}
	return err;
}

/* One register with an injected error in its place; 0 or a negative errno. */
static int read_register(struct sim_driver *driver, const struct np_clock *clock, const struct np_sim_channel *at,
			 bool bus_voltage, int64_t *uv)
{
	uint8_t reg = chip_register_of(at->channel, bus_voltage);
	struct np_chip *chip = &driver->bus->chips[at->chip];
	int fault = sim_bus_fault(driver->bus, at->chip, reg);
	uint16_t raw;
	int err;

	err = chip_read(chip, at->channel, bus_voltage, uv);
	if (err == -ENODATA || fault == ENODATA || fault == EAGAIN)
		return fault ? -fault : err; /* without a look at the chip */
	err = prepare(driver, clock, at->chip, fault);
	if (!err)
		err = sim_bus_read(driver->bus, clock, at->chip, reg, &raw);
	if (!err && fault)
		err = -fault;
	return err ? err : chip_read(chip, at->channel, bus_voltage, uv);
}

int driver_read(struct sim_driver *driver, const struct np_clock *clock, const struct np_sim_channel *at, int64_t *value)
{
	return read_register(driver, clock, at, at->quantity == NP_BUS_UV, value);
}

int driver_read_pair(struct sim_driver *driver, const struct np_clock *clock, const struct np_sim_channel *at,
		     int64_t *mv, int64_t *ma)
{
	int64_t shunt_uohm = driver->bus->chips[at->chip].options.shunt_uohm[at->channel];
	int64_t shunt_uv;
	int64_t bus_uv;
	int err = read_register(driver, clock, at, false, &shunt_uv);

	if (err) {
		sim_bus_fault(driver->bus, at->chip, chip_register_of(at->channel, true)); /* asked for, too */
		return err;
	}
	err = read_register(driver, clock, at, true, &bus_uv);
	if (err)
		return err;
	*mv = bus_uv / 1000;
	*ma = (shunt_uv * 2000 / shunt_uohm + (shunt_uv > 0 ? 1 : -1)) / 2;
	return 0;
}
