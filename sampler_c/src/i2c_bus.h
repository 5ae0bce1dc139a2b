/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i2c_bus.h - 16-bit registers behind a wire
 *
 *   i2c_dev.c   /dev/i2c-N
 *   sim_bus.c   chips in software
 *
 * An implementation embeds struct i2c_bus as its first member.
 */
#ifndef NP_I2C_BUS_H
#define NP_I2C_BUS_H

#include <stdint.h>

#include "clock.h"

struct i2c_bus;

struct i2c_bus_ops {
	/* Both return 0 or a negative errno, when the transfer is over on the clock. */
	int (*read)(struct i2c_bus *bus, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t *value);
	int (*write)(struct i2c_bus *bus, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t value);
	void (*close)(struct i2c_bus *bus);
};

struct i2c_bus {
	const struct i2c_bus_ops *ops;
};

#endif
