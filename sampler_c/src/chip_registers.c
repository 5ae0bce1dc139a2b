/* SPDX-License-Identifier: Apache-2.0 */
/* chip_registers.c - the chip as the wire sees it: what is written, what is read, what reading changes */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "chip.h"

/* Bits of CHIP_MASK_ENABLE beside CHIP_CVRF. */
enum {
	SUM_CHANNEL_1 = 0x4000,		/* channel 2 and 3 follow below */
	LATCH_WARNING = 0x0800,
	LATCH_CRITICAL = 0x0400,
	CRITICAL_FLAG_1 = 0x0200,
	CRITICAL_FLAGS = 0x0380,
	SUM_FLAG = 0x0040,
	WARNING_FLAG_1 = 0x0020,
	WARNING_FLAGS = 0x0038,
	POWER_VALID = 0x0004,
	MASK_WRITABLE = 0x7c00
};

enum { CONFIG_RESET_BIT = 0x8000, LIMIT_MASK = 0xfff8, SUM_MASK = 0xfffe };

static const int32_t conversion_us[8] = { 140, 204, 332, 588, 1100, 2116, 4156, 8244 };
static const int32_t averages[8] = { 1, 4, 16, 64, 128, 256, 512, 1024 };

int32_t chip_conversion_us(uint16_t config, bool bus)
{
	return conversion_us[config >> (bus ? 6 : 3) & 7];
}

int32_t chip_averages(uint16_t config)
{
	return averages[config >> 9 & 7];
}

bool chip_enabled(uint16_t config, uint32_t channel)
{
	return config >> (14 - channel) & 1; /* channel 1 is the highest of the three bits */
}

/* ---- Configuration -------------------------------------------------------------------------- */

static void add_conversion(struct np_chip *chip, uint8_t channel, bool bus)
{
	chip->scan[chip->scan_length++] = (struct chip_conversion){
		.channel = channel,
		.bus = bus,
		.nominal_ns = chip_conversion_us(chip->plain[CHIP_CONFIG], bus) * 1e3,
	};
}

void chip_decode_config(struct np_chip *chip)
{
	uint16_t config = chip->plain[CHIP_CONFIG];

	chip->scan_length = 0;
	for (uint8_t channel = 0; channel < CHIP_CHANNELS; channel++) {
		if (!chip_enabled(config, channel) || chip->options.rail[channel] < 0)
			continue;
		if (config & CHIP_MODE_SHUNT)
			add_conversion(chip, channel, false);
		if (config & CHIP_MODE_BUS)
			add_conversion(chip, channel, true);
	}
	chip->converting = chip->scan_length > 0;
}

double chip_scan_ns(const struct np_chip *chip)
{
	double sum = 0;

	for (uint32_t i = 0; i < chip->scan_length; i++)
		sum += chip->scan[i].nominal_ns;
	return sum;
}

/* Datasheet, table 5: power-on values. */
void chip_registers_reset(struct np_chip *chip)
{
	memset(chip->plain, 0, sizeof(chip->plain));
	chip->plain[CHIP_CONFIG] = CHIP_CONFIG_RESET;
	for (int limit = CHIP_CRITICAL_1; limit < CHIP_SUM; limit++)
		chip->plain[limit] = 0x7ff8;
	chip->plain[CHIP_SUM_LIMIT] = 0x7ffe;
	chip->plain[CHIP_MASK_ENABLE] = 0x0002;
	chip->plain[CHIP_POWER_VALID_HIGH] = 0x2710;
	chip->plain[CHIP_POWER_VALID_LOW] = 0x2328;
}

/* ---- Results and flags ---------------------------------------------------------------------- */

/* A flag follows its condition, and with its latch stays until it is read. */
static void raise_flag(struct np_chip *chip, uint16_t flag, bool condition, bool latched)
{
	if (condition)
		chip->plain[CHIP_MASK_ENABLE] |= flag;
	else if (!latched)
		chip->plain[CHIP_MASK_ENABLE] &= (uint16_t)~flag;
}

static int32_t limit_steps(const struct np_chip *chip, uint32_t limit)
{
	return (int16_t)chip->plain[limit] >> 3;
}

/* The average after one more conversion: out += (new - out) / N, datasheet 8.4.1. */
static double averaged(const struct np_chip *chip, const struct chip_result *result, int32_t steps)
{
	double step = (steps - result->average) / chip_averages(chip->plain[CHIP_CONFIG]);

	if (!result->converted)
		return steps; /* a chip that has been running for long */
	return result->average + (chip->sim.narrow ? trunc(step) : step);
}

void chip_store(struct np_chip *chip, uint32_t channel, bool bus, int32_t steps)
{
	struct chip_result *result = &chip->results[channel][bus];
	uint16_t mask = chip->plain[CHIP_MASK_ENABLE];

	result->average = averaged(chip, result, steps);
	result->converted = true;
	result->steps = (int32_t)floor(result->average + 0.5);
	result->scan = chip->scans + 1;
	if (bus)
		return;
	raise_flag(chip, (uint16_t)(CRITICAL_FLAG_1 >> channel),
		   steps > limit_steps(chip, CHIP_CRITICAL_1 + 2 * channel), mask & LATCH_CRITICAL);
	raise_flag(chip, (uint16_t)(WARNING_FLAG_1 >> channel),
		   result->steps > limit_steps(chip, CHIP_WARNING_1 + 2 * channel), mask & LATCH_WARNING);
}

static int32_t sum_steps(const struct np_chip *chip)
{
	int32_t sum = 0;

	for (uint32_t channel = 0; channel < CHIP_CHANNELS; channel++) {
		if (chip->plain[CHIP_MASK_ENABLE] & SUM_CHANNEL_1 >> channel)
			sum += chip->results[channel][0].steps;
	}
	return sum;
}

/* All bus voltages above the upper limit make the power valid, one below the lower makes it invalid. */
static void check_power_valid(struct np_chip *chip)
{
	bool above = true;
	bool below = false;

	for (uint32_t i = 0; i < chip->scan_length; i++) {
		int32_t steps = chip->results[chip->scan[i].channel][1].steps;

		if (!chip->scan[i].bus)
			continue;
		above &= steps > limit_steps(chip, CHIP_POWER_VALID_HIGH);
		below |= steps < limit_steps(chip, CHIP_POWER_VALID_LOW);
	}
	if (above || below)
		raise_flag(chip, POWER_VALID, above, false);
}

void chip_scan_ended(struct np_chip *chip)
{
	uint16_t config = chip->plain[CHIP_CONFIG];

	chip->scans++;
	chip->converting = config & CHIP_MODE_CONTINUOUS;
	if (!chip->sim.averaged_ready || chip->scans % (uint64_t)chip_averages(config) == 0)
		chip->plain[CHIP_MASK_ENABLE] |= CHIP_CVRF;
	if (config & CHIP_MODE_SHUNT)
		raise_flag(chip, SUM_FLAG, sum_steps(chip) > (int16_t)chip->plain[CHIP_SUM_LIMIT] >> 1,
			   chip->plain[CHIP_MASK_ENABLE] & LATCH_CRITICAL);
	if (config & CHIP_MODE_BUS)
		check_power_valid(chip);
}

/* ---- The wire ------------------------------------------------------------------------------- */

uint16_t chip_register_read(struct np_chip *chip, uint8_t reg)
{
	uint16_t value;

	if (reg >= CHIP_SHUNT_1 && reg < CHIP_CRITICAL_1) {
		uint32_t place = reg - (uint32_t)CHIP_SHUNT_1;

		return (uint16_t)((uint32_t)chip->results[place / 2][place % 2].steps << 3);
	}
	switch (reg) {
	case CHIP_SUM:
		return (uint16_t)((uint32_t)sum_steps(chip) << 1);
	case CHIP_MANUFACTURER:
		return CHIP_MANUFACTURER_TI;
	case CHIP_DIE:
		return CHIP_DIE_INA3221;
	case CHIP_MASK_ENABLE:
		value = chip->plain[reg];
		chip->plain[reg] &= (uint16_t) ~(CHIP_CVRF | CRITICAL_FLAGS | SUM_FLAG | WARNING_FLAGS);
		return value;
	default:
		return reg < CHIP_PLAIN_REGISTERS ? chip->plain[reg] : 0;
	}
}

int chip_register_write(struct np_chip *chip, uint8_t reg, uint16_t value, int64_t now_ns)
{
	if (reg == CHIP_CONFIG) {
		if (value & CONFIG_RESET_BIT) {
			chip_registers_reset(chip);
			memset(chip->results, 0, sizeof(chip->results));
		} else {
			chip->plain[CHIP_CONFIG] = value;
		}
		chip->plain[CHIP_MASK_ENABLE] &= (uint16_t)~CHIP_CVRF;
		chip_decode_config(chip);
		return chip_restart(chip, now_ns);
	}
	if (reg >= CHIP_CRITICAL_1 && reg < CHIP_SUM)
		chip->plain[reg] = value & LIMIT_MASK;
	else if (reg == CHIP_SUM_LIMIT)
		chip->plain[reg] = value & SUM_MASK;
	else if (reg == CHIP_POWER_VALID_HIGH || reg == CHIP_POWER_VALID_LOW)
		chip->plain[reg] = value & LIMIT_MASK;
	else if (reg == CHIP_MASK_ENABLE)
		chip->plain[reg] = (uint16_t)((chip->plain[reg] & ~MASK_WRITABLE) | (value & MASK_WRITABLE));
	return 0;
}

int chip_read(const struct np_chip *chip, uint32_t channel, bool bus, int64_t *uv)
{
	const struct chip_result *from = &chip->results[channel][bus];
	bool converts = false;

	for (uint32_t i = 0; i < chip->scan_length; i++)
		converts |= chip->scan[i].channel == channel && chip->scan[i].bus == bus;
	if (!converts || !from->converted)
		return converts ? -EAGAIN : -ENODATA;
	*uv = (int64_t)from->steps * (bus ? CHIP_BUS_STEP_UV : CHIP_SHUNT_STEP_UV);
	return 0;
}
