// SPDX-License-Identifier: GPL-2.0-only
/* adapter.c - the bus in front of the chips, and the files that steer them (bed.h). Part of a test bed, never installed. */
#include <linux/debugfs.h>
#include <linux/hrtimer.h>
#include <linux/i2c.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>

#include "bed.h"

static struct bed_chip chips[CHIPS];
static DEFINE_MUTEX(lock);
struct bed_settings bed_settings = { .fail_errno = EREMOTEIO, .fraction_bits = 20 };

static u64 now_ns(void)
{
	return ktime_to_ns(ktime_get());
}

/* ---- The adapter ---------------------------------------------------------------------------- */

static struct bed_chip *chip_at(u16 address)
{
	return address >= FIRST_ADDRESS && address < FIRST_ADDRESS + CHIPS ? &chips[address - FIRST_ADDRESS] : NULL;
}

static void wire_delay(void)
{
	ktime_t until = ktime_add_ns(ktime_get(), bed_settings.wire_ns);

	if (!bed_settings.wire_ns)
		return;
	set_current_state(TASK_UNINTERRUPTIBLE);
	while (schedule_hrtimeout(&until, HRTIMER_MODE_ABS))
		set_current_state(TASK_UNINTERRUPTIBLE);
}

static int transfer_message(struct bed_chip *chip, struct i2c_msg *message)
{
	u16 value;

	if (message->flags & I2C_M_RD) {
		value = bed_read_register(chip, chip->pointer);
		if (message->len > 0)
			message->buf[0] = value >> 8;
		if (message->len > 1)
			message->buf[1] = value & 0xff;
		return message->len <= 2 ? 0 : -EINVAL;
	}
	if (message->len > 0)
		chip->pointer = message->buf[0];
	if (message->len == 3)
		bed_write_register(chip, chip->pointer, message->buf[1] << 8 | message->buf[2], now_ns());
	return message->len == 0 || message->len == 1 || message->len == 3 ? 0 : -EINVAL;
}

static int bed_transfer(struct i2c_adapter *adapter, struct i2c_msg *messages, int count)
{
	struct bed_chip *chip = chip_at(messages[0].addr);
	int i, err = 0;

	if (!chip)
		return -ENXIO;
	wire_delay();
	mutex_lock(&lock);
	chip->transfers++;
	if (bed_settings.fail_next) {
		bed_settings.fail_next--;
		err = -(int)bed_settings.fail_errno;
	}
	if (!err)
		bed_advance(chip, now_ns());
	for (i = 0; i < count && !err; i++)
		err = messages[i].addr == chip->address ? transfer_message(chip, &messages[i]) : -ENXIO;
	mutex_unlock(&lock);
	return err ? err : count;
}

static u32 bed_functionality(struct i2c_adapter *adapter)
{
	return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL;
}

static const struct i2c_algorithm bed_algorithm = { .master_xfer = bed_transfer, .functionality = bed_functionality };

static struct i2c_adapter bed_adapter = {
	.owner = THIS_MODULE,
	.name = "test bed with INA3221",
	.algo = &bed_algorithm,
};

/* ---- Files for whoever judges ----------------------------------------------------------------- */

static int attach(void *unused, u64 address)
{
	struct i2c_board_info info = { .type = "ina3221", .addr = (u16)address };
	struct bed_chip *chip = chip_at((u16)address);
	struct i2c_client *client;

	if (!chip || chip->client)
		return -EINVAL;
	info.of_node = bed_tree(chip - chips, bed_settings.single_shot);
	client = i2c_new_client_device(&bed_adapter, &info);
	if (IS_ERR(client))
		return PTR_ERR(client);
	chip->client = client;
	return 0;
}

static int detach(void *unused, u64 address)
{
	struct bed_chip *chip = chip_at((u16)address);

	if (!chip || !chip->client)
		return -EINVAL;
	i2c_unregister_device(chip->client);
	chip->client = NULL;
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(attach_fops, NULL, attach, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(detach_fops, NULL, detach, "%llu\n");

/* The whole waveform in one write; the chips go on with the conversion they are in. */
static ssize_t wave_write(struct file *file, const char __user *from, size_t bytes, loff_t *at)
{
	struct bed_wave_head head;
	struct bed_piece *pieces;
	u32 count;
	int i;

	pieces = bed_wave_from_user(from, bytes, &head, &count);
	if (IS_ERR(pieces))
		return PTR_ERR(pieces);
	mutex_lock(&lock);
	for (i = 0; i < CHIPS; i++)
		bed_advance(&chips[i], now_ns());
	pieces = bed_wave_exchange(pieces, &head, count);
	for (i = 0; i < CHIPS; i++)
		bed_cursor_seek(&chips[i].cursor, chips[i].began_ns);
	mutex_unlock(&lock);
	vfree(pieces);
	return bytes;
}

static const struct file_operations wave_fops = { .owner = THIS_MODULE, .open = simple_open, .write = wave_write };

static int state_show(struct seq_file *file, void *unused)
{
	int i;

	mutex_lock(&lock);
	for (i = 0; i < CHIPS; i++) {
		struct bed_chip *chip = &chips[i];

		bed_advance(chip, now_ns());
		seq_printf(file, "%#x config %#06x mask %#06x scans %llu mask_reads %llu config_writes %llu transfers %llu restarted_ns %llu\n",
			   chip->address, chip->config, chip->mask, chip->scans, chip->mask_reads, chip->config_writes,
			   chip->transfers, chip->restarted_ns);
	}
	mutex_unlock(&lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

static struct dentry *folder;

static void make_files(void)
{
	folder = debugfs_create_dir("bed_chip", NULL);
	debugfs_create_file("waveform", 0200, folder, NULL, &wave_fops);
	debugfs_create_file("state", 0400, folder, NULL, &state_fops);
	debugfs_create_file_unsafe("attach", 0200, folder, NULL, &attach_fops);
	debugfs_create_file_unsafe("detach", 0200, folder, NULL, &detach_fops);
	debugfs_create_bool("single_shot", 0600, folder, &bed_settings.single_shot);
	debugfs_create_bool("cvrf_averaged", 0600, folder, &bed_settings.cvrf_averaged);
	debugfs_create_u32("fail_next", 0600, folder, &bed_settings.fail_next);
	debugfs_create_u32("fail_errno", 0600, folder, &bed_settings.fail_errno);
	debugfs_create_u32("wire_ns", 0600, folder, &bed_settings.wire_ns);
	debugfs_create_u32("fraction_bits", 0600, folder, &bed_settings.fraction_bits);
}

/* ---- Lifecycle ------------------------------------------------------------------------------ */

static int __init bed_init(void)
{
	int i, err;

	for (i = 0; i < CHIPS; i++) {
		chips[i].address = FIRST_ADDRESS + i;
		bed_reset(&chips[i], now_ns());
	}
	err = i2c_add_adapter(&bed_adapter);
	if (err)
		return err;
	make_files();
	return 0;
}

static void __exit bed_exit(void)
{
	int i;

	debugfs_remove_recursive(folder);
	for (i = 0; i < CHIPS; i++) {
		if (chips[i].client)
			i2c_unregister_device(chips[i].client);
	}
	i2c_del_adapter(&bed_adapter);
	vfree(bed_wave_exchange(NULL, NULL, 1));
}

module_init(bed_init);
module_exit(bed_exit);
MODULE_DESCRIPTION("Test bed: an I2C adapter with INA3221 power monitors behind it");
MODULE_LICENSE("GPL");
