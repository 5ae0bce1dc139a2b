/* SPDX-License-Identifier: Apache-2.0 */
/* chip_clock.c - the chip's oscillator: off by a constant, swinging with the temperature, wandering */
#include "chip.h"
#include "draw.h"

#define TURN 6.283185307179586

enum { DRAW_ERROR = 1, DRAW_PHASE = 2 };

void chip_clock_init(struct chip_clock *clock, const struct np_sim_options *sim, uint64_t seed)
{
	*clock = (struct chip_clock){
		.error_ppm = sim->clock_ppm + sim->spread_ppm * draw_deviate(seed, DRAW_ERROR),
		.swing_ppm = sim->swing_ppm,
		.swing_ns = sim->swing_s * 1e9,
		.swing_phase = draw_uniform(seed, DRAW_PHASE),
		.walk_ppm = sim->walk_ppm,
		.seed = draw_bits(seed, 3),
	};
}

double chip_clock_length(struct chip_clock *clock, double nominal_ns, int64_t now_ns, uint64_t number)
{
	double ppm = clock->error_ppm;

	if (clock->swing_ppm != 0)
		ppm += clock->swing_ppm * sin(TURN * ((double)now_ns / clock->swing_ns + clock->swing_phase));
	if (clock->walk_ppm != 0) {
		/* Steps whose variance is proportional to their time add up to a walk. */
		clock->walked_ppm += clock->walk_ppm * sqrt(nominal_ns * 1e-9) * draw_deviate(clock->seed, number);
		ppm += clock->walked_ppm;
	}
	return nominal_ns * (1 + ppm * 1e-6);
}
