/* SPDX-License-Identifier: Apache-2.0 */
/* scan_track.c - intervals for the ends of scans, from looks at the conversion-ready flag */
#include "scan_track.h"

#include <math.h>
#include <string.h>

static double later(double a, double b)
{
	return a > b ? a : b;
}

static double earlier(double a, double b)
{
	return a < b ? a : b;
}

static uint32_t whole(double x)
{
	return x <= 0 ? 0 : x >= UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)x;
}

static void forget_length(struct scan_track *track)
{
	track->shortest_ns = track->nominal_ns * (1 - SCAN_TOLERANCE);
	track->longest_ns = track->nominal_ns * (1 + SCAN_TOLERANCE);
	track->since_anchor = 0;
}

void scan_track_init(struct scan_track *track, double nominal_ns)
{
	memset(track, 0, sizeof(*track));
	track->nominal_ns = nominal_ns;
	forget_length(track);
}

void scan_track_lose(struct scan_track *track)
{
	track->known = false;
	forget_length(track);
}

/* What was learnt, as far as it still holds when the clock has drifted on; what follows is learnt from a new anchor. */
static void loosen_length(struct scan_track *track, double share)
{
	double drift = track->nominal_ns * share;

	track->shortest_ns = later(track->shortest_ns - drift, track->nominal_ns * (1 - SCAN_TOLERANCE));
	track->longest_ns = earlier(track->longest_ns + drift, track->nominal_ns * (1 + SCAN_TOLERANCE));
	track->since_anchor = 0;
}

/* The length of a scan, from an end long ago and the one just found. */
static void learn_length(struct scan_track *track, uint32_t scans)
{
	double drift = track->nominal_ns * SCAN_DRIFT;
	double n;

	if (!track->since_anchor) {
		track->anchor = track->end;
		track->since_anchor = 1; /* counts from 1: 0 says that there is none */
		return;
	}
	track->since_anchor += scans;
	n = track->since_anchor - 1;
	track->shortest_ns = later(track->shortest_ns, (track->end.low - track->anchor.high) / n - drift);
	track->longest_ns = earlier(track->longest_ns, (track->end.high - track->anchor.low) / n + drift);
	if (track->since_anchor <= SCAN_ANCHOR)
		return;
	loosen_length(track, SCAN_DRIFT);
	track->anchor = track->end;
	track->since_anchor = 1;
}

/* `found` is where the newest end lies by this look alone; whether it fits the lattice. */
static bool link(struct scan_track *track, struct moment found, struct scan_step *step)
{
	struct moment end;

	step->low = whole(later(1, ceil((found.low - track->end.high) / track->longest_ns)));
	step->high = whole(floor((found.high - track->end.low) / track->shortest_ns));
	if (step->high < step->low)
		return false;
	end.low = later(found.low, track->end.low + step->low * track->shortest_ns);
	end.high = earlier(found.high, track->end.high + step->high * track->longest_ns);
	if (end.low > end.high)
		return false;
	track->end = end;
	if (step->low == step->high)
		learn_length(track, step->low);
	else
		track->since_anchor = 0; /* looks too far apart to count the scans between: nothing is learnt */
	return true;
}

static void count_scans(struct scan_track *track, struct scan_step step)
{
	track->count += step.high;
	track->slack = track->slack > UINT32_MAX / 4 ? track->slack : track->slack + step.high - step.low;
}

/* The flag was set and there is no lattice: any number of scans may have ended since the look before, but one did. */
static struct scan_step find(struct scan_track *track, struct moment before)
{
	struct scan_step step = { 0, SCAN_UNKNOWN };
	struct scan_step ended = { 0, 0 };

	forget_length(track);
	track->known = true;
	track->end = (struct moment){ track->look.low - track->longest_ns, track->look.high };
	if (track->looked) {
		track->end.low = later(track->end.low, before.low);
		ended = (struct scan_step){ 1, whole(later(1, ceil((track->look.high - track->counted_ns) / track->shortest_ns))) };
	}
	learn_length(track, 0);
	count_scans(track, ended);
	return step;
}

void scan_track_settle(struct scan_track *track)
{
	loosen_length(track, SCAN_DRIFT_EVER);
}

static struct scan_step look_unset(struct scan_track *track, double begin)
{
	if (!track->known)
		return (struct scan_step){ 0, SCAN_UNKNOWN };
	/* No end between the looks: the next is still to come. */
	track->end.low = later(track->end.low, begin - track->longest_ns);
	if (track->end.low > track->end.high) {
		scan_track_lose(track);
		return (struct scan_step){ 0, SCAN_UNKNOWN };
	}
	return (struct scan_step){ 0, 0 };
}

struct scan_step scan_track_look(struct scan_track *track, int64_t begin_ns, int64_t end_ns, bool set)
{
	struct moment before = track->look;
	struct moment found = { (double)begin_ns - track->longest_ns, (double)end_ns };
	struct scan_step step = { 0, SCAN_UNKNOWN };

	if (track->nominal_ns <= 0)
		return step;
	track->look = (struct moment){ (double)begin_ns, (double)end_ns };
	if (track->looked)
		found.low = later(found.low, before.low);
	if (!set)
		step = look_unset(track, (double)begin_ns);
	else if (track->known && link(track, found, &step))
		count_scans(track, step);
	else
		step = find(track, before);
	/* Before the first look there was nothing to count. */
	if (track->known || !track->looked)
		track->counted_ns = (double)begin_ns;
	track->looked = true;
	return step;
}

static uint32_t conversions(double since_end, double offset, double length)
{
	return whole(floor((since_end - offset) / length) + 1);
}

struct scan_step scan_track_register(const struct scan_track *track, double offset_ns, int64_t begin_ns, int64_t end_ns)
{
	double fast = track->shortest_ns / track->nominal_ns;
	double slow = track->longest_ns / track->nominal_ns;

	return (struct scan_step){
		conversions((double)begin_ns - track->end.high, offset_ns * slow, track->longest_ns),
		conversions((double)end_ns - track->end.low, offset_ns * fast, track->shortest_ns),
	};
}
