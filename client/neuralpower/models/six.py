"""The six models: runtime and power of convolutions, pools and fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.models.design import DICTIONARIES
from neuralpower.models.folds import assign, splits
from neuralpower.models.polynomial import Polynomial
from neuralpower.models.quantities import measure
from neuralpower.models.rows import Rows, fingerprint, groups_of, networks_of, rows_of
from neuralpower.models.score import Score, rmspe

Floats = NDArray[np.float64]
Key = tuple[str, str]
HeldOut = Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats]

UNITS = {"runtime": "s", "power": "W"}
FEWEST_CONFIGURATIONS = 10
"""Different layers that a model needs; fewer say nothing about the next one."""


@dataclass(frozen=True)
class CrossValidation:
    """Errors on held-out folds, with degree and penalty chosen anew inside each: the errors to expect.

    `score` is over all held-out rows together; `low` and `high` are the RMSPE of the best and the worst fold. Rows are
    `grouped_by` network or configuration. `unresolved` rows were left out because their standard error was too large.
    """

    score: Score
    low: float
    high: float
    folds: int
    grouped_by: str
    unresolved: int


@dataclass(frozen=True)
class LayerModel:
    """The model of one layer type and target, and the errors to expect from it."""

    kind: str
    target: str
    polynomial: Polynomial
    cross_validation: CrossValidation

    def predict(self, layers: Sequence[Layer]) -> Floats:
        """Predictions in seconds or watts, shape (layers,)."""
        return self.polynomial.predict(measure(layers, self.polynomial.columns))

    def outside(self, layers: Sequence[Layer]) -> list[list[str]]:
        """For each layer, what of it lies outside the training data."""
        return self.polynomial.outside(measure(layers, self.polynomial.columns))


@dataclass(frozen=True)
class Remainder:
    """The mean layer that is known and not modelled (kind ``other``): reformats, elementwise operations, softmax."""

    layers: int
    runtime_s: float
    power_w: float


@dataclass
class SixModels:
    """Runtime and power models of conv, pool and fc layers, fitted to one dataset.

    Attributes after :meth:`fit`:
        models_: (kind, target) -> ``LayerModel``.
        skipped_: (kind, target) -> why there is no such model.
        remainder_: the mean of the layers of kind ``other``, or None where none was measured.
        sha256_, rows_, networks_, devices_, simulated_: what the models were fitted to.
    """

    folds: int = 5
    seed: int = 0
    models_: dict[Key, LayerModel] = field(default_factory=dict)
    skipped_: dict[Key, str] = field(default_factory=dict)
    remainder_: Remainder | None = None
    sha256_: str = ""
    rows_: int = 0
    networks_: list[str] = field(default_factory=list)
    devices_: list[str] = field(default_factory=list)
    simulated_: bool = False

    def fit(self, dataset: Dataset, advance: Callable[[float, str], None] | None = None) -> SixModels:
        """Fit all models that the dataset has rows for; `advance(models done, what is next)` is told of progress.

        Raises InputError when the dataset has rows for none.
        """
        self.models_, self.skipped_ = {}, {}
        for done, (kind, target) in enumerate(DICTIONARIES):
            if advance:
                advance(done, f"{kind} {target}")
            rows = rows_of(dataset, kind, target)
            different = len(np.unique(rows.configurations))
            if different < FEWEST_CONFIGURATIONS:
                self.skipped_[kind, target] = f"{different} different layers measured, {FEWEST_CONFIGURATIONS} needed"
                continue
            self.models_[kind, target] = self._fit_one(kind, target, dataset, rows)
        if not self.models_:
            raise InputError(
                f"no layer type has {FEWEST_CONFIGURATIONS} different layers with a measured runtime or power"
            )
        self.remainder_ = _remainder(dataset)
        self.sha256_, self.rows_, self.simulated_ = fingerprint(dataset), len(dataset), dataset.simulated
        self.networks_ = sorted(networks_of(dataset))
        self.devices_ = sorted(set(dataset["device"].tolist()) - {""})
        return self

    def _fit_one(self, kind: str, target: str, dataset: Dataset, rows: Rows) -> LayerModel:
        from sklearn.base import clone

        from neuralpower.models.lasso import SparsePolynomial

        estimator = SparsePolynomial(DICTIONARIES[kind, target], folds=self.folds, seed=self.seed)
        groups, grouped_by = groups_of(dataset, rows, self.folds)

        def held_out(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
            fitted = clone(estimator).fit(rows.x[train], rows.y[train], groups[train], rows.relative_se[train])
            return np.asarray(fitted.predict(rows.x[test]))

        cross_validation = cross_validate(held_out, rows, groups, grouped_by, self.folds, self.seed)
        polynomial = estimator.fit(rows.x, rows.y, groups, rows.relative_se).polynomial_
        return LayerModel(kind, target, polynomial, cross_validation)


def cross_validate(
    held_out: HeldOut, rows: Rows, groups: NDArray[np.int64], grouped_by: str, folds: int, seed: int
) -> CrossValidation:
    """The errors of `held_out(train, test)`, which fits to the training rows and returns predictions for the test rows.

    A fold whose training rows are too few or all alike is left out and its rows are not scored.
    """
    predicted = np.full(len(rows), np.nan)
    spread = []
    for train, test in splits(assign(groups, folds, seed), rows.configurations):
        if len(np.unique(groups[train])) < 2 or len(np.unique(rows.configurations[train])) < 2:
            continue
        predicted[test] = held_out(train, test)
        spread.append(rmspe(predicted[test], rows.y[test]))
    scored = ~np.isnan(predicted)
    if not scored.any():
        raise InputError("too few groups of layers to cross-validate; measure more networks or a sweep")
    score = Score.of(predicted[scored], rows.y[scored])
    return CrossValidation(score, min(spread), max(spread), len(spread), grouped_by, rows.unresolved)


def _remainder(dataset: Dataset) -> Remainder | None:
    """Mean runtime over layers of kind ``other``; power weighted by runtime, so that layers × both is their energy."""
    others = dataset.where(kind="other")
    runtime, power = others["runtime_s"].astype(np.float64), others["power_w"].astype(np.float64)
    timed = np.isfinite(runtime) & (runtime >= 0)
    both = timed & np.isfinite(power) & (power > 0) & (runtime > 0)
    if not both.any():
        return None
    return Remainder(
        int(timed.sum()), float(runtime[timed].mean()), float(np.average(power[both], weights=runtime[both]))
    )
