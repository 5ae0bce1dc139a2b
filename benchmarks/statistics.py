"""How two sides are compared: interleaved rounds, ratios within a round, a bootstrap interval, and a control.

A round runs each side once, in an order drawn anew, so that whatever drifts on the machine meets all sides alike. The
reference runs twice in every round; the ratio of its two runs is the control. A bar is decided only where the control's
interval lies inside it: otherwise the machine is too noisy to tell, and the verdict is "not resolved".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

RESAMPLES = 4000
CONFIDENCE = 0.95
SEED = 1

Metrics = Mapping[str, float]
Histogram = Sequence[list[int]]
"""Rows of (low, high, count)."""


@dataclass(frozen=True)
class Form:
    """How thorough a run is to be."""

    quick: bool = False
    rounds: int | None = None
    """In place of the part's own number."""

    def pick(self, quick: float, full: float) -> float:
        """A length in the short form, or in the full one."""
        return quick if self.quick else full

    def count(self, quick: int, full: int) -> int:
        """A number of rounds, unless another was asked for."""
        return self.rounds or (quick if self.quick else full)


@dataclass(frozen=True)
class Bar:
    """What a ratio must not exceed, or with `at_least` must reach."""

    ratio: float
    at_least: bool = False

    def holds(self, ratio: float) -> bool:
        """Whether `ratio` is on the right side."""
        return ratio >= self.ratio if self.at_least else ratio <= self.ratio

    def resolves(self, low: float, high: float) -> bool:
        """Whether a control of this interval is inside the bar, on both sides of 1."""
        widest = max(self.ratio, 1 / self.ratio)
        return 1 / widest <= low and high <= widest

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.ratio:.3g}"


@dataclass(frozen=True)
class Row:
    """One line of a table: medians of both sides over `runs` rounds, the median ratio and its 95 % interval."""

    name: str
    ours: float
    reference: float
    ratio: float
    low: float
    high: float
    unit: str
    runs: int
    bar: Bar | None = None
    verdict: str = ""

    def document(self) -> dict[str, object]:
        """The row for build/bench/<part>.json."""
        values = {name: value for name, value in self.__dict__.items() if name != "bar"}
        return {**values, "bar": str(self.bar) if self.bar else ""}


@dataclass
class Rounds:
    """What every side measured: side → metric → one value a round."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, side: str, metrics: Metrics) -> None:
        """Take the values of one run."""
        for name, value in metrics.items():
            self.values.setdefault(side, {}).setdefault(name, []).append(value)

    def row(
        self,
        name: str,
        metric: str,
        unit: str,
        *,
        ours: str = "ours",
        reference: str = "reference",
        control: str = "control",
        bar: Bar | None = None,
    ) -> list[Row]:
        """The comparison of `ours` with `reference`, and behind it the control's where that side was run."""
        compared = compare(name, self.values[ours][metric], self.values[reference][metric], unit, bar)
        if control not in self.values:
            return [compared]
        check = compare(f"{name} (control)", self.values[control][metric], self.values[reference][metric], unit)
        if bar and not bar.resolves(check.low, check.high):
            compared = Row(**{**compared.__dict__, "verdict": "not resolved"})
        return [compared, check]


def interleave(
    sides: Mapping[str, Callable[[], Metrics]], rounds: int, advance: Callable[[float, str], None]
) -> Rounds:
    """Run every side once a round, in a new order each time."""
    result, order, draw = Rounds(), list(sides), random.Random(SEED)
    for done in range(rounds):
        draw.shuffle(order)
        for side in order:
            result.add(side, sides[side]())
        advance(done + 1, f"round {done + 1} of {rounds}")
    return result


def compare(name: str, ours: Sequence[float], reference: Sequence[float], unit: str, bar: Bar | None = None) -> Row:
    """Paired by round: the median of the rounds' ratios, its interval, and whether it is within the bar."""
    mine, theirs = np.asarray(ours, float), np.asarray(reference, float)
    ratios = mine / theirs
    ratio = float(np.median(ratios))
    low, high = interval(ratios)
    verdict = "" if bar is None else "met" if bar.holds(ratio) else "not met"
    return Row(
        name, float(np.median(mine)), float(np.median(theirs)), ratio, low, high, unit, len(ratios), bar, verdict
    )


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median, over rounds."""
    draw = np.random.default_rng(SEED)
    medians = np.median(draw.choice(values, (RESAMPLES, len(values))), axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)


def quantile(histogram: Histogram, share: float) -> float:
    """The value that `share` of the counts do not exceed, counts spread evenly within their bin; nan without counts."""
    if not histogram:
        return float("nan")
    low, high, counts = (np.array(column, float) for column in zip(*sorted(histogram), strict=True))
    upto = np.cumsum(counts)
    bin_ = int(np.searchsorted(upto, share * upto[-1]))
    inside = (share * upto[-1] - (upto[bin_] - counts[bin_])) / counts[bin_]
    return float(low[bin_] + inside * (high[bin_] - low[bin_]))
