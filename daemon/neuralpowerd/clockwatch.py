"""Watches how the three clocks lie to each other: clock maps, suspends, steps of the wall clock."""

from __future__ import annotations

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


class ClockWatch:
    """Compares the clocks with the last map. MONOTONIC stands still in a suspend while BOOTTIME goes on; a step moves
    REALTIME against BOOTTIME."""

    def __init__(self, read: Callable[[], Clocks]) -> None:
        self._read = read
        self._last: Clocks | None = None

    def look(self) -> Sight:
        """Read the clocks once."""
        now = self._read()
        last, first = self._last or now, self._last is None
        suspended = (now[1] - now[0]) - (last[1] - last[0])
        stepped = (now[2] - now[1]) - (last[2] - last[1])
        suspended = suspended if abs(suspended) > STEP_NS + now[3] + last[3] else 0
        stepped = stepped if abs(stepped) > STEP_NS + now[3] + last[3] else 0
        if not (first or suspended or stepped or now[0] - last[0] >= MAP_EVERY_NS):
            return Sight()
        self._last = now
        names = ("monotonic_ns", "boottime_ns", "realtime_ns", "bracket_ns")
        return Sight(dict(zip(names, now, strict=True)), suspended, stepped)
