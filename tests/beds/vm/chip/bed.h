/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bed.h - module bed_chip: an I2C adapter with INA3221 power monitors behind it (TI SBOS576B)
 *
 * Part of a test bed for a virtual machine, never installed. It shares no line with the simulated chip that
 * it judges. Conversions happen in kernel time (CLOCK_MONOTONIC): a chip is brought up to date whenever it is
 * accessed, which nobody on the bus can tell from a chip that works by itself.
 *
 * /sys/kernel/debug/bed_chip/
 *   waveform     written: what the inputs are (struct bed_wave_head, then struct bed_piece, binary)
 *   attach       written: an address; the chip there gets a device-tree node with labels
 *   single_shot  whether the next one attached is told ti,single-shot
 *   detach       written: an address
 *   fail_next    so many transfers fail with errno fail_errno
 *   wire_ns      every transfer takes so long
 *   cvrf_averaged  conversion-ready comes once per averaging count of scans, not once per scan
 *   fraction_bits  what the averaging accumulator keeps below the register's last bit
 *   state        registers and counters as text
 */
#ifndef BED_H
#define BED_H

#include <linux/i2c.h>
#include <linux/fs.h>
#include <linux/types.h>

#define CHANNELS 3
#define CHIPS 2
#define FIRST_ADDRESS 0x40

/* ---- wave.c: the inputs ------------------------------------------------------------------- */

struct bed_wave_head {
	u64 origin_ns;		/* CLOCK_MONOTONIC; the first piece holds before it too */
	u64 period_ns;		/* then it begins again */
};

struct bed_piece {
	u64 start_ns;		/* from the origin, rising, the first 0 */
	s32 uv[2][CHANNELS];	/* shunt, bus */
};

struct bed_cursor {
	u64 base_ns;		/* where the present period began */
	u32 index;
};

/* All but bed_wave_from_user() under the module's lock. */
void bed_cursor_seek(struct bed_cursor *at, u64 t);
/* Sum of uV * ns over [from, to); the cursor goes on to `to`. */
s64 bed_observe(struct bed_cursor *at, u64 from, u64 to, int bus, int channel);
/* What a write to the file `waveform` brought, or an ERR_PTR. */
struct bed_piece *bed_wave_from_user(const char __user *from, size_t bytes, struct bed_wave_head *head, u32 *count);
/* Put it in place; returns what was there, for vfree(). NULL: as before the first. */
struct bed_piece *bed_wave_exchange(struct bed_piece *pieces, const struct bed_wave_head *head, u32 count);

/* ---- chip.c: one monitor ------------------------------------------------------------------ */

struct bed_chip {
	u16 address;
	u8 pointer;
	u16 config;
	u16 mask;
	u16 limits[6];
	/* The sequence: conversion `next` of the scan began at began_ns. */
	u8 scan[2 * CHANNELS];	/* channel * 2 + bus */
	u32 scan_length;
	u32 next;
	u64 began_ns;
	u64 restarted_ns;	/* by a config write or reset */
	bool running;
	struct bed_cursor cursor;
	/* Results in steps, with fraction_bits below the register's last bit. */
	s64 average[2][CHANNELS];
	bool converted[2][CHANNELS];
	/* What happened, for whoever judges. */
	u64 scans, mask_reads, config_writes, transfers;
	struct i2c_client *client;
};

struct bed_settings {
	u32 fail_next, fail_errno, wire_ns, fraction_bits;
	bool cvrf_averaged, single_shot;
};

extern struct bed_settings bed_settings;

/* Make every conversion that ends by now_ns. */
void bed_advance(struct bed_chip *chip, u64 now_ns);
void bed_reset(struct bed_chip *chip, u64 now_ns);
u16 bed_read_register(struct bed_chip *chip, u8 number);
void bed_write_register(struct bed_chip *chip, u8 number, u16 value, u64 now_ns);

/* ---- tree.c: a device tree ------------------------------------------------------------------- */

/* The node of chip number c, with labels and shunts. */
struct device_node *bed_tree(int c, bool single_shot);

#endif
