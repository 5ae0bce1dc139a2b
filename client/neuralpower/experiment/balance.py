"""Energy and time of an inference with and without the profiler, from the blocks of an experiment, with intervals.

A block is so many inferences of one kind between two rests. Over the block and a margin on both sides in which the sensor settles,

    E = n · energy of an inference + P_rest · (length - time inside inferences),

with P_rest from the rests beside it, so a delay or lag of the sensor moves energy within the window and not out of it. Blocks
are the unit of the statistics: their scatter carries drift and noise that inferences of one block share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_T975 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
         2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045)  # fmt: skip
"""Student's t for a two-sided 95 % interval with 1, 2, ... degrees of freedom; beyond, 1.96 + 2.4 / degrees."""


@dataclass(frozen=True)
class Block:
    """What one block showed: its kind, n inferences, mean seconds and joules of one (joules nan where not measured)."""

    kind: str
    inferences: int
    seconds: float
    joules: float


@dataclass(frozen=True)
class BlockMean:
    """A mean over `count` blocks with the half-width of its 95 % interval; nan where fewer than two tell."""

    value: float
    half_width: float
    count: int

    @property
    def relative(self) -> float:
        """Half-width over value."""
        return self.half_width / abs(self.value) if self.value else math.nan


def estimate(values: Iterable[float]) -> BlockMean:
    """Mean and Student's 95 % interval of independent values; those that are nan are left out."""
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return BlockMean(math.nan, math.nan, 0)
    if len(known) == 1:
        return BlockMean(float(known[0]), math.nan, 1)
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    return BlockMean(float(known.mean()), student(len(known) - 1) * error, len(known))


def student(degrees: int) -> float:
    """The 97.5 % point of Student's t."""
    return _T975[degrees - 1] if degrees <= len(_T975) else 1.96 + 2.4 / degrees


def ratio(above: BlockMean, below: BlockMean) -> BlockMean:
    """The quotient of two independent means, its interval by error propagation (first order)."""
    if not below.value or not math.isfinite(below.value):
        return BlockMean(math.nan, math.nan, 0)
    value = above.value / below.value
    return BlockMean(value, abs(value) * math.hypot(above.relative, below.relative), min(above.count, below.count))


def seconds_of(blocks: Sequence[Block], kind: str) -> BlockMean:
    """Time of an inference between its anchors."""
    return estimate(block.seconds for block in blocks if block.kind == kind)


def joules_of(blocks: Sequence[Block], kind: str) -> BlockMean:
    """Energy of an inference between its anchors, of the whole board."""
    return estimate(block.joules for block in blocks if block.kind == kind)
