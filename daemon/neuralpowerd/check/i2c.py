"""What a check finds where source i2c is configured: whether its bus can be opened, and whether a driver is in the way."""

from __future__ import annotations

import errno
import grp
import os
from collections.abc import Iterator
from pathlib import Path

from ..config import Config
from ..errors import ConfigError, DaemonError
from ..sources.boards import Board, total_of
from ..sources.i2c import configured, from_tree
from ..sources.plan import undoubted
from ..sources.plausible import shunt_doubts
from ..system.devicetree import tree_chips
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

SENSOR = "Sensor"
GROUP = "i2c"
REMEDIES = {
    errno.ENOENT: "modprobe i2c-dev, and i2c-dev in /etc/modules-load.d for the next boot; or correct i2c.device",
    errno.EACCES: "for the service install neuralpowerd-i2c.conf; for yourself: usermod -aG i2c NAME",
    errno.EPERM: "for the service install neuralpowerd-i2c.conf",
}


def registers(config: Config, board: Board | None = None) -> Iterator[Finding]:
    """The bus, the chips, the total on this `board` and the group; nothing unless the source is i2c. Opens the bus and reads nothing."""
    if config.source != "i2c":
        return
    root = Path(config.sysfs_root)
    try:
        device, chips = configured(config.i2c) if config.i2c.rails else from_tree(config.i2c, root)
    except (ConfigError, DaemonError) as error:
        yield Finding(SENSOR, "registers", str(error), PROBLEM, "give the [i2c] keys: see docs/configuration.md")
        return
    addresses = ", ".join(f"{chip.address:#04x}" for chip in chips)
    yield _bus(device, addresses)
    rails = [rail for chip in chips for rail in chip.rails]
    doubts = shunt_doubts((rail.name, rail.shunt_uohm) for rail in rails)
    for doubt in doubts:
        advice = "i2c.shunts_uohm and the device tree's shunt-resistor-micro-ohms are in µΩ (5 mΩ are 5000): correct it there"
        yield Finding(SENSOR, doubt.rail, f"doubted: {doubt.why}", PROBLEM, advice)
    total = undoubted(lambda names: total_of(board, names), [rail.name for rail in rails], doubts)
    value = " + ".join(total.rails) or "unknown"
    yield Finding(SENSOR, "total of registers", value, GOOD if total.covers else UNKNOWN, total.says)
    addresses_of_bus = {each.address for each in chips}
    bound = [
        chip
        for chip in tree_chips(root)
        if chip.bound and device == f"/dev/i2c-{chip.bus}" and chip.address in addresses_of_bus
    ]
    if bound:
        names = ", ".join(f"{chip.bus}-{chip.address:04x}" for chip in bound)
        unbind = "; ".join(
            f"echo {chip.bus}-{chip.address:04x} > /sys/bus/i2c/drivers/{chip.driver}/unbind" for chip in bound
        )
        advice = f"{unbind}; or i2c.force = true, and race with it"
        yield Finding(SENSOR, "bound driver", f"a driver has {names}", BETTER if config.i2c.force else PROBLEM, advice)
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        advice = (
            "run systemd-sysusers with neuralpower.sysusers: without the group the unit does not start with the drop-in"
        )
        yield Finding(SENSOR, "group i2c", "is not there", BETTER, advice)


def _bus(device: str, addresses: str) -> Finding:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        value = f"{device}, chips at {addresses}: cannot be opened: {error.strerror}"
        advice = REMEDIES.get(error.errno or 0, "see the kernel's log: dmesg")
        return Finding(SENSOR, "registers", value, PROBLEM, advice)
    return Finding(SENSOR, "registers", f"{device}, chips at {addresses}: this user may open it", GOOD)
