"""What a check finds of the power monitors: driver, bus, how fresh they can be, who else reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Config
from ..sources.boards import FoundBoard
from ..sources.budget import SELDOM, TRANSFER_BITS, Budget, RailCost
from ..sources.chiptimes import CONVERSION_US
from ..sources.probe import Behaviour, scan_of
from ..sources.rails import rail_costs
from ..system.monitors import INA3221, Monitor
from ..system.sysfs import place_of, read_label
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

SENSOR = "Sensor"
KNOWN_READERS = ("jtop", "tegrastats")
SETTINGS_US = (140, 332, 1100)
"""Conversion times of an INA3221 for which the reachable rate is shown."""
WHOLE_HZ = 350
"""Readings a second that match a full-rate trace (arXiv 2206.10377)."""
FASTEST_HZ = 3_400_000
"""I2C's high-speed mode: no bus here is faster."""


def drivers(found: FoundBoard, behaviours: Mapping[str, Behaviour], config: Config) -> Iterator[Finding]:
    """How the driver of each chip with a rail behaves, and its scan."""
    for monitor in _read(found):
        seen = behaviours[monitor.name]
        verdict = {"continuous": GOOD, "waiting": BETTER, "single-shot": BETTER}.get(seen.kind, UNKNOWN)
        advice = "" if verdict == GOOD else "the daemon tries it again at each start, with nobody else reading"
        if seen.kind in ("waiting", "single-shot"):
            advice = "each read waits for the chip"
            if monitor.driver in INA3221:
                advice += '; source = "i2c" reads the registers without waiting'
        yield Finding(SENSOR, monitor.name, f"{seen.kind}: {seen.why}", verdict, advice)
        scan, samples = scan_of(monitor), monitor.samples or 1
        if scan.ns:
            spread = "" if scan.low_ns == scan.high_ns else f" ({scan.low_ns / 1e6:g} to {scan.high_ns / 1e6:g})"
            value = f"{scan.ns / 1e6:g} ms{spread} nominal, {monitor.enabled} channels, samples {samples}"
            slow = scan.ns > 2_000_000 or samples > 1
            yield Finding(SENSOR, "scan", value, BETTER if slow else GOOD, _shorter(monitor, config) if slow else "")
        else:
            advice = "the fresh rate is estimated while the daemon runs: neuralpower watch shows it after a few hundred changes"
            yield Finding(SENSOR, "scan", "the driver does not say", UNKNOWN, advice)


def _read(found: FoundBoard) -> list[Monitor]:
    return [monitor for monitor in found.monitors if monitor.rails]


def _shorter(monitor: Monitor, config: Config) -> str:
    """How a chip comes to scan faster."""
    if monitor.driver not in INA3221:
        return (
            f"a shorter one in {monitor.directory / 'update_interval'}, as far as the driver {monitor.driver} takes it"
        )
    if config.plan.allow_write:
        return "plan.allow_write is set: where update_interval may be written, the daemon sets what its period needs while it runs"
    return "plan.allow_write = true lets the daemon set a shorter update_interval while it runs"


def bus(found: FoundBoard, clocks: Mapping[str, int | None], behaviours: Mapping[str, Behaviour]) -> Iterator[Finding]:
    """The clock of each chip's bus and what a read costs on it."""
    for monitor in _read(found):
        clock, seen = clocks[monitor.name], behaviours[monitor.name]
        most = TRANSFER_BITS * 1e9 / seen.read_ns if seen.read_ns and seen.kind == "continuous" else 0.0
        read = f"not in the device tree; a read takes {seen.read_ns / 1000:.0f} µs"
        if clock:
            wire_us = TRANSFER_BITS * 1e6 / clock
            value = f"{clock / 1000:g} kHz (device tree): a register takes {wire_us:.0f} µs"
            quick = f"400 kHz in the device tree's clock-frequency would make it {TRANSFER_BITS * 1e6 / 400_000:.0f} µs, where all chips of the bus can"
            yield Finding(SENSOR, "bus clock", value, *((GOOD, "") if clock >= 400_000 else (BETTER, quick)))
        elif most > FASTEST_HZ:
            advice = (
                "nothing to do: the plan uses the measured read; whether a value is new shows while the daemon runs"
            )
            yield Finding(
                SENSOR, "bus clock", f"{read}: quicker than the bus, so the driver remembers values", UNKNOWN, advice
            )
        elif most:
            advice = "the measured read is used for the plan"
            yield Finding(SENSOR, "bus clock", f"{read}, so at least {most / 1000:.0f} kHz", UNKNOWN, advice)
        else:
            advice = "nothing to do where reads are quick; the plan then uses what a read was measured to take"
            yield Finding(SENSOR, "bus clock", "not in the device tree", UNKNOWN, advice)


def reach(
    found: FoundBoard, clocks: Mapping[str, int | None], behaviours: Mapping[str, Behaviour]
) -> Iterator[Finding]:
    """New values a second that can be had: as it is set, and with other conversion times; all rails, and the total's alone."""
    if not found.rails:
        return
    total = [rail for rail in found.rails if rail.name in found.total]
    choices = [("all rails", list(found.rails))]
    if 0 < len(total) < len(found.rails):
        choices.append((" + ".join(found.total), total))
    for name, chosen in choices:
        monitors = [each for each in found.monitors if any(rail.chip == each.name for rail in chosen)]
        costs = rail_costs(chosen, monitors, dict(clocks), dict(behaviours))
        budget = Budget(tuple(costs))
        scans = [scan_of(monitor).ns for monitor in monitors]
        waits = any(cost.waits_ns for cost in costs)
        now = _reached(budget, max(scans)) if all(scans) else None
        parts = [f"as set {now:.0f} Hz"] if now else []
        ours = all(monitor.driver in INA3221 for monitor in monitors)
        parts += [_at(budget, monitors, us) for us in SETTINGS_US] if ours and not waits else []
        limit = f"; reads allow {1e9 / budget.shortest_ns:.0f} ticks a second" if budget.tick_ns else ""
        seldom = replace(budget, every=max(1, min(SELDOM, sum(cost.voltages for cost in costs))))
        if limit and seldom.shortest_ns < budget.shortest_ns:
            limit += f", {1e9 / seldom.shortest_ns:.0f} with each voltage in one tick of {seldom.every}"
        verdict = UNKNOWN if not now else GOOD if now >= WHOLE_HZ else BETTER
        advice = "" if verdict == GOOD else _fresher(monitors, costs)
        kind = "nominal: " if parts else "not known"
        yield Finding(SENSOR, f"fresh rate, {name}"[:23], kind + ", ".join(parts) + limit, verdict, advice)


def _fresher(monitors: Sequence[Monitor], costs: Sequence[RailCost]) -> str:
    """What gives more new values a second here."""
    ways = []
    if all(monitor.driver in INA3221 and monitor.update_interval_ms for monitor in monitors):
        ways.append("shorter conversions (plan.allow_write)")
    if len(costs) > 1:
        ways.append("fewer rails (plan.rails)")
    if any(cost.voltages for cost in costs):
        ways.append("voltages more seldom (plan.voltage_every)")
    whole = f"a rail is seen whole from about {WHOLE_HZ} Hz on"
    return f"{whole}: {', '.join(ways)}" if ways else whole


def _at(budget: Budget, monitors: Sequence[Monitor], conversion_us: int) -> str:
    scan_ns = max(2000 * max(1, monitor.enabled) * conversion_us for monitor in monitors)
    assert conversion_us in CONVERSION_US
    return f"at {conversion_us} µs {_reached(budget, scan_ns):.0f} Hz"


def _reached(budget: Budget, scan_ns: int) -> float:
    return 1e9 / max(scan_ns, budget.shortest_ns)


def readers(found: FoundBoard, root: Path, daemon: int | None = None) -> tuple[Finding, list[str]]:
    """Processes that hold files of these chips open or are known to read them; the finding, and their names.

    `daemon` is the process of the daemon that answers here, whatever it is called.
    """
    places = [str(place_of(monitor.directory)) + os.sep for monitor in found.monitors]
    others: list[str] = []
    seen: list[str] = []
    hidden = 0
    for process in sorted(root.glob("proc/[0-9]*")):
        name = read_label(process / "comm") or "?"
        if process.name == str(os.getpid()):
            continue
        try:
            links = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:
            hidden, links = hidden + 1, []
        if name in KNOWN_READERS or any(link.startswith(place) for link in links for place in places):
            seen.append(f"{name} ({process.name})")
            others += [] if name.startswith("neuralpowerd") or process.name == str(daemon) else seen[-1:]
    if seen:
        advice = (
            "each of them takes time on the bus, and on a waiting driver takes scans away: stop them while measuring"
        )
        verdict = PROBLEM if others else GOOD
        return Finding(SENSOR, "other readers", ", ".join(seen), verdict, advice if others else ""), seen
    value = f"none seen ({hidden} processes could not be looked into)" if hidden else "none"
    advice = "run the check as root to see all" if hidden else ""
    return Finding(SENSOR, "other readers", value, UNKNOWN if hidden else GOOD, advice), seen
