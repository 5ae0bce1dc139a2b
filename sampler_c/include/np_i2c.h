/* SPDX-License-Identifier: Apache-2.0 */
/* np_i2c.h - registers over /dev/i2c-N */
#ifndef NEURALPOWER_I2C_H
#define NEURALPOWER_I2C_H

#include <stdint.h>

#include "np_source.h"

/* cffi begin */

struct np_i2c;

/* Open /dev/i2c-N. *out is the caller's until np_i2c_close() or until a source takes it, untouched on an error. */
int np_i2c_open(const char *device, struct np_i2c **out);

/* Give a bus back that no source took. */
void np_i2c_close(struct np_i2c *i2c);

/* -EBUSY: a driver is bound to this address. Reading and writing work all the same, beside the driver. */
int np_i2c_claim(struct np_i2c *i2c, uint8_t address);

/* One register of a chip, read into *value or written from value, in one transfer. An error is the adapter's errno. */
int np_i2c_read(struct np_i2c *i2c, uint8_t address, uint8_t reg, uint16_t *value);
int np_i2c_write(struct np_i2c *i2c, uint8_t address, uint8_t reg, uint16_t value);

struct np_i2c_chip {
	uint8_t address;
	uint16_t config;	/* as it stands in the chip: nothing is written */
	int32_t offset_uv[3];	/* of the shunt voltage: its amount is lessened by this */
};

/*
 * INA3221s (1 to 8) on a bus, which the source owns on success, closes with itself, and leaves to the caller on an
 * error. A tick looks at each chip's conversion-ready flag, for the next
 * end of a scan up to wait_ns if that is not 0, then reads the registers in the order of the scan. Readings know
 * whether they are new (docs/chip.md), as long as nobody else looks at the flag.
 */
int np_source_i2c(struct np_i2c *i2c, const struct np_i2c_chip *chips, uint32_t chip_count,
		  const struct np_sim_channel *channels, uint32_t readings, int64_t wait_ns, struct np_source **out);

/* cffi end */

#endif
