/* SPDX-License-Identifier: Apache-2.0 */
/* chip.c - an INA3221 in software */
#include "chip.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Bus noise for shunt noise: the same in steps of the converter. */
#define BUS_NOISE (CHIP_BUS_STEP_UV / CHIP_SHUNT_STEP_UV)

/* ---- The config register -------------------------------------------------------------------- */

enum { MODE_SHUNT = 1, MODE_BUS = 2, MODE_CONTINUOUS = 4 };

static const int32_t conversion_us[8] = { 140, 204, 332, 588, 1100, 2116, 4156, 8244 };
static const int32_t averages[8] = { 1, 4, 16, 64, 128, 256, 512, 1024 };

static void add_conversion(struct np_chip *chip, uint8_t channel, uint8_t bus, unsigned time_code)
{
	chip->scan[chip->scan_length++] = (struct chip_conversion){
		.channel = channel,
		.bus = bus,
		.length_ns = conversion_us[time_code & 7] * 1e3 * (1 + chip->sim.clock_ppm * 1e-6),
	};
}

static void decode_config(struct np_chip *chip)
{
	unsigned config = chip->options.config;

	chip->scan_length = 0;
	chip->continuous = config & MODE_CONTINUOUS;
	chip->weight = 1.0 / averages[config >> 9 & 7];
	for (uint8_t channel = 0; channel < CHIP_CHANNELS; channel++) {
		/* Channel 1 is the highest of the three enable bits. */
		if (!(config >> (14 - channel) & 1) || chip->options.rail[channel] < 0)
			continue;
		if (config & MODE_SHUNT)
			add_conversion(chip, channel, 0, config >> 3);
		if (config & MODE_BUS)
			add_conversion(chip, channel, 1, config >> 6);
	}
}

double chip_scan_ns(const struct np_chip *chip)
{
	double sum = 0;

	for (uint32_t i = 0; i < chip->scan_length; i++)
		sum += chip->scan[i].length_ns;
	return sum;
}

int chip_init(struct np_chip *chip, const struct np_chip_options *options, const struct np_sim_options *sim,
	      uint64_t number)
{
	memset(chip, 0, sizeof(*chip));
	chip->options = *options;
	chip->sim = *sim;
	chip->noise_seed = sim->seed * UINT64_C(0x9e3779b97f4a7c15) + number;
	/* Half the nominal rate or twice it is not a clock error any more. */
	if (!(fabs(sim->clock_ppm) <= 500000) || !(sim->noise_uv >= 0 && sim->noise_uv < 1e6))
		return -EINVAL;
	if (sim->delay_ns < 0 || sim->lag_ns < 0)
		return -EINVAL;
	for (int channel = 0; channel < CHIP_CHANNELS; channel++) {
		if (options->rail[channel] >= TIMELINE_RAILS)
			return -EINVAL;
		if (options->rail[channel] >= 0 && (options->bus_uv[channel] < 1 || options->shunt_uohm[channel] < 1))
			return -EINVAL;
	}
	decode_config(chip);
	return 0;
}

/* ---- Noise: a function of seed and conversion, so that when it is read does not matter -------- */

static uint64_t scramble(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static double uniform(uint64_t seed)
{
	return (double)(scramble(seed) >> 11) * 0x1p-53;
}

/* Mean 0, deviation 1, close to normal: the sum of four uniforms of 16 bits has variance 4/12. */
static double deviate(uint64_t seed, uint64_t number)
{
	uint64_t bits = scramble(scramble(seed) ^ number);
	double sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (double)(bits >> 16 * i & 0xffff) + 0.5;
	return (sum / 65536 - 2) * sqrt(3.0);
}

/* ---- Observing ------------------------------------------------------------------------------ */

/*
 * One piece of constant power x for dt: y' = (x - y) / lag. Its integral is x dt - lag (y1 - y0), which
 * keeps energy: what the lag holds back it gives later.
 */
static void observe_piece(struct np_chip *chip, const double *power_uw, double dt)
{
	double lag = (double)chip->sim.lag_ns;
	double share = lag > 0 ? -expm1(-dt / lag) : 1;

	for (int channel = 0; channel < CHIP_CHANNELS; channel++) {
		int32_t rail = chip->options.rail[channel];
		double x = rail < 0 ? 0 : power_uw[rail];
		double step = (x - chip->lagged_uw[channel]) * share;

		chip->lagged_uw[channel] += step;
		chip->area[channel] += x * dt - lag * step;
	}
}

/* -ESTALE leaves off where the timeline ends; the next call goes on from there. */
static int observe_until(struct np_chip *chip, int64_t until_ns)
{
	while (chip->seen_ns < until_ns) {
		const double *power_uw;
		int64_t piece_end;
		int err = np_cursor_at(&chip->cursor, chip->seen_ns, until_ns, &power_uw, &piece_end);

		if (err)
			return err;
		observe_piece(chip, power_uw, (double)(piece_end - chip->seen_ns));
		chip->seen_ns = piece_end;
	}
	return 0;
}

/* ---- Converting ----------------------------------------------------------------------------- */

/* Input in uV for the mean power of a rail. The bus voltage is stiff: power goes into the current. */
static double input_uv(const struct np_chip *chip, uint32_t channel, bool bus, double power_uw)
{
	double bus_uv = (double)chip->options.bus_uv[channel];

	return bus ? bus_uv : power_uw / bus_uv * (double)chip->options.shunt_uohm[channel];
}

static double clamp(double value, double low, double high)
{
	return value < low ? low : value > high ? high : value;
}

static void convert(struct np_chip *chip, const struct chip_conversion *conversion, double window_ns)
{
	struct chip_register *out = &chip->registers[conversion->channel][conversion->bus];
	double noise = chip->sim.noise_uv * deviate(chip->noise_seed, chip->conversions);
	double uv = input_uv(chip, conversion->channel, conversion->bus, chip->area[conversion->channel] / window_ns);
	double steps;

	/* 13 bits with a sign; the bus input does not go below 0. */
	if (conversion->bus)
		steps = clamp(floor((uv + BUS_NOISE * noise) / CHIP_BUS_STEP_UV + 0.5), 0, 4095);
	else
		steps = clamp(floor((uv + noise) / CHIP_SHUNT_STEP_UV + 0.5), -4096, 4095);
	if (out->converted)
		out->average += (steps - out->average) * chip->weight;
	else
		out->average = steps; /* a chip that has been running for long */
	out->converted = true;
	out->steps = (int32_t)floor(out->average + 0.5);
}

void chip_start(struct np_chip *chip, const struct np_timeline *line, int64_t now_ns)
{
	double ahead = chip_scan_ns(chip) * (1 + uniform(chip->noise_seed));
	const double *power_uw;
	int64_t until;

	chip->conversions = 0;
	chip->began_ns = now_ns - (int64_t)ceil(ahead);
	chip->part_ns = 0;
	chip->seen_ns = chip->began_ns - chip->sim.delay_ns;
	memset(chip->registers, 0, sizeof(chip->registers));
	memset(chip->area, 0, sizeof(chip->area));
	np_cursor_seek(&chip->cursor, line, chip->seen_ns);
	if (np_cursor_at(&chip->cursor, chip->seen_ns, chip->seen_ns, &power_uw, &until))
		power_uw = chip->cursor.idle_uw;
	for (int channel = 0; channel < CHIP_CHANNELS; channel++) {
		int32_t rail = chip->options.rail[channel];

		chip->lagged_uw[channel] = rail < 0 ? 0 : power_uw[rail];
	}
}

int chip_advance(struct np_chip *chip, int64_t now_ns)
{
	uint64_t underruns = chip->cursor.underruns;

	while (chip->scan_length && (chip->continuous || chip->conversions < chip->scan_length)) {
		const struct chip_conversion *conversion = &chip->scan[chip->conversions % chip->scan_length];
		double length = chip->part_ns + conversion->length_ns;
		int64_t whole = (int64_t)length;
		int64_t end = chip->began_ns + whole;

		if (end > now_ns)
			break;
		if (observe_until(chip, end - chip->sim.delay_ns))
			return -ESTALE;
		convert(chip, conversion, (double)whole);
		memset(chip->area, 0, sizeof(chip->area));
		chip->began_ns = end;
		chip->part_ns = length - (double)whole;
		chip->conversions++;
	}
	return chip->cursor.underruns == underruns ? 0 : -ESTALE;
}

int chip_read(const struct np_chip *chip, uint32_t channel, bool bus, int64_t *uv)
{
	const struct chip_register *from = &chip->registers[channel][bus];

	if (!from->converted) {
		for (uint32_t i = 0; i < chip->scan_length; i++) {
			if (chip->scan[i].channel == channel && chip->scan[i].bus == bus)
				return -EAGAIN;
		}
		return -ENODATA;
	}
	*uv = (int64_t)from->steps * (bus ? CHIP_BUS_STEP_UV : CHIP_SHUNT_STEP_UV);
	return 0;
}
