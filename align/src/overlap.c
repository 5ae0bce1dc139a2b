/* SPDX-License-Identifier: Apache-2.0 */
/* overlap.c - sums over the edges that each conversion saw, a row at a time */
#include "overlap.h"

#include <math.h>
#include <stddef.h>

/* Edges of a row whose places in the table are looked for at once: its entries lie far apart, and are then on their way from memory together. */
enum { AHEAD = 64 };

/* What is summed of the edges of one row that one inference moves. */
typedef struct {
	double along[NP_ALONG];
	double slack[2];
	double within[NP_WALK], free[NP_WALK], thinner[NP_WALK];
} run;

static const double ROOT = 0.25; /* of 1 / NP_WALK: the walk has variance 1 from begin to end */

static double clipped(double value, double low, double high)
{
	return value < low ? low : value > high ? high : value;
}

/* Edges are a random walk from the middle of an inference, straight within each of NP_WALK parts. */
static void walked(run *mine, double place, double pull)
{
	double at = clipped((place + 0.5) * NP_WALK, 0.0, NP_WALK);
	int part = at < NP_WALK ? (int)at : NP_WALK - 1;

	mine->within[part] += pull * (at - part);
	mine->free[part] += pull;
}

/* A stretch within its inference is thinned by what gaps before its end took. */
static void thinned(run *mine, double place, double loss)
{
	double at = clipped((place + 0.5) * NP_WALK, 0.0, NP_WALK);
	int part = (int)ceil(at) - 1;

	if (at > 0 && place <= 0.5)
		mine->thinner[part > 0 ? part : 0] += loss;
}

static void ended(const run *mine, np_seen *seen, int64_t number)
{
	if (seen->run_along != NULL)
		for (int i = 0; i < NP_ALONG; i++)
			seen->run_along[number * NP_ALONG + i] = mine->along[i];
	if (seen->run_walk == NULL)
		return;
	for (int64_t i = 0; i < seen->by_place; i++)
		seen->run_slack[number * seen->by_place + i] = mine->slack[i];
	double before = 0, all = 0;
	for (int i = 0; i < NP_WALK; i++)
		all += mine->free[i];
	for (int i = 0; i < NP_WALK; i++) {
		/* An increment moves what lies behind its part, and of what lies in it as much as lies before; of the parts before the
		 * middle it moves what lies before it, to the other side. */
		before += mine->free[i];
		double moved = mine->within[i] - before + (i >= NP_WALK / 2 ? all : 0.0);
		seen->run_walk[number * NP_WALK + i] = moved * ROOT - mine->thinner[i] / ROOT;
	}
}

/* Where AHEAD edges from `first` on, but none beyond `last`, are found in the table, and how far behind that entry. */
static void sought(const np_ran *ran, const np_answer *answer, double from_ns, int64_t first, int64_t last,
				   const double *entries[AHEAD], double within[AHEAD]) {
	const double most = (double)answer->size - 1.001;

	for (int64_t i = 0; i < AHEAD && first + i <= last; i++) {
		double place = from_ns - ran->edge_ns[first + i];
		if (ran->beside_ns != NULL)
			place -= ran->beside_ns[first + i];
		place = clipped(place * answer->per_ns, 0.0, most);
		const int64_t index = (int64_t)place;
		entries[i] = answer->rows + (index + ran->level[first + i] * answer->size) * answer->width;
		within[i] = place - (double)index;
		__builtin_prefetch(entries[i]);
	}
}

int64_t np_overlap(const np_ran *ran, const np_answer *answer, int64_t rows, const double *at_ns, const int64_t *first,
				   const int64_t *last, np_seen *seen) {
	const int in_runs = seen->run_row != NULL;
	int64_t runs = 0;

	for (int64_t r = 0; r < rows; r++) {
		const double from_ns = at_ns[r] - answer->first_ns;
		double *share = seen->share + r * seen->touched;
		double *stalled = seen->stalled == NULL ? NULL : seen->stalled + r * seen->touched;
		double by_stall = 0, changes[6] = {0}, on = 1.0;
		const double *row = NULL; /* of the answer: at the row's first edge all of the power before it is seen, whatever its slope */
		int64_t inference = -1;
		const double *entries[AHEAD];
		double within[AHEAD];
		run mine = {0};

		for (int64_t e = first[r]; e <= last[r]; e++) {
			const int64_t at = (e - first[r]) % AHEAD;
			if (at == 0)
				sought(ran, answer, from_ns, e + 1, last[r], entries, within);
			const double *next = e < last[r] ? entries[at] : NULL;
			const double behind = next == NULL ? 0.0 : next[0] + within[at] * next[1]; /* of the power from the next edge on */
			const double part = on - behind, more = ran->more == NULL ? 0.0 : ran->more[e], own = part * (1 - more);
			const int64_t column = seen->column[ran->classes[e]], moves = ran->moves[e];
			if (ran->worth != NULL) {
				share[column] += own * ran->worth[e];
			} else {
				share[column] += own;
				if (stalled != NULL)
					stalled[column] += own * ran->stall[e];
			}
			if (ran->more != NULL)
				share[seen->column[moves >= 0 ? ran->rest[moves] : ran->classes[e]]] += part * more;
			by_stall += part * ran->stalled[e];
			if (row != NULL)
				for (int64_t i = 0; i < answer->slopes; i++)
					changes[i] += row[2 + i] * ran->steps[e];
			if (in_runs) {
				if (moves != inference || e == first[r]) {
					if (inference >= 0)
						ended(&mine, seen, runs++);
					inference = moves;
					if (moves >= 0) {
						mine = (run){0};
						seen->run_row[runs] = r;
						seen->run_inference[runs] = moves;
					}
				}
				if (moves >= 0) {
					const double pull = row == NULL ? 0.0 : row[2] * ran->steps[e];
					const double free = ran->held != NULL && ran->held[e] ? 0.0 : pull;
					mine.along[0] += free * ran->place[e];
					mine.along[1] += free * ran->gaps[e];
					mine.along[2] += free;
					mine.slack[0] += pull;
					if (seen->by_place > 1 && row != NULL)
						mine.slack[1] += row[3] * ran->steps[e];
					if (seen->run_walk != NULL)
						walked(&mine, ran->place[e], free);
					if (ran->thins != NULL) {
						/* What is more of gaps than usual is at the power of a gap. The sums are taken with the other sign. */
						mine.along[0] -= part * ran->thins[ran->edges + e];
						mine.along[1] -= part * ran->thins[e];
						if (seen->run_walk != NULL)
							thinned(&mine, ran->place[e], part * ran->thins[ran->edges + e]);
					}
				}
			}
			on = behind, row = next;
		}
		if (in_runs && inference >= 0)
			ended(&mine, seen, runs++);
		seen->by_stall[r] = by_stall;
		if (seen->changes != NULL)
			for (int64_t i = 0; i < answer->slopes; i++)
				seen->changes[i * rows + r] = changes[i];
	}
	return runs;
}
