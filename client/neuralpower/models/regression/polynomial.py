"""A fitted model: a sparse sum of terms with bounds and a domain. It predicts, and knows where it was never measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.quantities import RATES, rates
from neuralpower.models.regression.terms import Term, evaluate, feature_quantities

Floats = NDArray[np.float64]

LEVEL = 0.9
"""Share of new layers that a prediction interval is to hold."""


@dataclass(frozen=True)
class PredictionBounds:
    """What the machine was seen to do, which a prediction may not leave.

    lowest
        The smallest value measured: the launch of a layer, or the power of the board with hardly any load.
    highest
        The largest value measured, or None where there is no limit. Power has one: a board's supply is finite.
    rates
        Quantity -> the highest rate measured, in units per second. A runtime is at least quantity / rate,
        so no layer is computed or moved faster than the fastest that was measured.
    """

    lowest: float
    highest: float | None
    rates: Mapping[str, float]

    @classmethod
    def of(cls, columns: Mapping[str, Floats], y: Floats, rates: tuple[str, ...], capped: bool) -> PredictionBounds:
        """The bounds that the measured values `y` show; `columns` maps quantities to values of the same shape (rows,)."""
        highest = float(y.max()) if capped else None
        return cls(float(y.min()), highest, {name: float((columns[name] / y).max()) for name in rates})

    def apply(self, values: Floats, columns: Mapping[str, Floats]) -> Floats:
        """`values`, shape (rows,) or (rows, models), moved into the bounds."""
        low = np.full(len(values), self.lowest)
        for name, rate in self.rates.items():
            low = np.maximum(low, columns[name] / rate)
        return np.clip(values, low.reshape(-1, *[1] * (values.ndim - 1)), self.highest)


@dataclass(frozen=True)
class Interval:
    """Where a layer's value lies, as multiples of its prediction, in a share :data:`LEVEL` of the cases: from held-out layers."""

    low: float
    high: float

    @classmethod
    def of(cls, ratios: Floats) -> Interval:
        """From measured over predicted of layers that took no part in the fit, shape (rows,).

        The outermost order statistics between which a new one lies with the probability asked for, if it is drawn like
        them (split-conformal prediction); with too few rows, the smallest and the largest.
        """
        ordered = np.sort(ratios)
        outside = int((len(ordered) + 1) * (1 - LEVEL) / 2)
        return cls(float(ordered[max(outside - 1, 0)]), float(ordered[min(len(ordered) - outside, len(ordered) - 1)]))

    def around(self, predicted: float) -> tuple[float, float]:
        """The ends for one prediction."""
        return self.low * predicted, self.high * predicted

    def holds(self, predicted: Floats, measured: Floats) -> float:
        """The share of measured values within the interval of their predictions."""
        return float(np.mean((measured >= self.low * predicted) & (measured <= self.high * predicted)))


@dataclass(frozen=True)
class Polynomial:
    """ŷ = intercept + Σ coefficient·term, within bounds.

    `columns` names the quantities that a row holds; `scales` are the terms' weighted standard deviations in training, so
    that coefficient·scale tells how much a term moves the prediction; `domain` maps a quantity to its smallest and largest
    value in training. `runtime` is the model whose prediction stands in the terms that are made of rates, or None.
    """

    columns: tuple[str, ...]
    degree: int
    intercept: float
    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    scales: tuple[float, ...]
    bounds: PredictionBounds
    interval: Interval
    domain: Mapping[str, tuple[float, float]]
    runtime: Polynomial | None = None

    def predict(self, x: Floats) -> Floats:
        """Predictions, shape (rows,), for quantities of shape (rows, columns)."""
        column = self.named(x)
        matrix = evaluate(self.terms, self.with_rates(column, x), len(x))
        return self.bounds.apply(self.intercept + matrix @ np.asarray(self.coefficients), column)

    def predict_interval(self, x: Floats) -> tuple[Floats, Floats]:
        """The lower and upper ends, shape (rows,) each, of what holds a share :data:`LEVEL` of layers like those in training."""
        predicted = self.predict(x)
        return self.interval.low * predicted, self.interval.high * predicted

    def outside(self, x: Floats) -> list[list[str]]:
        """For each row, which quantities lie outside what was measured, as ``out_c 4096 (16 to 2048)``."""
        found: list[list[str]] = [[] for _ in range(len(x))]
        for name, values in self.named(x).items():
            low, high = self.domain[name]
            # A side or a ratio is a rounded number: a hair outside is inside.
            for row in np.flatnonzero((values < low * (1 - 1e-9)) | (values > high * (1 + 1e-9))):
                found[row].append(f"{name} {values[row]:g} ({low:g} to {high:g})")
        return found

    def formula(self, target: str, unit: str) -> str:
        """The sum as text, the terms that move it most first, one to a line."""
        listed = zip(self.coefficients, self.scales, self.terms, strict=True)
        ordered = sorted(listed, key=lambda item: -abs(item[0] * item[1]))
        lines = [f"{target} [{unit}] = {self.intercept:.6g}"]
        return "\n  ".join([*lines, *(f"{coefficient:+.6g} * {term.name}" for coefficient, _, term in ordered)])

    def quantities(self) -> list[str]:
        """The quantities and rates that the terms are made of, in the order of their appearance."""
        features = (feature for term in self.terms for feature, _ in term.exponents)
        return list(dict.fromkeys(name for feature in features for name in feature_quantities(feature)))

    def named(self, x: Floats) -> dict[str, Floats]:
        return {name: x[:, index] for index, name in enumerate(self.columns)}

    def with_rates(self, column: Mapping[str, Floats], x: Floats) -> dict[str, Floats]:
        """`column`, and the rates where this model has a runtime model to find them with."""
        if self.runtime is None or not set(self.quantities()) & set(RATES):
            return dict(column)
        return {**column, **rates(column, self.runtime.predict(x))}
