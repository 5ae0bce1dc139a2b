"""Watches how the three clocks lie to each other: clock maps, suspends, steps of the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Clocks = tuple[int, int, int, int]
"""monotonic_ns, boottime_ns, realtime_ns, bracket_ns: read together, to within the bracket."""

STEP_NS = 1_000_000
MAP_EVERY_NS = 1_000_000_000


@dataclass(frozen=True)
class Sight:
    """What a look at the clocks showed: a map to journal or None, nanoseconds suspended, nanoseconds the wall clock stepped."""

    map: dict[str, int] | None = None
    suspended_ns: int = 0
    stepped_ns: int = 0


_NOTHING = Sight()


def glance() -> Clocks:
    """The clocks, read once: a wider bracket than the sampler's, which is the best of five, at a fraction of its cost."""
    before = time.monotonic_ns()
    boottime, realtime = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()
    width = time.monotonic_ns() - before
    return before + width // 2, boottime, realtime, width


class ClockWatch:
    """Compares the clocks with the last map. MONOTONIC stands still in a suspend while BOOTTIME goes on; a step moves
    REALTIME against BOOTTIME. With `glance` the clocks are only `read` where a glance shows that there is something to
    tell."""

    def __init__(self, read: Callable[[], Clocks], glance: Callable[[], Clocks] | None = None) -> None:
        self._read, self._glance = read, glance
        self._last: Clocks | None = None

    def look(self) -> Sight:
        """What is to be told now, if anything."""
        if self._glance and self._last and self._compare(self._glance(), self._last) is _NOTHING:
            return _NOTHING
        now = self._read()
        sight = self._compare(now, self._last)
        if sight is not _NOTHING:
            self._last = now
        return sight

    def _compare(self, now: Clocks, last: Clocks | None) -> Sight:
        suspended = stepped = 0
        if last:
            wide = STEP_NS + now[3] + last[3]
            suspended = (now[1] - now[0]) - (last[1] - last[0])
            stepped = (now[2] - now[1]) - (last[2] - last[1])
            suspended = suspended if abs(suspended) > wide else 0
            stepped = stepped if abs(stepped) > wide else 0
            if not (suspended or stepped or now[0] - last[0] >= MAP_EVERY_NS):
                return _NOTHING
        names = ("monotonic_ns", "boottime_ns", "realtime_ns", "bracket_ns")
        return Sight(dict(zip(names, now, strict=True)), suspended, stepped)
