/* SPDX-License-Identifier: Apache-2.0 */
/* np_reading.h - what one reading is, what can go wrong, and the three clocks */
#ifndef NEURALPOWER_READING_H
#define NEURALPOWER_READING_H

#include <stdint.h>

/* cffi begin */

/* ---- Errors --------------------------------------------------------------------------------- */

/* Our own, above any errno; np_strerror() has their words. */
enum np_error {
	NP_ENOTRING = 1001,
	NP_EVERSION = 1002,
	NP_ETRUNCATED = 1003,
	NP_EHELD = 1004,
	NP_ENOTTIMELINE = 1005,
	NP_EFORKED = 1006,
	NP_ECPU = 1007,
	NP_ENOLIBRARY = 1008,
	NP_ENOTNVML = 1009,
	NP_ENVML = 2000		/* NP_ENVML + n: NVML answered with its nvmlReturn_t n */
};

/* ---- Readings ------------------------------------------------------------------------------- */

enum np_state {
	NP_UNKNOWN = 0,		/* value valid; whether it is newer than the one before cannot be known */
	NP_FRESH = 1,		/* value valid and certainly newer */
	NP_REPEATED = 2,	/* value valid and certainly the one before */
	NP_MISSING = 3		/* no value; error says why */
};

enum np_flag {
	NP_MIXED = 1,		/* voltage and current of this rail may come from different scans */
	NP_SCAN = 2,		/* scan and span are known */
	NP_HELD = 4,		/* not read in this tick: what the last tick had that read it */
	NP_STAMPED = 8		/* scan and span tell the driver's own time stamp; never with NP_SCAN */
};

struct np_reading {
	int64_t value;		/* in the unit of its channel: uV, uA, uW, uJ */
	uint32_t begin_ns;	/* the read lay between these two, from the tick's t_ns, saturating */
	uint32_t end_ns;
	uint8_t state;		/* enum np_state */
	uint8_t error;		/* errno when missing, else 0 */
	uint8_t flags;		/* enum np_flag */
	uint8_t span;		/* with NP_SCAN: the value is from a scan in [scan - span, scan] */
	uint32_t scan;		/* with NP_STAMPED: the stamp lies scan ns before the tick's t_ns, to span us, both saturating */
};

/* Words for 0, a negated errno or a negated NP_E...; never NULL, not to be freed, good until this thread asks again. */
const char *np_strerror(int err);

/* ---- Clocks --------------------------------------------------------------------------------- */

struct np_clocks {
	int64_t monotonic_ns;	/* the middle of the bracket */
	int64_t boottime_ns;
	int64_t realtime_ns;
	int64_t bracket_ns;	/* width: the three agree to within it */
};

/* Read the three clocks together into *out, the caller's: the narrowest bracket of a few tries. Always 0. */
int np_clocks(struct np_clocks *out);

/* cffi end */

#endif
