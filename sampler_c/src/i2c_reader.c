/* SPDX-License-Identifier: Apache-2.0 */
/* i2c_reader.c - a look at the flag, the registers in their order, and what follows for each reading */
#include "i2c_reader.h"

#include <errno.h>
#include <string.h>

#include "chip.h"

enum { LEARN_SCANS = 32 };

/* ---- The scan, from the config -------------------------------------------------------------- */

/* When in the scan this register's conversion ends; 0: it is not converted. */
static double offset_ns(uint16_t config, uint32_t wanted_channel, bool wanted_bus, double *scan_ns)
{
	double at = 0;
	double found = 0;

	for (uint32_t channel = 0; channel < CHIP_CHANNELS; channel++) {
		for (int bus = 0; bus < 2; bus++) {
			if (!chip_enabled(config, channel) || !(config & (bus ? CHIP_MODE_BUS : CHIP_MODE_SHUNT)))
				continue;
			at += chip_conversion_us(config, bus) * 1e3;
			if (channel == wanted_channel && bus == wanted_bus)
				found = at;
		}
	}
	*scan_ns = at;
	return found;
}

static bool comes_before(const struct i2c_reader_channel *a, const struct i2c_reader_channel *b)
{
	return a->chip != b->chip ? a->chip < b->chip : a->reg < b->reg;
}

/* Chip by chip, in the order of the scan. */
static void sort(struct i2c_reader *reader)
{
	for (uint32_t i = 0; i < reader->channel_count; i++) {
		uint32_t at = i;

		for (; at > 0 && comes_before(&reader->channels[i], &reader->channels[reader->order[at - 1]]); at--)
			reader->order[at] = reader->order[at - 1];
		reader->order[at] = i;
	}
}

int i2c_reader_init(struct i2c_reader *reader)
{
	if (reader->chip_count < 1 || reader->chip_count > I2C_MAX_CHIPS || reader->channel_count < 1 ||
	    reader->channel_count > I2C_MAX_CHANNELS || reader->wait_ns < 0)
		return -EINVAL;
	for (uint32_t i = 0; i < reader->channel_count; i++) {
		struct i2c_reader_channel *channel = &reader->channels[i];

		if (channel->chip >= reader->chip_count || channel->channel >= CHIP_CHANNELS)
			return -EINVAL;
		channel->reg = chip_register_of(channel->channel, channel->bus);
	}
	sort(reader);
	i2c_reader_start(reader);
	return 0;
}

void i2c_reader_start(struct i2c_reader *reader)
{
	double scan_ns;

	for (uint32_t i = 0; i < reader->chip_count; i++) {
		uint16_t config = reader->chips[i].config;

		offset_ns(config, 0, false, &scan_ns);
		reader->chips[i].crowded = reader->chips[i].learnt = false;
		scan_track_init(&reader->chips[i].track, config & CHIP_MODE_CONTINUOUS ? scan_ns : 0);
	}
	for (uint32_t i = 0; i < reader->channel_count; i++) {
		struct i2c_reader_channel *channel = &reader->channels[i];

		channel->offset_ns =
			offset_ns(reader->chips[channel->chip].config, channel->channel, channel->bus, &scan_ns);
		channel->converted = channel->offset_ns > 0;
		channel->placed = false;
		channel->memory.known = false;
	}
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* The longest of late: a slow one is forgotten within some tens of looks. */
static void note_duration(struct i2c_reader *reader, int64_t look_ns)
{
	reader->look_ns -= reader->look_ns / 16;
	if (look_ns > reader->look_ns)
		reader->look_ns = look_ns;
}

/*
 * Whether looks are too far apart to count scans, as long as they come in time: one that was held up says nothing.
 * due_ns: when the next tick is due, 0: not known.
 */
static bool is_crowded(struct scan_step step, int64_t apart_ns, int64_t due_ns, int64_t t_ns)
{
	return step.high != SCAN_UNKNOWN && step.high != step.low && (!due_ns || apart_ns < (due_ns - t_ns) * 3 / 2);
}

/* One look at the flag; false: it failed. What it tells is added to the chip's step. */
static bool look_once(struct i2c_reader *reader, struct i2c_reader_chip *chip, const struct np_clock *clock, bool *set)
{
	int64_t before_ns = (int64_t)chip->track.look.low;
	int64_t begin = np_clock_monotonic(clock);
	struct scan_step step = { 0, SCAN_UNKNOWN };
	uint16_t flags = 0;
	int err = reader->bus->ops->read(reader->bus, clock, chip->address, CHIP_MASK_ENABLE, &flags);
	int64_t end = np_clock_monotonic(clock);

	*set = flags & CHIP_CVRF;
	note_duration(reader, end - begin);
	if (err)
		scan_track_lose(&chip->track);
	else
		step = scan_track_look(&chip->track, begin, end, *set);
	chip->crowded |= is_crowded(step, begin - before_ns, reader->due_ns, reader->tick_ns);
	chip->step.low += step.low;
	if (step.high == SCAN_UNKNOWN || chip->step.high == SCAN_UNKNOWN)
		chip->step.high = SCAN_UNKNOWN;
	else
		chip->step.high += step.high;
	return !err;
}

/* For the end of a scan up to wait_ns, if that is not 0. */
static void look(struct i2c_reader *reader, struct i2c_reader_chip *chip, const struct np_clock *clock, int64_t wait_ns)
{
	int64_t give_up = np_clock_monotonic(clock) + wait_ns;
	bool old = wait_ns > 0; /* a flag set at the first look is of any age: wait for the next */
	bool set;

	chip->step = (struct scan_step){ 0, 0 };
	while (look_once(reader, chip, clock, &set) && (!set || old) && np_clock_monotonic(clock) < give_up)
		old = false;
}

/* Once, where ticks are too slow to count the scans: look often enough to learn how long they are. It costs some ticks. */
static void learn(struct i2c_reader *reader, struct i2c_reader_chip *chip, const struct np_clock *clock)
{
	int64_t pause_ns = (int64_t)(chip->track.nominal_ns / 16);
	int64_t give_up = np_clock_monotonic(clock) + LEARN_SCANS * (int64_t)chip->track.nominal_ns;
	bool set;

	chip->learnt = true;
	while (np_clock_monotonic(clock) < give_up) {
		if (clock->sleep_until(clock, np_clock_monotonic(clock) + pause_ns))
			break;
		if (!look_once(reader, chip, clock, &set))
			break;
	}
	scan_track_settle(&chip->track);
}

/* A look moves the newest scan, relative to which the channels remember theirs. */
static void shift(struct i2c_reader *reader, uint32_t chip)
{
	struct scan_step step = reader->chips[chip].step;

	for (uint32_t i = 0; i < reader->channel_count; i++) {
		struct i2c_reader_channel *channel = &reader->channels[i];

		if (channel->chip != chip)
			continue;
		channel->placed &= step.high != SCAN_UNKNOWN;
		channel->low -= step.high;
		channel->high -= step.low;
	}
}

static int64_t value_of(const struct i2c_reader *reader, const struct i2c_reader_channel *channel, uint16_t raw)
{
	int64_t steps = (int16_t)raw >> 3;
	int32_t offset_uv = reader->chips[channel->chip].offset_uv[channel->channel];

	if (channel->bus)
		return steps * CHIP_BUS_STEP_UV;
	/* As NVIDIA's driver applies the device tree's shunt-volt-offset-uv: to the amount, whatever the sign. */
	return steps * CHIP_SHUNT_STEP_UV + (steps < 0 ? offset_uv : -offset_uv);
}

/* State and scans of a good value. */
static void judge(struct i2c_reader *reader, struct i2c_reader_channel *channel, struct np_reading *reading,
		  int64_t value, int64_t begin_ns, int64_t end_ns)
{
	const struct scan_track *track = &reader->chips[channel->chip].track;
	bool certain = track->nominal_ns > 0 && (double)(begin_ns - channel->read_ns) >= track->longest_ns;
	bool repeated = false;
	bool placed = track->known;

	if (placed) {
		struct scan_step at = scan_track_register(track, channel->offset_ns, begin_ns, end_ns);
		uint32_t span = at.high - at.low + track->slack;

		if (channel->placed) {
			certain |= at.low > channel->high;
			repeated = at.high <= channel->low && channel->memory.known && channel->memory.value == value;
		}
		channel->low = at.low;
		channel->high = at.high;
		reading->scan = track->count + at.high;
		reading->span = (uint8_t)(span > UINT8_MAX ? 0 : span);
		reading->flags |= span > UINT8_MAX ? 0 : NP_SCAN;
	}
	channel->placed = placed;
	channel->read_ns = end_ns;
	reading_set(reading, &channel->memory, value, certain);
	if (repeated)
		reading->state = NP_REPEATED;
}

static void read_channel(struct i2c_reader *reader, struct i2c_reader_channel *channel, const struct np_clock *clock,
			 int64_t t_ns, struct np_reading *reading)
{
	uint8_t address = reader->chips[channel->chip].address;
	int64_t begin = np_clock_monotonic(clock);
	uint16_t raw = 0;
	int err = -ENODATA;
	int64_t end;

	if (channel->converted)
		err = reader->bus->ops->read(reader->bus, clock, address, channel->reg, &raw);
	end = np_clock_monotonic(clock);
	reading->begin_ns = reading_offset(begin, t_ns);
	reading->end_ns = reading_offset(end, t_ns);
	if (err)
		reading_miss(reading, -err);
	else
		judge(reader, channel, reading, value_of(reader, channel, raw), begin, end);
}

/* Voltage and current of a channel are of one scan only if both are known to be, and of the same one. */
static void mark_mixed(struct i2c_reader *reader, struct np_reading *readings)
{
	for (uint32_t i = 0; i < reader->channel_count; i++) {
		const struct i2c_reader_channel *a = &reader->channels[i];

		for (uint32_t j = 0; j < i; j++) {
			const struct i2c_reader_channel *b = &reader->channels[j];

			if (a->chip != b->chip || a->channel != b->channel || a->bus == b->bus ||
			    readings[i].state == NP_MISSING || readings[j].state == NP_MISSING)
				continue;
			if (a->placed && b->placed && a->low == a->high && b->low == b->high && a->low == b->low)
				continue;
			readings[i].flags |= NP_MIXED;
			readings[j].flags |= NP_MIXED;
		}
	}
}

/*
 * Once a tick is not enough to count scans that are shorter. Whether another look will be over before the next tick is
 * due: a slot must never be missed for it.
 */
static bool has_time_for_a_look(const struct i2c_reader *reader, const struct np_clock *clock)
{
	return np_clock_monotonic(clock) + reader->look_ns * 5 / 4 < reader->due_ns;
}

void i2c_reader_read(struct i2c_reader *reader, struct np_source *source, const struct np_clock *clock, int64_t t_ns,
		     struct np_reading *readings)
{
	uint32_t next = 0;

	reader->tick_ns = t_ns;
	reader->due_ns = source->due_ns;
	for (uint32_t chip = 0; chip < reader->chip_count; chip++) {
		look(reader, &reader->chips[chip], clock, reader->wait_ns);
		if (reader->chips[chip].crowded && !reader->chips[chip].learnt)
			learn(reader, &reader->chips[chip], clock);
		shift(reader, chip);
		for (; next < reader->channel_count && reader->channels[reader->order[next]].chip == chip; next++) {
			uint32_t i = reader->order[next];

			if (source_holds(source, i, &readings[i]))
				continue;
			read_channel(reader, &reader->channels[i], clock, t_ns, &readings[i]);
			source_keep(source, i, &readings[i]);
		}
	}
	mark_mixed(reader, readings);
	for (uint32_t chip = 0; chip < reader->chip_count; chip++) {
		if (!reader->chips[chip].crowded || !has_time_for_a_look(reader, clock))
			continue;
		look(reader, &reader->chips[chip], clock, 0);
		shift(reader, chip);
	}
}
