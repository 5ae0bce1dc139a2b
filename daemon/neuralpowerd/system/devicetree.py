"""What the device tree says of the bus and of the chips on it: clock, labels, shunts, offsets. Nothing is touched.

sysfs links every device to its node (`of_node`); a property is a file, its integers big-endian.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .sysfs import exists, place_of, read_label, read_text

_I2C_DEVICE = re.compile(r"^(\d+)-00(4[0-3])$")
_CHANNEL = re.compile(r"^(?:input|channel)@(\d)$")
_DEPTH = 6
"""Parents of a chip that are searched for its controller."""


@dataclass(frozen=True)
class TreeChannel:
    """A channel of an INA3221 as the device tree describes it; 0 where it says nothing."""

    label: str
    channel: int
    shunt_uohm: int
    offset_uv: int


@dataclass(frozen=True)
class TreeChip:
    """An INA3221 on bus number `bus`, and the driver that is bound to it, "" where none is."""

    bus: int
    address: int
    driver: str
    directory: Path
    channels: tuple[TreeChannel, ...]

    @property
    def bound(self) -> bool:
        """Whether a driver has it."""
        return bool(self.driver)


def bus_clock_hz(directory: Path, root: Path) -> int | None:
    """The bit clock of the I2C bus that the device with the folder `directory` hangs on; None where the tree is silent."""
    place, top = place_of(directory), place_of(root)
    for parent in [place, *place.parents][:_DEPTH]:
        if parent == top:
            break
        clock = _integer(parent / "of_node" / "clock-frequency")
        if clock:
            return clock
    return None


def tree_chips(root: Path) -> list[TreeChip]:
    """The INA3221 chips that the device tree describes, by bus and address."""
    chips = []
    for directory in sorted(root.glob("sys/bus/i2c/devices/*-004?")):
        match = _I2C_DEVICE.match(directory.name)
        node = directory / "of_node"
        if match and "ina3221" in (read_text(node / "compatible") or ""):
            driver = place_of(directory / "driver").name if exists(directory / "driver") else ""
            chips.append(TreeChip(int(match[1]), int(match[2], 16), driver, directory, tuple(_channels(node))))
    return chips


def _channels(node: Path) -> Iterator[TreeChannel]:
    """Mainline names them input@N with `label`; NVIDIA's trees channel@N with `ti,rail-name` and milliohms."""
    try:
        places = sorted(entry for entry in node.iterdir() if _CHANNEL.match(entry.name))
    except OSError:
        return
    for place in places:
        label = read_label(place / "label") or read_label(place / "ti,rail-name") or ""
        if not label or label == "NC" or read_text(place / "status") == "disabled":
            continue
        shunt_uohm = _integer(place / "shunt-resistor-micro-ohms") or 0
        shunt_uohm = shunt_uohm or 1000 * (_integer(place / "ti,shunt-resistor-mohm") or 0)
        offset = _integer(place / "shunt-volt-offset-uv", signed=True) or 0
        yield TreeChannel(label, int(place.name[-1]) + 1, shunt_uohm, offset)


def _integer(path: Path, signed: bool = False) -> int | None:
    """The 32-bit big-endian property in a file; None where there is none."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return int.from_bytes(data, "big", signed=signed) if len(data) == 4 else None
