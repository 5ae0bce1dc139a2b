"""A fitted model: a sparse sum of terms with bounds and a domain. It predicts, and knows where it was never measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.terms import Term, evaluate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
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
    def of(cls, columns: Mapping[str, Floats], y: Floats, rates: tuple[str, ...], capped: bool) -> Bounds:
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
class Polynomial:
    """ŷ = intercept + Σ coefficient·term, within bounds.

    `columns` names the quantities that a row holds; `scales` are the terms' weighted standard deviations in training, so
    that coefficient·scale tells how much a term moves the prediction; `domain` maps a quantity to its smallest and largest
    value in training.
    """

    columns: tuple[str, ...]
    degree: int
    intercept: float
    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    scales: tuple[float, ...]
    bounds: Bounds
    domain: Mapping[str, tuple[float, float]]

    def predict(self, x: Floats) -> Floats:
        """Predictions, shape (rows,), for quantities of shape (rows, columns)."""
        column = self.named(x)
        matrix = evaluate(self.terms, column, len(x))
        return self.bounds.apply(self.intercept + matrix @ np.asarray(self.coefficients), column)

    def outside(self, x: Floats) -> list[list[str]]:
        """For each row, which quantities lie outside what was measured, as ``out_c 4096 (16 to 2048)``."""
        found: list[list[str]] = [[] for _ in range(len(x))]
        for name, values in self.named(x).items():
            low, high = self.domain[name]
            # A side or a ratio is a rounded number: a hair outside is inside.
            for row in np.flatnonzero((values < low * (1 - 1e-9)) | (values > high * (1 + 1e-9))):
                found[row].append(f"{name} {values[row]:g} ({low:g} to {high:g})")
        return found

    def named(self, x: Floats) -> dict[str, Floats]:
        return {name: x[:, index] for index, name in enumerate(self.columns)}
