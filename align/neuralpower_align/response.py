"""What one reading of a slow sensor saw: the share of each class of activity in it, in closed form.

The sensor follows power with a pure delay D and one pole of lag L; a reading is the mean of that over a conversion
window W. Its answer to a step of power at time 0, seen by a reading whose window ends tau after it, is

    R(tau) = (g(tau) - g(tau - W)) / W,    g(x) = x - L (1 - exp(-x / L)) for x > 0, else 0

since the integral of the lagged step is g. Where the reading's place in the chip's scan is unknown, the window may have
ended any time in the last scan S, all equally likely, and R is averaged over S, which integrates g once more:

    h(x) = x^2 / 2 - L x + L^2 (1 - exp(-x / L)).

A class that ran from b to e then has the share R(at - b) - R(at - e) in a reading, and the shares of all add up to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import Activity

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MEMORY_LAGS = 10.0
"""Older than this many lags the sensor has forgotten: exp(-10) is less than a readings' noise."""


@dataclass(frozen=True)
class Response:
    """How a reading weighs the past: lag of the pole, conversion window and, if it is unknown, the scan; all ns."""

    lag_ns: float
    window_ns: float
    smear_ns: float = 0.0

    @property
    def reach_ns(self) -> float:
        """How far back a reading remembers."""
        return self.window_ns + self.smear_ns + MEMORY_LAGS * self.lag_ns

    def step(self, tau_ns: Floats) -> Floats:
        """R(tau): the answer, 0 to 1, to a step of power tau before the end of the window (and of the scan, if smeared)."""
        lag, window, smear = max(self.lag_ns, 1.0), max(self.window_ns, 1.0), self.smear_ns

        def integral(x: Floats) -> Floats:
            x = np.maximum(x, 0.0)
            decayed = lag * -np.expm1(-x / lag)
            return x * (x / 2 - lag) + lag * decayed if smear else x - decayed

        rise = integral(tau_ns) - integral(tau_ns - window)
        if smear:
            late = tau_ns - smear
            rise = (rise - integral(late) + integral(late - window)) / smear
        return rise / window


@dataclass(frozen=True)
class Shares:
    """Sparse rows: reading `row[i]` holds class `column[i]` with the weight `share[i]`; a pair may occur repeatedly."""

    row: Ints
    column: Ints
    share: Floats

    def predict(self, power_w: Floats, rows: int) -> Floats:
        """Readings (rows,) that the powers of the classes would give, W."""
        return np.asarray(np.bincount(self.row, self.share * power_w[self.column], rows), np.float64)


def shares(activity: Activity, at_ns: npt.NDArray[np.int64] | Floats, response: Response) -> Shares:
    """Share of each class in readings whose windows end (delay already taken off) at `at_ns`, (k,) ns.

    Exact for the piecewise constant activity, except that what lies further back than the sensor's reach counts as the
    class that ran there. Only stretches within reach are touched: k readings cost k times the stretches in reach.
    """
    at = np.rint(at_ns).astype(np.int64)
    edges = activity.edges_ns
    first = np.maximum(np.searchsorted(edges, at - int(response.reach_ns), side="right") - 1, 0)
    last = np.maximum(np.searchsorted(edges, at, side="right") - 1, first)
    count = last - first + 1
    starts = np.cumsum(count) - count
    row = np.repeat(np.arange(at.size), count)
    stretch = np.arange(row.size) + (first - starts)[row]
    on = response.step((at[row] - edges[stretch]).astype(np.float64))
    on[starts] = 1.0
    share = on.copy()
    share[:-1] -= on[1:]
    ends = starts + count - 1
    share[ends] = on[ends]
    return Shares(row, activity.classes[stretch], share)
