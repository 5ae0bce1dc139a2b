"""When an experiment has run long enough: after so many inferences, so long, or once its intervals are narrow enough.

A rule looks between rounds. Another one, such as one that follows estimates which the daemon publishes, is an object with
`enough`; nothing else of the experiment changes.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InputError
from ..interval import Z95, half
from .balance import BlockMean

LEAST_ROUNDS = 4
"""Fewer rounds say too little of their own scatter for a rule on intervals."""
LONGEST_S = 1800.0
TIME_SHARE = 0.8
"""Of the layers' time, so much must lie in units whose interval is narrow enough."""
GROWTH, MOST_GROWTH = 1.3, 2.0
"""A recording is attributed again when it holds at least and at most so many times the inferences: each attribution costs seconds."""


@dataclass(frozen=True)
class Progress:
    """Where an experiment stands after a round: profiled inferences, seconds, rounds, and energy per profiled inference."""

    inferences: int
    seconds: float
    rounds: int
    energy: BlockMean


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
            return f"energy per inference is known to ±{half(reached)} %"
        if progress.seconds >= self.longest_s:
            told = "cannot be told" if math.isnan(reached) else f"is known to ±{half(reached)} % only"
            return f"{self.longest_s:.0f} s are over; energy per inference {told}"
        return ""


class LayerIntervals:
    """Until layers' powers in a recording that is being made meanwhile have intervals of at most `percent`.

    That is: 80 % of the layers' time lies in units whose 95 % half-width is at most so much of their power. The recording is
    attributed between rounds, when nothing is measured, because the work of it would be.
    """

    most: int | None = None

    def __init__(
        self, recording: str | os.PathLike[str], engine: str, percent: float, longest_s: float = LONGEST_S
    ) -> None:
        self._recording, self._engine, self._percent, self._longest_s = recording, engine, percent, longest_s
        self._next = 0.0
        self._known = math.nan
        self._units = 0
        self._withheld = ""

    def enough(self, progress: Progress) -> str:
        """Once that is so, and in any case after the longest time."""
        over = progress.seconds >= self._longest_s
        if progress.rounds >= LEAST_ROUNDS and (progress.inferences >= self._next or over):
            self._known = self._look()
            # Intervals shrink with the root of what was measured.
            growth = (self._known / self._percent) ** 2 if math.isfinite(self._known) else MOST_GROWTH
            self._next = min(max(growth, GROWTH), MOST_GROWTH) * progress.inferences
        told = f"known to ±{half(self._known)} % in {self._units} units"
        if math.isnan(self._known):
            told = f"withheld: {self._withheld}" if self._withheld else "not told"
        if self._known <= self._percent:
            return f"power in {TIME_SHARE:.0%} of the layers' time is {told}"
        return (
            f"{self._longest_s:.0f} s are over; power in {TIME_SHARE:.0%} of the layers' time is {told}" if over else ""
        )

    def _look(self) -> float:
        """The half-width, percent, that so much of the layers' time is known to; nan where it is not told."""
        from ..attribution import attribute
        from ..recordings.recording import Recording

        try:
            engine = attribute(Recording(self._recording)).engines.get(self._engine)
        except InputError:  # the recorder has not yet written what it takes
            return math.nan
        self._units, self._withheld = (engine.units, engine.withheld) if engine else (0, "")
        return width_known(engine)


def width_known(engine: Any, share: float = TIME_SHARE) -> float:
    """The 95 % half-width, percent of the power, that `share` of an attributed engine's layer time is known to; nan where less is told.

    A layer that shares its unit counts with its unit's interval: the group is what was told apart. What is withheld is not known.
    """
    if engine is None or not engine.runtime_s:
        return math.nan
    units = zip(engine.unit_power_w, engine.unit_se_w, strict=True)
    widths = [100 * Z95 * error / power if power > 0 else math.nan for power, error in units]
    each = [
        (
            widths[layer.unit] if widths else 100 * Z95 * layer.power_se_w / layer.power_w,
            layer.runtime_s * layer.repeats,
        )
        for layer in engine.layers
    ]
    known = 0.0
    for width, seconds in sorted((width, seconds) for width, seconds in each if math.isfinite(width)):
        known += seconds
        if known >= share * engine.runtime_s:
            return float(width)
    return math.nan
