"""A first guess that a few strange values do not carry: a power law of the sizes, by bounded least squares of logarithms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 10
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
    for _ in range(ROUNDS):
        left = target - guess
        reach = max(USUAL * float(np.median(np.abs(left))), 1e-3)
        bounded = guess + np.clip(left, -reach, reach)
        weighted = z * weights[:, None]
        guess = z @ np.linalg.solve(z.T @ weighted + penalty, weighted.T @ bounded)
    return np.asarray(np.exp(guess))
