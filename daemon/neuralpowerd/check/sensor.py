"""What a check finds of the power monitors: rails, driver, bus, how fresh they can be, who else reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..sources.boards import Found
from ..sources.budget import SELDOM, TRANSFER_BITS, Budget
from ..sources.chiptimes import CONVERSION_US
from ..sources.probe import Behaviour, scan_of
from ..sources.rails import rail_costs
from ..system.monitors import Monitor, Rail, read_text
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

RAILS, SENSOR = "Rails", "Sensor"
KNOWN_READERS = ("jtop", "tegrastats")
SETTINGS_US = (140, 332, 1100)
"""Conversion times for which the reachable rate is shown."""


def rails(found: Found, values: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Board, rails with their present power, total."""
    known = bool(found.rails) and found.known
    advice = "" if known else "readings are simulated, and marked so; on a Jetson load the ina3221 driver"
    if found.rails and not known:
        advice = "say in an issue what it is and which rails feed which, so that its total can be known"
    yield Finding(RAILS, "board", found.board, GOOD if known else UNKNOWN if found.rails else BETTER, advice)
    for value in values:
        where = f"{value['chip']} channel {value['channel']}"
        if value["power_w"] is None:
            yield Finding(RAILS, value["rail"], f"cannot be read   {where}", PROBLEM, "see the kernel's log: dmesg")
        else:
            yield Finding(RAILS, value["rail"], f"{value['power_w']:8.3f} W   {where}", GOOD)
    total = " + ".join(found.total)
    if total:
        yield Finding(RAILS, "total", total, GOOD, found.note)
    else:
        yield Finding(RAILS, "total", "unknown", UNKNOWN, found.note)
    if found.missing:
        yield Finding(RAILS, "missing", ", ".join(found.missing), PROBLEM, "are all drivers loaded? see dmesg")


def drivers(found: Found, behaviours: Mapping[str, Behaviour]) -> Iterator[Finding]:
    """How each chip's driver behaves, and its scan."""
    for monitor in found.monitors:
        seen = behaviours[monitor.name]
        verdict = {"continuous": GOOD, "waiting": BETTER, "single-shot": BETTER}.get(seen.kind, UNKNOWN)
        advice = ""
        if seen.kind in ("waiting", "single-shot"):
            advice = 'each read waits for the chip; source = "i2c" reads the registers without waiting'
        yield Finding(SENSOR, monitor.name, f"{seen.kind}: {seen.why}", verdict, advice)
        scan = scan_of(monitor)
        if scan.ns:
            spread = "" if scan.low_ns == scan.high_ns else f" ({scan.low_ns / 1e6:g} to {scan.high_ns / 1e6:g})"
            value = f"{scan.ns / 1e6:g} ms{spread} nominal, {monitor.enabled} channels, samples {monitor.samples or 1}"
            verdict, advice = GOOD, ""
            if scan.ns > 2_000_000 or (monitor.samples or 1) > 1:
                verdict, advice = (
                    BETTER,
                    "plan.allow_write = true lets the daemon set a shorter update_interval while it runs",
                )
            yield Finding(SENSOR, "scan", value, verdict, advice)
        else:
            advice = "the fresh rate is estimated while the daemon runs: neuralpower watch shows it after a few hundred changes"
            yield Finding(SENSOR, "scan", "the driver does not say", UNKNOWN, advice)


def bus(found: Found, clocks: Mapping[str, int | None], behaviours: Mapping[str, Behaviour]) -> Iterator[Finding]:
    """The clock of each chip's bus and what a read costs on it."""
    for monitor in found.monitors:
        clock, seen = clocks[monitor.name], behaviours[monitor.name]
        if clock:
            wire_us = TRANSFER_BITS * 1e6 / clock
            value = f"{clock / 1000:g} kHz (device tree): a register takes {wire_us:.0f} µs"
            advice = "" if clock >= 400_000 else "400 kHz in the device tree's clock-frequency would quarter it"
            yield Finding(SENSOR, "bus clock", value, GOOD if clock >= 400_000 else BETTER, advice)
        elif seen.read_ns and seen.kind == "continuous":
            most = TRANSFER_BITS * 1e9 / seen.read_ns
            value = (
                f"not in the device tree; a read takes {seen.read_ns / 1000:.0f} µs, so at least {most / 1000:.0f} kHz"
            )
            yield Finding(SENSOR, "bus clock", value, UNKNOWN, "the measured read is used for the plan")
        else:
            advice = "nothing to do where reads are quick; the plan then uses what a read was measured to take"
            yield Finding(SENSOR, "bus clock", "not in the device tree", UNKNOWN, advice)


def reach(found: Found, clocks: Mapping[str, int | None], behaviours: Mapping[str, Behaviour]) -> Iterator[Finding]:
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
        parts += [] if waits else [_at(budget, monitors, us) for us in SETTINGS_US]
        limit = f"; reads allow {1e9 / budget.shortest_ns:.0f} ticks a second" if budget.tick_ns else ""
        seldom = replace(budget, every=max(1, min(SELDOM, sum(cost.voltages for cost in costs))))
        if limit and seldom.shortest_ns < budget.shortest_ns:
            limit += f", {1e9 / seldom.shortest_ns:.0f} with each voltage in one tick of {seldom.every}"
        verdict = UNKNOWN if not parts else GOOD if now and now >= 350 else BETTER
        advice = (
            ""
            if verdict == GOOD
            else "a rail is seen whole from about 350 Hz on: shorter conversions (plan.allow_write), fewer rails (plan.rails), "
            "voltages more seldom (plan.voltage_every)"
        )
        kind = "nominal: " if parts else "not known"
        yield Finding(SENSOR, f"fresh rate, {name}"[:23], kind + ", ".join(parts) + limit, verdict, advice)


def _at(budget: Budget, monitors: Sequence[Monitor], conversion_us: int) -> str:
    scan_ns = max(2000 * max(1, monitor.enabled) * conversion_us for monitor in monitors)
    assert conversion_us in CONVERSION_US
    return f"at {conversion_us} µs {_reached(budget, scan_ns):.0f} Hz"


def _reached(budget: Budget, scan_ns: int) -> float:
    return 1e9 / max(scan_ns, budget.shortest_ns)


def readers(found: Found, root: Path) -> tuple[Finding, list[str]]:
    """Processes that hold files of these chips open or are known to read them; the finding, and their names."""
    places = [str(monitor.directory.resolve()) + os.sep for monitor in found.monitors]
    seen: list[str] = []
    hidden = 0
    for process in sorted(root.glob("proc/[0-9]*")):
        name = read_text(process / "comm") or "?"
        if process.name == str(os.getpid()):
            continue
        try:
            links = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:
            hidden, links = hidden + 1, []
        if name in KNOWN_READERS or any(link.startswith(place) for link in links for place in places):
            seen.append(f"{name} ({process.name})")
    if seen:
        advice = (
            "each of them takes time on the bus, and on a waiting driver takes scans away: stop them while measuring"
        )
        others = [each for each in seen if not each.startswith("neuralpowerd")]
        verdict = PROBLEM if others else GOOD
        return Finding(SENSOR, "other readers", ", ".join(seen), verdict, advice if others else ""), seen
    value = f"none seen ({hidden} processes could not be looked into)" if hidden else "none"
    advice = "run the check as root to see all" if hidden else ""
    return Finding(SENSOR, "other readers", value, UNKNOWN if hidden else GOOD, advice), seen


def present(rail: Rail) -> dict[str, Any]:
    """A rail's values now, in their units, and its power in W where it can be had."""
    values = {item.quantity: _value(item.path, item.quantity, item.scale) for item in rail.inputs}
    bus_uv, shunt_uv, current_ua, power_uw = (
        values.get(name) for name in ("bus_uv", "shunt_uv", "current_ua", "power_uw")
    )
    amperes = None
    if shunt_uv is not None and rail.shunt_uohm:
        amperes = shunt_uv / rail.shunt_uohm
    elif current_ua is not None:
        amperes = current_ua / 1e6
    watts = None
    if power_uw is not None:
        watts = power_uw / 1e6
    elif amperes is not None and bus_uv is not None:
        watts = amperes * bus_uv / 1e6
    place = {"rail": rail.name, "chip": rail.chip, "channel": rail.channel, "shunt_uohm": rail.shunt_uohm}
    return {**place, **values, "power_w": watts}


def _value(path: Path, quantity: str, scale: int) -> int | None:
    """`ui_input_N` holds "mV mA"; every other file one number."""
    words = (read_text(path) or "").split()
    try:
        return int(words[1 if quantity == "current_ua" and len(words) > 1 else 0]) * scale
    except (ValueError, IndexError):
        return None
