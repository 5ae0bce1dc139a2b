"""How a conversion weighs the past: the answer of sensor and window to a step of power, as a table.

Power passes one pole, or two in a row, and a conversion is the mean of what comes out over its window W. To a step of power
at time 0, a conversion whose window ends tau after it answers

    R(tau) = (g(tau) - g(tau - W)) / W,    g(x) = x - (L1 + L2) + (L1^2 exp(-x / L1) - L2^2 exp(-x / L2)) / (L1 - L2)

for x > 0, else 0, since g is the integral of the step after both poles; with L2 = 0 it is x - L1 (1 - exp(-x / L1)). Where the place in the
scan is unknown, R is averaged over the scan.

A step whose time is known only to a deviation s has the mean answer B, which is R blurred by a Gauss curve, and scatters about it: in
Hermite polynomials of the time's error, R = B + s B' h1 + s^2 B'' / 2^(1/2) h2 + ..., with h1, h2, .. uncorrelated and of variance 1. The first
two terms are kept; without the second, sharp sensors scatter more than one thinks.

Inferences differ by how far their steps may be off, so there is a table for each of some deviations (`LEVELS`), and an edge is seen by that of its
inference. Blurring is done by Fourier transforms, of which one of R serves all.

Where the error has the skewness k, the curve is Gauss's times 1 + k (z^3 - 3 z) / 6 with z the error over s (Edgeworth's series up to its first
term): of mean 0 and variance 1 as before. A host that wakes up late now and then makes such errors; under an even curve a short pole would be
taken for none, and gaps between kernels for others, to make up for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

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
LEVELS = np.asarray(4.0 * 1.25 ** -np.arange(17.0), np.float64)
"""Tuning: deviations of inferences' steps over the mean one for which there are tables: a step lies within 12 % of the nearest. One that is beyond them
all has so wide an answer that it no longer matters."""
CLEAR = 8.0
"""Tuning: so many deviations lie between what is kept of a transform and its ends: what comes around from the other one is then below rounding."""
SLOPES = 6
"""Number: slopes that a table has."""
MOST_SKEW = 1.0
"""Tuning: skewness beyond this is taken for this: the curve would fall below 0 within 2.3 deviations, where errors still are."""
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
    """One member of the family: first and second pole, window, deviation of a step's time, and unknown scan, all ns; skewness of a step's time."""

    lag_ns: float
    window_ns: float
    second_ns: float = 0.0
    blur_ns: float = 0.0
    smear_ns: float = 0.0
    skew: float = 0.0
    late: float = 0.0
    """What share of the mean variance of a step's time grows with `Room.width` of its inference."""
    far: float = 0.0
    """By how much more than the mean variance that of an inference is whose room is far beyond the usual, as a share of the mean."""

    @property
    def levels(self) -> Floats:
        """Deviations of steps' times, of which there are tables, over the mean one (l,)."""
        return LEVELS if self.blur_ns and (self.late or self.far) else np.ones(1)

    def level(self, width: Floats, far: Bools) -> Ints:
        """Which of the tables serves inferences (m,), by `Room.width` and whether their room is far beyond the usual."""
        levels = self.levels
        if levels.size == 1:
            return np.zeros(width.size, np.int64)
        over = np.sqrt(np.maximum(1 + self.late * (width - 1) + self.far * far, levels[-1] ** 2))
        nearest = np.rint(np.log(levels[0] / over) / np.log(levels[0] / levels[1]))
        return np.asarray(np.clip(nearest, 0, levels.size - 1), np.int64)

    @property
    def widest_ns(self) -> float:
        """The largest deviation of which there is a table."""
        return self.blur_ns * float(self.levels[0])

    @property
    def ahead_ns(self) -> float:
        """How long after its window's end a step may be laid and still have been seen."""
        return BLURS * self.widest_ns + STEP_NS

    @property
    def reach_ns(self) -> float:
        """How far back from its window's end a conversion remembers."""
        return self.window_ns + self.smear_ns + BLURS * self.widest_ns + MEMORY_LAGS * (self.lag_ns + self.second_ns)

    def with_lags(self, lag_ns: float, second_ns: float) -> Kernel:
        """The same with other poles, kept within what tables can hold."""
        return replace(self, lag_ns=float(max(lag_ns, 0.0)), second_ns=float(max(second_ns, 0.0)))

    @cached_property
    def _unblurred(self) -> tuple[_Blur, Floats]:
        """What blurs, and R on the grid and around."""
        blur = _Blur.of(self, int((self.ahead_ns + self.reach_ns) / STEP_NS) + 3)
        return blur, self._around(blur)

    @cached_property
    def answer(self) -> KernelAnswer:
        """The answer on the grid."""
        blur, here = self._unblurred
        on = blur.blurred(here)
        return KernelAnswer(-self.ahead_ns, on.shape[1], on)

    @cached_property
    def table(self) -> KernelTable:
        """Answer and slopes on the grid."""
        blur, here = self._unblurred
        if self.second_ns:
            by_second = self._by("second_ns", blur)
        else:
            split = replace(self, lag_ns=(1 - SPLIT) * self.lag_ns, second_ns=SPLIT * self.lag_ns)
            by_second = split._around(blur) - here
        on, curved, by_skew = self.answer.step, blur.curved(here), blur.skewed(here)
        return KernelTable(
            first_ns=-self.ahead_ns,
            size=self.answer.size,
            step=on,
            slopes=np.stack(
                [
                    np.diff(on, append=on[:, -1:]) / STEP_NS,
                    _between(curved / (np.maximum(self.blur_ns, 1.0) * self.levels[:, None] / np.sqrt(2.0))),
                    _between(blur.blurred(self._by("lag_ns", blur))),
                    _between(blur.blurred(by_second)),
                    # What skewness adds is in proportion to the cube of the deviation.
                    _between(curved + (1.5 * self.skew) * by_skew),
                    _between(by_skew),
                ]
            ),
        )

    def _by(self, name: str, blur: _Blur) -> Floats:
        """Change of R with a lag, 1/ns, on the grid and around."""
        lag = max(float(getattr(self, name)), SHORTEST_NS if name == "lag_ns" else 0.0)
        low, high = max(lag - DERIVATIVE_NS, 0.0), lag + DERIVATIVE_NS
        if name == "lag_ns":
            low = max(low, SHORTEST_NS)
        one, other = (replace(self, **{name: each})._around(blur) for each in (low, high))
        return np.asarray((other - one) / (high - low), np.float64)

    def _around(self, blur: _Blur) -> Floats:
        """R on the grid and around."""
        return self.step(blur.tau_ns)

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


@dataclass(frozen=True)
class _Blur:
    """What blurs answers (k,) at `tau_ns` to entries `kept` of it, for each of l deviations: `turns` (l, f), by how much a deviation is
    of the wave, the transform of the curve, and that of what each unit of skewness adds."""

    tau_ns: Floats
    kept: slice
    turns: Floats
    even: Complex
    odd: Complex

    @classmethod
    def of(cls, kernel: Kernel, size: int) -> _Blur:
        """For `size` entries from -ahead on."""
        wide = int(np.ceil(CLEAR * kernel.widest_ns / STEP_NS))
        count = _fast(size + 2 * wide) if wide else size
        z = kernel.levels[:, None] * (2 * np.pi * np.fft.rfftfreq(count) * kernel.blur_ns / STEP_NS)
        gauss = np.exp(-(z**2) / 2)
        # A derivative of the curve is a factor of i z: (z^3 - 3 z) times Gauss's is its third, less than 0.
        odd = 1j * z**3 / 6 * gauss
        tau = np.asarray(STEP_NS * np.arange(-wide, count - wide) - kernel.ahead_ns, np.float64)
        return cls(tau, slice(wide, wide + size), z, gauss + kernel.skew * odd, odd)

    def blurred(self, answer: Floats) -> Floats:
        """(l, size) of an answer (k,)."""
        return self._by(answer, self.even) if self.kept.start else answer[None]

    def curved(self, answer: Floats) -> Floats:
        """Half its second derivative (l, size), times the variance: by how much it changes with the logarithm of that."""
        return self._by(answer, self.even * (self.turns**2 / -2)) if self.kept.start else np.zeros((1, answer.size))

    def skewed(self, answer: Floats) -> Floats:
        """By how much it changes with the skewness (l, size)."""
        return self._by(answer, self.odd) if self.kept.start else np.zeros((1, answer.size))

    def _by(self, answer: Floats, curve: Complex) -> Floats:
        return np.asarray(np.fft.irfft(np.fft.rfft(answer) * curve, answer.size)[:, self.kept], np.float64)


def _fast(size: int) -> int:
    """The least size that is no smaller and is transformed fast: a small number times a power of 2."""
    return min(few << max(int(np.ceil(np.log2(size / few))), 0) for few in (1, 3, 5, 9, 15))


def _between(values: Floats) -> Floats:
    """Means of neighbours, for those who ask between them."""
    return np.asarray((values + np.concatenate([values[:, 1:], values[:, -1:]], axis=1)) / 2, np.float64)


@dataclass(frozen=True)
class KernelAnswer:
    """For each of l deviations of steps' times, B (l, size) at first_ns + i STEP_NS."""

    first_ns: float
    size: int
    step: Floats

    @cached_property
    def flat(self) -> tuple[Floats, Floats]:
        """B one after the other (l size,), and what it rises by from each to the next."""
        rise = np.diff(self.step, append=self.step[:, -1:])
        return self.step.ravel(), rise.ravel()

    @cached_property
    def rows(self) -> Floats:
        """Both, and slopes where there are any, side by side (l size, 2 + slopes): what is looked up together lies together."""
        return np.stack(self.flat, axis=1)


@dataclass(frozen=True)
class KernelTable(KernelAnswer):
    """Beside it, between each entry and the next, `slopes` (SLOPES, l, size): the slope and
    bend, by both of which readings scatter for each ns of s; its change with either pole (per ns), with the logarithm of the variance, and with the
    skewness. Without a second pole: its change if the one were split in two (SPLIT)."""

    slopes: Floats

    @cached_property
    def flat_slopes(self) -> Floats:
        """(SLOPES, l size)."""
        return self.slopes.reshape(SLOPES, -1)

    @cached_property
    def rows(self) -> Floats:
        """(l size, 2 + SLOPES)."""
        return np.stack([*self.flat, *self.flat_slopes], axis=1)
