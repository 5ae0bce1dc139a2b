/* SPDX-License-Identifier: Apache-2.0 */
/* source.c - what all sources have in common, and reading one in virtual time */
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

#define REVIVE_EVERY_NS INT64_C(1000000000)

void source_init(struct np_source *source, const struct np_source_ops *ops, uint32_t readings)
{
	source->ops = ops;
	source->readings = readings;
	source->held = NULL;
	source->due_ns = 0;
	atomic_init(&source->underruns, 0);
	atomic_init(&source->revived_ns, INT64_MIN / 2);
	atomic_init(&source->busy, false);
	atomic_init(&source->closed, false);
	atomic_init(&source->holders, 1);
}

void source_hold(struct np_source *source)
{
	atomic_fetch_add(&source->holders, 1);
}

void source_let_go(struct np_source *source)
{
	if (atomic_fetch_sub(&source->holders, 1) > 1)
		return;
	free(source->held);
	source->ops->close(source);
}

void reading_miss(struct np_reading *reading, int err)
{
	reading->value = 0;
	reading->state = NP_MISSING;
	/* Kernel-private numbers such as ENOTSUPP (524) do not fit: a driver that leaks them breaks protocol. */
	reading->error = (uint8_t)(err > 0 && err <= UINT8_MAX ? err : EPROTO);
}

int np_source_revive(struct np_source *source)
{
	int64_t now = np_clock_monotonic(&np_system_clock);
	int64_t last = atomic_load(&source->revived_ns);

	if (!source->ops->revive || now - last < REVIVE_EVERY_NS)
		return 0;
	/* Of two threads that come here together, one does it. */
	if (!atomic_compare_exchange_strong(&source->revived_ns, &last, now))
		return 0;
	return source->ops->revive(source);
}

int np_source_close(struct np_source *source)
{
	if (!source)
		return 0;
	if (atomic_load(&source->busy))
		return -EBUSY;
	atomic_store(&source->closed, true);
	source_let_go(source);
	return 0;
}

void source_hold_none(struct np_source *source)
{
	uint32_t turn = 0;

	for (uint32_t i = 0; source->held && i < source->readings; i++) {
		struct held_reading *held = &source->held[i];

		held->left = 0;
		held->next = (uint8_t)(held->every > 1 ? turn++ % held->every : 0);
	}
}

int np_source_decimate(struct np_source *source, const uint8_t *every)
{
	if (!source->ops->decimates)
		return -EOPNOTSUPP;
	if (atomic_load(&source->busy))
		return -EBUSY;
	for (uint32_t i = 0; i < source->readings; i++) {
		if (every[i] < 1)
			return -EINVAL;
	}
	if (!source->held)
		source->held = calloc(source->readings, sizeof(*source->held));
	if (!source->held)
		return -ENOMEM;
	for (uint32_t i = 0; i < source->readings; i++)
		source->held[i].every = every[i];
	source_hold_none(source);
	return 0;
}

uint64_t np_source_underruns(const struct np_source *source)
{
	return atomic_load_explicit(&source->underruns, memory_order_relaxed);
}

/* A clock that goes on only when somebody waits. */
struct virtual_clock {
	struct np_clock clock;
	int64_t now_ns;
};

static int64_t virtual_now(const struct np_clock *clock, int id)
{
	(void)id;
	return ((const struct virtual_clock *)clock)->now_ns;
}

static int virtual_sleep_until(const struct np_clock *clock, int64_t deadline_ns)
{
	struct virtual_clock *virtual = (struct virtual_clock *)clock;

	if (deadline_ns > virtual->now_ns)
		virtual->now_ns = deadline_ns;
	return 0;
}

int64_t np_simulate(struct np_source *source, const int64_t *t_ns, uint64_t count, uint32_t epoch, uint64_t *out)
{
	struct virtual_clock virtual = { .clock = { .now = virtual_now, .sleep_until = virtual_sleep_until } };
	struct np_reading readings[RING_MAX_READINGS];
	uint64_t words = RING_TICK_WORDS + RING_READING_WORDS * (uint64_t)source->readings;
	uint64_t taken = 0;
	bool blocked = false;

	if (atomic_exchange(&source->busy, true))
		return -EBUSY;
	if (count && source->ops->start)
		source->ops->start(source, t_ns[0]);
	for (uint64_t i = 0; i < count; i++) {
		if (blocked && t_ns[i] <= virtual.now_ns)
			continue; /* as the loop does */
		virtual.now_ns = t_ns[i];
		source->due_ns = i + 1 < count ? t_ns[i + 1] : 0;
		memset(readings, 0, source->readings * sizeof(*readings));
		source->ops->read(source, &virtual.clock, t_ns[i], readings);
		ring_tick_words(out + taken * words, taken, i, t_ns[i], epoch, readings, source->readings);
		blocked = virtual.now_ns > t_ns[i];
		taken++;
	}
	atomic_store(&source->busy, false);
	return (int64_t)taken;
}
