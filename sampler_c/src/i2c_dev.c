/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i2c_dev.c - registers over /dev/i2c-N
 *
 * A read is one combined transfer (pointer, repeated start, two bytes), so nobody gets between its halves. Adapters
 * that only do SMBus give a word instead, with its bytes exchanged.
 */
#define _GNU_SOURCE
#include "i2c_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sampler.h"

static int transfer(const struct np_i2c *i2c, struct i2c_msg *messages, uint32_t count)
{
	struct i2c_rdwr_ioctl_data data = { .msgs = messages, .nmsgs = count };

	return ioctl(i2c->fd, I2C_RDWR, &data) < 0 ? -errno : 0;
}

/* Whoever asked has been told of a driver by np_i2c_claim() already. */
static int smbus(struct np_i2c *i2c, uint8_t address, uint8_t reg, uint8_t direction, uint16_t *value)
{
	union i2c_smbus_data data = { .word = __builtin_bswap16(*value) };
	struct i2c_smbus_ioctl_data call = { direction, reg, I2C_SMBUS_WORD_DATA, &data };

	if (i2c->address != address && ioctl(i2c->fd, I2C_SLAVE_FORCE, (unsigned long)address) < 0)
		return -errno;
	i2c->address = address;
	if (ioctl(i2c->fd, I2C_SMBUS, &call) < 0)
		return -errno;
	*value = __builtin_bswap16(data.word);
	return 0;
}

int np_i2c_read(struct np_i2c *i2c, uint8_t address, uint8_t reg, uint16_t *value)
{
	uint8_t bytes[2] = { 0 };
	struct i2c_msg messages[] = {
		{ .addr = address, .len = 1, .buf = &reg },
		{ .addr = address, .flags = I2C_M_RD, .len = 2, .buf = bytes },
	};
	int err;

	if (!i2c->plain)
		return smbus(i2c, address, reg, I2C_SMBUS_READ, value);
	err = transfer(i2c, messages, 2);
	*value = (uint16_t)(bytes[0] << 8 | bytes[1]);
	return err;
}

int np_i2c_write(struct np_i2c *i2c, uint8_t address, uint8_t reg, uint16_t value)
{
	uint8_t bytes[3] = { reg, (uint8_t)(value >> 8), (uint8_t)value };
	struct i2c_msg message = { .addr = address, .len = 3, .buf = bytes };

	return i2c->plain ? transfer(i2c, &message, 1) : smbus(i2c, address, reg, I2C_SMBUS_WRITE, &value);
}

int np_i2c_claim(struct np_i2c *i2c, uint8_t address)
{
	if (ioctl(i2c->fd, I2C_SLAVE, (unsigned long)address) < 0)
		return -errno;
	i2c->address = address;
	return 0;
}

static int dev_read(struct i2c_bus *bus, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t *value)
{
	(void)clock;
	return np_i2c_read((struct np_i2c *)bus, address, reg, value);
}

static int dev_write(struct i2c_bus *bus, const struct np_clock *clock, uint8_t address, uint8_t reg, uint16_t value)
{
	(void)clock;
	return np_i2c_write((struct np_i2c *)bus, address, reg, value);
}

static void dev_close(struct i2c_bus *bus)
{
	np_i2c_close((struct np_i2c *)bus);
}

static const struct i2c_bus_ops dev_ops = { .read = dev_read, .write = dev_write, .close = dev_close };

int np_i2c_open(const char *device, struct np_i2c **out)
{
	struct np_i2c *i2c = calloc(1, sizeof(*i2c));
	unsigned long functions = 0;

	if (!i2c)
		return -ENOMEM;
	i2c->bus.ops = &dev_ops;
	i2c->address = -1;
	i2c->fd = open(device, O_RDWR | O_CLOEXEC);
	if (i2c->fd < 0 || ioctl(i2c->fd, I2C_FUNCS, &functions) < 0) {
		int err = -errno;

		np_i2c_close(i2c);
		return err;
	}
	i2c->plain = (functions & I2C_FUNC_I2C) != 0;
	*out = i2c;
	return 0;
}

void np_i2c_close(struct np_i2c *i2c)
{
	if (!i2c)
		return;
	if (i2c->fd >= 0)
		close(i2c->fd);
	free(i2c);
}
