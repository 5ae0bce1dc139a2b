"""Source i2c: registers of INA3221 chips on /dev/i2c-N, past any driver."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from neuralpower_sampler import Source
from neuralpower_wire import Channel, Chip

from ..config import Config, I2cTable
from ..errors import ConfigError, DaemonError
from ..system.devicetree import bus_clock_hz, tree_chips
from ..system.monitors import LARGEST_SHUNT_UOHM
from ..system.restore import SAVED_REGISTERS
from .boards import find, total_of
from .budget import TRANSFER_BITS, RailCost
from .chiptimes import CONVERSION_US, averaging_of_config, scan_of_config
from .plan import Plan, decimated, period_for, refuse_too_many, slowest_rate, undoubted, wanted_rails
from .plausible import rail_limits, shunt_doubts, total_limits
from .probe import Behaviour
from .registry import planner

_BUS = re.compile(r"^/dev/i2c-(\d+)$")


@dataclass(frozen=True)
class RawRail:
    """A rail on a chip's channel, counted from 1."""

    name: str
    channel: int
    shunt_uohm: int
    offset_uv: int


@dataclass(frozen=True)
class RawChip:
    """A chip to read and the rails on it."""

    address: int
    rails: tuple[RawRail, ...]


@planner("i2c")
def i2c_plan(config: Config, _prober: object = None) -> Plan:
    """The chips that [i2c] names, or those of the device tree on one bus."""
    from neuralpower_sampler import I2cChip, I2cSource

    root = Path(config.sysfs_root)
    device, chips = configured(config.i2c) if config.i2c.rails else from_tree(config.i2c, root)
    names = [rail.name for chip in chips for rail in chip.rails]
    wanted = wanted_rails(config, names)
    match = _BUS.match(device)
    place = root / f"sys/bus/i2c/devices/i2c-{match[1]}" if match else root
    clock = bus_clock_hz(place, root)
    channels: list[Channel] = []
    reads: list[tuple[int, int, str]] = []
    costs: list[RailCost] = []
    for position, chip in enumerate(chips):
        name = f"ina3221@{match[1] if match else '?'}-{chip.address:04x}"
        for rail in chip.rails:
            if rail.name not in wanted:
                continue
            channels.append(Channel(rail.name, "shunt_uv", name, rail.channel, rail.shunt_uohm, 0, 40))
            channels.append(Channel(rail.name, "bus_uv", name, rail.channel, 0, 0, 8000))
            reads += [(position, rail.channel, "shunt_uv"), (position, rail.channel, "bus_uv")]
            costs.append(RailCost(rail.name, name, 2, clock, voltages=1))
    flags_ns = len(chips) * TRANSFER_BITS * 10**9 // clock if clock else 0
    refuse_too_many(len(channels), len(chips))
    found = find(root)
    doubts = shunt_doubts((rail.name, rail.shunt_uohm) for chip in chips for rail in chip.rails if rail.name in wanted)
    total = undoubted(lambda names: total_of(found.entry, names), wanted, doubts)
    period_ns, budget = period_for(config, costs, total.rails, flags_ns)
    channels = [replace(each, every=budget.every) if each.quantity == "bus_uv" else each for each in channels]
    saved = Path(config.runtime_dir) / SAVED_REGISTERS

    def open_source() -> Source:
        made = [
            I2cChip(
                chip.address,
                shunt_uohm=_of_three(chip, "shunt_uohm"),
                offset_uv=_of_three(chip, "offset_uv"),
                config=config.i2c.config or None,
            )
            for chip in chips
        ]
        return decimated(I2cSource(device, made, reads, force=config.i2c.force, saved=saved), channels)

    def read_chips(source: Source) -> tuple[Chip, ...]:
        configs = source.configs if isinstance(source, I2cSource) else [config.i2c.config] * len(chips)
        return tuple(_chip(device, chip, now) for chip, now in zip(chips, configs, strict=True))

    described = tuple(_chip(device, chip, config.i2c.config) for chip in chips)
    freshness, rate = slowest_rate(described, period_ns)
    return Plan(
        source="i2c",
        simulated=False,
        board=found.board,
        channels=tuple(channels),
        chips=described,
        totals=total.rails,
        driver="none, registers",
        note="registers are read directly"
        + (", beside a driver" if config.i2c.force else "")
        + (total.says and f"; {total.says}"),
        open=open_source,
        period_ns=period_ns,
        freshness=freshness,
        fresh_rate_hz=rate,
        budget=budget,
        behaviours={chip.name: Behaviour("continuous", why="registers are read directly") for chip in described},
        bus_hz={chip.name: clock for chip in described},
        read_chips=read_chips,
        covers=total.covers,
        doubts=doubts,
        limits=(rail_limits(found.entry), total_limits(found.entry)),
    )


def configured(i2c: I2cTable) -> tuple[str, list[RawChip]]:
    """The bus and chips that the configuration spells out."""
    if not i2c.device or not i2c.shunts_uohm:
        raise ConfigError("needs i2c.device and i2c.shunts_uohm beside it", "give them too", key="i2c.rails")
    shunts, offsets = (_each(values, len(i2c.rails)) for values in (i2c.shunts_uohm, i2c.offsets_uv or (0,)))
    chips = []
    for position, address in enumerate(i2c.addresses):
        places = range(3 * position, 3 * position + 3)
        rails = [
            RawRail(i2c.rails[at], at % 3 + 1, shunts[at], offsets[at]) for at in places if i2c.rails[at]
        ]  # fmt: skip
        chips.append(RawChip(address, tuple(rails)))
    return i2c.device, chips


def from_tree(i2c: I2cTable, root: Path) -> tuple[str, list[RawChip]]:
    """The bus and chips of the device tree, narrowed to i2c.device and i2c.addresses where these are given."""
    there = [
        chip
        for chip in tree_chips(root)
        if i2c.device in ("", f"/dev/i2c-{chip.bus}") and (not i2c.addresses or chip.address in i2c.addresses)
    ]
    buses = sorted({chip.bus for chip in there})
    if not there or not any(chip.channels for chip in there):
        raise DaemonError(
            "no INA3221 with labels in the device tree", "name i2c.device, addresses, rails and shunts_uohm"
        )
    if len(buses) > 1:
        raise ConfigError(f"there are chips on the buses {', '.join(map(str, buses))}", "name one", key="i2c.device")
    chips = []
    taken: set[str] = set()
    for chip in there:
        rails = []
        for each in chip.channels:
            if each.shunt_uohm > LARGEST_SHUNT_UOHM:
                raise DaemonError(
                    f"the device tree gives {each.label} a shunt of {each.shunt_uohm} µΩ",
                    "correct it, or spell the chip out in [i2c]",
                )
            name = (
                each.label if each.label not in taken else f"{each.label}@{chip.bus}-{chip.address:04x}.{each.channel}"
            )
            taken.add(name)
            rails.append(RawRail(name, each.channel, each.shunt_uohm, each.offset_uv))
        chips.append(RawChip(chip.address, tuple(rails)))
    return f"/dev/i2c-{buses[0]}", chips


def _chip(device: str, chip: RawChip, config: int) -> Chip:
    name = f"ina3221@{device.rpartition('-')[2]}-{chip.address:04x}"
    if not config:
        return Chip(name, behaviour="registers")
    scan_ns = scan_of_config(config).ns
    shunt_us, bus_us = CONVERSION_US[config >> 3 & 7], CONVERSION_US[config >> 6 & 7]
    return Chip(
        name=name,
        shunt_conversion_us=shunt_us,
        bus_conversion_us=bus_us,
        averaging=averaging_of_config(config),
        scan_ns=scan_ns,
        freshness="nominal",
        behaviour="registers",
    )


def _of_three(chip: RawChip, what: str) -> tuple[int, int, int]:
    values = {rail.channel: int(getattr(rail, what)) for rail in chip.rails}
    return values.get(1, 0), values.get(2, 0), values.get(3, 0)


def _each(values: Sequence[int], count: int) -> list[int]:
    return list(values) * count if len(values) == 1 else list(values)
