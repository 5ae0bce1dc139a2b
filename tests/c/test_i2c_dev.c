/* SPDX-License-Identifier: Apache-2.0 */
/* test_i2c_dev.c - the i2c source through its own system calls, answered by the chip in software */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "check.h"
#include "ring.h"
#include "sim_bus.h"
#include "source.h"

/* What stands behind /dev/i2c-N here. */
static struct {
	struct sim_bus chips;
	unsigned long functions;
	int bound;	/* address that a driver has, or 0 */
	int address;
	int fail;	/* errno of the next transfer */
	int transfers;
} adapter;

static const struct np_clock *const system_clock = &np_system_clock;

static int answer(int err)
{
	errno = -err;
	return err ? -1 : 0;
}

static int whole_transfer(const struct i2c_rdwr_ioctl_data *data)
{
	const struct i2c_msg *first = &data->msgs[0];
	uint16_t value;
	int err;

	if (first->len == 3)
		return adapter.chips.bus.ops->write(&adapter.chips.bus, system_clock, (uint8_t)first->addr, first->buf[0],
						    (uint16_t)(first->buf[1] << 8 | first->buf[2]));
	CHECK(data->nmsgs == 2 && first->len == 1 && data->msgs[1].len == 2 && data->msgs[1].flags == I2C_M_RD);
	CHECK_EQUAL(first->addr, data->msgs[1].addr);
	err = adapter.chips.bus.ops->read(&adapter.chips.bus, system_clock, (uint8_t)first->addr, first->buf[0], &value);
	data->msgs[1].buf[0] = (uint8_t)(value >> 8);
	data->msgs[1].buf[1] = (uint8_t)value;
	return err;
}

static int smbus_transfer(const struct i2c_smbus_ioctl_data *call)
{
	uint16_t value = 0;
	int err;

	CHECK_EQUAL(call->size, I2C_SMBUS_WORD_DATA);
	if (call->read_write == I2C_SMBUS_WRITE)
		return adapter.chips.bus.ops->write(&adapter.chips.bus, system_clock, (uint8_t)adapter.address,
						    call->command, __builtin_bswap16(call->data->word));
	err = adapter.chips.bus.ops->read(&adapter.chips.bus, system_clock, (uint8_t)adapter.address, call->command,
					  &value);
	call->data->word = __builtin_bswap16(value);
	return err;
}

/* In the place of the C library's. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	void *argument;
	int err = adapter.fail;

	(void)fd;
	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	switch (request) {
	case I2C_FUNCS:
		*(unsigned long *)argument = adapter.functions;
		return 0;
	case I2C_SLAVE:
		if ((uintptr_t)argument == (uintptr_t)adapter.bound)
			return answer(-EBUSY);
		/* fall through */
	case I2C_SLAVE_FORCE:
		adapter.address = (int)(uintptr_t)argument;
		return 0;
	case I2C_RDWR:
	case I2C_SMBUS:
		adapter.fail = 0;
		adapter.transfers++;
		if (err)
			return answer(-err);
		return answer(request == I2C_RDWR ? whole_transfer(argument) : smbus_transfer(argument));
	default:
		return answer(-ENOTTY);
	}
}

static struct np_timeline *plug_in(unsigned long functions, uint16_t config)
{
	static const int64_t idle[8] = { 1000000, 2000000, 3000000 };
	struct np_chip_options wiring = { .config = config,
					  .rail = { 0, 1, 2 },
					  .bus_uv = { 5000000, 5000000, 5000000 },
					  .shunt_uohm = { 10000, 10000, 10000 } };
	struct np_sim_options sim = { .seed = 1 };
	struct np_timeline *line;

	memset(&adapter, 0, sizeof(adapter));
	CHECK_EQUAL(np_timeline_memory(NULL, 0, idle, &line), 0);
	sim_bus_init(&adapter.chips, 0);
	adapter.functions = functions;
	adapter.chips.chip_count = 2;
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_EQUAL(chip_init(&adapter.chips.chips[i], &wiring, &sim, i), 0);
		chip_start(&adapter.chips.chips[i], line, np_clock_monotonic(system_clock));
	}
	return line;
}

/* Identity, config and results come over either kind of transfer, and a write begins a new scan. */
static void test_registers(void)
{
	const unsigned long kinds[] = { I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL, I2C_FUNC_SMBUS_WORD_DATA };

	for (size_t kind = 0; kind < 2; kind++) {
		struct np_timeline *line = plug_in(kinds[kind], 0x7007);
		struct np_i2c *i2c;
		uint16_t value;

		CHECK_EQUAL(np_i2c_open("/dev/null", &i2c), 0);
		CHECK_EQUAL(np_i2c_read(i2c, 0x40, CHIP_MANUFACTURER, &value), 0);
		CHECK_EQUAL(value, 0x5449);
		CHECK_EQUAL(np_i2c_read(i2c, 0x41, CHIP_DIE, &value), 0);
		CHECK_EQUAL(value, 0x3220);
		CHECK_EQUAL(np_i2c_write(i2c, 0x41, CHIP_CONFIG, 0x7127), 0);
		CHECK_EQUAL(np_i2c_read(i2c, 0x41, CHIP_CONFIG, &value), 0);
		CHECK_EQUAL(value, 0x7127);
		CHECK_EQUAL(np_i2c_read(i2c, 0x40, CHIP_CONFIG, &value), 0);
		CHECK_EQUAL(value, 0x7007);
		CHECK_EQUAL(np_i2c_read(i2c, 0x42, CHIP_CONFIG, &value), -ENXIO);
		adapter.fail = EIO;
		CHECK_EQUAL(np_i2c_read(i2c, 0x40, CHIP_CONFIG, &value), -EIO);
		np_i2c_close(i2c);
		np_timeline_close(line);
	}
}

/* A bound address is refused to who asks politely, and read all the same. */
static void test_bound(void)
{
	struct np_timeline *line = plug_in(I2C_FUNC_I2C, 0x7007);
	struct np_i2c *i2c;
	uint16_t value;

	adapter.bound = 0x41;
	CHECK_EQUAL(np_i2c_open("/dev/null", &i2c), 0);
	CHECK_EQUAL(np_i2c_claim(i2c, 0x40), 0);
	CHECK_EQUAL(np_i2c_claim(i2c, 0x41), -EBUSY);
	CHECK_EQUAL(np_i2c_read(i2c, 0x41, CHIP_DIE, &value), 0);
	np_i2c_close(i2c);
	np_timeline_close(line);
	CHECK_EQUAL(np_i2c_open("/dev/i2c-none", &i2c), -ENOENT);
	np_i2c_close(NULL);
}

/* The source reads two chips, in the order of their scans, and a transfer that fails is one reading that is missing. */
static void test_source(void)
{
	const struct np_i2c_chip chips[] = { { 0x40, 0x7007, { 0 } }, { 0x41, 0x7007, { 0, 40, 0 } } };
	const struct np_sim_channel channels[] = { { 1, 1, NP_BUS_UV }, { 1, 1, NP_SHUNT_UV }, { 0, 0, NP_SHUNT_UV } };
	const struct np_sim_channel power = { 0, 0, NP_POWER_UW };
	struct np_timeline *line = plug_in(I2C_FUNC_I2C, 0x7007);
	struct np_reading readings[3] = { 0 };
	struct np_source *source;
	struct np_i2c *i2c;

	CHECK_EQUAL(np_i2c_open("/dev/null", &i2c), 0);
	CHECK_EQUAL(np_source_i2c(i2c, chips, 0, channels, 3, 0, &source), -EINVAL);
	CHECK_EQUAL(np_source_i2c(i2c, chips, 1, channels, 3, 0, &source), -EINVAL);
	CHECK_EQUAL(np_source_i2c(i2c, chips, 1, &power, 1, 0, &source), -EINVAL);
	CHECK_EQUAL(np_source_i2c(i2c, chips, 2, channels, 3, 0, &source), 0);
	source->ops->start(source, 0);
	source->ops->read(source, system_clock, np_clock_monotonic(system_clock), readings);
	CHECK_EQUAL(adapter.transfers, 5);
	CHECK_EQUAL(readings[0].value, 5000000);
	CHECK_EQUAL(readings[1].value, 4000 - 40);
	CHECK_EQUAL(readings[2].value, 2000);
	CHECK(readings[2].begin_ns <= readings[1].begin_ns && readings[1].begin_ns <= readings[0].begin_ns);
	memset(readings, 0, sizeof(readings));
	adapter.fail = ETIMEDOUT;	/* of the first chip's flag: its reading knows less, and is there */
	source->ops->read(source, system_clock, np_clock_monotonic(system_clock), readings);
	CHECK(readings[2].state != NP_MISSING && !(readings[2].flags & NP_SCAN));
	CHECK_EQUAL(np_source_close(source), 0);
	np_timeline_close(line);
}

int main(void)
{
	test_registers();
	test_bound();
	test_source();
	puts("test_i2c_dev: ok");
	return 0;
}
