"""What a machine's work costs by physics alone: a launch plus amounts of work over rates, fitted to the same rows as the model; and a first guess
that a few strange values do not carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.terms import Term, evaluate, feature_quantities

Floats = NDArray[np.float64]

ROUNDS = 5
"""Least squares under weights from the last round; more change nothing that counts."""
FARTHEST = 3.0
"""A value this many times the law's pulls no more if it is still farther off: the law is for what most layers do."""
MOST_STEPS = 3000
"""Of the active-set method for each round; hundreds of near-equal amounts of work take a few hundred."""


@dataclass(frozen=True)
class Law:
    """constant + Σ slope·amount, nothing of it negative: launch + operations/rate + bytes/rate + … for a runtime, s; for a power, W,
    what is drawn without work and what each operation and byte a second adds. More work never costs less.

    `amounts` and `slopes`, per unit of them, are of one length; amounts whose slope is 0 are left out.
    """

    constant: float
    amounts: tuple[Term, ...]
    slopes: tuple[float, ...]

    @classmethod
    def of(
        cls, column: Mapping[str, Floats], amounts: Sequence[Term], y: Floats, weights: Floats, expected: Floats
    ) -> Law:
        """The law of least relative error both ways, for quantities and values (rows,) that count by `weights` (rows,) and of which
        so much is `expected` at first (rows,).
        """
        from scipy.optimize import nnls  # type: ignore[import-untyped]  # it has no stubs

        matrix = np.column_stack([np.ones(len(y)), evaluate(amounts, column, len(y))])
        used = np.flatnonzero(matrix.max(axis=0) > 0)
        matrix = matrix[:, used]
        scale = matrix.max(axis=0)
        found = np.zeros(len(scale))
        for _ in range(ROUNDS):
            root = np.sqrt(weights) / np.maximum(expected, y / FARTHEST)
            found = nnls(matrix / scale * root[:, None], y * root, maxiter=MOST_STEPS)[0] / scale
            expected = np.maximum(matrix @ found, 1e-3 * y)
        kept = [(amounts[at - 1], float(slope)) for at, slope in zip(used, found, strict=True) if at and slope > 0]
        constant = float(found[0]) if used[0] == 0 else 0.0
        return cls(constant, tuple(term for term, _ in kept), tuple(slope for _, slope in kept))

    def at(self, column: Mapping[str, Floats]) -> Floats:
        """The law's values, (rows,)."""
        rows = len(next(iter(column.values())))
        return np.asarray(self.constant + evaluate(self.amounts, column, rows) @ np.asarray(self.slopes))

    def times(self, factor: float) -> Law:
        """The law of a machine that takes so many times as much."""
        return Law(factor * self.constant, self.amounts, tuple(factor * slope for slope in self.slopes))

    def quantities(self) -> list[str]:
        """The quantities and rates that it is made of."""
        features = (feature for term in self.amounts for feature, _ in term.exponents)
        return list(dict.fromkeys(name for feature in features for name in feature_quantities(feature)))

    def formula(self) -> str:
        """The law as text, the units being the target's over the amounts'."""
        listed = zip(self.slopes, self.amounts, strict=True)
        return " + ".join([f"{self.constant:.4g}", *(f"{slope:.4g} * {term.name}" for slope, term in listed)])


GUESSES = 10
"""Least squares with residuals bounded at what is usual; from then on the guess moves by less than a percent."""
USUAL = 1.5
"""Residuals beyond so many times their median size count as that far (Huber)."""
RIDGE = 1e-3
"""Of the sum of squares: columns that say the same share their exponent."""


def rough(column: Mapping[str, Floats], y: Floats, weights: Floats) -> Floats:
    """What is expected of y, (rows,), by quantities (rows,) of which no other is known; rows count by `weights`."""
    logs = [
        np.log1p(values / (values.mean() or 1.0)) if (values <= 0).any() else np.log(values)
        for values in column.values()
    ]
    varied = [each for each in logs if np.ptp(each) > 1e-9]
    target = np.log(y)
    level = np.median(target)
    z = np.column_stack([np.ones(len(y)), *((each - each.mean()) / each.std() for each in varied)])
    penalty = RIDGE * weights.sum() * np.diag([0.0, *np.ones(len(varied))])
    guess = np.full(len(y), level)
    for _ in range(GUESSES):
        left = target - guess
        reach = max(USUAL * float(np.median(np.abs(left))), 1e-3)
        bounded = guess + np.clip(left, -reach, reach)
        weighted = z * weights[:, None]
        guess = z @ np.linalg.solve(z.T @ weighted + penalty, weighted.T @ bounded)
    return np.asarray(np.exp(guess))
