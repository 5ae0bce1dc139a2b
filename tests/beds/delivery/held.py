"""What a daemon's processes hold of memory and descriptors, over a run; and whether it stays the same once its logs are full."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SETTLED = 1.5
"""Logs that have been full for half as long again as it took to fill them have been through all that filling does."""
LONG_S = 600.0
"""A trend of less is none."""
MOST_GROWTH = 2e6
"""Bytes by which the last sixth may lie above the first: the daemon's index of its journal alone breathes by a megabyte."""
OF_A_CONNECTION = 3
"""Descriptors: two of the process that takes it, one of the daemon."""


@dataclass(frozen=True)
class Held:
    """`daemon` and `front`: bytes of their own (no ring, no library) of the daemon and of the process before its sockets."""

    at_s: float
    daemon: int
    front: int
    descriptors: int
    connections: int
    full: bool
    """Whether both logs have let their oldest entries go."""

    @property
    def all(self) -> int:
        """Bytes of both."""
        return self.daemon + self.front

    @property
    def others(self) -> int:
        """Descriptors that are of no connection."""
        return self.descriptors - OF_A_CONNECTION * self.connections


def held_by(process: int) -> tuple[int, int, int] | None:
    """Bytes of its own of a process, those of its children, and descriptors of all; None where they cannot be seen."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        sizes, descriptors = [0, 0], 0
        for each in [str(process), *children]:
            descriptors += len(os.listdir(f"/proc/{each}/fd"))
            for line in Path(f"/proc/{each}/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    sizes[each != str(process)] += int(line.split()[1]) * 1024
    except OSError:
        return None
    return sizes[0], sizes[1], descriptors


def held_now(at_s: float, status: dict[str, Any]) -> Held | None:
    """By what the daemon says of itself, and its processes; None where they cannot be seen."""
    found = held_by(int(status["pid"])) if status.get("pid") else None
    if found is None:
        return None
    full = all(status[log]["oldest"] > 0 for log in ("ticks", "journal"))
    return Held(at_s, *found, sum(status["connections"]["open"].values()), full)


def settled(held: list[Held]) -> list[Held]:
    """Those since the logs have been full for long enough."""
    begun = next((each.at_s for each in held if each.full), None)
    return [] if begun is None else [each for each in held if each.at_s >= SETTLED * begun]


def flat(held: list[Held]) -> bool | None:
    """Print what was held at start and end, and how it went; whether it stayed, or None where the run is too short to tell."""
    print(
        "  ".join(
            word.rjust(12) for word in ("after s", "daemon MB", "front MB", "descriptors", "connections", "others")
        )
    )
    rows = settled(held)
    chosen = [*held[:1], *rows[:: max(1, len(rows) // 10)], *held[-1:]] if rows else [*held[:1], *held[-1:]]
    for each in dict.fromkeys(chosen):
        words = (f"{each.at_s:.0f}", f"{each.daemon / 1e6:.1f}", f"{each.front / 1e6:.1f}")
        numbers = (each.descriptors, each.connections, each.others)
        print("  ".join(word.rjust(12) for word in (*words, *map(str, numbers))))
    if not rows or rows[-1].at_s - rows[0].at_s < LONG_S:
        print("too short to tell a trend: both logs must have been full for some time, and then ten minutes more")
        return None
    first, last = rows[: max(1, len(rows) // 6)], rows[-max(1, len(rows) // 6) :]
    (before, after), (some, others) = (
        [float(np.median([value(each) for each in part])) for part in (first, last)]
        for value in (lambda each: each.all, lambda each: each.others)
    )
    times = np.array([each.at_s for each in rows])
    rate = np.polyfit(times - times[0], [each.all for each in rows], 1)[0] * 3600
    print(
        f"since both logs were full ({rows[0].at_s:.0f} to {rows[-1].at_s:.0f} s, {len(rows)} looks; medians of the first and the last sixth): "
        f"{before / 1e6:.1f} MB and {after / 1e6:.1f} MB, a trend of {rate / 1e6:+.1f} MB an hour, {min(e.all for e in rows) / 1e6:.1f} to "
        f"{max(e.all for e in rows) / 1e6:.1f} MB; descriptors besides those of connections {some:.0f} and {others:.0f}"
    )
    stays = after - before <= MOST_GROWTH and others - some < OF_A_CONNECTION
    print("memory and descriptors stay" if stays else "memory or descriptors GROW")
    return stays
