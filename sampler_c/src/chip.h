/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chip.h - an INA3221 in software (TI SBOS576B)
 *
 * It makes one conversion after another on a clock of its own: shunt, then bus voltage of each enabled
 * channel, and again. A conversion that ends at t sees the mean of its input over
 * [t - conversion - delay, t - delay], after one pole of lag. The result, in steps of 40 uV or 8 mV, goes
 * through the recursive average into the register when the conversion ends.
 *
 * Where the datasheet is silent: the average is kept finer than the register, and conversion times are
 * the typical ones.
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

struct chip_register {
	bool converted;		/* at least once */
	double average;		/* in steps */
	int32_t steps;		/* what a reader of the register gets, after >> 3 */
};

struct chip_conversion {
	uint8_t channel;
	uint8_t bus;
	double length_ns;	/* on our clock */
};

struct np_chip {
	struct np_chip_options options;
	struct np_sim_options sim;
	uint64_t noise_seed;
	/* The scan, from the config register. */
	struct chip_conversion scan[2 * CHIP_CHANNELS];
	uint32_t scan_length;
	bool continuous;
	double weight;		/* 1 / averages */
	/* Where it is: conversion number `conversions` began at began_ns + part_ns. */
	uint64_t conversions;
	int64_t began_ns;
	double part_ns;
	/* What it has seen of the rails, up to seen_ns: lagged power, and its integral since began_ns - delay. */
	struct np_cursor cursor;
	int64_t seen_ns;
	double lagged_uw[CHIP_CHANNELS];
	double area[CHIP_CHANNELS];
	struct chip_register registers[CHIP_CHANNELS][2];
};

/* -EINVAL: a conversion that never ends, a rail without a voltage, a negative delay or lag. */
int chip_init(struct np_chip *chip, const struct np_chip_options *options, const struct np_sim_options *sim,
	      uint64_t number);

/* Begin to convert, early enough that at now_ns every register has been written, with a drawn phase. */
void chip_start(struct np_chip *chip, const struct np_timeline *line, int64_t now_ns);

/* Make every conversion that ends by now_ns. -ESTALE: the timeline did not reach that far, or was too late. */
int chip_advance(struct np_chip *chip, int64_t now_ns);

/* The register's voltage in uV, or -ENODATA when it is switched off, -EAGAIN before its first conversion. */
int chip_read(const struct np_chip *chip, uint32_t channel, bool bus, int64_t *uv);

/* Length of one scan on our clock; 0 when nothing is converted. */
double chip_scan_ns(const struct np_chip *chip);

#endif
