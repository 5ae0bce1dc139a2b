"""Sources hwmon and iio: the rails that a driver gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neuralpower_sampler import HwmonInput, HwmonSource, IioInput, IioSource, Source
from neuralpower_wire import Channel, Chip

from ..config import AUTO, Config
from ..errors import DaemonError
from ..system.devicetree import bus_clock_hz
from ..system.monitors import INA3221, Monitor, MonitorRail
from ..system.restore import SAVED_FILES, SettingChange, change_files, restore_files
from .boards import UNBOUND, FoundBoard, find
from .budget import Budget, RailCost
from .chiptimes import interval_for
from .plan import Plan, Prober, decimated, period_for, refuse_too_many, slowest_rate, undoubted, wanted_rails
from .plausible import rail_limits, shunts_of, total_limits
from .probe import Behaviour, scan_of
from .registry import Turn, planner

IIO_DRIVER = "ina3221x"
HWMON, IIO = "hwmon", "iio"


@planner(HWMON, IIO, turn=Turn.FIRST)
def rails_plan(config: Config, prober: Prober) -> Plan | None:
    """The rails of this machine's drivers; None where there are none and none was asked for."""
    root = Path(config.sysfs_root)
    found = find(root)
    monitors = readable(found, config.source)
    rails = [rail for monitor in monitors for rail in monitor.rails]
    if not rails:
        if config.source == AUTO:
            return None
        why, remedy = no_rail(found, config.source)
        where = f"{config.sysfs_root.rstrip('/')}/sys"
        raise DaemonError(f"no power rail found under {where}: {why}", f"{remedy}, or use --source sim")
    wanted = wanted_rails(config, [rail.name for rail in rails])
    rails = [rail for rail in rails if rail.name in wanted]
    monitors = [monitor for monitor in monitors if any(rail.chip == monitor.name for rail in rails)]
    refuse_too_many(sum(len(rail.inputs) for rail in rails), len(monitors))
    clocks = {monitor.name: bus_clock_hz(monitor.directory, root) for monitor in monitors}
    behaviours = {monitor.name: prober(monitor, clocks[monitor.name]) for monitor in monitors}
    costs = rail_costs(rails, monitors, clocks, behaviours)
    period_ns, budget = period_for(config, costs, found.total)
    changes = _changes(monitors, period_ns) if config.plan.allow_write else {}
    return _plan(config, found, rails, monitors, clocks, behaviours, changes, period_ns, budget)


def _plan(
    config: Config,
    found: FoundBoard,
    rails: Sequence[MonitorRail],
    monitors: Sequence[Monitor],
    clocks: dict[str, int | None],
    behaviours: dict[str, Behaviour],
    changes: dict[str, SettingChange],
    period_ns: int,
    budget: Budget,
) -> Plan:
    channels = [
        Channel(
            rail=rail.name,
            quantity=item.quantity,
            chip=rail.chip,
            input=rail.channel,
            shunt_uohm=rail.shunt_uohm if item.quantity == "shunt_uv" else 0,
            offset=0,
            lsb=item.lsb,
            every=budget.every if item.quantity == "bus_uv" and _has_own_voltage(rail) else 1,
        )
        for rail in rails
        for item in rail.inputs
    ]
    chips = [
        replace(_chip(monitor, changes.get(monitor.name)), behaviour=behaviours[monitor.name].kind)
        for monitor in monitors
    ]
    freshness, rate = slowest_rate(chips, period_ns)
    doubts = shunts_of(rails)
    names = [rail.name for rail in rails]
    total = undoubted(found.total_of, names, doubts)
    told = () if total.rails else found.total_of(names).rails
    beside = [f"{doubt.rail}: {doubt.why}" for doubt in doubts if doubt.rail not in told]
    written = [f"{name}: {change.text}" for name, change in changes.items()]
    note = "; ".join(filter(None, [total.says, *beside, *written]))
    saved = Path(config.runtime_dir) / SAVED_FILES

    def open_source() -> Source:
        change_files(saved, {change.path: change.value for change in changes.values()})
        return decimated(_open(rails, monitors, behaviours), channels)

    return Plan(
        source=kind_of(monitors[0]),
        simulated=False,
        board=found.board,
        channels=tuple(channels),
        chips=tuple(chips),
        totals=total.rails,
        driver=", ".join(sorted({f"{each.driver} {behaviours[each.name].kind}" for each in monitors})),
        note=note,
        open=open_source,
        period_ns=period_ns,
        freshness=freshness,
        fresh_rate_hz=rate,
        budget=budget,
        behaviours=behaviours,
        bus_hz=clocks,
        undo=lambda: restore_files(saved, Path(config.sysfs_root)) if changes else [],
        covers=total.covers,
        doubts=doubts,
        limits=(rail_limits(found.entry), total_limits(found.entry)),
    )


def readable(found: FoundBoard, source: str) -> list[Monitor]:
    """The monitors that one source reads: those of its kind; with AUTO of the kind that has the total's rails, else hwmon, else iio."""
    with_rails = [monitor for monitor in found.monitors if monitor.rails]
    if source == AUTO:
        kinds = [kind_of(monitor) for monitor in with_rails if any(rail.name in found.total for rail in monitor.rails)]
        kinds += sorted(kind_of(monitor) for monitor in with_rails)
        source = kinds[0] if kinds else HWMON
    return [monitor for monitor in with_rails if kind_of(monitor) == source]


def no_rail(found: FoundBoard, source: str) -> tuple[str, str]:
    """Why a source has no rail, and what to do."""
    other = sorted({kind_of(each) for each in found.monitors if each.rails})
    if other:
        return f"those that are there are not of source {source}", f'source = "{other[0]}" reads them'
    switches = [str(off.switch) for monitor in found.monitors for off in monitor.off]
    if switches:
        return "its channels are switched off", f"as root, write 1 to {', '.join(switches)}"
    if found.monitors:
        names = ", ".join(monitor.name for monitor in found.monitors)
        return f"{names} gives no rail", "see what its driver gives"
    if found.entry and not found.entry.rails:
        return f"{found.board}: {found.note}", "measure it from outside"
    unbound = [each.where for each in found.missing if each.why == UNBOUND]
    if unbound:
        return f"no driver has taken {unbound[0]}", 'modprobe ina3221, or source = "i2c"'
    if found.entry:
        return (
            "no power monitor is in sysfs",
            "load the driver (ina3221; on JetPack 4 ina3221x); if it is, the device tree lacks the chip: see dmesg",
        )
    return "no power monitor is in sysfs", "on a Jetson load the driver ina3221"


def kind_of(monitor: Monitor) -> str:
    """The source that reads a monitor."""
    return IIO if monitor.driver == IIO_DRIVER else HWMON


def _open(rails: Sequence[MonitorRail], monitors: Sequence[Monitor], behaviours: dict[str, Behaviour]) -> Source:
    inputs = [item for rail in rails for item in rail.inputs]
    if kind_of(monitors[0]) == "iio":
        return IioSource([IioInput(str(item.path), item.quantity) for item in inputs])
    waits = all(behaviours[monitor.name].kind in ("waiting", "single-shot") for monitor in monitors)
    longest = max((scan_of(monitor).high_ns * 11 // 10 for monitor in monitors), default=0)
    sources = [HwmonInput(str(item.path), item.scale) for item in inputs]
    return HwmonSource(sources, waits=waits, scan_ns=longest if waits else 0)


def rail_costs(
    rails: Sequence[MonitorRail],
    monitors: Sequence[Monitor],
    clocks: dict[str, int | None],
    behaviours: dict[str, Behaviour],
) -> list[RailCost]:
    """What each rail costs in a tick. A file that gives voltage and current is two transfers."""
    scans = {monitor.name: scan_of(monitor).ns * max(1, monitor.samples or 1) for monitor in monitors}
    costs = []
    for rail in rails:
        seen = behaviours[rail.chip]
        files = len({item.path for item in rail.inputs})
        waits_ns = max(scans[rail.chip], seen.behind_ns) if seen.kind in ("waiting", "single-shot") else 0
        measured_ns = seen.read_ns * files // len(rail.inputs)
        reads, voltages = len(rail.inputs), int(_has_own_voltage(rail))
        costs.append(RailCost(rail.name, rail.chip, reads, clocks[rail.chip], measured_ns, waits_ns, voltages))
    return costs


def _has_own_voltage(rail: MonitorRail) -> bool:
    """Whether the voltage is a read of its own, which may be left out; the files of the IIO driver are read together."""
    paths = [item.path for item in rail.inputs if item.quantity == "bus_uv"]
    others = [item.path for item in rail.inputs if item.quantity != "bus_uv"]
    return bool(paths) and bool(others) and not set(paths) & set(others) and not rail.chip.startswith(IIO_DRIVER)


def _chip(monitor: Monitor, change: SettingChange | None) -> Chip:
    scan = scan_of(monitor)
    conversion_us, scan_ns = (0, change.scan_ns) if change else (scan.conversion_us, scan.ns)
    freshness = "nominal" if scan_ns else "unknown"
    return Chip(
        name=monitor.name,
        shunt_conversion_us=conversion_us,
        bus_conversion_us=conversion_us,
        averaging=monitor.samples or 0,
        scan_ns=scan_ns,
        freshness=freshness,
    )


def _changes(monitors: Sequence[Monitor], period_ns: int) -> dict[str, SettingChange]:
    """The update intervals to write so that each chip scans as fast as the ticks come, where the file may be written."""
    changes = {}
    for monitor in monitors:
        path, scan = monitor.directory / "update_interval", scan_of(monitor)
        if monitor.driver not in INA3221 or not scan.ns or scan.ns <= period_ns or not os.access(path, os.W_OK):
            continue
        value, scan_ns = interval_for(period_ns, monitor.enabled)
        value *= max(1, monitor.samples or 1)  # writing divides by the samples
        text = f"update_interval {monitor.update_interval_ms} → {value} ms until the daemon stops"
        changes[monitor.name] = SettingChange(path, str(value), scan_ns, text)
    return changes
