"""A sensor in the making, what holds its clocks, and the noise that it leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.clock.scan_clock import ScanClock
from neuralpower_align.sensor.kernel import Kernel

Floats = npt.NDArray[np.float64]

BEND = 10e-6
"""Prior: relative change of a clock's rate in a second that is not unlikely."""
MOST_MOVE_NS = 60e3
"""Tuning: of a knot in one step, and four times so much of the delay: slopes say nothing of what lies farther away."""
SHORTEST_LAG_NS = 2e3
"""Tuning: no shorter lag is stepped to, since slopes in the lag end there."""
NOISE_ROUNDS = 6
"""Tuning: of weighing squares of residuals by what they are found to scatter."""
MOST_SLACK_NS = 300e3
"""Prior: inferences are off by no more, rms: rooms between anchors are hardly larger."""
OWN = 0.3
"""Prior: part of the slack that rows of an inference do not share."""


@dataclass(frozen=True)
class Held:
    """What is known of the knots' ends without the powers: a normal density, its inverse covariance (k, k) 1 / ns^2 and its centre (k,) ns.

    `tight_ns` is how well it places them, 0 if only their path is known and not their place.
    """

    stiffness: Floats
    centre_ns: Floats
    tight_ns: float

    @classmethod
    def near(cls, clock: ScanClock, tight_ns: float) -> Held:
        """Each knot for itself stays where it is."""
        return cls(np.eye(clock.number.size) / tight_ns**2, clock.end_ns, tight_ns)

    @classmethod
    def bending(cls, clock: ScanClock) -> Held:
        """Knots bend together as an oscillator may."""
        size = clock.number.size
        bend, row, gap = np.zeros((max(size - 2, 0), size)), np.arange(max(size - 2, 0)), np.diff(clock.end_ns)
        if size > 2:
            usual = BEND * (gap[:-1] + gap[1:]) / 2e9
            per_scan = gap / np.diff(clock.number) / clock.period_ns
            # Slopes are against the numbers: a change of rate must count, the rate itself not.
            width = gap / per_scan
            bend[row, row], bend[row, row + 2] = 1 / width[:-1] / usual, 1 / width[1:] / usual
            bend[row, row + 1] = -bend[row, row] - bend[row, row + 2]
        return cls(bend.T @ bend, np.zeros(size), 0.0)

    def moved(self, by_ns: float) -> Held:
        """The same for ends that are later."""
        return Held(self.stiffness, self.centre_ns + by_ns, self.tight_ns)

    def cost(self, clock: ScanClock) -> float:
        """-2 log density of a clock, but for a constant."""
        off = clock.end_ns - self.centre_ns
        return float(off @ self.stiffness @ off)

    def pull(self, clock: ScanClock) -> Floats:
        """How the density draws the knots, (k,) 1 / ns."""
        return np.asarray(self.stiffness @ (self.centre_ns - clock.end_ns), np.float64)


@dataclass(frozen=True)
class Guess:
    """A sensor in the making: `clocks` end on the host's clock, each held by what is known of it.

    `lag_ns` is of all poles together, of which a second one has the share `second`; windows of layers are off by `blur_ns` rms.
    """

    delay_ns: float
    lag_ns: float
    clocks: tuple[ScanClock, ...]
    held: tuple[Held, ...]
    blur_ns: float = 0.0
    second: float = 0.0

    def kernel(self, window_ns: float) -> Kernel:
        """How conversions answer."""
        second = self.second * self.lag_ns
        return Kernel(self.lag_ns - second, window_ns, second, self.blur_ns)

    def moved(self, change_ns: Floats) -> Guess:
        """The guess after a step, bounded: delay, lag, and each knot of each clock; or delay and lag alone."""
        lag = float(np.clip(self.lag_ns + change_ns[1], self.lag_ns / 3, self.lag_ns * 2 + 50e3))
        delay = self.delay_ns + float(np.clip(change_ns[0], -4 * MOST_MOVE_NS, 4 * MOST_MOVE_NS))
        clocks, at = self.clocks, 2
        if change_ns.size > 2:
            moves = np.clip(change_ns, -MOST_MOVE_NS, MOST_MOVE_NS)
            clocks = ()
            for clock in self.clocks:
                clocks = (*clocks, clock.moved(moves[at : at + clock.number.size]))
                at += clock.number.size
        return replace(self, delay_ns=delay, lag_ns=max(lag, SHORTEST_LAG_NS), clocks=clocks)


@dataclass(frozen=True)
class RowVariance:
    """Variance of a row: `base_w2`, W^2, and what a shift of an inference by `slack_ns` rms makes of the slope of its prediction."""

    base_w2: float
    slack_ns: float

    def variance(self, slope: Floats) -> Floats:
        """Of what is a row's own, its prediction changing by `slope` (k,) W a ns: edges within an inference move for themselves, too."""
        return np.asarray(self.base_w2 + (OWN * self.slack_ns * slope) ** 2, np.float64)

    @classmethod
    def of(cls, residual: Floats, slope: Floats) -> RowVariance:
        """From residuals: their squares on the squared slope, weighted by what they scatter themselves."""
        square, steep = residual**2, slope**2
        base, slack = float(np.median(square)) / 0.455 + 1e-12, 0.0
        for _ in range(NOISE_ROUNDS):
            weight = 1 / (base + slack * steep) ** 2
            sums = [float(weight @ each) for each in (np.ones(square.size), steep, steep**2, square, square * steep)]
            determinant = max(sums[0] * sums[2] - sums[1] ** 2, 1e-300)
            least = 0.05 * base
            base = max((sums[3] * sums[2] - sums[4] * sums[1]) / determinant, least)
            slack = max((sums[0] * sums[4] - sums[1] * sums[3]) / determinant, 0.0)
        return cls(base, min(float(np.sqrt(slack)), MOST_SLACK_NS))
