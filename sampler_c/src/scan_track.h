/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan_track.h - what looks at the conversion-ready flag tell about the chip's scans
 *
 * The flag is set when a scan ends and cleared by looking. From each look follows an interval in which the
 * newest end lies; the length of a scan, known to some percent, links the intervals into a lattice that soon
 * pins both down. Every statement is an interval that holds the truth, as long as the chip's clock stays within
 * SCAN_TOLERANCE of nominal and does not change by more than SCAN_DRIFT over SCAN_ANCHOR scans (SCAN_DRIFT_EVER
 * where looks are too far apart to follow it), and nobody else looks at the flag. When the looks contradict the lattice, it is given up and found again.
 */
#ifndef NP_SCAN_TRACK_H
#define NP_SCAN_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#define SCAN_TOLERANCE 0.15
#define SCAN_DRIFT 0.00015
#define SCAN_DRIFT_EVER 0.0015
#define SCAN_ANCHOR 512

/* A moment that lies in [low, high]. */
struct moment {
	double low;
	double high;
};

struct scan_track {
	double nominal_ns;	/* of a scan; 0: the chip does not convert continuously */
	double shortest_ns;	/* a scan lasts this .. */
	double longest_ns;
	bool looked;
	struct moment look;	/* when the flag was last looked at */
	bool known;
	struct moment end;	/* of the newest scan that had ended then */
	struct moment anchor;	/* end of an earlier scan .. */
	uint32_t since_anchor;	/* .. so many scans ago; 0: none */
	double counted_ns;	/* scans are counted up to this moment or a later one */
	uint32_t least;		/* so many scans have ended since the start .. */
	uint32_t most;
	bool settling;		/* some of them are in doubt, which what is learnt since may yet settle: */
	struct moment origin;	/* at this end .. */
	uint32_t origin_least;	/* .. so many had ended */
	uint32_t origin_most;
	uint32_t count;		/* what is told: `most`, but never less than told before */
	uint32_t slack;		/* count - least */
};

/* How many scans ended between this look and the one before; unknown if high is SCAN_UNKNOWN. */
struct scan_step {
	uint32_t low;
	uint32_t high;
};

#define SCAN_UNKNOWN UINT32_MAX

void scan_track_init(struct scan_track *track, double nominal_ns);

/* The flag was looked at between begin and end. */
struct scan_step scan_track_look(struct scan_track *track, int64_t begin_ns, int64_t end_ns, bool set);

/* Learning is over, looks will be too far apart: what is known of the length is to hold for a drift of SCAN_DRIFT_EVER. */
void scan_track_settle(struct scan_track *track);

/* A look that failed: it may have cleared the flag. */
void scan_track_lose(struct scan_track *track);

/*
 * While the track is known: from which scan a register has its value that is converted `offset_ns` (nominal) after a
 * scan's beginning and read between begin and end, relative to the newest scan that had ended at the last look.
 */
struct scan_step scan_track_register(const struct scan_track *track, double offset_ns, int64_t begin_ns, int64_t end_ns);

#endif
