"""The power timeline of a device in virtual time, held in memory: nobody reads it before the run is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class PowerTimeline(Protocol):
    """Where a virtual device publishes what its rails will draw: a file that the daemon reads, or memory."""

    horizon_ns: int

    @property
    def rails(self) -> list[str]:
        """The names of the rails."""
        ...

    @property
    def idle_uw(self) -> list[int]:
        """What each draws where no record lies, µW."""
        ...

    def append(self, start_ns: npt.ArrayLike, end_ns: npt.ArrayLike, power_uw: npt.ArrayLike) -> None:
        """Records that follow those before: (n,) ns, (n,) ns, (n, rails) µW."""
        ...

    def close(self) -> None:
        """From the last record on the rails idle."""
        ...


class HeldTimeline:
    """All records of a run."""

    def __init__(self, rails: Sequence[str], idle_uw: Sequence[int]) -> None:
        self.rails, self.idle_uw = list(rails), list(idle_uw)
        self.horizon_ns = 0
        self._parts: list[tuple[Any, Any, Any]] = []

    def append(self, start_ns: npt.ArrayLike, end_ns: npt.ArrayLike, power_uw: npt.ArrayLike) -> None:
        """Records that follow those before."""
        part = tuple(np.asarray(each, np.int64) for each in (start_ns, end_ns, power_uw))
        if part[0].size:
            self._parts.append((part[0], part[1], part[2]))
            self.horizon_ns = int(part[1][-1])

    def records(self) -> npt.NDArray[np.void]:
        """(n,) with start_ns, end_ns and power_uw (rails,)."""
        kind = [("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", (len(self.rails),))]
        found = np.zeros(sum(part[0].size for part in self._parts), kind)
        at = 0
        for start, end, power in self._parts:
            rows = found[at : at + start.size]
            rows["start_ns"], rows["end_ns"], rows["power_uw"] = start, end, power
            at += start.size
        return found

    def close(self) -> None:
        """Nothing: what lies behind the last record idles."""
