/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeline.h - the power of the rails over time, written ahead by another process
 *
 * A timeline is the mapped file (or records in memory); a cursor walks along it in time order. The
 * writer has no memory barriers: a record counts only when its index and its check match.
 */
#ifndef NP_TIMELINE_H
#define NP_TIMELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "sampler.h"

enum { TIMELINE_RAILS = 8 };

struct np_cursor {
	const struct np_timeline *line;
	uint64_t next;			/* index of the record after the one held */
	bool held;			/* start, end and power are those of a record */
	int64_t start_ns;
	int64_t end_ns;
	int64_t answered_ns;		/* up to here power has been told */
	uint64_t underruns;		/* records that came too late, or were overwritten unread */
	double power_uw[TIMELINE_RAILS];
	double idle_uw[TIMELINE_RAILS];
};

/* Put the cursor at the newest record that began at or before t, or at the oldest there is. Takes a while. */
void np_cursor_seek(struct np_cursor *cursor, const struct np_timeline *line, int64_t t_ns);

/*
 * The power at t, and until when it holds (at most limit_ns). Calls must not go back in time. -ESTALE: t
 * lies past the published horizon.
 */
int np_cursor_at(struct np_cursor *cursor, int64_t t_ns, int64_t limit_ns, const double **power_uw, int64_t *until_ns);

#endif
