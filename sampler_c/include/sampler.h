/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler.h - read a board's power rails on time, and keep what was read.
 *
 * A sampler is three things put together by its caller:
 *
 *   source   where readings come from: sysfs files, a chip in software, a recording
 *   loop     a thread that reads the source at absolute deadlines
 *   ring     a shared-memory file that holds the newest ticks (docs/ring.md has its bytes)
 *
 * Ownership. Every np_*_create / np_*_open / np_source_* call hands the caller an instance that he
 * gives back with the matching close or destroy, once. A running sampler borrows its ring and its
 * source: closing either one before np_sampler_stop() gives -EBUSY. A sampler holds both from create to
 * destroy: one that is closed meanwhile is freed with the sampler, which can be asked for its statistics all
 * its life, and gives -EBADF where it is to start again. (A ring's file is let go at once, a source's files
 * with the source.) A simulated source owns the timeline it was given. NULL may be passed to any close or
 * destroy and does nothing.
 *
 * Threads. An instance belongs to one caller thread at a time, except: np_ring_info, np_ring_read and
 * np_ring_epoch may be called from any number of threads (and, on their own mappings, processes)
 * beside the writer; np_sampler_stats, np_sampler_lateness and np_sampler_errors may be called from any
 * thread between create and destroy, np_source_revive until the source is closed. After fork() only the
 * parent may use them.
 *
 * Errors. Functions that can fail return 0 or a negative number: a negated errno, or a negated
 * NP_E... of np_reading.h. np_strerror() has the words for both.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC unless a name says otherwise.
 *
 * One header a contract. Python's cffi reads the marked part of each, in the order below, which is the order of need.
 */
#ifndef NEURALPOWER_SAMPLER_H
#define NEURALPOWER_SAMPLER_H

#include "np_reading.h"
#include "np_ring.h"
#include "np_source.h"
#include "np_sim.h"
#include "np_i2c.h"
#include "np_nvml.h"
#include "np_loop.h"

#endif
