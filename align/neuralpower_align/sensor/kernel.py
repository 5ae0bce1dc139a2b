"""How a conversion weighs the past: the answer of sensor and window to a step of power, as a table.

Power passes one pole, or two in a row, and a conversion is the mean of what comes out over its window W. To a step of power
at time 0, a conversion whose window ends tau after it answers

    R(tau) = (g(tau) - g(tau - W)) / W,    g(x) = x - (L1 + L2) + (L1^2 exp(-x / L1) - L2^2 exp(-x / L2)) / (L1 - L2)

for x > 0, else 0, since g is the integral of the step after both poles; with L2 = 0 it is x - L1 (1 - exp(-x / L1)). Where the place in the
scan is unknown, R is averaged over the scan.

A step whose time is known only to a deviation s has the mean answer B, which is R blurred by a Gauss curve, and scatters about it: in
Hermite polynomials of the time's error, R = B + s B' h1 + s^2 B'' / 2^(1/2) h2 + ..., with h1, h2, .. uncorrelated and of variance 1. The first
two terms are kept; without the second, sharp sensors scatter more than one thinks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STEP_NS = 1000.0
"""Tuning: distance of entries of the table; between them straight lines."""
MEMORY_LAGS = 12.0
"""Tuning: older than this many lags is forgotten: exp(-12) of a step is less than any reading tells, and than steps of the cost that would stop a search."""
DERIVATIVE_NS = 400.0
"""Tuning: step to either side in differences of tables in the lags; their error is far below what is forgotten."""
SPLIT = 0.3
"""Tuning: share of a pole that is tried as a second one, to see whether there is one."""
BLURS = 4.0
"""Tuning: so many deviations to either side are blurred."""
SHORTEST_NS = 500.0
"""Tuning: a shorter pole is taken for one of this length: no reading tells them apart."""
_APART = 0.02
"""Tuning: two poles that are nearer than this share of each other are taken so far apart: the formula divides by their difference."""
CURVED_NS = 50e3
"""Tuning: a pole much shorter than this is told by its square: two that have the same mean answer then differ as a width does."""


def measured_ns(lag_ns: float) -> float:
    """What fits measure a pole by, ns, by which answers of the same mean change evenly: the pole itself where it is long, its square where
    it is short. Measured by itself, a short one would hardly matter, and a step of it be far too long."""
    return float(np.hypot(lag_ns, CURVED_NS) - CURVED_NS)


def lag_of_ns(measured: float) -> float:
    """The pole, ns, that measures so much; none below 0."""
    return float(np.sqrt(max(measured, 0.0) * (max(measured, 0.0) + 2 * CURVED_NS)))


def lag_rate(lag_ns: float) -> float:
    """By how much a pole grows with what it measures."""
    lag_ns = max(lag_ns, SHORTEST_NS)
    return float(np.hypot(lag_ns, CURVED_NS) / lag_ns)


@dataclass(frozen=True)
class Kernel:
    """One member of the family: first and second pole, window, deviation of a step's time, and unknown scan; all ns."""

    lag_ns: float
    window_ns: float
    second_ns: float = 0.0
    blur_ns: float = 0.0
    smear_ns: float = 0.0

    @property
    def ahead_ns(self) -> float:
        """How long after its window's end a step may be laid and still have been seen."""
        return BLURS * self.blur_ns + STEP_NS

    @property
    def reach_ns(self) -> float:
        """How far back from its window's end a conversion remembers."""
        return self.window_ns + self.smear_ns + BLURS * self.blur_ns + MEMORY_LAGS * (self.lag_ns + self.second_ns)

    def with_lags(self, lag_ns: float, second_ns: float) -> Kernel:
        """The same with other poles, kept within what tables can hold."""
        return replace(self, lag_ns=float(max(lag_ns, 0.0)), second_ns=float(max(second_ns, 0.0)))

    @cached_property
    def table(self) -> KernelTable:
        """Answer and slopes on the grid."""
        on = self._blurred()
        if self.second_ns:
            by_second = self._by("second_ns", on.size)
        else:
            split = replace(self, lag_ns=(1 - SPLIT) * self.lag_ns, second_ns=SPLIT * self.lag_ns)
            by_second = split._blurred(on.size) - on
        bend = np.gradient(np.gradient(on, STEP_NS), STEP_NS) * (self.blur_ns / np.sqrt(2.0))
        return KernelTable(
            first_ns=-self.ahead_ns,
            step=on,
            slope=np.diff(on, append=on[-1:]) / STEP_NS,
            bend=_between(bend),
            by_lag=_between(self._by("lag_ns", on.size)),
            by_second=_between(by_second),
        )

    def _by(self, name: str, size: int) -> Floats:
        """Change of B with a lag, 1/ns, on the grid."""
        lag = max(float(getattr(self, name)), SHORTEST_NS if name == "lag_ns" else 0.0)
        low, high = max(lag - DERIVATIVE_NS, 0.0), lag + DERIVATIVE_NS
        if name == "lag_ns":
            low = max(low, SHORTEST_NS)
        one, other = (replace(self, **{name: each})._blurred(size) for each in (low, high))
        return np.asarray((other - one) / (high - low), np.float64)

    def _blurred(self, size: int = 0) -> Floats:
        """B on the grid, `size` entries from -ahead on."""
        size = size or int((self.ahead_ns + self.reach_ns) / STEP_NS) + 3
        wide = int(np.ceil(BLURS * self.blur_ns / STEP_NS))
        tau = np.asarray(STEP_NS * np.arange(-wide, size + wide) - self.ahead_ns, np.float64)
        on = self.step(tau)
        if not wide:
            return on
        weight = np.exp(-((STEP_NS * np.arange(-wide, wide + 1) / self.blur_ns) ** 2) / 2)
        return np.convolve(on, weight / weight.sum(), mode="valid")

    def step(self, tau_ns: Floats) -> Floats:
        """R(tau), 0 to 1, in closed form and without blur; tau_ns of any shape."""
        window = max(self.window_ns, 1.0)
        if not self.smear_ns:
            return (self._once(tau_ns) - self._once(tau_ns - window)) / window
        late = tau_ns - self.smear_ns
        rise = self._twice(tau_ns) - self._twice(tau_ns - window) - self._twice(late) + self._twice(late - window)
        return rise / (window * self.smear_ns)

    def _poles(self) -> tuple[float, float]:
        """Two poles that differ, so that their difference can be divided by."""
        slow, fast = max(self.lag_ns, self.second_ns), min(self.lag_ns, self.second_ns)
        slow, fast = max(slow, SHORTEST_NS), max(fast, 0.0)
        return (slow * (1 + _APART), slow * (1 - _APART)) if fast > (1 - _APART) * slow else (slow, fast)

    def _once(self, x: Floats) -> Floats:
        """g: the integral of the step after the poles."""
        slow, fast = self._poles()
        x = np.maximum(x, 0.0)
        decay = slow**2 * -np.expm1(-x / slow) - (fast**2 * -np.expm1(-x / fast) if fast > 0 else 0.0)
        return np.asarray(x - decay / (slow - fast), np.float64)

    def _twice(self, x: Floats) -> Floats:
        """The integral of g."""
        slow, fast = self._poles()
        x = np.maximum(x, 0.0)
        decay = slow**3 * -np.expm1(-x / slow) - (fast**3 * -np.expm1(-x / fast) if fast > 0 else 0.0)
        return np.asarray(x**2 / 2 - x * (slow + fast) + decay / (slow - fast), np.float64)


def _between(values: Floats) -> Floats:
    """Means of neighbours, for those who ask between them."""
    return np.asarray((values + np.append(values[1:], values[-1:])) / 2, np.float64)


@dataclass(frozen=True)
class KernelTable:
    """B at first_ns + i STEP_NS, and all else between that and the next: the slope and bend, by both of which readings scatter for each ns of s; its change
    with either pole (per ns). Without a second pole: its change if the one were split in two (SPLIT)."""

    first_ns: float
    step: Floats
    slope: Floats
    bend: Floats
    by_lag: Floats
    by_second: Floats

    @cached_property
    def rise(self) -> Floats:
        """From each entry of B to the next."""
        return np.diff(self.step, append=self.step[-1:])

    @cached_property
    def slopes(self) -> Floats:
        """Slope, bend, change by either pole (4, i)."""
        return np.stack([self.slope, self.bend, self.by_lag, self.by_second])
