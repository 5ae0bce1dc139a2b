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
Bools = NDArray[np.bool_]

LEAST_PENALTY = 1e-4
"""The least penalty tried, as a share of the one that leaves no term."""
PATIENCE = 5
"""Penalties without a lower error after which no lesser one is tried."""
MODEL_ERROR = 0.1
"""The relative error that a model of this kind makes of a layer measured exactly; a label is trusted by comparison with it."""
INNER_SEED = 7919
"""Added to the seed of the inner folds, so that they are not the outer ones."""


class SparsePolynomial(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Sparse polynomial regression for a relative error (NeuralPower, arXiv 1710.05420, with another loss).

    It minimises

        Σ_i w_i (y_i - b - Σ_j c_j f_j(x_i))² / (2 Σ_i w_i) + α Σ_j s_j |c_j|

    over b and c, where f_j are the terms of `dictionary` to degree K and s_j their standard deviations under the weights
    w_i = 1 / (y_i² + (e_i / MODEL_ERROR)²), e_i being the standard error of y_i: what is known well makes its relative error
    small, and what is known worse than the model can be counts less. K and α are those whose predictions for held-out
    folds have the least RMSPE under the weights w_i y_i². The original fits squared error, which serves long layers only.

    Args:
        dictionary: the terms to choose from.
        degrees: the degrees K to try.
        penalties: how many α to try, from the one that leaves no term, evenly on a log scale.
        folds, seed: the folds by which K and α are chosen; groups are kept whole.

    Attributes:
        polynomial_: the fitted ``Polynomial``.
        degree_, penalty_: K, and α as a share of the least α that leaves no term.
        selection_rmspe_: the (weighted) RMSPE that chose them. It was minimised: never quote it, cross-validate the whole estimator.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        degrees: Sequence[int] = (1, 2, 3),
        penalties: int = 40,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        self.dictionary = dictionary
        self.degrees = degrees
        self.penalties = penalties
        self.folds = folds
        self.seed = seed

    def fit(
        self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None, relative_se: ArrayLike | None = None
    ) -> SparsePolynomial:
        """Fit quantities X of shape (rows, columns of the dictionary), all positive, to targets y > 0 of shape (rows,).

        `groups`, shape (rows,), are kept on one side of the inner folds; so are equal rows of X, which are the groups
        when none are given. `relative_se`, shape (rows,), are the targets' standard errors as shares of them, 0 when none
        are given. Raises ValueError on other shapes, on values that are not positive and finite, and on fewer
        than two groups.
        """
        x, target = _checked(X, y, self.dictionary)
        configurations = labels([row.tobytes() for row in x])
        group = configurations if groups is None else labels(np.asarray(groups).tolist())
        if len(np.unique(group)) < 2:
            raise ValueError("cross-validation needs at least two groups of rows")
        trust = 1 / (
            1 + (np.broadcast_to(0.0 if relative_se is None else relative_se, target.shape) / MODEL_ERROR) ** 2
        )
        fold = assign(group, self.folds, self.seed + INNER_SEED)
        parts = [(train, test) for train, test in splits(fold, configurations) if train.any()]
        trials = [self._try(degree, x, target, trust, parts) for degree in self.degrees]
        best = min(trials, key=lambda trial: trial.rmspe)
        self.degree_, self.penalty_, self.selection_rmspe_ = best.degree, best.penalty, best.rmspe
        self.polynomial_ = self._final(best, x, target, trust)
        self.n_features_in_ = x.shape[1]
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Predictions, shape (rows,), within the bounds of what was measured."""
        check_is_fitted(self)
        return self.polynomial_.predict(np.asarray(X, dtype=np.float64))

    def _try(self, degree: int, x: Floats, y: Floats, trust: Floats, parts: list[tuple[Bools, Bools]]) -> _Trial:
        """The best penalty at one degree, over the folds: (training rows, test rows) of each."""
        terms = self.dictionary.terms(degree, x)
        kept, z = distinct(self.dictionary.matrix(terms, x))
        solvers = [WeightedLasso(z[train], y[train], trust[train] / y[train] ** 2) for train, _ in parts]
        bounds = [self._bounds(x[train], y[train]) for train, _ in parts]
        scored = np.any([test for _, test in parts], axis=0)
        shares = self._shares()
        errors: list[float] = []
        # The error falls, and then rises as terms fit noise; far past its minimum the solving is slow and tells nothing.
        while len(errors) < len(shares) and len(errors) - int(np.argmin(errors or [0.0])) <= PATIENCE:
            chunk = shares[len(errors) : len(errors) + PATIENCE]
            held_out = np.empty((len(y), len(chunk)))
            for (_, test), solver, bound in zip(parts, solvers, bounds, strict=True):
                coefficients, intercepts = solver.follow(chunk)
                held_out[test] = bound.apply(intercepts + z[test] @ coefficients, _named(self.dictionary, x[test]))
            errors += [rmspe(held_out[scored, k], y[scored], trust[scored]) for k in range(len(chunk))]
        chosen = int(np.argmin(errors))
        return _Trial(degree, float(shares[chosen]), errors[chosen], [terms[index] for index in kept])

    def _final(self, trial: _Trial, x: Floats, y: Floats, trust: Floats) -> Polynomial:
        """The model on all rows, at the chosen degree and penalty."""
        matrix = self.dictionary.matrix(trial.terms, x)
        shares = self._shares()
        solver = WeightedLasso(matrix, y, trust / y**2)
        coefficients, intercepts = solver.follow(shares[shares >= trial.penalty], tolerance=1e-5, sweeps=5000)
        used = np.flatnonzero(coefficients[:, -1])
        return Polynomial(
            columns=self.dictionary.columns,
            degree=trial.degree,
            intercept=float(intercepts[-1]),
            terms=tuple(trial.terms[index] for index in used),
            coefficients=tuple(coefficients[used, -1].tolist()),
            scales=tuple(solver.scales[used].tolist()),
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


class WeightedLasso:
    """The weighted Lasso on one matrix, solved along falling penalties from one solution to the next.

    Columns are standardised under the weights, and one Gram matrix serves all penalties.

    Args:
        matrix: term values, shape (rows, terms).
        y: targets, shape (rows,).
        weights: of the squared errors, shape (rows,), positive; y^-2 makes the errors relative.

    Attributes:
        scales: the columns' weighted standard deviations, infinite for constant ones, shape (terms,).
    """

    def __init__(self, matrix: Floats, y: Floats, weights: Floats) -> None:
        weight = weights / weights.sum()
        self._mean, self._level = weight @ matrix, float(weight @ y)
        centred = matrix - self._mean
        self.scales = np.sqrt(weight @ centred**2)
        self.scales[self.scales <= 1e-9 * np.abs(matrix).max(axis=0)] = np.inf
        root = np.sqrt(weight * len(y))
        self._z = np.asfortranarray(centred / self.scales * root[:, None])
        self._target = (y - self._level) * root
        self._gram, self._correlation = self._z.T @ self._z, self._z.T @ self._target
        self._highest = float(np.abs(self._correlation).max(initial=0.0)) / len(y)
        self._last = np.zeros(matrix.shape[1])

    def follow(self, shares: Floats, tolerance: float = 1e-4, sweeps: int = 200) -> tuple[Floats, Floats]:
        """Coefficients, shape (terms, penalties), and intercepts, (penalties,), for the matrix as it was given.

        `shares` are penalties in falling order, as shares of the least that leaves no term; `tolerance` is the duality gap to
        stop at, as a share of the target's weighted variance, `sweeps` the most passes over the columns for each penalty.
        """
        if self._highest == 0.0:
            return np.zeros((len(self._last), len(shares))), np.full(len(shares), self._level)
        with warnings.catch_warnings():
            # Near-equal columns converge slowly at the least penalties; the held-out error judges the result anyway.
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, path, _ = lasso_path(
                self._z,
                self._target,
                alphas=self._highest * shares,
                precompute=self._gram,
                Xy=self._correlation,
                coef_init=self._last,
                tol=tolerance,
                max_iter=sweeps,
            )
        self._last = path[:, -1].copy()
        coefficients = path / self.scales[:, None]
        return coefficients, self._level - self._mean @ coefficients


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
