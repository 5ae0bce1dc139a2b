/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bed_of.h - a device tree for one driver on a kernel without device trees. Part of a test bed, never installed.
 *
 * Debian's x86 kernel has no CONFIG_OF: its of_property_read_*() find nothing. Included before the stock
 * ina3221 driver, these take their place and walk the nodes that bed_chip.c makes up, so that labels, shunts
 * and ti,single-shot reach the driver on its own way.
 */
#ifndef BED_OF_H
#define BED_OF_H

#include <linux/of.h>
#include <linux/string.h>

static inline const struct property *bed_of_find(const struct device_node *node, const char *name)
{
	const struct property *property;

	for (property = node ? node->properties : NULL; property; property = property->next) {
		if (!strcmp(property->name, name))
			return property;
	}
	return NULL;
}

static inline bool bed_of_bool(const struct device_node *node, const char *name)
{
	return bed_of_find(node, name) != NULL;
}

static inline int bed_of_u32(const struct device_node *node, const char *name, u32 *out)
{
	const struct property *property = bed_of_find(node, name);

	if (!property)
		return -EINVAL;
	*out = *(const u32 *)property->value; /* in the machine's order, unlike a real tree */
	return 0;
}

static inline int bed_of_string(const struct device_node *node, const char *name, const char **out)
{
	const struct property *property = bed_of_find(node, name);

	if (!property)
		return -EINVAL;
	*out = property->value;
	return 0;
}

#undef for_each_child_of_node
#define for_each_child_of_node(parent, node) for (node = (parent)->child; node; node = node->sibling)
#define of_property_read_bool bed_of_bool
#define of_property_read_u32 bed_of_u32
#define of_property_read_string bed_of_string
#define of_device_is_available(node) ((void)(node), true)

#endif
