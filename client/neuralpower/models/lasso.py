"""The estimator: Lasso on a dictionary of terms, for the relative error, with degree and penalty by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path
from sklearn.utils.validation import check_is_fitted

from neuralpower.models.design import Dictionary
from neuralpower.models.folds import assign, labels, splits
from neuralpower.models.polynomial import Bounds, Polynomial
from neuralpower.models.score import rmspe
from neuralpower.models.terms import Term

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_PENALTY = 3e-4
"""The least penalty tried, as a share of the one that leaves no term. Below it the error only rises."""
INNER_SEED = 7919
"""Added to the seed of the inner folds, so that they are not the outer ones."""


class SparsePolynomial(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Sparse polynomial regression for a relative error (NeuralPower, arXiv 1710.05420, with another loss).

    It minimises

        Σ_i ((y_i - b - Σ_j c_j f_j(x_i)) / y_i)² / (2 Σ_i y_i^-2) + α Σ_j s_j |c_j|

    over b and c, where f_j are the terms of `dictionary` to degree K and s_j their standard deviations under the weights
    y^-2. K and α are those whose predictions for held-out folds have the least RMSPE. The original fits squared error,
    which serves long layers only.

    Args:
        dictionary: the terms to choose from.
        degrees: the degrees K to try.
        penalties: how many α to try, from the one that leaves no term, evenly on a log scale.
        folds, seed: the folds by which K and α are chosen; groups are kept whole.

    Attributes:
        polynomial_: the fitted ``Polynomial``.
        degree_, penalty_: K, and α as a share of the least α that leaves no term.
        selection_rmspe_: the RMSPE that chose them. It was minimised: never quote it, cross-validate the whole estimator.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        degrees: Sequence[int] = (1, 2, 3),
        penalties: int = 30,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        self.dictionary = dictionary
        self.degrees = degrees
        self.penalties = penalties
        self.folds = folds
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> SparsePolynomial:
        """Fit quantities X of shape (rows, columns of the dictionary), all positive, to targets y > 0 of shape (rows,).

        `groups`, shape (rows,), are kept on one side of the inner folds; so are equal rows of X, which are the groups
        when none are given. Raises ValueError on other shapes, on values that are not positive and finite, and on fewer
        than two groups.
        """
        x, target = _checked(X, y, self.dictionary)
        configurations = labels([row.tobytes() for row in x])
        group = configurations if groups is None else labels(np.asarray(groups).tolist())
        if len(np.unique(group)) < 2:
            raise ValueError("cross-validation needs at least two groups of rows")
        fold = assign(group, self.folds, self.seed + INNER_SEED)
        trials = [self._try(degree, x, target, fold, configurations) for degree in self.degrees]
        best = min(trials, key=lambda trial: trial.rmspe)
        self.degree_, self.penalty_, self.selection_rmspe_ = best.degree, best.penalty, best.rmspe
        self.polynomial_ = self._final(best, x, target)
        self.n_features_in_ = x.shape[1]
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Predictions, shape (rows,), within the bounds of what was measured."""
        check_is_fitted(self)
        return self.polynomial_.predict(np.asarray(X, dtype=np.float64))

    def _try(self, degree: int, x: Floats, y: Floats, fold: Ints, configurations: Ints) -> _Trial:
        """The best penalty at one degree, over the folds."""
        terms = self.dictionary.terms(degree, x)
        kept, z = distinct(self.dictionary.matrix(terms, x))
        held_out = np.full((len(y), self.penalties), np.nan)
        for train, test in splits(fold, configurations):
            if not train.any():
                continue
            coefficients, intercepts, _ = weighted_path(z[train], y[train], y[train] ** -2, self._shares())
            bounds = self._bounds(x[train], y[train])
            held_out[test] = bounds.apply(intercepts + z[test] @ coefficients, _named(self.dictionary, x[test]))
        scored = ~np.isnan(held_out[:, 0])
        errors = [rmspe(held_out[scored, k], y[scored]) for k in range(self.penalties)]
        chosen = int(np.argmin(errors))
        return _Trial(degree, float(self._shares()[chosen]), errors[chosen], [terms[index] for index in kept])

    def _final(self, trial: _Trial, x: Floats, y: Floats) -> Polynomial:
        """The model on all rows, at the chosen degree and penalty."""
        matrix = self.dictionary.matrix(trial.terms, x)
        shares = self._shares()
        coefficients, intercepts, scales = weighted_path(
            matrix, y, y**-2, shares[shares >= trial.penalty], tolerance=1e-6
        )
        used = np.flatnonzero(coefficients[:, -1])
        return Polynomial(
            columns=self.dictionary.columns,
            degree=trial.degree,
            intercept=float(intercepts[-1]),
            terms=tuple(trial.terms[index] for index in used),
            coefficients=tuple(coefficients[used, -1].tolist()),
            scales=tuple(scales[used].tolist()),
            bounds=self._bounds(x, y),
            domain={name: (float(v.min()), float(v.max())) for name, v in _named(self.dictionary, x).items()},
        )

    def _shares(self) -> Floats:
        return np.geomspace(1.0, LEAST_PENALTY, self.penalties)

    def _bounds(self, x: Floats, y: Floats) -> Bounds:
        return Bounds.of(_named(self.dictionary, x), y, self.dictionary.rates, self.dictionary.capped)


@dataclass(frozen=True)
class _Trial:
    """The best penalty found at one degree, its RMSPE over the folds, and the terms that were offered."""

    degree: int
    penalty: float
    rmspe: float
    terms: list[Term]


def distinct(matrix: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The columns that vary and are no multiple of an earlier one (plus a constant), and these columns standardised.

    Data with one batch size and square layers make many terms equal; the earliest of them is the simplest.
    """
    centred = matrix - matrix.mean(axis=0)
    scale = centred.std(axis=0)
    vary = np.flatnonzero(scale > 1e-9 * np.abs(matrix).max(axis=0))
    z = centred[:, vary] / scale[vary]
    alike = np.abs(np.triu(z.T @ z / len(z), k=1)) > 1 - 1e-9
    first = ~alike.any(axis=0)
    return vary[first], z[:, first]


def weighted_path(
    matrix: Floats, y: Floats, weights: Floats, shares: Floats, tolerance: float = 1e-2
) -> tuple[Floats, Floats, Floats]:
    """The weighted Lasso's path on standardised columns; one Gram matrix serves all penalties.

    Args:
        matrix: term values, shape (rows, terms).
        y: targets, shape (rows,).
        weights: of the squared errors, shape (rows,), positive; y^-2 makes the errors relative.
        shares: penalties in falling order, as shares of the least that leaves no term.
        tolerance: duality gap to stop at, as a share of the target's weighted variance.

    Returns:
        coefficients for `matrix` as it is, shape (terms, penalties); intercepts (penalties,); the scales used (terms,).
    """
    rows = len(y)
    weight = weights / weights.sum()
    mean, level = weight @ matrix, weight @ y
    centred = matrix - mean
    scale = np.sqrt(weight @ centred**2)
    scale[scale <= 1e-9 * np.abs(matrix).max(axis=0)] = np.inf
    root = np.sqrt(weight * rows)
    z = np.asfortranarray(centred / scale * root[:, None])
    target = (y - level) * root
    gram, correlation = z.T @ z, z.T @ target
    start = float(np.abs(correlation).max(initial=0.0)) / rows
    if start == 0.0:
        return np.zeros((matrix.shape[1], len(shares))), np.full(len(shares), level), scale
    with warnings.catch_warnings():
        # Near-equal columns converge slowly at the least penalties; the held-out error judges the result anyway.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, path, _ = lasso_path(
            z, target, alphas=start * shares, precompute=gram, Xy=correlation, tol=tolerance, max_iter=2000
        )
    coefficients = path / scale[:, None]
    return coefficients, level - mean @ coefficients, scale


def _checked(X: ArrayLike, y: ArrayLike, dictionary: Dictionary) -> tuple[Floats, Floats]:
    x, target = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != len(dictionary.columns) or target.shape != x.shape[:1] or not len(target):
        raise ValueError(
            f"need X of shape (rows, {len(dictionary.columns)}) and y of shape (rows,), got {x.shape} and {target.shape}"
        )
    for name, values in (("X", x), ("y", target)):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(f"{name} has values that are not positive and finite")
    return x, target


def _named(dictionary: Dictionary, x: Floats) -> dict[str, Any]:
    return {name: x[:, index] for index, name in enumerate(dictionary.columns)}
