/* SPDX-License-Identifier: Apache-2.0 */
/* np_source.h - where readings come from: what all sources have in common, and those that need no more than paths or rows */
#ifndef NEURALPOWER_SOURCE_H
#define NEURALPOWER_SOURCE_H

#include <stdint.h>

#include "np_reading.h"

/* cffi begin */

/*
 * All that make a source: *out is the caller's until np_source_close(), untouched on an error. Arrays and paths are
 * copied. -EINVAL: not 1 to 64 readings, or a value that cannot be; -ENOMEM.
 */
struct np_source;

enum np_quantity { NP_SHUNT_UV = 0, NP_BUS_UV = 1, NP_CURRENT_UA = 2, NP_POWER_UW = 3 };

struct np_sim_channel {
	uint8_t chip;
	uint8_t channel;	/* 0..2 */
	uint8_t quantity;	/* enum np_quantity; NP_CURRENT_UA and NP_POWER_UW under NP_DRIVER_IIO only */
};

/*
 * Kept-open files that each hold one integer; value = integer * scale. A file that cannot be opened or
 * read is a missing reading, not an error. The files are the source's. waits: the driver waits for the end of a
 * scan in each read. scan_ns: longest time that a scan takes, 0 when that is not known.
 */
int np_source_hwmon(const char *const *paths, const int64_t *scales, uint32_t readings, int waits, int64_t scan_ns,
		    struct np_source **out);

/*
 * Kept-open files of NVIDIA's IIO driver: `ui_input_N` ("mV mA", read once a tick for all its readings) or one
 * integer in mV, mA or mW. The quantities are NP_BUS_UV, NP_CURRENT_UA, NP_POWER_UW. The files are the source's.
 */
int np_source_iio(const char *const *paths, const int32_t *quantities, uint32_t readings, struct np_source **out);

/* Plays count rows (1 or more) of readings, one row a tick; afterwards ENODATA readings, or from the start if repeat. */
int np_source_replay(const struct np_reading *rows, uint64_t count, uint32_t readings, int repeat,
		     struct np_source **out);

/*
 * Read reading i in every every[i]-th tick only (1: in each), before a sampler has the source. The first tick reads all of
 * them; then those with the same number take turns. Between, such a reading is what it was when last read, as
 * NP_REPEATED or NP_MISSING with NP_HELD, and takes no time. One number for each reading, copied, 1 or more (-EINVAL).
 * -EOPNOTSUPP: not this source (iio, replay). -EBUSY while a sampler reads it.
 */
int np_source_decimate(struct np_source *source, const uint8_t *every);

/*
 * Housekeeping, to be called about once a second beside the loop: re-opens files that are gone or were
 * replaced. Calls less than a second apart do nothing. Returns how many files were opened. From any thread, until
 * the source is closed.
 */
int np_source_revive(struct np_source *source);

/*
 * Give a source back, and with it what it owns; no call may be given it any more. Its files go when no sampler that was
 * made with it is left. -EBUSY while a sampler reads it; it is the caller's still.
 */
int np_source_close(struct np_source *source);

/*
 * Read the source at each of count times in virtual time: no thread, no waiting. out, the caller's, has room for
 * count * (5 + 3 * readings) words; the source is borrowed for the call (-EBUSY: a sampler has it). The slot is the
 * position of the time. Returns how many ticks were taken: like the loop, a time that passed while the read before went
 * on is a slot that is missed.
 */
int64_t np_simulate(struct np_source *source, const int64_t *t_ns, uint64_t count, uint32_t epoch, uint64_t *out);

/*
 * Ticks of a simulated source that are not what its timeline says: a record was overwritten before it was read, or came
 * when its beginning had been told as idle. 0 for the others. From any thread, until the source is closed.
 */
uint64_t np_source_underruns(const struct np_source *source);

/* cffi end */

#endif
