/* SPDX-License-Identifier: Apache-2.0 */
/* series.h - the simulated chip read at even times over a random power, for tests of it */
#ifndef SERIES_H
#define SERIES_H

#include "check.h"
#include "chip.h"
#include "ring.h"

enum { RESET = 0x7127, FAST = 0x7007, FAST_SHUNT_1 = 0x4005 };

static const int64_t SECOND = 1000000000;

/* 5 V over 10 mOhm: 1 W is 200 mA is 2000 uV, 50 steps. */
static const struct np_chip_options WIRING = {
	.rail = { 0, 1, 2 },
	.bus_uv = { 5000000, 5000000, 5000000 },
	.shunt_uohm = { 10000, 10000, 10000 },
};

#define UV_PER_UW (10000.0 / 5000000.0)

static inline struct np_chip_options wired(uint16_t config)
{
	struct np_chip_options options = WIRING;

	options.config = config;
	return options;
}

/* One reading of the first shunt per period, from a random power in pieces. */
struct series {
	struct np_timeline_record *records;
	uint64_t pieces;
	int64_t *t;
	uint64_t *words;
	uint64_t ticks;
	uint64_t stride;
};

static inline struct series make_series(uint64_t pieces, int64_t piece_ns, int64_t top_uw, uint64_t ticks, int64_t first_ns,
				 int64_t period_ns)
{
	struct series series = { .pieces = pieces, .ticks = ticks, .stride = RING_TICK_WORDS + RING_READING_WORDS };

	series.records = calloc(pieces, sizeof(*series.records));
	series.t = calloc(ticks, sizeof(*series.t));
	series.words = calloc(ticks * series.stride, sizeof(*series.words));
	for (uint64_t i = 0; i < pieces; i++) {
		series.records[i].start_ns = (int64_t)i * piece_ns;
		series.records[i].end_ns = (int64_t)(i + 1) * piece_ns;
		series.records[i].power_uw[0] = (int64_t)(scatter(i) % (uint64_t)top_uw);
	}
	for (uint64_t i = 0; i < ticks; i++)
		series.t[i] = first_ns + (int64_t)i * period_ns;
	return series;
}

static inline void free_series(struct series *series)
{
	free(series->records);
	free(series->t);
	free(series->words);
}

static inline void run_series(struct series *series, uint16_t config, struct np_sim_options sim)
{
	const struct np_sim_channel channel = { 0, 0, 0 };
	struct np_chip_options options = wired(config);
	const int64_t idle[8] = { 0 };
	struct np_timeline *line;
	struct np_source *source;

	CHECK_EQUAL(np_timeline_memory(series->records, series->pieces, idle, &line), 0);
	CHECK_EQUAL(np_source_sim(line, &options, 1, &channel, 1, &sim, NULL, 0, &source), 0);
	CHECK_EQUAL(np_simulate(source, series->t, series->ticks, 1, series->words), series->ticks);
	CHECK_EQUAL(np_source_underruns(source), 0);
	np_source_close(source);
}

static inline int64_t value_of(const struct series *series, uint64_t tick)
{
	return (int64_t)series->words[tick * series->stride + RING_TICK_WORDS];
}

#endif
