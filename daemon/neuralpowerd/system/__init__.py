"""The machine: sysfs, the device tree, the service manager, what was changed on it."""
