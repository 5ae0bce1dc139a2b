/* SPDX-License-Identifier: Apache-2.0 */
/* source_replay.c - readings that were recorded before, one row a tick */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"
#include "source.h"

struct source_replay {
	struct np_source source;
	uint64_t count;
	uint64_t next;
	bool repeat;
	struct np_reading rows[];
};

static void replay_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns,
			struct np_reading *readings)
{
	struct source_replay *replay = (struct source_replay *)source;

	(void)clock;
	(void)t_ns;
	if (replay->next == replay->count && replay->repeat)
		replay->next = 0;
	if (replay->next == replay->count) {
		for (uint32_t i = 0; i < source->readings; i++)
			reading_miss(&readings[i], ENODATA);
		return;
	}
	memcpy(readings, replay->rows + replay->next * source->readings, source->readings * sizeof(*readings));
	replay->next++;
}

static void replay_close(struct np_source *source)
{
	free(source);
}

static const struct np_source_ops replay_ops = { .read = replay_read, .close = replay_close };

int np_source_replay(const struct np_reading *rows, uint64_t count, uint32_t readings, int repeat,
		     struct np_source **out)
{
	struct source_replay *replay;
	size_t bytes;

	if (readings < 1 || readings > RING_MAX_READINGS || count < 1)
		return -EINVAL;
	if (__builtin_mul_overflow(count, readings * sizeof(*rows), &bytes) || bytes > SIZE_MAX / 2)
		return -ENOMEM;
	replay = malloc(sizeof(*replay) + bytes);
	if (!replay)
		return -ENOMEM;
	source_init(&replay->source, &replay_ops, readings);
	replay->count = count;
	replay->next = 0;
	replay->repeat = repeat != 0;
	memcpy(replay->rows, rows, bytes);
	*out = &replay->source;
	return 0;
}
