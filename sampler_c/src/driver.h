/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the kernel's drivers in software: what one attribute read does on the wire
 *
 *   continuous   one transfer, at once
 *   waiting      polls the conversion-ready flag, sleeping for a computed scan between looks, gives up (ETIMEDOUT)
 *                after two of them; then one transfer
 *   single-shot  writes the config register, which begins a scan; then as waiting
 *   iio          shunt and bus voltage of the channel, two transfers, at once
 */
#ifndef NP_DRIVER_H
#define NP_DRIVER_H

#include "sim_bus.h"

struct sim_driver {
	struct sim_bus *bus;
	enum np_driver kind;
	uint64_t scans[SIM_MAX_CHIPS];	/* per chip: scans that reads have waited for */
};

/* Tells the chips' config as the driver would set it: single-shot chips do not run by themselves. */
uint16_t driver_config(enum np_driver kind, uint16_t config);

/* The attribute's value; 0 or a negative errno. */
int driver_read(struct sim_driver *driver, const struct np_clock *clock, const struct np_sim_channel *at, int64_t *value);

/* Under the iio driver: voltage in mV and current in mA of the channel. */
int driver_read_pair(struct sim_driver *driver, const struct np_clock *clock, const struct np_sim_channel *at,
		     int64_t *mv, int64_t *ma);

#endif
