/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chip.h - an INA3221 in software (TI SBOS576B); docs/chip.md says what it does and what it leaves out
 *
 * It makes one conversion after another on a clock of its own: shunt, then bus voltage of each enabled
 * channel, and again. A conversion that ends at t sees the mean of its input over
 * [t - conversion - delay, t - delay], after one pole of lag or two. The result, in steps of 40 uV or 8 mV, goes
 * through the recursive average into the register when the conversion ends.
 *
 *   chip.c            time: conversions, scans, what they see
 *   chip_registers.c  what is written and read
 *   chip_clock.c      how long its nanoseconds are
 *
 * Whoever reads or writes a register brings the chip up to that time first, with chip_advance().
 */
#ifndef NP_CHIP_H
#define NP_CHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "sampler.h"
#include "timeline.h"

enum {
	CHIP_CHANNELS = 3,
	CHIP_SHUNT_STEP_UV = 40,
	CHIP_BUS_STEP_UV = 8000
};

enum chip_register {
	CHIP_CONFIG = 0x00,
	CHIP_SHUNT_1 = 0x01,		/* bus voltage of the channel follows, then the next channel */
	CHIP_CRITICAL_1 = 0x07,		/* limits, in pairs as above */
	CHIP_WARNING_1 = 0x08,
	CHIP_SUM = 0x0d,
	CHIP_SUM_LIMIT = 0x0e,
	CHIP_MASK_ENABLE = 0x0f,
	CHIP_POWER_VALID_HIGH = 0x10,
	CHIP_POWER_VALID_LOW = 0x11,
	CHIP_PLAIN_REGISTERS = 0x12,
	CHIP_MANUFACTURER = 0xfe,
	CHIP_DIE = 0xff
};

enum {
	CHIP_CONFIG_RESET = 0x7127,
	CHIP_MANUFACTURER_TI = 0x5449,
	CHIP_DIE_INA3221 = 0x3220,
	CHIP_CVRF = 0x0001		/* of CHIP_MASK_ENABLE: conversion ready */
};

/* The fields of a config register, of anyone's chip. */
enum { CHIP_MODE_SHUNT = 1, CHIP_MODE_BUS = 2, CHIP_MODE_CONTINUOUS = 4 };
int32_t chip_conversion_us(uint16_t config, bool bus);
int32_t chip_averages(uint16_t config);
bool chip_enabled(uint16_t config, uint32_t channel);

static inline uint8_t chip_register_of(uint32_t channel, bool bus)
{
	return (uint8_t)(CHIP_SHUNT_1 + 2 * channel + bus);
}

struct chip_clock {
	double error_ppm;
	double swing_ppm;
	double swing_ns;
	double swing_phase;
	double walk_ppm;	/* gained in a second */
	double walked_ppm;	/* so far */
	uint64_t seed;
};

void chip_clock_init(struct chip_clock *clock, const struct np_sim_options *sim, uint64_t seed);

/* How long a nominal time that begins at now_ns lasts on our clock; number: of the conversion. */
double chip_clock_length(struct chip_clock *clock, double nominal_ns, int64_t now_ns, uint64_t number);

struct chip_result {
	bool converted;		/* at least once */
	double average;		/* in steps */
	int32_t steps;		/* what a reader of the register gets, after >> 3 */
	uint64_t scan;		/* the truth that no register holds: in which scan since chip_start() it was converted */
};

struct chip_conversion {
	uint8_t channel;
	uint8_t bus;
	double nominal_ns;
};

struct np_chip {
	struct np_chip_options options;
	struct np_sim_options sim;
	uint64_t seed;
	struct chip_clock clock;
	uint16_t plain[CHIP_PLAIN_REGISTERS];	/* registers that keep what is written, results excepted */
	/* The scan, from the config register. */
	struct chip_conversion scan[2 * CHIP_CHANNELS];
	uint32_t scan_length;
	bool converting;	/* false: powered down, or a single shot that is done */
	/* Where it is: the scan's conversion number `position` began at began_ns + part_ns. */
	uint32_t position;
	uint64_t conversions;	/* ended since chip_start() */
	uint64_t scans;
	int64_t began_ns;
	double part_ns;
	double length_ns;	/* of this conversion, on our clock */
	/* What it has seen of the rails, up to seen_ns: lagged power, and its integral since began_ns - delay. */
	struct np_cursor cursor;
	int64_t seen_ns;
	double first_uw[CHIP_CHANNELS]; /* behind the first of two poles */
	double lagged_uw[CHIP_CHANNELS];
	double area[CHIP_CHANNELS];
	struct chip_result results[CHIP_CHANNELS][2];
};

/* -EINVAL: a rail without a voltage, a negative delay or lag, a clock that is none. */
int chip_init(struct np_chip *chip, const struct np_chip_options *options, const struct np_sim_options *sim,
	      uint64_t number);

/* Begin to convert, early enough that at now_ns every register has been written, with a drawn phase. */
void chip_start(struct np_chip *chip, const struct np_timeline *line, int64_t now_ns);

/* Make every conversion that ends by now_ns. -ESTALE: the timeline did not reach that far, or was too late. */
int chip_advance(struct np_chip *chip, int64_t now_ns);

/* A register as it stands; reading CHIP_MASK_ENABLE clears its flags. Registers that are not there read 0. */
uint16_t chip_register_read(struct np_chip *chip, uint8_t reg);

/* Writing CHIP_CONFIG begins a new scan at now_ns. Read-only registers stay as they are. -ESTALE as chip_advance(). */
int chip_register_write(struct np_chip *chip, uint8_t reg, uint16_t value, int64_t now_ns);

/* The register's voltage in uV, or -ENODATA when it is switched off, -EAGAIN before its first conversion. */
int chip_read(const struct np_chip *chip, uint32_t channel, bool bus, int64_t *uv);

/* Length of one nominal scan; 0 when nothing is converted. */
double chip_scan_ns(const struct np_chip *chip);

/* For chip_registers.c and chip.c alone. */
void chip_registers_reset(struct np_chip *chip);
void chip_decode_config(struct np_chip *chip);
void chip_store(struct np_chip *chip, uint32_t channel, bool bus, int32_t steps);
void chip_scan_ended(struct np_chip *chip);
int chip_restart(struct np_chip *chip, int64_t now_ns);

#endif
