"""Folds of one layer type, and the errors of any way to predict on the layers that each fold holds out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.models.regression.folds import assign, relabelled
from neuralpower.models.rows import Geometry, LayerRows, clocks, groups_of, rows_of
from neuralpower.models.validation.score import Score, rmspe, without_worst

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

WORST = 10
"""So many rows make up much of an RMSPE; it is told without them too."""


@dataclass(frozen=True)
class CrossValidation:
    """Errors on held-out folds, with everything chosen anew inside each: the errors to expect.

    `score` is over all held-out rows together (a unit is one row); `low` and `high` are the RMSPE of the best and the worst
    fold; `without_worst` is the RMSPE but for the ten worst rows. Rows are `grouped_by` network or configuration. `unresolved`
    rows were left out because their standard error was too large. `coverage` is the share of held-out rows that lay within the
    interval that their fold's model gave for them. None stands where there is no such number.
    """

    score: Score
    low: float
    high: float
    without_worst: float | None
    folds: int
    grouped_by: str
    unresolved: int
    coverage: float | None = None


@dataclass(frozen=True)
class KindFolds:
    """The rows of one layer type by target, and in which fold each lies; `group`: by row of the dataset, -1 where of no use; `clocked`: whether
    the rows vary the GPU's clock, which is then a feature."""

    rows: Mapping[str, LayerRows]
    group: Ints
    grouped_by: str
    fold: Ints
    configuration: Ints
    clocked: bool = False

    @classmethod
    def of(cls, dataset: Dataset, kind: str, targets: tuple[str, ...], folds: int, seed: int) -> KindFolds:
        """The same folds for all targets: a layer that is held out is so for its runtime, power and energy."""
        geometry = Geometry.of(dataset, kind)
        rows = {target: rows_of(dataset, kind, target, geometry) for target in targets}
        index = np.unique(np.concatenate([each.index for each in rows.values()]))
        # Runtime and power have the same quantities, so any target's rows tell the configuration.
        of_kind = _all(dataset, rows, index, geometry)
        some, grouped_by = groups_of(dataset, of_kind, folds)
        unit = relabelled(of_kind.units)
        joined = _joined(some, unit)
        group, fold, configuration = (np.full(len(dataset), -1, dtype=np.int64) for _ in range(3))
        group[index], configuration[index] = joined, of_kind.configurations
        if len(index):
            fold[index] = assign(joined, folds, seed)
        return cls(rows, group, grouped_by, fold, configuration, bool(clocks(dataset, kind)))

    def parts(self) -> Iterator[tuple[Bools, Bools]]:
        """(training, test) of each fold by row of the dataset; no configuration is in both, and no unit is cut."""
        for number in np.unique(self.fold[self.fold >= 0]):
            test = self.fold == number
            train = (self.fold >= 0) & ~test & ~np.isin(self.configuration, self.configuration[test])
            for rows in self.rows.values():
                # A unit of which a layer is left out would be another equation.
                cut = np.unique(rows.units[~train[rows.index]])
                train[rows.index[np.isin(rows.units, cut)]] = False
            if train.any():
                yield train, test

    def few(self, target: str, train: Bools) -> bool:
        """Whether the training rows of a target are too few or all alike."""
        chosen = self.rows[target].index[train[self.rows[target].index]]
        return len(np.unique(self.group[chosen])) < 2 or len(np.unique(self.configuration[chosen])) < 2


def _all(dataset: Dataset, rows: Mapping[str, LayerRows], index: NDArray[np.intp], geometry: Geometry) -> LayerRows:
    """One `LayerRows` of all rows of a layer type, whatever was measured of them; `y` means nothing."""
    networks, units = np.empty(len(index), dtype=object), np.empty(len(index), dtype=np.int64)
    for each in rows.values():
        at = np.searchsorted(index, each.index)
        networks[at], units[at] = each.networks, each.units
    of_kind = np.searchsorted(geometry.index, index)
    configurations, blank = relabelled(geometry.configurations[of_kind]), np.zeros(len(index))
    return LayerRows(
        dataset, geometry.taken(of_kind), blank, blank, configurations, networks, index, 0, units, blank + 1
    )


def _joined(group: Ints, unit: Ints) -> Ints:
    """Groups, joined where a unit has rows of several."""
    from neuralpower.models.regression.merged import Merged

    return group if not len(group) else Merged.of(len(group), unit, None).joined(group)


Predict = Callable[[Bools, Bools], Floats]
"""(training rows, test rows) of the dataset -> predictions for the test rows of a target that are among its rows."""


@dataclass
class HeldOut:
    """Predictions of held-out rows as they come in, for one target: `predicted`, `low`, `high`, (rows,) each, nan where there is none yet."""

    folds: KindFolds
    target: str

    def __post_init__(self) -> None:
        rows = self.folds.rows[self.target]
        self.predicted, self.low, self.high = (np.full(len(rows), np.nan) for _ in range(3))
        self._spread: list[float] = []
        self._covered: list[tuple[float, int]] = []

    def add(self, test: Bools, predicted: Floats, ends: tuple[Floats, Floats] | None = None) -> None:
        """Predictions for the target's rows that are in `test`, and the ends of their intervals, (rows in `test`,) each."""
        rows = self.folds.rows[self.target]
        mine = test[rows.index]
        if not mine.any():
            return
        self.predicted[mine] = predicted
        chosen = rows.where(mine)
        merged, y = _by_unit(chosen, predicted)
        self._spread.append(rmspe(merged, y))
        if ends:
            self.low[mine], self.high[mine] = ends
            low, high = (_by_unit(chosen, each)[0] for each in ends)
            self._covered.append((float(np.mean((y >= low) & (y <= high))), len(y)))

    def score(self) -> CrossValidation | None:
        """The errors of all that was held out; None where nothing was."""
        rows = self.folds.rows[self.target]
        known = np.isfinite(self.predicted)
        if not known.any():
            return None
        predicted, y = _by_unit(rows.where(known), self.predicted[known])
        coverage = None
        if self._covered:
            shares, counts = zip(*self._covered, strict=True)
            coverage = float(np.average(shares, weights=counts))
        return CrossValidation(
            Score.of(predicted, y), min(self._spread), max(self._spread), without_worst(predicted, y, WORST),
            len(self._spread), self.folds.grouped_by, rows.unresolved, coverage,
        )  # fmt: skip


def _by_unit(rows: LayerRows, predicted: Floats) -> tuple[Floats, Floats]:
    """Predictions and values of the units."""
    merged = rows.merged
    return merged.mean(predicted), np.asarray(merged.first(rows.y), dtype=np.float64)
