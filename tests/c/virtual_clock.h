/* SPDX-License-Identifier: Apache-2.0 */
/* virtual_clock.h - a clock that goes on only when somebody waits */
#ifndef VIRTUAL_CLOCK_H
#define VIRTUAL_CLOCK_H

#include "clock.h"

struct virtual_clock {
	struct np_clock clock;
	int64_t now_ns;
};

static inline int64_t virtual_now(const struct np_clock *clock, int id)
{
	(void)id;
	return ((const struct virtual_clock *)clock)->now_ns;
}

static inline int virtual_sleep(const struct np_clock *clock, int64_t deadline_ns)
{
	struct virtual_clock *virtual = (struct virtual_clock *)clock;

	if (deadline_ns > virtual->now_ns)
		virtual->now_ns = deadline_ns;
	return 0;
}

#define VIRTUAL_CLOCK(start_ns) { { virtual_now, virtual_sleep }, start_ns }

#endif
