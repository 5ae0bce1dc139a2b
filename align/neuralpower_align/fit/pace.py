"""How far a fit is, for those who wait: a share of the whole that only grows. How many steps a search takes nobody knows before."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

STARTS, MAXIMA, END, ALL = (0.25, 50_000), (0.55, 35_000), (0.95, 60_000), (1.0, 5_000)
"""Tuning: where each part of a search ends, as a share of its time, and how many blocks of rows it usually goes through: starts are compared, the best are
followed to their maxima, the best of these on more rows, and on all."""


class Pace:
    """Goes from `low` to `high` and tells it."""

    def __init__(self, told: Callable[[float], None] | None = None, low: float = 0.0, high: float = 1.0) -> None:
        self._told, self._low, self._high = told, low, high
        self._from, self._to, self._usual, self._gone = 0.0, *STARTS, 0.0

    def part(self, low: float, high: float) -> Pace:
        """For a part of the whole."""
        size = self._high - self._low
        return Pace(self._told, self._low + low * size, self._low + high * size)

    def reached(self, share: float) -> None:
        """So much of it is done."""
        if self._told is not None:
            self._told(self._low + share * (self._high - self._low))

    def begin(self, stage: tuple[float, int]) -> None:
        """The next part of a search begins, and the one before has ended."""
        reached = self._now
        self._from, (self._to, self._usual), self._gone = reached, stage, 0.0
        self.reached(self._from)

    def step(self, blocks: int) -> None:
        """So many more blocks were gone through. A part that takes longer than usual comes ever slower to its end."""
        if self._told is not None:
            self._gone += blocks
            self.reached(self._now)

    @property
    def _now(self) -> float:
        return self._from + (self._to - self._from) * (1 - exp(-2 * self._gone / self._usual))
