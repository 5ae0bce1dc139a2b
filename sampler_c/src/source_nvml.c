/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source_nvml.c - power and energy of GPUs as NVML gives them
 *
 * NVML's values are renewed at a pace of their own, and asking for some costs milliseconds: each channel is asked in
 * every so many-th tick. Where the driver stamps its values, an equal stamp is the same value and another one a new value,
 * and the reading tells the stamp. A counter that stands still was not renewed: no GPU draws nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nvml.h"
#include "ring.h"
#include "source.h"

/* A wall clock that moved by more than this between two ticks was set, and stamps from before do not fit it any more: */
#define STEP_NS INT64_C(1000000)
/* for so long none are told. Twice the depth of the ring that was measured. */
#define UNSURE_NS INT64_C(5000000000)
/* A stamp further from now than this is on another clock. */
#define OLDEST_NS INT64_C(4000000000)
/* A counter that is not seen to change in so many looks is left until its next turn. */
enum { MOST_LOOKS = 16 };

/* Readings of a ring that wait for their tick. */
struct sample_queue {
	struct nvml_sample samples[NP_NVML_DEPTH];
	uint32_t first;
	uint32_t count;
	uint64_t seen_us;	/* newest stamp so far; 0: none */
	int error;		/* of the last call */
};

struct nvml_channel {
	struct np_nvml_channel at;
	uint32_t left;		/* ticks until NVML is asked again */
	uint32_t looks;		/* of a counter, in this turn */
	bool known;		/* there was a value: */
	int64_t value;
	int64_t stamp_us;
	struct np_reading last;
	struct sample_queue *queue;	/* of a ring */
};

/* What one call gave for both of a GPU's fields. */
struct field_pair {
	bool asked;
	int status[2];
	struct np_nvml_value values[2];
	uint32_t begin_ns;
	uint32_t end_ns;
};

struct source_nvml {
	struct np_source source;
	struct np_nvml *nvml;
	int clock;
	int64_t offset_ns;	/* that clock - CLOCK_MONOTONIC */
	int64_t bracket_ns;
	bool mapped;
	int64_t unsure_until_ns;
	struct nvml_sample scratch[NP_NVML_DEPTH];
	struct field_pair pairs[NP_NVML_GPUS];
	struct nvml_channel channels[RING_MAX_READINGS];
};

/* ---- Time stamps ---------------------------------------------------------------------------- */

static void map_clock(struct source_nvml *nvml, const struct np_clock *clock, int64_t t_ns)
{
	struct np_clocks now;
	int64_t offset_ns;

	if (nvml->clock < 0)
		return;
	np_clocks_bracket(clock, &now);
	offset_ns = nvml->clock == CLOCK_REALTIME ? now.realtime_ns - now.monotonic_ns :
		    nvml->clock == CLOCK_BOOTTIME ? now.boottime_ns - now.monotonic_ns : 0;
	if (nvml->mapped && llabs(offset_ns - nvml->offset_ns) > STEP_NS)
		nvml->unsure_until_ns = t_ns + UNSURE_NS;
	nvml->offset_ns = offset_ns;
	nvml->bracket_ns = now.bracket_ns;
	nvml->mapped = true;
}

static void set_stamp(const struct source_nvml *nvml, struct np_reading *reading, int64_t stamp_us, int64_t t_ns)
{
	int64_t age_ns = t_ns - (stamp_us * 1000 - nvml->offset_ns);
	int64_t span_us = (nvml->bracket_ns + 999) / 1000;

	/* A stamp may be of the call itself, which came after t_ns. */
	if (!nvml->mapped || t_ns < nvml->unsure_until_ns || age_ns < -OLDEST_NS || age_ns > OLDEST_NS)
		return;
	reading->scan = age_ns < 0 ? 0 : (uint32_t)age_ns;
	reading->span = (uint8_t)(span_us > UINT8_MAX ? UINT8_MAX : span_us);
	reading->flags |= NP_STAMPED;
}

/* ---- One channel ---------------------------------------------------------------------------- */

/* Between two turns: what it was, not read. */
static void hold(struct nvml_channel *channel, struct np_reading *reading)
{
	*reading = channel->last;
	reading->begin_ns = reading->end_ns = 0;
	reading->flags = NP_HELD;
	reading->span = 0;
	reading->scan = 0;
	if (reading->state != NP_MISSING)
		reading->state = NP_REPEATED;
}

static void keep(struct nvml_channel *channel, const struct np_reading *reading)
{
	channel->last = *reading;
	channel->left = channel->at.every - 1;
}

static void take_field(struct source_nvml *nvml, struct nvml_channel *channel, const struct np_nvml_value *value,
		       int64_t t_ns, struct np_reading *reading)
{
	bool stamped = channel->at.stamped && value->stamp_us;
	bool changed = stamped ? value->stamp_us != channel->stamp_us : value->value != channel->value;

	reading->value = value->value;
	reading->state = !channel->known ? NP_UNKNOWN : changed ? NP_FRESH : stamped ? NP_REPEATED : NP_UNKNOWN;
	if (stamped)
		set_stamp(nvml, reading, value->stamp_us, t_ns);
	channel->known = true;
	channel->value = value->value;
	channel->stamp_us = value->stamp_us;
}

/* Field 186 or 185; a GPU's two share a call where both are due. */
static void read_field(struct source_nvml *nvml, uint32_t i, const struct np_clock *clock, int64_t t_ns,
		       struct np_reading *reading)
{
	struct nvml_channel *channel = &nvml->channels[i];
	struct field_pair *pair = &nvml->pairs[channel->at.gpu];
	int kind = channel->at.kind;

	if (!pair->asked) {
		bool due[2] = { false, false };
		int err;

		for (uint32_t j = i; j < nvml->source.readings; j++) {
			const struct nvml_channel *other = &nvml->channels[j];

			if (other->at.gpu == channel->at.gpu && other->at.kind <= NP_NVML_AVERAGE && !other->left)
				due[other->at.kind] = true;
		}
		pair->begin_ns = reading_offset(np_clock_monotonic(clock), t_ns);
		err = nvml_read_fields(nvml->nvml, channel->at.gpu, due[0] ? &pair->values[0] : NULL, &pair->status[0],
				       due[1] ? &pair->values[1] : NULL, &pair->status[1]);
		pair->end_ns = reading_offset(np_clock_monotonic(clock), t_ns);
		if (err)
			pair->status[0] = pair->status[1] = err;
		pair->asked = true;
	}
	reading->begin_ns = pair->begin_ns;
	reading->end_ns = pair->end_ns;
	if (pair->status[kind])
		reading_miss(reading, nvml_errno(pair->status[kind]));
	else
		take_field(nvml, channel, &pair->values[kind], t_ns, reading);
	keep(channel, reading);
}

static void read_energy(struct source_nvml *nvml, struct nvml_channel *channel, const struct np_clock *clock,
			int64_t t_ns, struct np_reading *reading)
{
	struct np_nvml_value value = { 0 };
	int status;
	bool still;

	reading->begin_ns = reading_offset(np_clock_monotonic(clock), t_ns);
	status = nvml_read_energy(nvml->nvml, channel->at.gpu, &value);
	reading->end_ns = reading_offset(np_clock_monotonic(clock), t_ns);
	if (status) {
		reading_miss(reading, nvml_errno(status));
		channel->looks = 0;
		keep(channel, reading);
		return;
	}
	still = channel->known && value.value == channel->value;
	reading->value = value.value;
	reading->state = !channel->known ? NP_UNKNOWN : still ? NP_REPEATED : NP_FRESH;
	channel->known = true;
	channel->value = value.value;
	keep(channel, reading);
	/* Looked at again soon, until it has changed from one look to the next. */
	channel->looks++;
	if ((channel->looks > 1 && !still) || channel->looks == MOST_LOOKS)
		channel->looks = 0;
	else if (channel->at.again < channel->at.every)
		channel->left = channel->at.again - 1;
}

/* ---- The ring ------------------------------------------------------------------------------- */

static void queue_add(struct sample_queue *queue, const struct nvml_sample *sample)
{
	if (queue->count == NP_NVML_DEPTH) {
		queue->first = (queue->first + 1) % NP_NVML_DEPTH; /* the oldest goes: stamps show the hole */
		queue->count--;
	}
	queue->samples[(queue->first + queue->count++) % NP_NVML_DEPTH] = *sample;
}

static void fetch(struct source_nvml *nvml, struct nvml_channel *channel, int64_t t_ns)
{
	struct sample_queue *queue = channel->queue;
	bool unsure = t_ns < nvml->unsure_until_ns;
	uint32_t count = 0;
	uint32_t first;

	queue->error = nvml_errno(
		nvml_read_samples(nvml->nvml, channel->at.gpu, unsure ? 0 : queue->seen_us, nvml->scratch, &count));
	if (queue->error || !count)
		return;
	/* What the ring held before the first tick, or before the clock was set, is no part of this. */
	first = queue->seen_us && !unsure ? 0 : count - 1;
	queue->seen_us = nvml->scratch[count - 1].timestamp;
	if (unsure) {
		queue->error = ESTALE;
		queue->count = 0;
		return;
	}
	for (uint32_t i = first; i < count; i++)
		queue_add(queue, &nvml->scratch[i]);
}

/* In each tick the next reading of those that the ring has given, if there is one. */
static void read_samples(struct source_nvml *nvml, struct nvml_channel *channel, const struct np_clock *clock,
			 int64_t t_ns, struct np_reading *reading)
{
	struct sample_queue *queue = channel->queue;

	if (channel->left) {
		channel->left--;
	} else {
		reading->begin_ns = reading_offset(np_clock_monotonic(clock), t_ns);
		fetch(nvml, channel, t_ns);
		reading->end_ns = reading_offset(np_clock_monotonic(clock), t_ns);
		channel->left = channel->at.every - 1;
	}
	if (queue->error || (!queue->count && !channel->known)) {
		reading_miss(reading, queue->error ? queue->error : ENODATA);
		return;
	}
	reading->state = NP_REPEATED;
	if (queue->count) {
		const struct nvml_sample *next = &queue->samples[queue->first];

		reading->state = channel->known ? NP_FRESH : NP_UNKNOWN;
		channel->value = next->value.sll;
		channel->stamp_us = (int64_t)next->timestamp;
		channel->known = true;
		queue->first = (queue->first + 1) % NP_NVML_DEPTH;
		queue->count--;
	}
	reading->value = channel->value;
	set_stamp(nvml, reading, channel->stamp_us, t_ns);
}

/* ---- The source ----------------------------------------------------------------------------- */

static void nvml_start(struct np_source *source, int64_t now_ns)
{
	struct source_nvml *nvml = (struct source_nvml *)source;

	(void)now_ns;
	nvml->mapped = false;
	nvml->unsure_until_ns = INT64_MIN;
	for (uint32_t i = 0; i < source->readings; i++) {
		struct nvml_channel *channel = &nvml->channels[i];

		channel->known = false;
		channel->left = channel->looks = 0;
		if (channel->queue)
			memset(channel->queue, 0, sizeof(*channel->queue));
	}
}

/* A GPU that is lost has no reading, due or not; each is due again when it comes back. */
static bool is_lost(struct source_nvml *nvml, struct nvml_channel *channel, struct np_reading *reading)
{
	struct nvml_gpu *gpu = &nvml->nvml->gpus[channel->at.gpu];

	if (atomic_load(&gpu->device))
		return false;
	channel->left = channel->looks = 0;
	reading_miss(reading, nvml_errno(atomic_load(&gpu->why)));
	return true;
}

static void read_channel(struct source_nvml *nvml, uint32_t i, const struct np_clock *clock, int64_t t_ns,
			 struct np_reading *reading)
{
	struct nvml_channel *channel = &nvml->channels[i];

	if (is_lost(nvml, channel, reading))
		return;
	if (channel->at.kind == NP_NVML_SAMPLES) {
		read_samples(nvml, channel, clock, t_ns, reading);
	} else if (channel->left) {
		channel->left--;
		hold(channel, reading);
	} else if (channel->at.kind == NP_NVML_ENERGY) {
		read_energy(nvml, channel, clock, t_ns, reading);
	} else {
		read_field(nvml, i, clock, t_ns, reading);
	}
}

static void nvml_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns, struct np_reading *readings)
{
	struct source_nvml *nvml = (struct source_nvml *)source;

	map_clock(nvml, clock, t_ns);
	for (uint32_t i = 0; i < NP_NVML_GPUS; i++)
		nvml->pairs[i].asked = false;
	/* Counters last: what they cost delays nobody. */
	for (uint32_t i = 0; i < source->readings; i++) {
		if (nvml->channels[i].at.kind != NP_NVML_ENERGY)
			read_channel(nvml, i, clock, t_ns, &readings[i]);
	}
	for (uint32_t i = 0; i < source->readings; i++) {
		if (nvml->channels[i].at.kind == NP_NVML_ENERGY)
			read_channel(nvml, i, clock, t_ns, &readings[i]);
	}
}

static int nvml_revive_source(struct np_source *source)
{
	return nvml_revive(((struct source_nvml *)source)->nvml);
}

static void nvml_close(struct np_source *source)
{
	struct source_nvml *nvml = (struct source_nvml *)source;

	for (uint32_t i = 0; i < source->readings; i++)
		free(nvml->channels[i].queue);
	np_nvml_close(nvml->nvml);
	free(nvml);
}

static const struct np_source_ops nvml_ops = {
	.start = nvml_start, .read = nvml_read, .revive = nvml_revive_source, .close = nvml_close
};

int np_source_nvml(struct np_nvml *nvml, const struct np_nvml_channel *channels, uint32_t readings, int32_t clock,
		   struct np_source **out)
{
	struct source_nvml *source;

	if (!nvml || readings < 1 || readings > RING_MAX_READINGS ||
	    (clock != -1 && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME && clock != CLOCK_REALTIME))
		return -EINVAL;
	for (uint32_t i = 0; i < readings; i++) {
		if (channels[i].gpu >= nvml->gpu_count || channels[i].kind < NP_NVML_INSTANT ||
		    channels[i].kind > NP_NVML_SAMPLES || channels[i].every < 1 || channels[i].every > UINT16_MAX ||
		    channels[i].again < 1 || channels[i].again > UINT16_MAX)
			return -EINVAL;
	}
	source = calloc(1, sizeof(*source));
	if (!source)
		return -ENOMEM;
	source_init(&source->source, &nvml_ops, readings);
	source->nvml = nvml;
	source->clock = clock;
	nvml_hold(nvml);
	for (uint32_t i = 0; i < readings; i++) {
		source->channels[i].at = channels[i];
		if (channels[i].kind != NP_NVML_SAMPLES)
			continue;
		source->channels[i].queue = calloc(1, sizeof(struct sample_queue));
		if (!source->channels[i].queue) {
			nvml_close(&source->source);
			return -ENOMEM;
		}
	}
	*out = &source->source;
	return 0;
}
