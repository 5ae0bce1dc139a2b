// SPDX-License-Identifier: GPL-2.0-only
/* wave.c - what the inputs of the chips are over time. Part of a test bed, never installed. */
#include <linux/err.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "bed.h"

#define MAX_PIECES 65536

static struct bed_piece flat; /* before anything was written */
static struct bed_wave_head wave_head = { .period_ns = NSEC_PER_SEC };
static struct bed_piece *wave = &flat;
static u32 wave_count = 1;

static u64 piece_end(const struct bed_cursor *at)
{
	return at->base_ns + (at->index + 1 < wave_count ? wave[at->index + 1].start_ns : wave_head.period_ns);
}

static void cursor_step(struct bed_cursor *at)
{
	if (++at->index < wave_count)
		return;
	at->index = 0;
	at->base_ns += wave_head.period_ns;
}

void bed_cursor_seek(struct bed_cursor *at, u64 t)
{
	u64 periods = t > wave_head.origin_ns ? div64_u64(t - wave_head.origin_ns, wave_head.period_ns) : 0;

	at->base_ns = wave_head.origin_ns + periods * wave_head.period_ns;
	at->index = 0;
	while (piece_end(at) <= t)
		cursor_step(at);
}

s64 bed_observe(struct bed_cursor *at, u64 from, u64 to, int bus, int channel)
{
	s64 area = 0;

	while (from < to) {
		u64 until = min(to, piece_end(at));

		area += (s64)(until - from) * wave[at->index].uv[bus][channel];
		from = until;
		if (from == piece_end(at))
			cursor_step(at);
	}
	return area;
}

static int wave_check(const struct bed_wave_head *head, const struct bed_piece *pieces, u32 count)
{
	u32 i;

	if (!count || pieces[0].start_ns || pieces[count - 1].start_ns >= head->period_ns)
		return -EINVAL;
	for (i = 1; i < count; i++) {
		if (pieces[i].start_ns <= pieces[i - 1].start_ns)
			return -EINVAL;
	}
	return 0;
}

struct bed_piece *bed_wave_from_user(const char __user *from, size_t bytes, struct bed_wave_head *head, u32 *count)
{
	struct bed_piece *pieces;
	size_t body = bytes - sizeof(*head);
	int err;

	*count = body / sizeof(*pieces);
	if (bytes <= sizeof(*head) || *count > MAX_PIECES || *count * sizeof(*pieces) != body)
		return ERR_PTR(-EINVAL);
	pieces = vmalloc(body);
	if (!pieces)
		return ERR_PTR(-ENOMEM);
	err = copy_from_user(head, from, sizeof(*head)) || copy_from_user(pieces, from + sizeof(*head), body) ? -EFAULT : 0;
	if (!err)
		err = wave_check(head, pieces, *count);
	if (err) {
		vfree(pieces);
		return ERR_PTR(err);
	}
	return pieces;
}

struct bed_piece *bed_wave_exchange(struct bed_piece *pieces, const struct bed_wave_head *head, u32 count)
{
	struct bed_piece *old = wave;

	wave = pieces ? pieces : &flat;
	wave_count = count;
	if (head)
		wave_head = *head;
	return old == &flat ? NULL : old;
}
