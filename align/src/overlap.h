/* SPDX-License-Identifier: Apache-2.0 */
/* overlap.h - what conversions saw of what ran: the sums over all edges that each row of the regression is made of.
 *
 * The caller owns all memory; nothing is kept beyond a call, nothing is allocated, and a call may run in any number of threads.
 */
#ifndef NP_OVERLAP_H
#define NP_OVERLAP_H

#include <stdint.h>

/* cffi begin */
enum { NP_ALONG = 3, NP_WALK = 16 };

/* What ran: class `classes[e]` from edge e to the next. Pointers marked NULL may be that: then it is 0 everywhere. */
typedef struct {
	const double *edge_ns;
	const double *beside_ns; /* by how much later an edge lies; NULL */
	const int64_t *classes;
	const int64_t *moves;   /* the inference that moves an edge, or -1 */
	const int64_t *level;   /* which of the answers sees it */
	const double *steps;    /* by how much the power changes, W */
	const double *stalled;  /* W for each share of stall */
	const double *stall;    /* how much longer than usual the layer takes */
	const double *worth;    /* what the stall makes of a stretch; NULL: stalls are summed apart */
	const double *more;     /* what part of a stretch is a gap; NULL */
	const int64_t *rest;    /* of each inference, the class that runs there */
	const double *gaps;     /* by how much longer gaps move an edge */
	const double *place;    /* where in its inference it lies, -1/2 to 1/2 */
	const uint8_t *held;    /* whether nothing moves it; NULL */
	const double *thins;    /* (2, edges) W per ns by which longer gaps thin a stretch; NULL */
	int64_t edges;
} np_ran;

/* The answers to a step, `size` entries each, one after the other: at first_ns + i / per_ns rows of `width`, which are the answer, by how much it
 * rises to the next entry, and slopes, of which the first `slopes` count. */
typedef struct {
	double first_ns;
	double per_ns;
	int64_t size;
	int64_t width;
	int64_t slopes; /* 6 at most */
	const double *rows;
} np_answer;

/* Sums of each row, and of each run of edges of a row that one inference moves. What is NULL is not summed. */
typedef struct {
	double *share; /* (rows, touched) */
	double *stalled;
	int64_t touched;
	const int64_t *column; /* of each class */
	double *by_stall;      /* (rows) */
	double *changes;       /* (slopes, rows) W */
	int64_t *run_row;
	int64_t *run_inference;
	double *run_along;  /* (runs, NP_ALONG): by its place, by its gaps, alike */
	double *run_slack;  /* (runs, by_place) */
	int64_t by_place;   /* 1: slopes; 2: bends too */
	double *run_walk;   /* (runs, NP_WALK) */
} np_seen;

/* Row r ends at_ns[r] and sees the edges first[r] to last[r]. Gives how many runs there were. */
int64_t np_overlap(const np_ran *ran, const np_answer *answer, int64_t rows, const double *at_ns, const int64_t *first,
				   const int64_t *last, np_seen *seen);
/* cffi end */

#endif
