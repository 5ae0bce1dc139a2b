/* SPDX-License-Identifier: Apache-2.0 */
/* i2c_dev.h - registers over /dev/i2c-N */
#ifndef NP_I2C_DEV_H
#define NP_I2C_DEV_H

#include "i2c_bus.h"

struct np_i2c {
	struct i2c_bus bus;
	int fd;
	int plain;	/* the adapter does whole transfers; else only SMBus words */
	int address;	/* that the descriptor is set to, for SMBus */
};

#endif
