"""Power read directly: where one layer repeats for many sensor scans, readings well inside are its power."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Steady:
    """A power, W, its standard error, W, and the readings it is the mean of."""

    power_w: float
    power_se_w: float
    readings: int


def steady_power(read_ns: Ints, power_w: Floats, begin_ns: Ints, end_ns: Ints, settle_ns: float) -> Steady:
    """Mean of the readings taken inside [begin + settle, end], all inferences together.

    A reading taken `settle_ns` (delay, scan, conversion and several lags) after the begin holds nothing from before it,
    and one taken before the end nothing from after it. The standard error is the scatter within inferences, inflated for
    neighbours that resemble each other, and where there are three or more inferences not less than their own scatter
    says. nan where no reading lies inside. read_ns (k,) increasing, power_w (k,), begin_ns and end_ns (m,).
    """
    low = np.searchsorted(read_ns, np.asarray(begin_ns) + int(settle_ns))
    high = np.maximum(np.searchsorted(read_ns, np.asarray(end_ns), side="right"), low)
    inside = [part[np.isfinite(part)] for part in (power_w[a:b] for a, b in zip(low, high, strict=True))]
    inside = [part for part in inside if part.size]
    if not inside:
        return Steady(np.nan, np.nan, 0)
    values = np.concatenate(inside)
    scatter = np.concatenate([part - part.mean() for part in inside])
    freedom = max(values.size - len(inside), 1)
    variance = float(scatter @ scatter) / freedom * autocorrelation_time(scatter) / values.size
    if len(inside) >= 3:
        means = np.array([part.mean() for part in inside])
        variance = max(variance, float(np.var(means, ddof=1)) / len(inside))
    return Steady(float(values.mean()), float(np.sqrt(variance)) if values.size > 1 else np.nan, values.size)


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
