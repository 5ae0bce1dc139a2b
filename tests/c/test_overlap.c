/* SPDX-License-Identifier: Apache-2.0 */
/* test_overlap.c - what conversions saw: sums that can be told by hand, at the ends of every array, and in several threads at once. */
#define _GNU_SOURCE
#include <pthread.h>

#include "check.h"
#include "overlap.h"

enum { SIZE = 101, WIDTH = 8, EDGES = 300, CLASSES = 5, ROWS = 40 };

/* An answer that rises evenly from 0 to 1 within 100 us, after which all is seen. */
static const double STEP_NS = 1000;

typedef struct {
	double *table, *edge_ns, *steps, *stalled, *stall, *more, *gaps, *place, *thins, *at_ns;
	int64_t *classes, *moves, *level, *rest, *column, *first, *last;
	uint8_t *held;
	np_ran ran;
	np_answer answer;
} world;

static void *own(const void *from, size_t bytes)
{
	void *to = malloc(bytes); /* of just this size: what is read or written beyond is found */
	CHECK(to != NULL);
	if (from != NULL)
		memcpy(to, from, bytes);
	else
		memset(to, 0, bytes);
	return to;
}

/* Inferences of 6 edges, every 30 us one; classes by turns; rows that see the last 100 us. */
static world made(void)
{
	world w = {0};
	w.table = own(NULL, SIZE * WIDTH * sizeof *w.table);
	for (int i = 0; i < SIZE; i++) {
		w.table[i * WIDTH] = i / 100.0;
		w.table[i * WIDTH + 1] = i < SIZE - 1 ? 0.01 : 0.0;
		for (int s = 0; s < 6; s++)
			w.table[i * WIDTH + 2 + s] = i < SIZE - 2 ? (s + 1) * 1e-5 : 0.0; /* an edge longer ago is at the last entry */
	}
	double **numbers[] = {&w.edge_ns, &w.steps, &w.stalled, &w.stall, &w.more, &w.gaps, &w.place};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		*numbers[i] = own(NULL, EDGES * sizeof(double));
	w.thins = own(NULL, 2 * EDGES * sizeof(double));
	int64_t **counts[] = {&w.classes, &w.moves, &w.level};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
		*counts[i] = own(NULL, EDGES * sizeof(int64_t));
	w.held = own(NULL, EDGES);
	w.rest = own(NULL, EDGES / 6 * sizeof(int64_t));
	w.column = own(NULL, CLASSES * sizeof(int64_t));
	for (int e = 0; e < EDGES; e++) {
		w.edge_ns[e] = 30e3 * e;
		w.classes[e] = e % 4;
		w.moves[e] = e % 6 == 0 ? -1 : e / 6;
		w.steps[e] = 1 + e % 3;
		w.stalled[e] = 2;
		w.place[e] = (e % 6 - 3) / 4.0;
		w.gaps[e] = e % 6 - 3;
		w.stall[e] = 0.5;
	}
	for (int i = 0; i < EDGES / 6; i++)
		w.rest[i] = 4;
	for (int c = 0; c < CLASSES; c++)
		w.column[c] = c;
	w.at_ns = own(NULL, ROWS * sizeof(double));
	w.first = own(NULL, ROWS * sizeof(int64_t));
	w.last = own(NULL, ROWS * sizeof(int64_t));
	for (int r = 0; r < ROWS; r++) {
		w.at_ns[r] = 200e3 + 217e3 * r;
		w.first[r] = r == 0 ? 0 : (int64_t)((w.at_ns[r] - 131e3) / 30e3); /* whose slope does not count: it is seen whole */
		w.last[r] = (int64_t)(w.at_ns[r] / 30e3);
		if (w.last[r] >= EDGES)
			w.last[r] = EDGES - 1;
	}
	w.ran = (np_ran){.edge_ns = w.edge_ns, .classes = w.classes, .moves = w.moves, .level = w.level, .steps = w.steps,
					 .stalled = w.stalled, .stall = w.stall, .more = w.more, .rest = w.rest, .gaps = w.gaps,
					 .place = w.place, .held = w.held, .thins = w.thins, .edges = EDGES};
	w.answer = (np_answer){0.0, 1 / STEP_NS, SIZE, WIDTH, 6, w.table};
	return w;
}

static void freed(world *w)
{
	void *all[] = {w->table, w->edge_ns, w->steps, w->stalled, w->stall, w->more, w->gaps, w->place, w->thins, w->at_ns,
				   w->classes, w->moves, w->level, w->rest, w->column, w->first, w->last, w->held};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free(all[i]);
}

typedef struct {
	const world *world;
	np_seen seen;
	int64_t runs;
} summed;

static summed sums_of(const world *w)
{
	int64_t runs = 0;
	for (int r = 0; r < ROWS; r++)
		runs += w->last[r] - w->first[r] + 1;
	np_seen seen = {
		.share = own(NULL, ROWS * CLASSES * sizeof(double)), .stalled = own(NULL, ROWS * CLASSES * sizeof(double)),
		.touched = CLASSES, .column = w->column, .by_stall = own(NULL, ROWS * sizeof(double)),
		.changes = own(NULL, 6 * ROWS * sizeof(double)), .run_row = own(NULL, (size_t)runs * sizeof(int64_t)),
		.run_inference = own(NULL, (size_t)runs * sizeof(int64_t)),
		.run_along = own(NULL, (size_t)runs * NP_ALONG * sizeof(double)),
		.run_slack = own(NULL, (size_t)runs * 2 * sizeof(double)), .by_place = 2,
		.run_walk = own(NULL, (size_t)runs * NP_WALK * sizeof(double)),
	};
	return (summed){w, seen, 0};
}

static void *summing(void *argument)
{
	summed *s = argument;
	const world *w = s->world;
	s->runs = np_overlap(&w->ran, &w->answer, ROWS, w->at_ns, w->first, w->last, &s->seen);
	return NULL;
}

static void forgotten(summed *s)
{
	void *all[] = {s->seen.share, s->seen.stalled, s->seen.by_stall, s->seen.changes, s->seen.run_row,
				   s->seen.run_inference, s->seen.run_along, s->seen.run_slack, s->seen.run_walk};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free(all[i]);
}

static int near(double a, double b)
{
	return a - b < 1e-9 && b - a < 1e-9;
}

/* Shares of a row are 1 together, stalls are what every layer has, and slopes are those of the edges within the window. */
static void test_sums_by_hand(void)
{
	world w = made();
	summed s = sums_of(&w);
	summing(&s);
	for (int r = 0; r < ROWS; r++) {
		double all = 0, stalled = 0, slope = 0;
		for (int c = 0; c < CLASSES; c++) {
			all += s.seen.share[r * CLASSES + c];
			stalled += s.seen.stalled[r * CLASSES + c];
		}
		CHECK(near(all, 1.0));
		CHECK(near(stalled, 0.5));
		CHECK(near(s.seen.by_stall[r], 2.0));
		for (int64_t e = w.first[r] + 1; e <= w.last[r]; e++)
			if (w.at_ns[r] - w.edge_ns[e] < 99e3)
				slope += 1e-5 * w.steps[e];
		CHECK(near(s.seen.changes[r], slope));
		CHECK(near(s.seen.changes[5 * ROWS + r], 6 * slope));
	}
	double alike = 0, whole = 0;
	for (int64_t i = 0; i < s.runs; i++) {
		CHECK(s.seen.run_inference[i] >= 0 && s.seen.run_row[i] >= 0 && s.seen.run_row[i] < ROWS);
		CHECK(near(s.seen.run_along[i * NP_ALONG + 2], s.seen.run_slack[i * 2]));
		CHECK(near(2 * s.seen.run_slack[i * 2], s.seen.run_slack[i * 2 + 1]));
		alike += s.seen.run_along[i * NP_ALONG + 2];
	}
	for (int r = 0; r < ROWS; r++)
		for (int64_t e = w.first[r] + 1; e <= w.last[r]; e++)
			if (w.moves[e] >= 0 && w.at_ns[r] - w.edge_ns[e] < 99e3)
				whole += 1e-5 * w.steps[e];
	CHECK(near(alike, whole));
	forgotten(&s);
	freed(&w);
}

/* What is more of a gap goes to the class that rests, and what is held is moved by nothing. */
static void test_gaps_and_what_is_held(void)
{
	world w = made();
	for (int e = 0; e < EDGES; e++)
		w.more[e] = 0.25, w.held[e] = 1;
	summed s = sums_of(&w);
	summing(&s);
	for (int r = 0; r < ROWS; r++)
		CHECK(s.seen.share[r * CLASSES + 4] <= 0.25 + 1e-9);
	for (int64_t i = 0; i < s.runs; i++)
		for (int k = 0; k < NP_ALONG; k++)
			CHECK(near(s.seen.run_along[i * NP_ALONG + k], 0.0));
	forgotten(&s);
	freed(&w);
}

/* What nobody asks for is not touched. */
static void test_little_is_asked_for(void)
{
	world w = made();
	w.ran.more = NULL, w.ran.held = NULL, w.ran.thins = NULL, w.ran.worth = w.stall;
	w.answer.slopes = 0;
	summed s = sums_of(&w);
	np_seen little = {.share = s.seen.share, .touched = CLASSES, .column = w.column, .by_stall = s.seen.by_stall};
	CHECK(np_overlap(&w.ran, &w.answer, ROWS, w.at_ns, w.first, w.last, &little) == 0);
	for (int r = 0; r < ROWS; r++) {
		double all = 0;
		for (int c = 0; c < CLASSES; c++)
			all += s.seen.share[r * CLASSES + c];
		CHECK(near(all, 0.5));
	}
	forgotten(&s);
	freed(&w);
}

/* Calls share nothing but what none of them changes. */
static void test_several_threads(void)
{
	world w = made();
	summed s[3];
	pthread_t threads[3];
	for (int i = 0; i < 3; i++) {
		s[i] = sums_of(&w);
		CHECK(pthread_create(&threads[i], NULL, summing, &s[i]) == 0);
	}
	for (int i = 0; i < 3; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < 3; i++) {
		CHECK(s[i].runs == s[0].runs);
		CHECK(memcmp(s[i].seen.share, s[0].seen.share, ROWS * CLASSES * sizeof(double)) == 0);
	}
	for (int i = 0; i < 3; i++)
		forgotten(&s[i]);
	freed(&w);
}

int main(void)
{
	test_sums_by_hand();
	test_gaps_and_what_is_held();
	test_little_is_asked_for();
	test_several_threads();
	puts("test_overlap: ok");
	return 0;
}
