"""Which readings the search for the sensor looks at: those that may hold a change of class, a random part of them, and of many
engines those that were measured best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.rows import Series
from neuralpower_align.acquire.trace import Course
from neuralpower_align.activity.activity import Activity
from neuralpower_align.clock.scan_clock import ScanClock

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BLOCK_NS = 200e6
"""Tuning: readings are thinned by blocks, so that slow noise can be told from the rest."""
MEMORY_LAGS = 8.0
"""Tuning: what ran so many lags before a reading is looked at: exp(-8) of it is left then."""
MOST_CLASSES = 240
"""Tuning: delay and lag are compared on so many unknown powers at most, of the engines with most readings for each of theirs."""
FEWEST_LEFT = 300
"""Rule: with fewer readings of the engines measured best, all engines are taken."""


@dataclass(frozen=True)
class SearchRange:
    """Where to look: delays and lags, ns, the scan within nominal +- scan_tolerance; `alone`: classes that are never joined to others,
    those of an engine right after its layers in number."""

    earliest_delay_ns: float = -1.5e6
    latest_delay_ns: float = 1.5e6
    longest_lag_ns: float = 2.0e6
    scan_tolerance: float = 0.04
    alone: tuple[int, ...] = ()
    seed: int = 0

    def seen(self, edges_ns: npt.NDArray[np.float64], series: Series) -> tuple[Ints, Ints]:
        """The first edge that each reading (k,) may have seen and the first that it cannot have, under any delay and lag."""
        reach = series.window_ns + 2 * series.scan_ns + self.latest_delay_ns + 3 * self.longest_lag_ns
        first = np.searchsorted(edges_ns, series.t_ns - reach)
        return first, np.searchsorted(edges_ns, series.t_ns - self.earliest_delay_ns)

    def informative(self, course: Course, series: Series) -> Series:
        """The readings that may hold a change of class: those of long steady stretches tell nothing of the sensor."""
        first, past = self.seen(course.edges_ns, series)
        return series.take(past > first)

    def around(self, course: Course, series: Sequence[Series]) -> Course:
        """The part of a course that these readings may have seen."""
        t = np.sort(np.concatenate([each.t_ns for each in series])) - self.earliest_delay_ns
        reach = MEMORY_LAGS * self.longest_lag_ns + self.latest_delay_ns - self.earliest_delay_ns
        return course.near(t, reach + 8 * max(each.scan_ns for each in series))


def thinned(
    series: Sequence[Series], clocks: Sequence[ScanClock | None], most: int, random: np.random.Generator
) -> list[Series]:
    """A random part of the readings, about `most`, in blocks of neighbours; under a known clock, first reads of conversions alone."""
    kept = [
        each if clock is None or each.forget else each.take(each.rows(clock, 0.0, 0.0)[1])
        for each, clock in zip(series, clocks, strict=True)
    ]
    total = sum(each.t_ns.size for each in kept)
    if total <= most:
        return kept
    thin = []
    for each in kept:
        block = (each.t_ns // BLOCK_NS).astype(np.int64)
        chosen = random.random(int(block[-1]) + 1 if block.size else 0) * total < most
        thin.append(each.take(chosen[block]))
    return thin


@dataclass(frozen=True)
class Measured:
    """What was measured best: an activity of these engines' classes, all others one class, and the readings that saw no other."""

    activity: Activity
    alone: tuple[int, ...]
    series: list[Series]


def best_measured(activity: Activity, course: Course, series: Sequence[Series], search: SearchRange) -> Measured:
    """The engines with most readings for each unknown power, up to MOST_CLASSES of these; everything if there are no more.

    `course` is the same as `activity`, from the origin of `series`.
    """
    every = Measured(activity, search.alone, list(series))
    if activity.count <= MOST_CLASSES:
        return every
    engine = engines(activity.count, search.alone)
    whose = engine[course.classes]
    size, readings = np.bincount(engine), np.zeros(int(engine.max()) + 1)
    turns = np.concatenate([[0], np.cumsum(np.diff(whose) != 0)])
    for each in series:
        first, last = _stretches(course, each, search)
        np.add.at(readings, whose[first[turns[first] == turns[last]]], 1)
    order = np.argsort(-readings / size, kind="stable")
    best = order[: max(int(np.searchsorted(np.cumsum(size[order]), MOST_CLASSES, side="right")), 1)]
    kept = np.isin(engine, best)
    others = np.concatenate([[0], np.cumsum(~kept[course.classes])])
    some = []
    for each in series:
        first, last = _stretches(course, each, search)
        some.append(each.take(others[last + 1] == others[first]))
    number = np.where(kept, np.cumsum(kept) - 1, np.count_nonzero(kept))
    if sum(each.t_ns.size for each in some) < FEWEST_LEFT:
        return every
    alone = np.unique(number[[*search.alone, *np.flatnonzero(~kept)]])
    return Measured(activity.regroup(number), tuple(alone.tolist()), some)


def engines(count: int, alone: Sequence[int]) -> Ints:
    """To which engine each class (count,) belongs: its layers in a row, then what is alone."""
    layer = np.ones(count, bool)
    layer[list(alone)] = False
    return np.asarray(np.maximum(np.cumsum(np.diff(layer, prepend=False) & layer) - 1, 0), np.int64)


def _stretches(course: Course, series: Series, search: SearchRange) -> tuple[Ints, Ints]:
    """The first and the last stretch that each reading may have seen."""
    first, past = search.seen(course.edges_ns, series)
    return np.maximum(first - 1, 0), np.maximum(past - 1, 0)
