"""Finds power monitors under a sysfs root: which chips there are, which rails they watch, which files give them.

Three kinds are known: the hwmon driver `ina3221` (JetPack 5 and later), NVIDIA's IIO driver `ina3221x` (JetPack 4), and
the hwmon driver `ina238`, of which only the power is read. hwmon, iio and bus numbers change from boot to boot; a chip is
known by its I2C address, a rail by its label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_I2C_DEVICE = re.compile(r"^(\d+)-00([0-9a-f]{2})$")
_SUM_LABEL = "sum of shunt voltages"
_UNCONNECTED = {"", "NC"}
"""Labels that device trees give to channels without a rail."""


@dataclass(frozen=True)
class Input:
    """One file of a rail: its integer times `scale` is `quantity` in the quantity's unit; `lsb` is the value's step."""

    quantity: str
    path: Path
    scale: int
    lsb: int


@dataclass(frozen=True)
class Rail:
    """A rail as its monitor gives it. `chip` is driver@bus-address, `channel` counts from 1, `shunt_uohm` 0 is unknown."""

    name: str
    chip: str
    address: int
    channel: int
    shunt_uohm: int
    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class Monitor:
    """A power monitor chip and its rails; `update_interval_ms` is what the driver says of its scan, None if nothing."""

    driver: str
    name: str
    address: int
    directory: Path
    rails: tuple[Rail, ...]
    update_interval_ms: int | None = None
    samples: int | None = None
    enabled: int = 0
    """Channels that are switched on, with or without a rail: all of them are part of a scan."""


def find_monitors(root: Path) -> list[Monitor]:
    """The monitors under `root` ("/" on a device), by I2C address; rail names are made unique. Nothing found: empty."""
    found = sorted(_hwmon(root) + _iio(root), key=lambda monitor: (monitor.address, monitor.name))
    seen: set[str] = set()
    unique = []
    for monitor in found:
        rails = []
        for rail in monitor.rails:
            name = rail.name if rail.name not in seen else f"{rail.name}@{rail.chip.partition('@')[2]}.{rail.channel}"
            seen.add(name)
            rails.append(replace(rail, name=name))
        unique.append(replace(monitor, rails=tuple(rails)))
    return unique


def _hwmon(root: Path) -> list[Monitor]:
    readers = {"ina3221": _ina3221_rails, "ina238": _ina238_rails}
    monitors = []
    for directory in sorted(root.glob("sys/class/hwmon/hwmon*")):
        driver = read_text(directory / "name")
        if driver in readers:
            name, address = _identity(driver, directory)
            rails = tuple(readers[driver](directory, name, address))
            interval, samples = read_int(directory / "update_interval"), read_int(directory / "samples")
            enabled = sum(read_int(directory / f"in{channel}_enable") == 1 for channel in (1, 2, 3)) or len(rails)
            monitors.append(Monitor(driver, name, address, directory, rails, interval, samples, enabled))
    return monitors


def _iio(root: Path) -> list[Monitor]:
    places = [*root.glob("sys/bus/iio/devices/iio:device*"), *root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*")]
    monitors = {}
    for directory in sorted(places):
        bound = directory.parent.parent.name == "ina3221x"
        if directory.resolve() in monitors or not (bound or read_text(directory / "name") == "ina3221x"):
            continue
        name, address = _identity("ina3221x", directory)
        rails = tuple(_ina3221x_rails(directory, name, address))
        monitors[directory.resolve()] = Monitor("ina3221x", name, address, directory, rails, enabled=len(rails))
    return list(monitors.values())


def _identity(driver: str, directory: Path) -> tuple[str, int]:
    """The chip's name (driver@bus-address) and address, from its own or its device's place in the device tree."""
    for path in (directory.resolve(), (directory / "device").resolve()):
        for part in reversed(path.parts):
            match = _I2C_DEVICE.match(part)
            if match:
                return f"{driver}@{part}", int(match[2], 16)
    return f"{driver}@unknown", 0


def _ina3221_rails(directory: Path, chip: str, address: int) -> Iterator[Rail]:
    """Channels 1 to 3. `in1..3` are bus voltages in mV, `in4..6` shunt voltages in µV, `in7` their sum, which is no rail."""
    for channel in (1, 2, 3):
        label = read_text(directory / f"in{channel}_label")
        disabled = read_int(directory / f"in{channel}_enable") == 0
        bus = directory / f"in{channel}_input"
        if disabled or label == _SUM_LABEL or label in _UNCONNECTED or not bus.exists():
            continue
        shunt_uohm = max(0, read_int(directory / f"shunt{channel}_resistor") or 0)
        shunt, current = directory / f"in{channel + 3}_input", directory / f"curr{channel}_input"
        if shunt_uohm and shunt.exists():
            second = Input("shunt_uv", shunt, 1, 40)
        else:
            second = Input("current_ua", current, 1000, 40_000_000 // shunt_uohm if shunt_uohm else 0)
        inputs = (Input("bus_uv", bus, 1000, 8000), second)
        yield Rail(label or f"{chip}.{channel}", chip, address, channel, shunt_uohm, inputs)


def _ina3221x_rails(directory: Path, chip: str, address: int) -> Iterator[Rail]:
    """NVIDIA's IIO driver counts channels from 0 and gives mV and mA."""
    for channel in (0, 1, 2):
        label = read_text(directory / f"rail_name_{channel}")
        bus, current = directory / f"in_voltage{channel}_input", directory / f"in_current{channel}_input"
        if label is None or label in _UNCONNECTED or not bus.exists():
            continue
        both = directory / f"ui_input_{channel}"
        if both.exists():  # voltage and current of one moment, in one read
            bus = current = both
        inputs = (Input("bus_uv", bus, 1000, 8000), Input("current_ua", current, 1000, 0))
        yield Rail(label, chip, address, channel + 1, 0, inputs)


def _ina238_rails(directory: Path, chip: str, address: int) -> Iterator[Rail]:
    """The one rail of an INA238, read as power in µW. The label is the device's, where the device tree gives one."""
    power = directory / "power1_input"
    if power.exists():
        label = read_text(directory / "label") or read_text(directory / "power1_label") or "VIN"
        shunt_uohm = max(0, read_int(directory / "shunt_resistor") or 0)
        yield Rail(label, chip, address, 1, shunt_uohm, (Input("power_uw", power, 1, 0),))


def read_text(path: Path) -> str | None:
    """The stripped text of a sysfs or device-tree file (which ends in a zero byte); None where it cannot be read."""
    try:
        return path.read_bytes().rstrip(b"\0").decode("utf-8", "replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The integer in a sysfs file; None where it cannot be read or is none."""
    try:
        return int(read_text(path) or "")
    except ValueError:
        return None
