"""Least squares of readings on shares, by normal equations that are built in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import Activity
from neuralpower_align.response import Response, shares

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CHUNK = 768
"""Readings at once: few enough that they touch few classes, which makes the dense part small."""
RIDGE = 1e-9
"""Relative to the mean diagonal: makes classes that never ran harmless, and moves nothing that was measured."""


@dataclass(frozen=True)
class Observed:
    """Readings with one response: where each window ended less the delay (k,) ns, its value (k,) W, and the response.

    `extra` (k, q) are further columns of the regression beside the shares.
    """

    at_ns: Floats
    power_w: Floats
    response: Response
    extra: Floats | None = None


@dataclass(frozen=True)
class Normal:
    """Normal equations: gram (c, c), moment (c,), sum of squares, number of readings."""

    gram: Floats
    moment: Floats
    square: float
    readings: int

    def solve(self) -> Floats:
        """Powers (c,) W that fit best; 0 for a class that never ran."""
        return np.asarray(np.linalg.solve(self.gram + self._ridge(), self.moment), np.float64)

    def inverse(self) -> Floats:
        """Inverse of the gram (c, c); times the variance of a reading it is the covariance of the powers."""
        return np.asarray(np.linalg.inv(self.gram + self._ridge()), np.float64)

    def residual(self, power_w: Floats) -> float:
        """Sum of squared residuals, W^2, of the solution `power_w`."""
        return max(float(self.square - power_w @ self.moment), 0.0)

    def _ridge(self) -> Floats:
        size = len(self.moment)
        return np.eye(size) * (RIDGE * max(float(np.trace(self.gram)) / max(size, 1), 1e-12))


def normal_equations(activity: Activity, observed: Iterable[Observed]) -> Normal:
    """Sum the normal equations over readings, the classes first and then the extra columns.

    Time-ordered readings touch few classes at once, which keeps it quick.
    """
    observed = list(observed)
    extras = max((part.extra.shape[1] for part in observed if part.extra is not None), default=0)
    columns = activity.count + extras
    gram, moment = np.zeros((columns, columns)), np.zeros(columns)
    square, readings = 0.0, 0
    for part in observed:
        for low in range(0, part.at_ns.size, CHUNK):
            value = part.power_w[low : low + CHUNK]
            seen = shares(activity, part.at_ns[low : low + CHUNK], part.response)
            present = np.zeros(activity.count, bool)
            present[seen.column] = True
            touched = np.flatnonzero(present)
            place = np.cumsum(present) - 1
            size = touched.size
            dense = np.bincount(seen.row * size + place[seen.column], seen.share, value.size * size)
            dense = dense.reshape(value.size, size)
            if part.extra is not None:
                dense = np.hstack([dense, part.extra[low : low + CHUNK]])
                touched = np.append(touched, np.arange(activity.count, columns))
            gram[np.ix_(touched, touched)] += dense.T @ dense
            moment[touched] += dense.T @ value
            square += float(value @ value)
            readings += value.size
    return Normal(gram, moment, square, readings)


def predicted(activity: Activity, observed: Observed, power_w: Floats) -> Floats:
    """Readings (k,) that the powers would give, W."""
    parts = [
        shares(activity, observed.at_ns[low : low + CHUNK], observed.response).predict(
            power_w, observed.at_ns[low : low + CHUNK].size
        )
        for low in range(0, observed.at_ns.size, CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def autocorrelation_time(residual: Floats, longest: int = 50) -> float:
    """By how much neighbouring residuals that resemble each other inflate a variance: 1 + 2 sum of correlations, >= 1.

    Bartlett weights over `longest` lags; residuals in the order of time.
    """
    centred = residual - residual.mean() if residual.size else residual
    power = float(centred @ centred)
    longest = min(longest, residual.size - 1)
    if power <= 0.0 or longest < 1:
        return 1.0
    correlations = np.array([centred[k:] @ centred[:-k] for k in range(1, longest + 1)]) / power
    weights = 1 - np.arange(1, longest + 1) / (longest + 1)
    return max(1.0, 1.0 + 2.0 * float(weights @ correlations))
