/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i2c_reader.h - INA3221 registers read once a tick, over any bus
 *
 * A tick looks at each chip's conversion-ready flag, then reads its registers in the order in which the chip will
 * overwrite them, so that as many as fit are of one scan. For every reading it says from which scans its value can come.
 * Where scans are too short to be counted so, it looks once more after the registers, if that is over before the next
 * tick is due.
 */
#ifndef NP_I2C_READER_H
#define NP_I2C_READER_H

#include "i2c_bus.h"
#include "sampler.h"
#include "scan_track.h"
#include "source.h"

enum { I2C_MAX_CHIPS = 8, I2C_MAX_CHANNELS = 64 };

struct i2c_reader_chip {
	uint8_t address;
	uint16_t config;
	int32_t offset_uv[3];	/* taken from the amount of the shunt voltage */
	struct scan_track track;
	struct scan_step step;	/* at the last look, or looks of one wait */
	bool learnt;		/* looked often, once, for the length of a scan */
	bool crowded;		/* more than one scan may end between two ticks */
};

struct i2c_reader_channel {
	uint8_t chip;
	uint8_t channel;
	bool bus;
	uint8_t reg;
	bool converted;		/* by this config */
	double offset_ns;	/* of the end of its conversion in the scan, nominal */
	struct value_memory memory;
	bool placed;		/* the last good reading came from scans .. relative to the newest at the last look */
	int64_t low;
	int64_t high;
	int64_t read_ns;	/* when it ended */
};

struct i2c_reader {
	struct i2c_bus *bus;
	int64_t wait_ns;	/* how long a tick may wait for the next end of a chip's scan; 0: it looks once */
	uint32_t chip_count;
	uint32_t channel_count;
	struct i2c_reader_chip chips[I2C_MAX_CHIPS];
	struct i2c_reader_channel channels[I2C_MAX_CHANNELS];
	uint32_t order[I2C_MAX_CHANNELS];
	int64_t tick_ns;	/* when this tick began .. */
	int64_t due_ns;		/* .. and the next is due; 0: not known */
	int64_t look_ns;	/* how long a look takes: the longest of late */
};

/* Chips with address, config and offsets, and channels with chip, channel and bus are set; -EINVAL if one cannot be. */
int i2c_reader_init(struct i2c_reader *reader);

/* Forget what was known of the scans: before the first read, and after a config write. */
void i2c_reader_start(struct i2c_reader *reader);

/*
 * source: whose reader this is. It tells when the next tick is due, by when the second look must be over (0: not known,
 * there is none), and which readings this tick does not take.
 */
void i2c_reader_read(struct i2c_reader *reader, struct np_source *source, const struct np_clock *clock, int64_t t_ns,
		     struct np_reading *readings);

#endif
