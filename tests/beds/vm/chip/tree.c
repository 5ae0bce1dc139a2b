// SPDX-License-Identifier: GPL-2.0-only
/*
 * tree.c - a device tree for the driver (see bed_of.h): an Orin NX's rails at the first address, three more at
 * the second. Part of a test bed, never installed.
 */
#include <linux/of.h>

#include "bed.h"

static char *labels[CHIPS][CHANNELS] = { { "VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC" }, { "CV", "VDDRQ", "SYS5V" } };
static u32 numbers[CHANNELS] = { 0, 1, 2 };
static u32 shunts_uohm[CHIPS][CHANNELS] = { { 5000, 5000, 5000 }, { 10000, 10000, 10000 } };
static struct property single_shot_property = { .name = "ti,single-shot" };
static struct property properties[CHIPS][CHANNELS][3];
static struct device_node channel_nodes[CHIPS][CHANNELS], chip_nodes[CHIPS];

struct device_node *bed_tree(int c, bool single_shot)
{
	int i;

	for (i = 0; i < CHANNELS; i++) {
		struct property *own = properties[c][i];

		own[0] = (struct property){ .name = "reg", .value = &numbers[i], .next = &own[1] };
		own[1] = (struct property){ .name = "label", .value = labels[c][i], .next = &own[2] };
		own[2] = (struct property){ .name = "shunt-resistor-micro-ohms", .value = &shunts_uohm[c][i] };
		channel_nodes[c][i] = (struct device_node){ .name = "channel", .properties = own,
			.sibling = i + 1 < CHANNELS ? &channel_nodes[c][i + 1] : NULL };
	}
	chip_nodes[c] = (struct device_node){ .name = "ina3221", .child = &channel_nodes[c][0],
		.properties = single_shot ? &single_shot_property : NULL };
	return &chip_nodes[c];
}
