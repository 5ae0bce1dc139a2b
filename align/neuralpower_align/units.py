"""Units: neighbouring layers that the data cannot tell apart are one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """The unit of each layer (n,), power (u,) W and covariance (u, u) W^2 of the units, and which are known well enough (u,), if that was asked."""

    unit: Ints
    power_w: Floats
    covariance: Floats
    told: npt.NDArray[np.bool_] = field(default_factory=lambda: np.ones(0, np.bool_))

    @property
    def power_se_w(self) -> Floats:
        """Standard error of each unit's power (u,), W."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def condition(self) -> float:
        """Condition number of the correlations between units, 1 where each is told for itself."""
        root = np.maximum(self.power_se_w, 1e-300)
        return float(np.linalg.cond(self.covariance / np.outer(root, root)))


def resolve(power_w: Floats, covariance: Floats, seconds: Floats, largest_se_w: float) -> Units:
    """Merge neighbours until every unit's power is known to `largest_se_w` and is not negative, or one unit is left.

    A unit's power is the mean of its layers' estimates weighted by their time: its energy over its time, without a bias from
    how the power is spread inside it; what trades off between its layers cancels. The least known units are merged first,
    some at a time, each with the neighbour against which its estimate trades off most. A layer's own estimate decides
    nothing unless it is negative, which no layer can be.

    power_w (n,), covariance (n, n): estimates of the layers of one engine in order. seconds (n,): their times.
    """
    seconds = np.maximum(seconds, 1e-12)
    unit = np.arange(power_w.size)
    while True:
        found = _merged(power_w, covariance, seconds, unit)
        size, error = found.power_w.size, found.power_se_w
        bad = np.flatnonzero((error > largest_se_w) | (found.power_w < 0.0))
        if size <= 1 or bad.size == 0:
            return found
        joined = np.arange(size)
        touched: set[int] = set()
        for worst in bad[np.argsort(-error[bad])][: 1 + bad.size // 4].tolist():
            neighbours = np.array([other for other in (worst - 1, worst + 1) if 0 <= other < size])
            partner = int(neighbours[np.argmin(found.covariance[worst, neighbours] / error[neighbours])])
            if worst not in touched and partner not in touched:
                touched |= {worst, partner}
                joined[max(worst, partner)] = min(worst, partner)
        unit = np.unique(joined[unit], return_inverse=True)[1].reshape(-1)


def _merged(power_w: Floats, covariance: Floats, seconds: Floats, unit: Ints) -> Units:
    """Power and covariance of units by averaging over time."""
    average = np.zeros((int(unit[-1]) + 1, unit.size))
    average[unit, np.arange(unit.size)] = seconds
    average /= average.sum(axis=1, keepdims=True)
    return Units(unit, average @ power_w, average @ covariance @ average.T)
