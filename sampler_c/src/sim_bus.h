/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_bus.h - chips in software on one wire: chip n answers at SIM_ADDRESS + n
 *
 * A transfer is 48 bits long and takes its time on the clock of whoever asks. The chip hands over the register
 * as it stands when it begins to send, after 30 of them.
 */
#ifndef NP_SIM_BUS_H
#define NP_SIM_BUS_H

#include "chip.h"
#include "i2c_bus.h"

enum { SIM_MAX_CHIPS = 8, SIM_ADDRESS = 0x40, SIM_MAX_ERRORS = 64 };

struct sim_bus {
	struct i2c_bus bus;
	uint32_t chip_count;
	struct np_chip chips[SIM_MAX_CHIPS];
	int64_t transfer_ns;
	bool underrun;		/* a chip has run past the timeline; for the caller to clear */
	/* Injected errors by chip and register, and how often each register was asked for. */
	uint32_t error_count;
	struct np_sim_error errors[SIM_MAX_ERRORS];
	uint8_t error_chip[SIM_MAX_ERRORS];
	uint8_t error_register[SIM_MAX_ERRORS];
	uint64_t asked[SIM_MAX_CHIPS][CHIP_CRITICAL_1];
};

void sim_bus_init(struct sim_bus *bus, int32_t bus_hz);

/* What is to go wrong when a reading asks for this register now: an errno or 0. Counts the asking. */
int sim_bus_fault(struct sim_bus *bus, uint32_t chip, uint8_t reg);

/* One transfer, without injected errors. -ESTALE: past the timeline. -ETIMEDOUT: the clock did not wait. */
int sim_bus_read(struct sim_bus *bus, const struct np_clock *clock, uint32_t chip, uint8_t reg, uint16_t *value);
int sim_bus_write(struct sim_bus *bus, const struct np_clock *clock, uint32_t chip, uint8_t reg, uint16_t value);

#endif
