/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i2c_answers.c - any config, and any answers of a bus, at any times: what is said of the readings must be sound
 *
 * The bytes are, first, the chip's config, the wait, the period and the offset; then, for each transfer, how long it takes, whether it
 * fails, and the register's two bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "i2c_reader.h"
#include "virtual_clock.h"

enum { TICKS = 400, CHANNELS = 6, HEAD = 10 };

struct scripted {
	struct i2c_bus bus;
	const uint8_t *data;
	size_t size;
	size_t at;
};

static void require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static uint8_t next_byte(struct scripted *bus)
{
	return bus->at < bus->size ? bus->data[bus->at++] : 0;
}

static int scripted_read(struct i2c_bus *bus, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t *value)
{
	struct scripted *script = (struct scripted *)bus;
	uint8_t how = next_byte(script);

	(void)address;
	(void)reg;
	/* From a microsecond, which no bus is as quick as, to a second, by powers of two. */
	clock->sleep_until(clock, np_clock_monotonic(clock) + 1000 + ((INT64_C(1) << (how & 31)) >> 1));
	*value = (uint16_t)(next_byte(script) << 8);
	*value |= next_byte(script);
	return how & 0x80 ? -(how & 0x40 ? EIO : EREMOTEIO) : 0;
}

static const struct i2c_bus_ops scripted_ops = { .read = scripted_read };
static const struct np_source_ops source_ops = { .decimates = true };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtual_clock clock = VIRTUAL_CLOCK(1000000000);
	struct scripted script = { .bus = { &scripted_ops }, .data = data + HEAD, .size = size < HEAD ? 0 : size - HEAD };
	struct held_reading held[CHANNELS] = { 0 };
	struct np_source source;
	struct np_reading readings[CHANNELS] = { 0 };
	struct i2c_reader *reader;
	uint32_t counted[2] = { 0 };
	int64_t period_ns;

	if (size < HEAD)
		return 0;
	reader = calloc(1, sizeof(*reader));
	reader->bus = &script.bus;
	reader->chip_count = 1 + (data[0] & 1);
	reader->channel_count = CHANNELS;
	reader->wait_ns = data[0] & 2 ? (int64_t)data[1] << (data[2] & 15) : 0;
	for (uint32_t chip = 0; chip < reader->chip_count; chip++) {
		reader->chips[chip].config = (uint16_t)(data[3] << 8 | data[4]);
		memcpy(reader->chips[chip].offset_uv, (int32_t[3]){ (int8_t)data[5], data[5] * 65536, -(data[5] << 20) }, 12);
	}
	period_ns = 1 + ((int64_t)data[6] << (data[7] & 31));
	for (uint32_t i = 0; i < CHANNELS; i++) {
		reader->channels[i].chip = (uint8_t)(i % reader->chip_count);
		reader->channels[i].channel = (uint8_t)(i / 2);
		reader->channels[i].bus = i % 2;
		held[i].every = (uint8_t)(1 + (data[8] >> i % 8 & 1) * data[9] % 16);
		held[i].next = held[i].every ? (uint8_t)(held[i].every - 1) : 0;
	}
	source_init(&source, &source_ops, CHANNELS);
	if (data[0] & 4)
		source.held = held;
	require(!i2c_reader_init(reader), "a reader of these chips");
	source_hold_none(&source);
	for (int tick = 0; tick < TICKS && script.at < script.size; tick++) {
		int64_t t_ns = clock.now_ns;

		source.due_ns = data[0] & 8 ? t_ns + period_ns : 0;
		i2c_reader_read(reader, &source, &clock.clock, t_ns, readings);
		for (uint32_t i = 0; i < CHANNELS; i++) {
			require(readings[i].state <= NP_MISSING, "a state that there is");
			require((readings[i].state == NP_MISSING) == (readings[i].error != 0), "an errno where nothing was read");
			require(readings[i].begin_ns <= readings[i].end_ns, "a reading ends after it began");
		}
		for (uint32_t chip = 0; chip < reader->chip_count; chip++) {
			uint32_t now = reader->chips[chip].track.count;

			require((int32_t)(now - counted[chip]) >= 0, "the count of scans that is told never goes back");
			counted[chip] = now;
		}
		if (clock.now_ns < t_ns + period_ns)
			clock.now_ns = t_ns + period_ns;
		if (data[0] & 16 && tick == TICKS / 2)
			i2c_reader_start(reader), memset(counted, 0, sizeof(counted));
	}
	free(reader);
	return 0;
}
