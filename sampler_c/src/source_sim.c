/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_sim.c - simulated chips over a power timeline, read through one of the drivers
 *
 * The chips are brought up to the present when they are read, and time passes on the clock of whoever reads,
 * so the same code serves the loop and virtual time. What a reading's state claims is what a source over the
 * real driver could know, no more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "i2c_reader.h"
#include "ring.h"
#include "source.h"

struct sim_channel {
	struct np_sim_channel at;
	struct value_memory memory;
};

struct source_sim {
	struct np_source source;
	struct np_timeline *line;
	struct sim_bus bus;
	struct sim_driver driver;
	struct i2c_reader reader; /* NP_DRIVER_I2C */
	struct sim_channel channels[RING_MAX_READINGS];
};

static void sim_start(struct np_source *source, int64_t now_ns)
{
	struct source_sim *sim = (struct source_sim *)source;

	for (uint32_t i = 0; i < sim->bus.chip_count; i++)
		chip_start(&sim->bus.chips[i], sim->line, now_ns);
	memset(sim->bus.asked, 0, sizeof(sim->bus.asked));
	source_hold_none(source);
	memset(sim->driver.scans, 0, sizeof(sim->driver.scans));
	for (uint32_t i = 0; i < source->readings; i++)
		sim->channels[i].memory = (struct value_memory){ 0 };
	if (sim->driver.kind == NP_DRIVER_I2C)
		i2c_reader_start(&sim->reader);
}

/* ---- Attributes ----------------------------------------------------------------------------- */

static void set_times(struct np_reading *reading, int64_t begin_ns, int64_t end_ns, int64_t t_ns)
{
	reading->begin_ns = reading_offset(begin_ns, t_ns);
	reading->end_ns = reading_offset(end_ns, t_ns);
}

/* What the source of this driver knows of an unchanged value. */
static bool certainly_new(struct source_sim *sim, struct sim_channel *channel)
{
	if (sim->driver.kind == NP_DRIVER_SINGLE_SHOT)
		return true; /* every read makes a scan */
	return sim->driver.kind == NP_DRIVER_WAITING && waited_enough(&channel->memory, sim->driver.scans[channel->at.chip]);
}

static void read_attribute(struct source_sim *sim, struct sim_channel *channel, const struct np_clock *clock,
			   int64_t t_ns, struct np_reading *reading)
{
	int64_t begin = np_clock_monotonic(clock);
	int64_t value = 0;
	int err = driver_read(&sim->driver, clock, &channel->at, &value);

	set_times(reading, begin, np_clock_monotonic(clock), t_ns);
	if (err)
		reading_miss(reading, -err);
	else
		reading_set(reading, &channel->memory, value, certainly_new(sim, channel));
}

/* A channel's readings come from one read of its ui_input file. */
static void read_pair(struct source_sim *sim, uint32_t first, const struct np_clock *clock, int64_t t_ns,
		      struct np_reading *readings)
{
	const struct np_sim_channel *at = &sim->channels[first].at;
	int64_t begin = np_clock_monotonic(clock);
	int64_t mv = 0;
	int64_t ma = 0;
	int err = driver_read_pair(&sim->driver, clock, at, &mv, &ma);
	int64_t end = np_clock_monotonic(clock);

	for (uint32_t i = first; i < sim->source.readings; i++) {
		struct sim_channel *channel = &sim->channels[i];
		const int64_t values[] = { [NP_SHUNT_UV] = ma * sim->bus.chips[at->chip].options.shunt_uohm[at->channel] / 1000,
					   [NP_BUS_UV] = mv * 1000,
					   [NP_CURRENT_UA] = ma * 1000,
					   [NP_POWER_UW] = mv * ma };

		if (channel->at.chip != at->chip || channel->at.channel != at->channel)
			continue;
		set_times(&readings[i], begin, end, t_ns);
		if (err)
			reading_miss(&readings[i], -err);
		else
			reading_set(&readings[i], &channel->memory, values[channel->at.quantity], false);
	}
}

static bool is_first_of_channel(const struct source_sim *sim, uint32_t reading)
{
	const struct np_sim_channel *at = &sim->channels[reading].at;

	for (uint32_t i = 0; i < reading; i++) {
		if (sim->channels[i].at.chip == at->chip && sim->channels[i].at.channel == at->channel)
			return false;
	}
	return true;
}

static void sim_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns, struct np_reading *readings)
{
	struct source_sim *sim = (struct source_sim *)source;

	sim->bus.underrun = false;
	if (sim->driver.kind == NP_DRIVER_I2C)
		i2c_reader_read(&sim->reader, source, clock, t_ns, readings);
	for (uint32_t i = 0; i < source->readings && sim->driver.kind != NP_DRIVER_I2C; i++) {
		if (sim->driver.kind == NP_DRIVER_IIO) {
			if (is_first_of_channel(sim, i))
				read_pair(sim, i, clock, t_ns, readings);
		} else if (!source_holds(source, i, &readings[i])) {
			read_attribute(sim, &sim->channels[i], clock, t_ns, &readings[i]);
			source_keep(source, i, &readings[i]);
		}
	}
	if (sim->bus.underrun)
		atomic_fetch_add_explicit(&source->underruns, 1, memory_order_relaxed);
}

static void sim_close(struct np_source *source)
{
	struct source_sim *sim = (struct source_sim *)source;

	np_timeline_close(sim->line);
	free(sim);
}

static const struct np_source_ops sim_ops = { .start = sim_start, .read = sim_read, .close = sim_close, .decimates = true };
/* ui_input_N gives voltage and current in one read: there is nothing to leave out. */
static const struct np_source_ops sim_iio_ops = { .start = sim_start, .read = sim_read, .close = sim_close };

/* ---- Construction --------------------------------------------------------------------------- */

static int add_chips(struct source_sim *sim, const struct np_chip_options *chips, uint32_t count,
		     const struct np_sim_options *options)
{
	sim_bus_init(&sim->bus, options->bus_hz);
	sim->bus.chip_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct np_chip_options chip = chips[i];
		int err;

		chip.config = driver_config(sim->driver.kind, chip.config);
		err = chip_init(&sim->bus.chips[i], &chip, options, i);
		if (err)
			return err;
		sim->reader.chips[i] = (struct i2c_reader_chip){ .address = (uint8_t)(SIM_ADDRESS + i), .config = chip.config };
		/* A channel without a rail is switched off. */
		for (uint32_t channel = 0; channel < CHIP_CHANNELS; channel++) {
			if (chip.rail[channel] < 0)
				sim->reader.chips[i].config &= (uint16_t) ~(0x4000 >> channel);
		}
	}
	return 0;
}

static int add_channels(struct source_sim *sim, const struct np_sim_channel *channels)
{
	int highest = sim->driver.kind == NP_DRIVER_IIO ? NP_POWER_UW : NP_BUS_UV;

	for (uint32_t i = 0; i < sim->source.readings; i++) {
		if (channels[i].chip >= sim->bus.chip_count || channels[i].channel >= CHIP_CHANNELS ||
		    channels[i].quantity > highest)
			return -EINVAL;
		sim->channels[i].at = channels[i];
		sim->reader.channels[i] = (struct i2c_reader_channel){ .chip = channels[i].chip,
								       .channel = channels[i].channel,
								       .bus = channels[i].quantity == NP_BUS_UV };
	}
	sim->reader.bus = &sim->bus.bus;
	sim->reader.chip_count = sim->bus.chip_count;
	sim->reader.channel_count = sim->source.readings;
	return i2c_reader_init(&sim->reader);
}

static int add_errors(struct source_sim *sim, const struct np_sim_error *errors, uint32_t count)
{
	if (count > SIM_MAX_ERRORS)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		const struct np_sim_channel *at;

		if (errors[i].reading >= sim->source.readings || errors[i].error < 1 || errors[i].error > UINT8_MAX)
			return -EINVAL;
		at = &sim->channels[errors[i].reading].at;
		sim->bus.errors[i] = errors[i];
		sim->bus.error_chip[i] = at->chip;
		sim->bus.error_register[i] = chip_register_of(at->channel, at->quantity == NP_BUS_UV);
	}
	sim->bus.error_count = count;
	return 0;
}

int np_source_sim(struct np_timeline *line, const struct np_chip_options *chips, uint32_t chip_count,
		  const struct np_sim_channel *channels, uint32_t readings, const struct np_sim_options *options,
		  const struct np_sim_error *errors, uint32_t error_count, struct np_source **out)
{
	struct source_sim *sim;
	int err;

	if (!line || chip_count < 1 || chip_count > SIM_MAX_CHIPS || readings < 1 || readings > RING_MAX_READINGS ||
	    options->driver < NP_DRIVER_CONTINUOUS || options->driver > NP_DRIVER_SINGLE_SHOT || options->bus_hz < 0)
		return -EINVAL;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -ENOMEM;
	source_init(&sim->source, options->driver == NP_DRIVER_IIO ? &sim_iio_ops : &sim_ops, readings);
	sim->driver = (struct sim_driver){ .bus = &sim->bus,
					   .kind = (enum np_driver)options->driver };
	err = add_chips(sim, chips, chip_count, options);
	if (!err)
		err = add_channels(sim, channels);
	if (!err)
		err = add_errors(sim, errors, error_count);
	if (err) {
		free(sim);
		return err;
	}
	sim->line = line;
	*out = &sim->source;
	return 0;
}
