/* SPDX-License-Identifier: Apache-2.0 */
/* chip.c - the chip in time: one conversion after another, and what each of them sees of the rails */
#include "chip.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "draw.h"

/* Bus noise and offset for those of the shunt: the same in steps of the converter. */
#define BUS_SHARE ((double)CHIP_BUS_STEP_UV / CHIP_SHUNT_STEP_UV)

enum { DRAW_START = 0, DRAW_NOISE = 4 };

static bool is_valid(const struct np_chip_options *options, const struct np_sim_options *sim)
{
	/* Half the nominal rate or twice it is not a clock error any more. */
	bool clock = fabs(sim->clock_ppm) + 2 * fabs(sim->spread_ppm) + fabs(sim->swing_ppm) <= 500000 &&
		     sim->walk_ppm >= 0 && sim->walk_ppm <= 1000 && (sim->swing_ppm == 0 || sim->swing_s > 0);
	bool input = sim->noise_uv >= 0 && sim->noise_uv < 1e6 && fabs(sim->offset_uv) < 1e6 &&
		     fabs(sim->gain_ppm) < 1e6 && sim->droop_uohm >= 0 && sim->delay_ns >= 0 && sim->lag_ns >= 0 &&
		     sim->second_lag_ns >= 0;

	for (int channel = 0; channel < CHIP_CHANNELS; channel++) {
		if (options->rail[channel] >= TIMELINE_RAILS)
			return false;
		if (options->rail[channel] >= 0 && (options->bus_uv[channel] < 1 || options->shunt_uohm[channel] < 1))
			return false;
	}
	return clock && input;
}

int chip_init(struct np_chip *chip, const struct np_chip_options *options, const struct np_sim_options *sim,
	      uint64_t number)
{
	memset(chip, 0, sizeof(*chip));
	if (!is_valid(options, sim))
		return -EINVAL;
	chip->options = *options;
	chip->sim = *sim;
	chip->seed = draw_bits(sim->seed, number);
	chip_registers_reset(chip);
	chip->plain[CHIP_CONFIG] = options->config;
	chip_decode_config(chip);
	return 0;
}

/* ---- Observing ------------------------------------------------------------------------------ */

/* How two poles and a piece of constant power x, dt long, go on from (first, second). */
struct response {
	double first_lag;	/* the shorter: their order does not show behind the second */
	double second_lag;
	double first_share;	/* of x - first, that first gains */
	double second_share;	/* of x - second, that second would gain if first were x, */
	double held_back;	/* and of x - first, that it gains less */
};

static double share_gained(double dt, double lag)
{
	return lag > 0 ? -expm1(-dt / lag) : 1;
}

/*
 * first' = (x - first) / a, second' = (first - second) / b, a <= b. With e(l) = exp(-dt / l):
 *   second(dt) = x - (x - second) e(b) - (x - first) (e(a) - e(b)) a / (a - b),
 * written so that it stays exact where a comes close to b.
 */
static struct response respond(const struct np_sim_options *sim, double dt)
{
	double a = (double)(sim->lag_ns < sim->second_lag_ns ? sim->lag_ns : sim->second_lag_ns);
	double b = (double)(sim->lag_ns < sim->second_lag_ns ? sim->second_lag_ns : sim->lag_ns);
	struct response response = { a, b, share_gained(dt, a), share_gained(dt, b), 0 };

	if (a > 0 && a == b)
		response.held_back = dt / b * exp(-dt / b);
	else if (a > 0)
		response.held_back = exp(-dt / b) * share_gained(dt, a * b / (b - a)) * a / (b - a);
	return response;
}

/* A pole's integral is that of its input less lag times what it gained: what a lag holds back it gives later. */
static void observe_piece(struct np_chip *chip, const double *power_uw, double dt)
{
	struct response response = respond(&chip->sim, dt);

	for (int channel = 0; channel < CHIP_CHANNELS; channel++) {
		int32_t rail = chip->options.rail[channel];
		double x = rail < 0 ? 0 : power_uw[rail];
		double missing = x - chip->first_uw[channel];
		double step = missing * response.first_share;
		double second_step = (x - chip->lagged_uw[channel]) * response.second_share - missing * response.held_back;

		chip->first_uw[channel] += step;
		chip->lagged_uw[channel] += second_step;
		chip->area[channel] += x * dt - response.first_lag * step - response.second_lag * second_step;
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

/*
 * Input in uV for the mean power of a rail. A supply of v0 behind a resistance r gives power p at the voltage v with
 * v (v0 - v) = r p, down to half of v0, where it gives the most.
 */
static double input_uv(const struct np_chip *chip, uint32_t channel, bool bus, double power_uw)
{
	double bus_uv = (double)chip->options.bus_uv[channel];
	double under_root = bus_uv * bus_uv - 4 * (double)chip->sim.droop_uohm * power_uw;

	if (chip->sim.droop_uohm > 0)
		bus_uv = (bus_uv + sqrt(under_root > 0 ? under_root : 0)) / 2;
	return bus ? bus_uv : power_uw / bus_uv * (double)chip->options.shunt_uohm[channel];
}

static double clamp(double value, double low, double high)
{
	return value < low ? low : value > high ? high : value;
}

static void convert(struct np_chip *chip, const struct chip_conversion *conversion, double window_ns)
{
	double noise = chip->sim.noise_uv * draw_deviate(chip->seed + DRAW_NOISE, chip->conversions);
	double error_uv = (chip->sim.offset_uv + noise) * (conversion->bus ? BUS_SHARE : 1);
	double uv = input_uv(chip, conversion->channel, conversion->bus, chip->area[conversion->channel] / window_ns);
	double steps = (uv * (1 + chip->sim.gain_ppm * 1e-6) + error_uv) /
		       (conversion->bus ? CHIP_BUS_STEP_UV : CHIP_SHUNT_STEP_UV);

	/* 13 bits with a sign; the bus input does not go below 0. */
	chip_store(chip, conversion->channel, conversion->bus,
		   (int32_t)clamp(floor(steps + 0.5), conversion->bus ? 0 : -4096, 4095));
}

/* The conversion that begins now; its length is settled by the clock at its beginning. */
static void begin_conversion(struct np_chip *chip)
{
	memset(chip->area, 0, sizeof(chip->area));
	if (chip->converting)
		chip->length_ns = chip_clock_length(&chip->clock, chip->scan[chip->position].nominal_ns, chip->began_ns,
						    chip->conversions);
}

void chip_start(struct np_chip *chip, const struct np_timeline *line, int64_t now_ns)
{
	double ahead = chip_scan_ns(chip) * (1 + draw_uniform(chip->seed, DRAW_START));
	const double *power_uw;
	int64_t until;

	chip_clock_init(&chip->clock, &chip->sim, chip->seed);
	ahead *= 1 + chip->clock.error_ppm * 1e-6;
	/* Swing and walk are small: a hundredth more makes sure of a whole scan. */
	ahead *= chip->sim.swing_ppm != 0 || chip->sim.walk_ppm != 0 ? 1.01 : 1;
	chip_decode_config(chip);
	chip->conversions = 0;
	chip->scans = 0;
	chip->position = 0;
	chip->began_ns = now_ns - (int64_t)ceil(ahead);
	chip->part_ns = 0;
	chip->seen_ns = chip->began_ns - chip->sim.delay_ns;
	memset(chip->results, 0, sizeof(chip->results));
	np_cursor_seek(&chip->cursor, line, chip->seen_ns);
	if (np_cursor_at(&chip->cursor, chip->seen_ns, chip->seen_ns, &power_uw, &until))
		power_uw = chip->cursor.idle_uw;
	for (int channel = 0; channel < CHIP_CHANNELS; channel++) {
		int32_t rail = chip->options.rail[channel];

		chip->lagged_uw[channel] = rail < 0 ? 0 : power_uw[rail];
		chip->first_uw[channel] = chip->lagged_uw[channel];
	}
	begin_conversion(chip);
}

int chip_restart(struct np_chip *chip, int64_t now_ns)
{
	int err = observe_until(chip, now_ns - chip->sim.delay_ns);

	chip->position = 0;
	chip->began_ns = now_ns;
	chip->part_ns = 0;
	begin_conversion(chip);
	return err;
}

int chip_advance(struct np_chip *chip, int64_t now_ns)
{
	uint64_t underruns = chip->cursor.underruns;

	while (chip->converting) {
		double length = chip->part_ns + chip->length_ns;
		int64_t whole = (int64_t)length;
		int64_t end = chip->began_ns + whole;

		if (end > now_ns)
			break;
		if (observe_until(chip, end - chip->sim.delay_ns))
			return -ESTALE;
		convert(chip, &chip->scan[chip->position], (double)whole);
		chip->began_ns = end;
		chip->part_ns = length - (double)whole;
		chip->conversions++;
		chip->position = (chip->position + 1) % chip->scan_length;
		if (!chip->position)
			chip_scan_ended(chip);
		begin_conversion(chip);
	}
	return chip->cursor.underruns == underruns ? 0 : -ESTALE;
}
