"""Finds out how a monitor's driver behaves, by timing a few reads: drivers of the same name do opposite things.

Reads come in pairs: one after a pause longer than a scan, one right behind it. A driver that waits for the chip answers the
first at once and lets the second wait for the next scan; one that hands out the register answers both alike.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..system.monitors import INA3221, Monitor
from .budget import TRANSFER_BITS
from .chiptimes import ScanTime, scan_of_interval

PAIRS = 8
LONGEST_PAUSE_NS = 60_000_000
LONGEST_NS = 600_000_000
"""Time spent on one chip, at most."""
RESET_SCAN_NS = 6_600_000
"""Taken where a driver says nothing of its scan."""
KINDS = ("waiting", "continuous", "single-shot", "unknown")


@dataclass(frozen=True)
class Behaviour:
    """How reads of a chip behave: `kind` is one of :data:`KINDS`; `read_ns` is what a read costs that waits for nothing
    (0: not measured), `behind_ns` what one costs right behind another; `why` says what was seen."""

    kind: str = "unknown"
    read_ns: int = 0
    behind_ns: int = 0
    pairs: int = 0
    why: str = "not probed"


def scan_of(monitor: Monitor) -> ScanTime:
    """What the driver says of a chip's scan: of an INA3221 by its conversion times, of another the interval as it stands."""
    if monitor.driver not in INA3221:
        ns = max(0, monitor.update_interval_ms or 0) * 1_000_000
        return ScanTime(ns, ns, ns)
    return scan_of_interval(monitor.update_interval_ms, monitor.enabled, monitor.samples or 1)


def probe(monitor: Monitor, bus_hz: int | None, timed: Callable[[Path], int | None] | None = None) -> Behaviour:
    """Time pairs of reads of the monitor's first current or power. At most 0.6 s; nothing is written."""
    inputs = [item for rail in monitor.rails for item in rail.inputs]
    if not inputs:
        return Behaviour(why="the chip has no rail")
    chosen = next((item for item in inputs if item.quantity != "bus_uv"), inputs[0])
    read = timed or timed_read
    scan_ns = scan_of(monitor).high_ns or RESET_SCAN_NS
    pause_ns = min(LONGEST_PAUSE_NS, scan_ns * 3 // 2 * max(1, monitor.samples or 1))
    rested: list[int] = []
    behind: list[int] = []
    end_ns = time.monotonic_ns() + LONGEST_NS
    while len(rested) < PAIRS and time.monotonic_ns() < end_ns:
        time.sleep(pause_ns / 1e9)
        first, second = read(chosen.path), read(chosen.path)
        if first is not None and second is not None:
            rested.append(first)
            behind.append(second)
        elif not rested and time.monotonic_ns() > end_ns - LONGEST_NS // 2:
            break
    return judge(rested, behind, scan_ns, bus_hz)


def timed_read(path: Path) -> int | None:
    """How long one read of an open file takes, in ns; None where it fails."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        begin = time.monotonic_ns()
        os.pread(descriptor, 64, 0)
        return time.monotonic_ns() - begin
    except OSError:
        return None
    finally:
        os.close(descriptor)


def judge(rested: list[int], behind: list[int], scan_ns: int, bus_hz: int | None) -> Behaviour:
    """What pairs of reads, (after a pause, right behind) in ns, say of the driver of a chip that scans in `scan_ns`."""
    if len(rested) < 3:
        return Behaviour(why="it cannot be read")
    first, second = round(statistics.median(rested)), round(statistics.median(behind))
    waits = [late - early for early, late in zip(rested, behind, strict=True)]
    wait = statistics.median(waits)
    clear = sum(each > 0.1 * scan_ns for each in waits)
    wire_ns = TRANSFER_BITS * 1_000_000_000 // bus_hz if bus_hz else 0
    seen = f"a read takes {_us(first)}, right behind another {_us(second)}"

    def found(kind: str, read_ns: int) -> Behaviour:
        return Behaviour(kind, read_ns, second, len(rested), seen)

    if wait > 0.2 * scan_ns and clear >= 0.75 * len(waits):
        return found("waiting", first)
    if first > 0.7 * scan_ns and (first > 3 * wire_ns if wire_ns else scan_ns > 2_000_000):
        return found("single-shot", first)
    if abs(wait) < 0.1 * scan_ns and clear <= 0.2 * len(waits):
        return found("continuous", first)
    return found("unknown", first)


def _us(ns: int) -> str:
    return f"{ns / 1000:.0f} µs" if ns >= 10_000 else f"{ns / 1000:.1f} µs"
