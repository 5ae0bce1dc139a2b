// SPDX-License-Identifier: GPL-2.0-only
/* chip.c - an INA3221 in kernel time. Part of a test bed, never installed. */
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "bed.h"

/* A gap of more scans than this leaves no trace of what was before in any average. */
#define MAX_BEHIND 16384

#define REG_CONFIG 0x00
#define REG_SUM 0x0d
#define REG_MASK 0x0f
#define REG_MAKER 0xfe
#define REG_DIE 0xff
#define CONFIG_RESET 0x7127
#define CONFIG_RST 0x8000
#define MODE_SHUNT 1
#define MODE_BUS 2
#define MODE_CONTINUOUS 4
#define MASK_CVRF 0x0001
#define MASK_SUM_CHANNELS 0x7000
#define MASK_WRITABLE 0x7c00

static const u32 conversion_ns[8] = { 140000, 204000, 332000, 588000, 1100000, 2116000, 4156000, 8244000 };
static const u8 average_shift[8] = { 0, 2, 4, 6, 7, 8, 9, 10 };

/* ---- Converting ----------------------------------------------------------------------------- */

static u32 length_ns(const struct bed_chip *chip, u8 what)
{
	return conversion_ns[chip->config >> (what & 1 ? 6 : 3) & 7];
}

static void restart(struct bed_chip *chip, u64 now)
{
	int channel;

	chip->scan_length = 0;
	for (channel = 0; channel < CHANNELS; channel++) {
		if (!(chip->config >> (14 - channel) & 1))
			continue;
		if (chip->config & MODE_SHUNT)
			chip->scan[chip->scan_length++] = channel * 2;
		if (chip->config & MODE_BUS)
			chip->scan[chip->scan_length++] = channel * 2 + 1;
	}
	chip->next = 0;
	chip->began_ns = now;
	chip->restarted_ns = now;
	chip->running = chip->scan_length > 0;
	chip->mask &= ~MASK_CVRF;
	bed_cursor_seek(&chip->cursor, now);
}

void bed_reset(struct bed_chip *chip, u64 now)
{
	chip->config = CONFIG_RESET;
	chip->mask = 0x0002;
	memset(chip->average, 0, sizeof(chip->average));
	memset(chip->converted, 0, sizeof(chip->converted));
	memset(chip->limits, 0, sizeof(chip->limits));
	restart(chip, now);
}

static void convert(struct bed_chip *chip, u8 what, u64 until)
{
	int bus = what & 1, channel = what >> 1;
	s64 step = (s64)(until - chip->began_ns) * (bus ? 8000 : 40);
	s64 area = bed_observe(&chip->cursor, chip->began_ns, until, bus, channel);
	s64 *average = &chip->average[bus][channel];
	/* To the nearest step, halves up; the offset makes what is divided positive. */
	s64 steps = div64_s64(area + 8192 * step + step / 2, step) - 8192;

	steps = clamp_t(s64, steps, bus ? 0 : -4096, 4095) << bed_settings.fraction_bits;
	if (chip->converted[bus][channel])
		*average += (steps - *average) >> average_shift[chip->config >> 9 & 7];
	else
		*average = steps;
	chip->converted[bus][channel] = true;
}

static void end_scan(struct bed_chip *chip)
{
	u32 every = bed_settings.cvrf_averaged ? 1 << average_shift[chip->config >> 9 & 7] : 1;

	chip->next = 0;
	if (++chip->scans % every == 0)
		chip->mask |= MASK_CVRF;
	if (!(chip->config & MODE_CONTINUOUS))
		chip->running = false;
}

static void skip_scans(struct bed_chip *chip, u64 now)
{
	u64 scan = 0, behind;
	u32 i;

	for (i = 0; i < chip->scan_length; i++)
		scan += length_ns(chip, chip->scan[i]);
	behind = div64_u64(now - chip->began_ns, scan);
	if (behind <= MAX_BEHIND)
		return;
	chip->began_ns += (behind - MAX_BEHIND) * scan;
	chip->scans += behind - MAX_BEHIND;
	bed_cursor_seek(&chip->cursor, chip->began_ns);
}

void bed_advance(struct bed_chip *chip, u64 now)
{
	if (chip->running && chip->config & MODE_CONTINUOUS)
		skip_scans(chip, now);
	while (chip->running) {
		u8 what = chip->scan[chip->next];
		u64 until = chip->began_ns + length_ns(chip, what);

		if (until > now)
			break;
		convert(chip, what, until);
		chip->began_ns = until;
		if (++chip->next == chip->scan_length)
			end_scan(chip);
	}
}

/* ---- Its registers -------------------------------------------------------------------------- */

static s16 result(const struct bed_chip *chip, int bus, int channel)
{
	s64 half = bed_settings.fraction_bits ? 1LL << (bed_settings.fraction_bits - 1) : 0;

	return (s16)((chip->average[bus][channel] + half) >> bed_settings.fraction_bits);
}

static u16 read_sum(const struct bed_chip *chip)
{
	int channel, sum = 0;

	for (channel = 0; channel < CHANNELS; channel++) {
		if (chip->mask >> (14 - channel) & 1)
			sum += result(chip, 0, channel);
	}
	return (u16)(sum << 1);
}

u16 bed_read_register(struct bed_chip *chip, u8 number)
{
	u16 value;

	switch (number) {
	case REG_CONFIG:
		return chip->config;
	case 0x01 ... 0x06:
		return (u16)(result(chip, (number - 1) & 1, (number - 1) >> 1) << 3);
	case 0x07 ... 0x0c:
		return chip->limits[number - 0x07];
	case REG_SUM:
		return read_sum(chip);
	case REG_MASK:
		value = chip->mask;
		chip->mask &= ~MASK_CVRF;
		chip->mask_reads++;
		return value;
	case REG_MAKER:
		return 0x5449;
	case REG_DIE:
		return 0x3220;
	default:
		return 0;
	}
}

void bed_write_register(struct bed_chip *chip, u8 number, u16 value, u64 now)
{
	switch (number) {
	case REG_CONFIG:
		chip->config_writes++;
		if (value & CONFIG_RST) {
			bed_reset(chip, now);
			break;
		}
		chip->config = value;
		restart(chip, now);
		break;
	case 0x07 ... 0x0c:
		chip->limits[number - 0x07] = value;
		break;
	case REG_MASK:
		chip->mask = (chip->mask & ~MASK_WRITABLE) | (value & MASK_WRITABLE);
		break;
	}
}

