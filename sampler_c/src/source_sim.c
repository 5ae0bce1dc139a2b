/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_sim.c - simulated chips over a power timeline, read as the newer hwmon driver reads real ones
 *
 * A read returns at once and may repeat. The chips are brought up to the present when they are read, so
 * the same code serves the loop and virtual time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chip.h"
#include "ring.h"
#include "source.h"

enum { MAX_CHIPS = 8 };

struct sim_channel {
	struct np_sim_channel at;
	struct value_memory memory;
};

struct source_sim {
	struct np_source source;
	struct np_timeline *line;
	uint32_t chip_count;
	struct np_chip chips[MAX_CHIPS];
	struct sim_channel channels[RING_MAX_READINGS];
};

static void sim_start(struct np_source *source, int64_t now_ns)
{
	struct source_sim *sim = (struct source_sim *)source;

	for (uint32_t i = 0; i < sim->chip_count; i++)
		chip_start(&sim->chips[i], sim->line, now_ns);
}

static void sim_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns, struct np_reading *readings)
{
	struct source_sim *sim = (struct source_sim *)source;
	int64_t now = np_clock_monotonic(clock);
	uint32_t end_ns;
	int behind[MAX_CHIPS];
	bool underrun = false;

	for (uint32_t i = 0; i < sim->chip_count; i++) {
		behind[i] = chip_advance(&sim->chips[i], now);
		underrun |= behind[i] != 0;
	}
	if (underrun)
		atomic_fetch_add_explicit(&source->underruns, 1, memory_order_relaxed);
	end_ns = reading_offset(np_clock_monotonic(clock), t_ns);
	for (uint32_t i = 0; i < source->readings; i++) {
		struct sim_channel *channel = &sim->channels[i];
		int64_t uv = 0;
		int err = behind[channel->at.chip];

		if (!err)
			err = chip_read(&sim->chips[channel->at.chip], channel->at.channel, channel->at.quantity == NP_BUS_UV, &uv);
		if (err)
			reading_miss(&readings[i], -err);
		else
			reading_set(&readings[i], &channel->memory, uv, false);
		readings[i].begin_ns = reading_offset(now, t_ns);
		readings[i].end_ns = end_ns;
	}
}

static void sim_close(struct np_source *source)
{
	struct source_sim *sim = (struct source_sim *)source;

	np_timeline_close(sim->line);
	free(sim);
}

static const struct np_source_ops sim_ops = { .start = sim_start, .read = sim_read, .close = sim_close };

int np_source_sim(struct np_timeline *line, const struct np_chip_options *chips, uint32_t chip_count,
		  const struct np_sim_channel *channels, uint32_t readings, const struct np_sim_options *options,
		  const struct np_sim_error *errors, uint32_t error_count, struct np_source **out)
{
	struct source_sim *sim;
	int err = 0;

	(void)errors;
	if (options->driver || options->bus_hz || error_count)
		return -ENOTSUP;
	if (!line || chip_count < 1 || chip_count > MAX_CHIPS || readings < 1 || readings > RING_MAX_READINGS)
		return -EINVAL;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -ENOMEM;
	source_init(&sim->source, &sim_ops, readings);
	sim->chip_count = chip_count;
	for (uint32_t i = 0; i < chip_count && !err; i++)
		err = chip_init(&sim->chips[i], &chips[i], options, i);
	for (uint32_t i = 0; i < readings && !err; i++) {
		sim->channels[i].at = channels[i];
		if (channels[i].chip >= chip_count || channels[i].channel >= CHIP_CHANNELS || channels[i].quantity > NP_BUS_UV)
			err = -EINVAL;
	}
	if (err) {
		free(sim);
		return err;
	}
	sim->line = line;
	*out = &sim->source;
	return 0;
}
