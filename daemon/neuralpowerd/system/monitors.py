"""Finds power monitors under a sysfs root: which chips there are, which rails they watch, which files give them.

Three kinds are known: the hwmon driver `ina3221` (JetPack 5 and later), NVIDIA's IIO driver `ina3221x` (JetPack 4), and
any other hwmon driver of a chip on I2C that gives power, or one voltage and one current. hwmon, iio and bus numbers change
from boot to boot; a chip is known by its I2C address, a rail by its label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .sysfs import exists, place_of, read_int, read_label

_I2C_DEVICE = re.compile(r"^(\d+)-00([0-9a-f]{2})$")
_INPUT = re.compile(r"^(in|curr|power)(\d{1,3})_input$")
_SUM_LABEL = "sum of shunt voltages"
_UNCONNECTED = {"", "NC"}
"""Labels that device trees give to channels without a rail."""
INA3221 = ("ina3221", "ina3221x")
"""Drivers of the INA3221, the one chip whose registers and conversion times this project knows."""
LARGEST_SHUNT_UOHM = 10**9
"""What a record of ticks takes; beyond, the driver's current is read."""
_ONE_RAIL = re.compile(r"^(ina2\d\d|sy24655|sq52206|ltc2945|ltc4151)$")
"""Drivers of one rail whose bus voltage is `in1` and whose current is `curr1` (the kernel's pages ina2xx, ina238, ltc2945, ltc4151)."""


@dataclass(frozen=True)
class Input:
    """One file of a rail: its integer times `scale` is `quantity` in the quantity's unit; `lsb` is the value's step."""

    quantity: str
    path: Path
    scale: int
    lsb: int


@dataclass(frozen=True)
class MonitorRail:
    """A rail as its monitor gives it. `chip` is driver@bus-address, `channel` counts from 1, `shunt_uohm` 0 is unknown.

    `label` is the driver's, "" where it gives none. `name` is the label or made from the chip, and may be another rail's too.
    """

    name: str
    chip: str
    address: int
    channel: int
    shunt_uohm: int
    inputs: tuple[Input, ...]
    label: str = ""
    shunt_file: Path | None = None
    """The driver's file with the shunt, in µΩ."""


@dataclass(frozen=True)
class OffChannel:
    """A channel that is switched off: `switch` is the file that holds 0."""

    label: str
    channel: int
    switch: Path


@dataclass(frozen=True)
class Monitor:
    """A power monitor chip and its rails; `update_interval_ms` is what the driver says of its scan, None if nothing."""

    driver: str
    name: str
    address: int
    directory: Path
    rails: tuple[MonitorRail, ...]
    update_interval_ms: int | None = None
    samples: int | None = None
    enabled: int = 0
    """Channels that are switched on, with or without a rail: all of them are part of a scan."""
    off: tuple[OffChannel, ...] = ()


def find_monitors(root: Path) -> list[Monitor]:
    """The monitors under `root` ("/" on a device), by I2C address; no two have the same name. Nothing found: empty.

    A monitor without rails is one whose channels are off, or whose files do not tell power.
    """
    found = sorted(_hwmon(root) + _iio(root), key=lambda monitor: (monitor.address, monitor.name))
    names = [monitor.name for monitor in found]
    return [each if names.count(each.name) == 1 else _renamed(each) for each in found]


def _renamed(monitor: Monitor) -> Monitor:
    """Named after its folder too: its place on I2C is not known, or another's."""
    name = f"{monitor.name}.{monitor.directory.name}"
    rails = (replace(rail, chip=name, name=rail.label or f"{name}.{rail.channel}") for rail in monitor.rails)
    return replace(monitor, name=name, rails=tuple(rails))


def _hwmon(root: Path) -> list[Monitor]:
    monitors = []
    for directory in sorted(root.glob("sys/class/hwmon/hwmon*")):
        driver = read_label(directory / "name") or ""
        name, address = _identity(driver, directory)
        inputs = _inputs(directory)
        if driver == "ina3221":
            rails, off = _ina3221_rails(directory, name, address)
            enabled = sum(read_int(directory / f"in{channel}_enable") == 1 for channel in (1, 2, 3)) or len(rails)
        elif _ONE_RAIL.match(driver) or (_is_on_i2c(directory) and (inputs["power"] or inputs["curr"])):
            rails, off = _power_rails(directory, driver, name, address, inputs)
            enabled = len(rails)
        else:
            continue
        interval, samples = read_int(directory / "update_interval"), read_int(directory / "samples")
        monitors.append(
            Monitor(
                driver=driver,
                name=name,
                address=address,
                directory=directory,
                rails=tuple(rails),
                update_interval_ms=interval,
                samples=samples,
                enabled=enabled,
                off=tuple(off),
            )
        )
    return monitors


def _iio(root: Path) -> list[Monitor]:
    places = [
        *root.glob("sys/bus/iio/devices/iio:device*"),
        *root.glob("sys/bus/i2c/drivers/ina3221x/*/iio[:_]device*"),
    ]
    monitors = {}
    for directory in sorted(places):
        bound = directory.parent.parent.name == "ina3221x"
        if place_of(directory) in monitors or not (bound or read_label(directory / "name") == "ina3221x"):
            continue
        name, address = _identity("ina3221x", directory)
        rails = tuple(_ina3221x_rails(directory, name, address))
        monitors[place_of(directory)] = Monitor("ina3221x", name, address, directory, rails, enabled=len(rails))
    return list(monitors.values())


def _identity(driver: str, directory: Path) -> tuple[str, int]:
    """The chip's name (driver@bus-address) and address, from its own or its device's place in the device tree."""
    for path in (place_of(directory), place_of(directory / "device")):
        for part in reversed(path.parts):
            match = _I2C_DEVICE.match(part)
            if match:
                return f"{driver}@{part}", int(match[2], 16)
    return f"{driver}@unknown", 0


def _is_on_i2c(directory: Path) -> bool:
    """Whether the hwmon device is an I2C chip's own; that of a USB supply or a battery only lies below one and measures nothing."""
    place = place_of(directory)
    device = place.parent.parent if place.parent.name == "hwmon" else place_of(directory / "device")
    return _I2C_DEVICE.match(device.name) is not None


def _inputs(directory: Path) -> dict[str, list[int]]:
    """The numbers of a hwmon device's inputs, by kind."""
    found: dict[str, list[int]] = {"in": [], "curr": [], "power": []}
    for path in directory.glob("*_input"):
        match = _INPUT.match(path.name)
        if match:
            found[match[1]].append(int(match[2]))
    return {kind: sorted(numbers) for kind, numbers in found.items()}


def _ina3221_rails(directory: Path, chip: str, address: int) -> tuple[list[MonitorRail], list[OffChannel]]:
    """Channels 1 to 3. `in1..3` are bus voltages in mV, `in4..6` shunt voltages in µV, `in7` their sum, which is no rail."""
    rails, off = [], []
    for channel in (1, 2, 3):
        label = read_label(directory / f"in{channel}_label")
        switch = directory / f"in{channel}_enable"
        bus = directory / f"in{channel}_input"
        if label == _SUM_LABEL or label in _UNCONNECTED:
            continue
        if read_int(switch) == 0:  # its values cannot be read, and a copy of the tree lacks their files
            off.append(OffChannel(label or "", channel, switch))
            continue
        if not exists(bus):
            continue
        shunt_file = directory / f"shunt{channel}_resistor"
        shunt_uohm = max(0, read_int(shunt_file) or 0)
        shunt, current = directory / f"in{channel + 3}_input", directory / f"curr{channel}_input"
        if 0 < shunt_uohm <= LARGEST_SHUNT_UOHM and exists(shunt):
            second = Input("shunt_uv", shunt, 1, 40)
        else:
            second = Input("current_ua", current, 1000, 40_000_000 // shunt_uohm if shunt_uohm else 0)
        inputs = (Input("bus_uv", bus, 1000, 8000), second)
        name = label or f"{chip}.{channel}"
        rails.append(
            MonitorRail(
                name=name,
                chip=chip,
                address=address,
                channel=channel,
                shunt_uohm=shunt_uohm,
                inputs=inputs,
                label=label or "",
                shunt_file=shunt_file,
            )
        )
    return rails, off


def _ina3221x_rails(directory: Path, chip: str, address: int) -> list[MonitorRail]:
    """NVIDIA's IIO driver counts channels from 0 and gives mV and mA."""
    rails = []
    for channel in (0, 1, 2):
        label = read_label(directory / f"rail_name_{channel}")
        bus, current = directory / f"in_voltage{channel}_input", directory / f"in_current{channel}_input"
        if label is None or label in _UNCONNECTED or not exists(bus):
            continue
        both = directory / f"ui_input_{channel}"
        if exists(both):  # voltage and current of one moment, in one read
            bus = current = both
        inputs = (Input("bus_uv", bus, 1000, 8000), Input("current_ua", current, 1000, 0))
        rails.append(
            MonitorRail(
                name=label,
                chip=chip,
                address=address,
                channel=channel + 1,
                shunt_uohm=0,
                inputs=inputs,
                label=label,
            )
        )
    return rails


def _power_rails(
    directory: Path, driver: str, chip: str, address: int, inputs: dict[str, list[int]]
) -> tuple[list[MonitorRail], list[OffChannel]]:
    """The rails of any hwmon driver: one for each `powerN_input` (µW), else the one voltage (mV) and current (mA) that there are.

    Where several voltages and currents are there, the kernel's interface does not say which belong together: no rail, unless
    the driver's page says so.
    """
    pairs: list[tuple[int, tuple[Input, ...]]] = []
    voltages, currents = inputs["in"], inputs["curr"]
    if _ONE_RAIL.match(driver) and 1 in voltages and 1 in currents:
        voltages, currents = [1], [1]
    if inputs["power"]:
        pairs = [(each, (Input("power_uw", directory / f"power{each}_input", 1, 0),)) for each in inputs["power"]]
    elif len(voltages) == len(currents) == 1:
        bus, current = directory / f"in{voltages[0]}_input", directory / f"curr{currents[0]}_input"
        pairs = [(currents[0], (Input("bus_uv", bus, 1000, 0), Input("current_ua", current, 1000, 0)))]
    shunt_file = directory / "shunt_resistor"
    shunt_uohm = max(0, read_int(shunt_file) or 0)
    rails, off = [], []
    for number, files in pairs:
        label = _power_label(directory, number, alone=len(pairs) == 1)
        switch = _switched_off(directory, number, _ONE_RAIL.match(driver) is not None)
        if switch:
            off.append(OffChannel(label, number, switch))
            continue
        name = label or (f"{chip}.{number}" if len(pairs) > 1 else chip)
        rails.append(
            MonitorRail(
                name=name,
                chip=chip,
                address=address,
                channel=number,
                shunt_uohm=shunt_uohm,
                inputs=files,
                label=label,
                shunt_file=shunt_file,
            )
        )
    return rails, off


def _power_label(directory: Path, number: int, alone: bool) -> str:
    """The label of a rail: its own, or the device's where the device has but this one."""
    names = ["label"] if alone else []
    names += [f"{kind}{number}_label" for kind in ("power", "curr", "in")]
    labels = (read_label(directory / name) for name in names)
    return next((label for label in labels if label), "")


def _switched_off(directory: Path, number: int, one_rail: bool) -> Path | None:
    """The file that switches the rail off, if one does. Only where a driver has one rail is it the voltage's or the current's, too."""
    kinds: Sequence[str] = ("power", "curr", "in") if one_rail else ("power",)
    switches = (directory / f"{kind}{number}_enable" for kind in kinds)
    return next((switch for switch in switches if read_int(switch) == 0), None)
