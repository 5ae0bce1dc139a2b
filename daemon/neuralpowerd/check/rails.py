"""What a check finds of the rails: board, power now, the total and what it covers; what is missing, doubted or not read, and why."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuralpower_wire.epoch import COVERS

from ..config import AUTO
from ..sources.boards import ABSENT, ELSEWHERE, OFF, OTHER, TWICE, UNBOUND, FoundBoard, Total
from ..sources.plan import undoubted
from ..sources.plausible import rail_limits, shunts_of, total_limits
from ..sources.rails import kind_of, no_rail, readable
from ..system.monitors import INA3221, Input, Monitor, MonitorRail
from ..system.sysfs import integer
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

RAILS = "Rails"
REPORT = "say in an issue what it is and which rails feed which, so that its total can be known"
_REMEDIES = {
    errno.EACCES: "this user may not read it: run the check as root",
    errno.EPERM: "this user may not read it: run the check as root",
    errno.ENODATA: "its channel is switched off, or has no value yet: see its files that end in _enable",
    errno.EAGAIN: "it had no value just then: check again",
    errno.EBADMSG: "its file holds no number: another driver than this program knows?",
}
_MISSING = {
    OFF: "its driver is there: switch the channel on, as root",
    ELSEWHERE: "this device tree is not that of NVIDIA's kit: check what the label stands for; until then there is no such rail",
    OTHER: "this device tree is not that of NVIDIA's kit: check its labels",
    TWICE: "which of them is the board's cannot be told: give one of them another label in the device tree",
    UNBOUND: 'modprobe ina3221; or source = "i2c" reads it without a driver',
    ABSENT: "no driver gives it: load ina3221 (on JetPack 4 ina3221x); if it is loaded, the device tree lacks the chip: see dmesg",
}


@dataclass(frozen=True)
class Now:
    """A rail's values now, in their units; its power in W, None where it cannot be had, and then the errno of the read that failed."""

    rail: MonitorRail
    values: dict[str, int | None] = field(default_factory=dict)
    power_w: float | None = None
    error: int = 0
    doubt: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        rail = self.rail
        place = {"rail": rail.name, "chip": rail.chip, "channel": rail.channel, "shunt_uohm": rail.shunt_uohm}
        return {**place, **self.values, "power_w": self.power_w, "doubt": self.doubt}


def examine(found: FoundBoard) -> list[Now]:
    """Each rail as it is now, with why it is doubted, if it is."""
    shunts = {doubt.rail: doubt.why for doubt in shunts_of(found.rails)}
    return [present(rail, shunts.get(rail.name, ""), found) for rail in found.rails]


def present(rail: MonitorRail, doubt: str = "", found: FoundBoard | None = None) -> Now:
    """A rail's values now; without another doubt, its power is held against what the board `found` may draw."""
    values: dict[str, int | None] = {}
    error = 0
    for item in rail.inputs:
        values[item.quantity], failed = _value(item)
        error = error or failed
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
    if found and watts is not None and not doubt:
        doubt = rail_limits(found.entry).doubt(watts)
    return Now(rail, values, watts, error, doubt)


def _value(item: Input) -> tuple[int | None, int]:
    """A file's value and 0, or None and an errno. `ui_input_N` holds "mV mA"; every other file one number."""
    try:
        descriptor = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return None, error.errno or errno.EIO
    try:
        words = os.read(descriptor, 64).decode("ascii", "replace").split()
    except OSError as error:
        return None, error.errno or errno.EIO
    finally:
        os.close(descriptor)
    place = 1 if item.quantity == "current_ua" and len(words) > 1 else 0
    value = integer(words[place]) if words else None
    return (None, errno.EBADMSG) if value is None else (value * item.scale, 0)


def rails(found: FoundBoard, now: Sequence[Now], source: str) -> Iterator[Finding]:
    """Board, each rail, total; then what is missing, switched off, not read."""
    yield _board(found, source)
    for each in now:
        yield _rail(each)
    if found.rails or source != "i2c":
        yield _total(found, now)
    yield from _missing(found, source)
    yield from _switched_off(found)
    yield from _unread(found, source)


def _board(found: FoundBoard, source: str) -> Finding:
    if found.rails:
        return Finding(RAILS, "board", found.board, GOOD if found.known else UNKNOWN, "" if found.known else REPORT)
    why, remedy = no_rail(found, source)
    outcome = {
        AUTO: "readings are simulated until then, and marked so",
        "i2c": "source i2c needs no driver",
        "sim": "source sim simulates its readings, and marks them",
        "replay": "source replay needs none",
    }.get(source, "until then neuralpowerd does not start with this source")
    return Finding(RAILS, "board", f"{found.board}: {why}", BETTER, f"{remedy}; {outcome}")


def _rail(now: Now) -> Finding:
    rail = now.rail
    where = f"{rail.chip} channel {rail.channel}"
    if now.power_w is None:
        advice = _REMEDIES.get(now.error, "see the kernel's log: dmesg")
        return Finding(RAILS, rail.name, f"cannot be read: {os.strerror(now.error)}   {where}", PROBLEM, advice)
    value = f"{now.power_w:8.3f} W   {where}"
    if not now.doubt:
        return Finding(RAILS, rail.name, value, GOOD)
    advice = "compare it with another meter; its device tree may have the shunt in another unit"
    if now.power_w < 0 and not shunts_of([rail]):
        advice = "its current flows backwards: the rail is fed from behind, or the wires to its shunt are swapped"
    elif rail.shunt_file and rail.shunt_uohm:
        advice = f"{rail.shunt_file} is in µΩ: correct it there, or shunt-resistor-micro-ohms in the device tree (5 mΩ are 5000)"
    return Finding(RAILS, rail.name, f"{value}   doubted: {now.doubt}", PROBLEM, advice)


def total_of(found: FoundBoard) -> Total:
    """The total that is told: of rails whose shunts can be."""
    return undoubted(found.total_of, [rail.name for rail in found.rails], shunts_of(found.rails))


def _total(found: FoundBoard, now: Sequence[Now]) -> Finding:
    best = total_of(found)
    if not best.rails:
        advice = best.says.removeprefix("total unknown: ") if found.rails else "there is nothing to add up"
        return Finding(RAILS, "total", "unknown", PROBLEM if found.totals else UNKNOWN, advice)
    names = " + ".join(best.rails)
    powers = {each.rail.name: each.power_w for each in now if each.rail.name in best.rails}
    unread = ", ".join(rail for rail, power in powers.items() if power is None)
    if unread:
        return Finding(RAILS, "total", f"{names}   not known: {unread} cannot be read", PROBLEM, f"see {unread} above")
    doubt = total_limits(found.entry).doubt(sum(power for power in powers.values() if power is not None))
    if doubt:
        advice = "no rail above is doubted by itself: a running board draws more, so that not all of it flows through these shunts"
        if any(each.doubt for each in now if each.rail.name in best.rails):
            advice = "the rails above say which, and what to do"
        return Finding(RAILS, "total", f"{names}   doubted: {doubt}", PROBLEM, advice)
    if not best.covers:
        return Finding(RAILS, "total", names, UNKNOWN, best.note)
    return Finding(RAILS, "total", f"{names}   covers {COVERS[best.covers]}", GOOD, best.note)


def _missing(found: FoundBoard, source: str) -> Iterator[Finding]:
    """Rails that the board should have, those with the same remedy together."""
    says: dict[str, list[str]] = {}
    for missing in found.missing:
        if source == "i2c" and missing.why in (UNBOUND, ABSENT):
            continue  # it needs no driver
        advice = _MISSING[missing.why] + (f": echo 1 > {missing.switch}" if missing.switch else "")
        if missing.why == ABSENT and any(monitor.driver in INA3221 for monitor in found.monitors):
            advice = "the driver is there and reads other chips; the device tree lacks this one, or its driver failed: see dmesg"
        elif missing.why == ABSENT and (others := _others(found)):
            advice = f"this carrier has {others} in their place, which is read; load ina3221 only if its device tree names one: see dmesg"
        says.setdefault(advice, []).append(missing.label if missing.why == ABSENT else missing.says)
    for advice, phrases in says.items():
        yield Finding(RAILS, "missing", ", ".join(phrases), PROBLEM, advice)


def _others(found: FoundBoard) -> str:
    """The monitors that are read where the board's usual chip is not there at all; "" where it is, or nothing is read."""
    if any(monitor.driver in INA3221 for monitor in found.monitors):
        return ""
    return ", ".join(monitor.name for monitor in found.monitors if monitor.rails)


def _switched_off(found: FoundBoard) -> Iterator[Finding]:
    """Channels that are off and no rail of the board's: those with a label, and all of a chip that has nothing else."""
    told = {missing.switch for missing in found.missing}
    for monitor in found.monitors:
        for off in monitor.off:
            if off.switch not in told and (off.label or not monitor.rails):
                value = f"switched off   {monitor.name} channel {off.channel}"
                yield Finding(
                    RAILS, off.label or "channel", value, BETTER, f"to measure it, as root: echo 1 > {off.switch}"
                )


def _unread(found: FoundBoard, source: str) -> Iterator[Finding]:
    """Monitors that are there and give no rail, or are of the other kind."""
    for monitor in found.monitors:
        if not monitor.rails and not monitor.off:
            yield Finding(RAILS, monitor.name, f"is there and not read: {_silence(monitor)}", UNKNOWN, REPORT)
    read = {monitor.name for monitor in readable(found, source)}
    others = [monitor for monitor in found.monitors if monitor.rails and monitor.name not in read]
    if read and others:
        value = ", ".join(monitor.name for monitor in others)
        advice = f'one kind of driver is read at a time; source = "{kind_of(others[0])}" reads these'
        yield Finding(RAILS, "not read", value, BETTER, advice)


def _silence(monitor: Monitor) -> str:
    if monitor.driver in INA3221:
        return "none of its channels is connected"
    return "it gives no power, and not which voltage belongs to which current"
