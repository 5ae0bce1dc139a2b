"""A fitted model: a sparse sum of terms with bounds and a domain. It predicts, and knows where it was never measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.groups import ends_of, groups_of
from neuralpower.models.regression.kriging import Kriging
from neuralpower.models.regression.law import Law
from neuralpower.models.regression.quantities import RATES, rates
from neuralpower.models.regression.terms import Term, evaluate, feature_quantities

Floats = NDArray[np.float64]

LEVEL = 0.9
"""Share of new layers that a prediction interval is to hold."""
FEW = 19
"""Layers of a group from which on its smallest and largest ratio are far enough apart for :data:`LEVEL`."""
UNSURE = 0.25
"""What share of the way beyond the data, in logarithms, a prediction may be off on either side: there is nothing to learn it from.
The law's two extremes, nothing but launch and nothing but work, are a whole way apart; this is half of it, around the law."""


AT_ONCE = 50_000
"""Rows whose terms are held together: 100 terms of a million rows are a gigabyte."""
MOST_OCTAVES = 40.0
"""No layer is so far from what the law says; a wild sum shall not become infinite."""


def octaves(values: Floats) -> Floats:
    """2^values."""
    return np.asarray(np.exp2(np.clip(values, -MOST_OCTAVES, MOST_OCTAVES)))


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

    def slowest(self, values: Floats, columns: Mapping[str, Floats]) -> Floats:
        """`values`, (rows,), not below what the highest rates allow: what holds of a layer of any size."""
        low = np.zeros(len(values))
        for name, rate in self.rates.items():
            low = np.maximum(low, columns[name] / rate)
        return np.maximum(values, low)


@dataclass(frozen=True)
class Interval:
    """Where a layer's value lies, as multiples of its prediction, in a share :data:`LEVEL` of the cases: from held-out layers.

    `groups`: (where, low, high) of kinds of layers that scatter otherwise than all together, told apart by steps; each layer is
    in one of them where there are any.
    """

    low: float
    high: float
    groups: tuple[tuple[Term, float, float], ...] = ()

    @classmethod
    def of(cls, ratios: Floats, names: Sequence[str] = (), column: Mapping[str, Floats] | None = None) -> Interval:
        """From measured over predicted of layers that took no part in the fit, shape (rows,).

        The outermost order statistics between which a new one lies with the probability asked for, if it is drawn like
        them (split-conformal prediction); with too few rows, the smallest and the largest. The quantities in `column`, (rows,)
        each, tell groups that scatter alike apart, by `names` and by kinds of convolutions; each then has its own ends.
        """
        low, high = _ends(ratios)
        found = groups_of(names, column, np.abs(np.log(ratios))) if column else []
        ends = [_ends(ratios[inside]) if inside.sum() >= FEW else ends_of(ratios[inside], LEVEL) for _, inside in found]
        return cls(low, high, tuple((where, *each) for (where, _), each in zip(found, ends, strict=True)))

    def factors(self, column: Mapping[str, Floats], rows: int) -> tuple[Floats, Floats]:
        """(low, high) for each of so many rows, (rows,) each."""
        low, high = np.full(rows, self.low), np.full(rows, self.high)
        inside = evaluate([where for where, _, _ in self.groups], column, rows) > 0
        for number, (_, least, most) in enumerate(self.groups):
            low[inside[:, number]], high[inside[:, number]] = least, most
        return low, high


def _ends(ratios: Floats) -> tuple[float, float]:
    ordered = np.sort(ratios)
    outside = int((len(ordered) + 1) * (1 - LEVEL) / 2)
    return float(ordered[max(outside - 1, 0)]), float(ordered[min(len(ordered) - outside, len(ordered) - 1)])


@dataclass(frozen=True)
class Polynomial:
    """ŷ = intercept + Σ coefficient·term, or, where `proportional`, ŷ = law · 2^(intercept + Σ coefficient·term), or, where `logarithmic`,
    ŷ = 2^(intercept + Σ coefficient·term), within bounds.

    `columns` names the quantities that a row holds; `scales` are the terms' weighted standard deviations in training, so
    that coefficient·scale tells how much a term moves the prediction (in octaves where proportional); `domain` maps a quantity to its smallest and largest
    value in training. `runtime` is the model whose prediction stands in the terms that are made of rates, or None.

    Where either, `kriging` adds to the exponent what the measured layers near a new one leave (:mod:`.kriging`), or is None.
    Beyond the domain a logarithmic sum, which is a power's, stays what it is at the nearest place within: powers saturate. Otherwise the sum and its bounds are those of the nearest place within, times what `law` makes of the way from there.
    Without a law the sum goes on as it is.
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
    law: Law | None = None
    proportional: bool = False
    kriging: Kriging | None = None
    logarithmic: bool = False

    def predict(self, x: Floats) -> Floats:
        """Predictions, shape (rows,), for quantities of shape (rows, columns)."""
        if len(x) > AT_ONCE:
            return np.concatenate([self.predict(x[at : at + AT_ONCE]) for at in range(0, len(x), AT_ONCE)])
        near = self.nearest(x) if self.law or self.logarithmic else x
        column = self.with_rates(self.named(near), near)
        values = self.intercept + evaluate(self.terms, column, len(x)) @ np.asarray(self.coefficients)
        values += self.kriging.at(column) if self.kriging else 0.0
        if self.logarithmic:
            values = octaves(values)
        elif self.proportional and self.law:
            values = self.law.at(column) * octaves(values)
        values = self.bounds.apply(values, column)
        far = np.flatnonzero((near != x).any(axis=1))
        if self.law and len(far):
            there = self.with_rates(self.named(x[far]), x[far])
            way = self.law.at(there) / self.law.at({name: each[far] for name, each in column.items()})
            values[far] *= way
            values[far] = self.bounds.slowest(values[far], there)
        return values

    def predict_interval(self, x: Floats) -> tuple[Floats, Floats]:
        """The lower and upper ends, shape (rows,) each, of what holds a share :data:`LEVEL` of layers like those in training.

        Beyond the domain they widen with the distance: to each side by a quarter of it, in logarithms.
        """
        predicted, near = self.predict(x), self.nearest(x)
        low, high = self.interval.factors(self.named(near), len(x))
        if self.law or self.logarithmic:
            widen = np.exp(UNSURE * self._distance(x, near))
            low, high = low / widen, high * widen
        return low * predicted, high * predicted

    def _distance(self, x: Floats, near: Floats) -> Floats:
        """How far rows are from the domain, in natural logarithms, (rows,): in the quantity that is farthest.

        A power follows how fast the layer works, which saturates: the way of its rates counts, and that of sizes a quarter.
        """
        sizes: Floats = np.abs(np.log(x / near)).max(axis=1)
        if self.logarithmic:
            return sizes / 4
        if self.runtime is None or self.law is None:
            return sizes
        there, here = self.with_rates(self.named(x), x), self.with_rates(self.named(near), near)
        ways = [np.abs(np.log(there[name] / here[name])) for name in self.law.quantities()]
        return np.asarray(np.maximum.reduce([sizes / 4, *ways]))

    def nearest(self, x: Floats) -> Floats:
        """The nearest place within the domain, (rows, columns)."""
        low, high = np.array([self.domain[name] for name in self.columns]).T
        return np.clip(x, low, high)

    def unsupported(self, x: Floats) -> list[list[str]]:
        """For each row, what of it was never measured and no size can stand for: batch, precision, kind of convolution."""
        found: list[list[str]] = [[] for _ in range(len(x))]
        column = self.named(x)
        for name in ("batch", "element_bytes"):
            if name in column:
                low, high = self.domain[name]
                for row in np.flatnonzero((column[name] < low) | (column[name] > high)):
                    found[row].append(f"{name} {column[name][row]:g}")
        if {"groups", "filters"} <= set(column):
            grouped, single = column["groups"] > 1, column["filters"] <= 1
            never = {
                "depthwise": grouped & single & (self.domain["filters"][0] > 1),
                "groups": grouped & ~single & (self.domain["groups"][1] <= 1),
            }
            for name, rows in never.items():
                for row in np.flatnonzero(rows):
                    found[row].append(name)
        return found

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
        first = f"{target} [{unit}] = "
        if self.proportional and self.law:
            first += f"({self.law.formula()})\n  * 2^ of "
        elif self.logarithmic:
            first += "2^ of "
        lines = [f"{first}{self.intercept:.6g}"]
        lines += [f"{coefficient:+.6g} * {term.name}" for coefficient, _, term in ordered]
        if self.kriging:
            layers = len(self.kriging.points)
            lines.append(
                f"+ what is left of the measured layers near it (kriging of {layers}; moves {self.kriging.moves():.2g} octaves)"
            )
        return "\n  ".join(lines)

    def quantities(self) -> list[str]:
        """The quantities and rates that the terms are made of, in the order of their appearance."""
        features = (feature for term in self.terms for feature, _ in term.exponents)
        return list(dict.fromkeys(name for feature in features for name in feature_quantities(feature)))

    def named(self, x: Floats) -> dict[str, Floats]:
        return {name: x[:, index] for index, name in enumerate(self.columns)}

    def with_rates(self, column: Mapping[str, Floats], x: Floats) -> dict[str, Floats]:
        """`column`, and the rates where this model has a runtime model to find them with."""
        used = {*self.quantities(), *(self.law.quantities() if self.law else ())}
        if self.runtime is None or not used & set(RATES):
            return dict(column)
        return {**column, **rates(column, self.runtime.predict(x))}
