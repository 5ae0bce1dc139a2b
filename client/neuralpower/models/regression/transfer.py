"""Few layers of a device, and another device's model: its coefficients are where the fit starts, and the fewer layers there are the nearer it stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.folds import configurations_of
from neuralpower.models.regression.lasso import Nested, SparsePolynomial
from neuralpower.models.regression.law import Law
from neuralpower.models.regression.merged import Merged
from neuralpower.models.regression.polynomial import Interval, Polynomial, PredictionBounds, octaves
from neuralpower.models.regression.search import costs, working
from neuralpower.models.regression.terms import evaluate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HOLDS = (np.inf, *np.geomspace(1e5, 1e-3, 17))
"""How firmly coefficients are held at the start's, in squared relative errors of the data for a squared relative change; at infinity all are scaled alike."""
ENOUGH = 30
"""Different layers from which on a fit of its own is tried beside; fewer leave it nothing to hold out."""


class OtherQuantities(ValueError):
    """The model to start from is made of other quantities than the rows."""


@dataclass(frozen=True)
class _Contributions:
    """What the start says of each unit: `contributions` (units, 1 + terms) of its intercept and terms, `whole` (units,) within its bounds."""

    contributions: Floats
    whole: Floats


class StartedPolynomial(SparsePolynomial):
    """A sparse polynomial that starts from that of another device.

    ŷ = s·(b (1 + e_0) + Σ_j c_j (1 + e_j) f_j(x)), b and c_j of the start; s is the median of y over what the start predicts. The relative changes e
    minimise Σ w_i (y_i - ŷ_i)² + λ Σ e_j², the most likely ones where each c_j is known up to a relative error (a scaled Gaussian prior). λ is that of least
    held-out cost; infinite, all coefficients are scaled alike. Terms, domain and law are the start's. From ENOUGH different layers on a fit of its own is
    tried too, and taken where its held-out error is less.

    Args:
        start: the polynomial to start from; None: none, as ``SparsePolynomial``. The others are those of ``SparsePolynomial``.

    Attributes:
        started_: whether the start was kept.
    """

    def __init__(
        self,
        start: Polynomial | None = None,
        dictionary: Dictionary | None = None,
        degrees: Sequence[int] = (1, 2, 3),
        penalties: int = 40,
        folds: int = 5,
        seed: int = 0,
        loss: str = "relative-y",
        regions: bool = True,
    ) -> None:
        super().__init__(dictionary, degrees, penalties, folds, seed, loss, regions)
        self.start = start

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        relative_se: ArrayLike | None = None,
        units: ArrayLike | None = None,
        shares: ArrayLike | None = None,
        nested: Nested | None = None,
    ) -> StartedPolynomial:
        """Fit as ``SparsePolynomial`` does. Raises OtherQuantities where the start has other quantities than X."""
        self.started_ = False
        x, target, dictionary = self._checked(X, y)
        if self.start is None:
            super().fit(X, y, groups, relative_se, units, shares, nested)
            return self
        if self.start.columns != dictionary.columns:
            raise OtherQuantities(
                f"the start is made of {', '.join(self.start.columns)}, and X holds {', '.join(dictionary.columns)}"
            )
        rows = Merged.of(len(target), units, shares)
        trust, parts = self._trust_and_parts(x, rows, groups, relative_se)
        if len(np.unique(configurations_of(x))) >= ENOUGH:
            super().fit(X, y, groups, relative_se, units, shares, nested)
            own = self.selection_error_
        else:
            own = np.inf
        self._fit_started(x, rows, rows.first(target), trust, parts, nested, own)
        return self

    def _fit_started(
        self,
        x: Floats,
        rows: Merged,
        y: Floats,
        trust: Floats,
        parts: list[tuple[Bools, Bools]],
        nested: Nested | None,
        own: float,
    ) -> None:
        """Take the started fit, unless a fit of its own errs less, by the held-out error `own`."""
        assert self.start is not None
        shape = replace(self.start, runtime=nested.polynomial if nested else None)
        said = _said(shape, x, rows)
        quantities = {name: rows.mean(values) for name, values in shape.named(x).items()}
        held_out = np.full((len(y), len(HOLDS)), np.nan)
        for train, test in parts:
            for number, hold in enumerate(HOLDS):
                scale, changes = self._changes(said, y, trust, train, hold)
                bounds = _bounds(
                    shape.bounds, scale, y[train], {name: quantities[name][train] for name in shape.bounds.rates}
                )
                raw = scale * said.contributions[test] @ (1 + changes)
                held_out[test, number] = bounds.apply(raw, {name: quantities[name][test] for name in bounds.rates})
        known = np.isfinite(held_out[:, 0])
        errors = [
            float(np.sqrt(np.average(costs(each[known], y[known], self.loss), weights=trust[known])))
            for each in held_out.T
        ]
        best = int(np.argmin(errors))
        if own < errors[best]:
            return
        everything = np.ones(len(y), dtype=bool)
        scale, changes = self._changes(said, y, trust, everything, HOLDS[best])
        self.started_ = True
        self.degree_, self.penalty_, self.selection_error_ = shape.degree, float(HOLDS[best]), errors[best]
        self.held_out_ = rows.spread(held_out[:, best])
        factors = scale * (1 + changes)
        self.polynomial_ = replace(
            _changed(shape, factors),
            bounds=_bounds(shape.bounds, scale, y, {name: quantities[name] for name in shape.bounds.rates}),
            interval=Interval.of((y / held_out[:, best])[known]),
        )

    def _changes(
        self, said: _Contributions, y: Floats, trust: Floats, train: Bools, hold: float
    ) -> tuple[float, Floats]:
        """s, and the relative changes (1 + terms,), of the units in `train`."""
        scale = float(np.exp(np.median(np.log(y[train] / said.whole[train]))))
        changes = np.zeros(said.contributions.shape[1])
        if np.isfinite(hold):
            response, unit = working(y[train], scale * said.whole[train], self.loss)
            matrix = scale * said.contributions[train] / unit[:, None]
            left = response / unit - matrix.sum(axis=1)
            weighted = matrix.T * trust[train]
            changes = np.linalg.solve(weighted @ matrix + hold * np.eye(len(changes)), weighted @ left)
        return scale, changes


def _said(shape: Polynomial, x: Floats, rows: Merged) -> _Contributions:
    """What the start's terms say at the nearest place in its domain, times what its law makes of the way from there."""
    near = shape.nearest(x) if shape.law else x
    here = shape.with_rates(shape.named(near), near)
    way = np.ones(len(x))
    if shape.law:
        way = shape.law.at(shape.with_rates(shape.named(x), x)) / shape.law.at(here)
    listed = evaluate(shape.terms, here, len(x)) * np.asarray(shape.coefficients)
    sums = np.column_stack([np.full(len(x), shape.intercept), listed])
    if shape.logarithmic:
        exponent = sums.sum(axis=1) + (shape.kriging.at(here) if shape.kriging else 0.0)
        sums = octaves(exponent)[:, None]
    elif shape.proportional and shape.law:
        # The device's launch and rates are of its own; how well its layers use them is the start's.
        amounts = evaluate(shape.law.amounts, here, len(x)) * np.asarray(shape.law.slopes)
        exponent = sums.sum(axis=1) + (shape.kriging.at(here) if shape.kriging else 0.0)
        sums = np.column_stack([np.full(len(x), shape.law.constant), amounts]) * octaves(exponent)[:, None]
    whole = shape.bounds.apply(sums.sum(axis=1), here)
    return _Contributions(rows.mean(sums * way[:, None]), rows.mean(whole * way))


def _changed(shape: Polynomial, factors: Floats) -> Polynomial:
    """The start with each part of it, (1 + terms or amounts,), so many times as large."""
    if shape.logarithmic:
        return replace(shape, intercept=float(shape.intercept + np.log2(max(factors[0], 1e-6))))
    if shape.proportional and shape.law:
        # A law's amounts never speed a layer up.
        kept = np.maximum(factors, 1e-6)
        slopes = tuple((np.asarray(shape.law.slopes) * kept[1:]).tolist())
        return replace(shape, law=Law(float(shape.law.constant * kept[0]), shape.law.amounts, slopes))
    coefficients = tuple((np.asarray(shape.coefficients) * factors[1:]).tolist())
    return replace(shape, intercept=float(shape.intercept * factors[0]), coefficients=coefficients)


def _bounds(start: PredictionBounds, scale: float, y: Floats, columns: dict[str, Floats]) -> PredictionBounds:
    """The start's bounds, scaled, and wider where the new values are outside of them."""
    return PredictionBounds(
        min(scale * start.lowest, float(y.min())),
        None if start.highest is None else max(scale * start.highest, float(y.max())),
        {name: max(rate / scale, float((columns[name] / y).max())) for name, rate in start.rates.items()},
    )
