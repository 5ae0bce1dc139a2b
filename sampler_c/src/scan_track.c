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

/* Differences are taken so that all of them may wrap around. */
static void tell_count(struct scan_track *track)
{
	if ((int32_t)(track->most - track->count) > 0)
		track->count = track->most;
	track->slack = track->count - track->least;
}

/*
 * When some looks were too far apart to count what lay between, the length learnt since counts it: all that ended since the
 * end before. Only while the clock cannot have drifted far.
 */
static void settle_count(struct scan_track *track)
{
	double drift = track->nominal_ns * SCAN_DRIFT;
	double fewest = ceil((track->end.low - track->origin.high) / (track->longest_ns + drift));
	double mostly = floor((track->end.high - track->origin.low) / (track->shortest_ns - drift));
	uint32_t least = track->origin_least + whole(fewest);
	uint32_t most = track->origin_most + whole(mostly);

	if (!track->settling)
		return;
	least = (int32_t)(least - track->least) > 0 ? least : track->least;
	most = (int32_t)(most - track->most) < 0 ? most : track->most;
	track->settling = mostly <= SCAN_ANCHOR && (int32_t)(most - least) > (int32_t)(track->origin_most - track->origin_least);
	if ((int32_t)(most - least) < 0)
		return; /* the clock does not keep what is asked of it: what was counted stays */
	track->least = least;
	track->most = most;
	tell_count(track);
}

static void count_scans(struct scan_track *track, struct scan_step step, struct moment before)
{
	if (step.high != step.low && !track->settling) {
		track->settling = true;
		track->origin = before;
		track->origin_least = track->least;
		track->origin_most = track->most;
	}
	track->least += step.low;
	track->most += step.high;
	tell_count(track);
	settle_count(track);
}

/* `found` is where the newest end lies by this look alone; whether it fits the lattice. */
static bool link(struct scan_track *track, struct moment found, struct scan_step *step)
{
	struct moment before = track->end;
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
	count_scans(track, *step, before);
	return true;
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
	track->settling = false; /* what was believed of the lattice may have been wrong */
	track->least += ended.low;
	track->most += ended.high;
	tell_count(track);
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
	else if (!track->known || !link(track, found, &step))
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
