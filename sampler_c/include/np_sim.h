/* SPDX-License-Identifier: Apache-2.0 */
/* np_sim.h - the chip in software, over a timeline of what the rails draw */
#ifndef NEURALPOWER_SIM_H
#define NEURALPOWER_SIM_H

#include <stdint.h>

#include "np_source.h"

/* cffi begin */

struct np_timeline;

struct np_timeline_record {
	uint64_t index;
	int64_t start_ns;
	int64_t end_ns;
	int64_t power_uw[8];
	uint64_t check;
};

/*
 * Map a timeline file read-only. *out is the caller's until np_timeline_close() or until a simulated source takes it,
 * untouched on an error. -NP_ENOTTIMELINE, -NP_EVERSION, -NP_ETRUNCATED: what is wrong with the file.
 */
int np_timeline_open(const char *path, struct np_timeline **out);

/*
 * A closed timeline in memory; the records are borrowed and must outlive it; index and check are not looked at.
 * The 8 values of idle_uw are copied. *out is the caller's as that of np_timeline_open(). -ENOMEM.
 */
int np_timeline_memory(const struct np_timeline_record *records, uint64_t count, const int64_t *idle_uw,
		       struct np_timeline **out);

/* Column of the rail of that name, or -ENOENT; nothing is kept. Timelines in memory have no names. */
int np_timeline_rail(const struct np_timeline *line, const char *name);

/* Give a timeline back that no source took. Borrowed records stay the caller's. */
void np_timeline_close(struct np_timeline *line);

struct np_chip_options {
	uint16_t config;	/* the INA3221's register 0 */
	int32_t rail[3];	/* column in the timeline; -1: nothing connected, channel switched off */
	int64_t bus_uv[3];
	int64_t shunt_uohm[3];
};

/* How the chip is read. docs/chip.md says what each of them does and knows. */
enum np_driver {
	NP_DRIVER_CONTINUOUS = 0,	/* newer hwmon driver: a read is one transfer and may repeat */
	NP_DRIVER_WAITING = 1,		/* older hwmon driver: every read waits for the end of a scan */
	NP_DRIVER_IIO = 2,		/* JetPack 4: voltage and current of a channel in one go */
	NP_DRIVER_I2C = 3,		/* registers, as np_source_i2c() */
	NP_DRIVER_SINGLE_SHOT = 4	/* newer hwmon driver with ti,single-shot: every read makes a scan */
};

struct np_sim_options {
	int64_t delay_ns;	/* the chip sees the rails this much later */
	int64_t lag_ns;		/* time constant of one pole before the chip */
	double noise_uv;	/* standard deviation at the shunt input, per conversion; the bus input has 200 times it */
	double offset_uv;	/* at the shunt input; the bus input has 200 times it */
	double gain_ppm;	/* of both inputs */
	int64_t droop_uohm;	/* resistance of each supply: the bus voltage falls with the current */
	double clock_ppm;	/* the chips' periods are longer by this, */
	double spread_ppm;	/* and each by a drawn error of this standard deviation, */
	double swing_ppm;	/* and by a sine of this amplitude */
	double swing_s;		/* and period, */
	double walk_ppm;	/* and by a random walk that gains this standard deviation in a second */
	uint64_t seed;		/* of everything drawn: noise, phase of the scan and clocks */
	int32_t driver;		/* enum np_driver */
	int32_t bus_hz;		/* bit clock of the wire, 48 bits a transfer; 0: transfers take no time */
	int32_t narrow;		/* the recursive average is kept in 13 bits, not finer than the register */
	int32_t averaged_ready;	/* the conversion-ready flag is set every N scans, N being the averaging; else every scan */
	int64_t second_lag_ns;	/* time constant of a second pole behind the first; 0: there is none */
};

/* Reads number first .. first + count - 1 of a reading fail, and again every `every` reads if that is not 0. */
struct np_sim_error {
	uint32_t reading;
	int32_t error;		/* an errno; ETIMEDOUT of a waiting driver comes after its two waits */
	uint64_t first;
	uint64_t count;
	uint64_t every;
};

/*
 * INA3221s in software over a timeline, which the source owns on success, closes with itself, and leaves to the caller
 * on an error. Transfers and the driver's sleeps take
 * their time on the clock of whoever reads: the loop really waits, np_simulate() moves on.
 */
int np_source_sim(struct np_timeline *line, const struct np_chip_options *chips, uint32_t chip_count,
		  const struct np_sim_channel *channels, uint32_t readings, const struct np_sim_options *options,
		  const struct np_sim_error *errors, uint32_t error_count, struct np_source **out);

/* cffi end */

#endif
