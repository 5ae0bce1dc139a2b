/* SPDX-License-Identifier: Apache-2.0 */
/* source_i2c.c - INA3221 chips on a bus of the machine; i2c_reader.c has how they are read */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "i2c_dev.h"
#include "i2c_reader.h"
#include "ring.h"
#include "source.h"

struct source_i2c {
	struct np_source source;
	struct i2c_reader reader;
};

static void i2c_start(struct np_source *source, int64_t now_ns)
{
	(void)now_ns;
	source_hold_none(source);
	i2c_reader_start(&((struct source_i2c *)source)->reader);
}

static void i2c_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns, struct np_reading *readings)
{
	i2c_reader_read(&((struct source_i2c *)source)->reader, source, clock, t_ns, readings);
}

static void i2c_close(struct np_source *source)
{
	struct source_i2c *i2c = (struct source_i2c *)source;

	i2c->reader.bus->ops->close(i2c->reader.bus);
	free(i2c);
}

static const struct np_source_ops i2c_ops = { .start = i2c_start, .read = i2c_read, .close = i2c_close, .decimates = true };

int np_source_i2c(struct np_i2c *bus, const struct np_i2c_chip *chips, uint32_t chip_count,
		  const struct np_sim_channel *channels, uint32_t readings, int64_t wait_ns, struct np_source **out)
{
	struct source_i2c *i2c;
	bool known = true;

	if (!bus || chip_count < 1 || chip_count > I2C_MAX_CHIPS || readings < 1 || readings > RING_MAX_READINGS)
		return -EINVAL;
	i2c = calloc(1, sizeof(*i2c));
	if (!i2c)
		return -ENOMEM;
	source_init(&i2c->source, &i2c_ops, readings);
	i2c->reader.bus = &bus->bus;
	i2c->reader.wait_ns = wait_ns;
	i2c->reader.chip_count = chip_count;
	i2c->reader.channel_count = readings;
	for (uint32_t i = 0; i < chip_count; i++) {
		i2c->reader.chips[i].address = chips[i].address;
		i2c->reader.chips[i].config = chips[i].config;
		memcpy(i2c->reader.chips[i].offset_uv, chips[i].offset_uv, sizeof(chips[i].offset_uv));
	}
	for (uint32_t i = 0; i < readings; i++) {
		i2c->reader.channels[i].chip = channels[i].chip;
		i2c->reader.channels[i].channel = channels[i].channel;
		i2c->reader.channels[i].bus = channels[i].quantity == NP_BUS_UV;
		known &= channels[i].quantity <= NP_BUS_UV;
	}
	if (!known || i2c_reader_init(&i2c->reader)) {
		free(i2c);
		return -EINVAL;
	}
	*out = &i2c->source;
	return 0;
}
