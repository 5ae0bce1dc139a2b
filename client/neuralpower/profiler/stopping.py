"""When an experiment has run long enough: after so many inferences, so long, or once its intervals are narrow enough.

A rule looks between rounds. Another one, such as one that follows estimates which the daemon publishes, is an object with
`enough`; nothing else of the experiment changes.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Protocol

from .balance import Estimate

LEAST_ROUNDS = 4
"""Fewer rounds say too little of their own scatter for a rule on intervals."""
LONGEST_S = 1800.0
TIME_SHARE = 0.8
"""Of the layers' time, so much must lie in units whose interval is narrow enough."""
GROWTH = 1.5
"""A recording is attributed again when it holds so many times the inferences: each attribution costs seconds."""


@dataclass(frozen=True)
class Progress:
    """Where an experiment stands after a round: profiled inferences, seconds, rounds, and energy per profiled inference."""

    inferences: int
    seconds: float
    rounds: int
    energy: Estimate


class Stop(Protocol):
    """A rule for the end."""

    @property
    def most(self) -> int | None:
        """Profiled inferences at most; None for any number."""
        ...

    def enough(self, progress: Progress) -> str:
        """Why the experiment may end, or nothing."""
        ...


@dataclass(frozen=True)
class Runs:
    """So many profiled inferences."""

    most: int | None

    def enough(self, progress: Progress) -> str:
        """After all of them."""
        return f"{progress.inferences} inferences" if self.most and progress.inferences >= self.most else ""


@dataclass(frozen=True)
class Seconds:
    """So long, and to the end of the round."""

    seconds: float
    most: int | None = None

    def enough(self, progress: Progress) -> str:
        """After that time."""
        return f"{progress.seconds:.0f} s" if progress.seconds >= self.seconds else ""


@dataclass(frozen=True)
class EnergyInterval:
    """Until the 95 % half-width of the energy per inference, from the scatter of blocks, is at most `percent` of it."""

    percent: float
    longest_s: float = LONGEST_S
    most: int | None = None

    def enough(self, progress: Progress) -> str:
        """Once that is so, and in any case after the longest time."""
        reached = progress.energy.relative * 100
        if progress.rounds >= LEAST_ROUNDS and reached <= self.percent:
            return f"energy per inference is known to ±{reached:.2g} %"
        if progress.seconds >= self.longest_s:
            told = "cannot be told" if math.isnan(reached) else f"is known to ±{reached:.2g} % only"
            return f"{self.longest_s:.0f} s are over; energy per inference {told}"
        return ""


class LayerIntervals:
    """Until layers' powers in a recording that is being made meanwhile have intervals of at most `percent`.

    That is: 80 % of the layers' time lies in units whose 95 % half-width is at most so much of their power.
    """

    most: int | None = None

    def __init__(
        self, recording: str | os.PathLike[str], engine: str, percent: float, longest_s: float = LONGEST_S
    ) -> None:
        self._recording, self._engine, self._percent, self._longest_s = recording, engine, percent, longest_s
        self._next = 0.0

    def enough(self, progress: Progress) -> str:
        """Once that is so, and in any case after the longest time."""
        share = self._share(progress) if progress.inferences >= self._next else math.nan
        if share >= TIME_SHARE:
            return f"{share:.0%} of the layers' time has its power to ±{self._percent:g} %"
        return f"{self._longest_s:.0f} s are over" if progress.seconds >= self._longest_s else ""

    def _share(self, progress: Progress) -> float:
        from ..attribution import attribute
        from ..recordings.recording import Recording

        self._next = GROWTH * progress.inferences
        return share_known(attribute(Recording(self._recording)).engines.get(self._engine), self._percent)


def share_known(engine: Any, percent: float) -> float:
    """Share of an attributed engine's layer time whose power has a 95 % half-width of at most `percent`; nan without one."""
    if engine is None or not engine.runtime_s:
        return math.nan
    known = sum(
        layer.runtime_s * layer.repeats
        for layer in engine.layers
        if math.isfinite(layer.power_se_w) and 1.96 * layer.power_se_w <= percent / 100 * layer.power_w
    )
    return float(known / engine.runtime_s)
