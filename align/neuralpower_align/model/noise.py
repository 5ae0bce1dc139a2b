"""What readings scatter by, beside the power that is sought: covariance of a block of rows, its parts estimated from residuals.

A block's covariance is a sum of known forms times unknown variances:

    white     noise of each conversion, filtered like the conversions where the chip averages
    register  what the register's steps add behind the filter
    slow      power that wanders: exp(-|dt| / T), smoothed as the sensor and the chip's filter smooth it
    slack     an inference that ran earlier or later than laid: s^2 g g', g the change of the readings with its shift
    late      the same of what grows with the room that it has between its anchors (`layout.py`)
    far       the same of inferences whose room is far beyond the usual: whether the host launched or woke up late, rooms do not tell
    stretch   gaps between kernels that were longer or shorter than laid, each by itself: the same with a random walk of edges from the middle (`rows.py`)

The variances are those of greatest likelihood on blocks spread over the recording, by rounds of Newton's with the average of observed and
expected information (Gilmour, Thompson and Cullis 1995), which needs no products of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.model.rows import Design
from neuralpower_align.sensor.kernel import Kernel

Floats = npt.NDArray[np.float64]

SLOW_NS = (30e6, 100e6, 300e6, 1000e6)
"""Correlation times among which the likeliest is taken."""
_ROUNDS = 10
_NEAR = 0.1
"""Steps below this share of a variance need no further round: these shrink like squares."""
SMALL = 8
"""Matrices of so many rows are inverted at once."""
MOST_EXPONENT = 300.0
"""exp of it and of less than it is a number."""
_FREE = [0, 2, 3, 4, 5, 6]
_MASK = np.array([True, False, True, True, True, True, True])
_SCALES = np.array([1e-4, 1e-6, 1e-4, (1e3) ** 2, (1e3) ** 2, (1e3) ** 2, (1e3) ** 2])
"""Variances that are as good as none: (10 mW)^2 and (1 us)^2."""
_FLOORS = 1e-2 * _SCALES


@dataclass(frozen=True)
class Noise:
    """Variances: white, register and slow, W^2; slack, stretch, late and far, ns^2; and the correlation time of the slow part, ns."""

    white: float = 0.01
    register: float = 0.0
    slow: float = 0.01
    slack: float = 0.0
    slow_ns: float = 100e6
    stretch: float = 0.0
    late: float = 0.0
    far: float = 0.0

    @classmethod
    def even(cls, white: float) -> Noise:
        """White noise alone, W^2."""
        return cls(white=white, slow=0.0)

    @property
    def place(self) -> float:
        """Variance of a mean inference's place, ns^2, but for those whose room is far beyond the usual."""
        return self.slack + self.late

    @property
    def variances(self) -> Floats:
        """All, in the order of :func:`forms`."""
        return np.array([self.white, self.register, self.slow, self.slack, self.stretch, self.late, self.far])

    def with_variances(self, variances: Floats) -> Noise:
        """The same with others, in that order."""
        white, register, slow, slack, stretch, late, far = (float(each) for each in variances)
        return replace(
            self, white=white, register=register, slow=slow, slack=slack, stretch=stretch, late=late, far=far
        )  # fmt: skip

    def covariance(self, design: Design, averaging: int) -> Floats:
        """(b, n, n) W^2 of the rows of a design."""
        total = (
            self.slow * _slow(design, self.slow_ns)
            if self.slow > 0
            else np.zeros((*design.at_ns.shape, design.at_ns.shape[1]))
        )
        rows = np.arange(design.at_ns.shape[1])
        if averaging > 1:
            total += self.white * _filtered(design, averaging)
            total[:, rows, rows] += self.register
        else:
            total[:, rows, rows] += self.white + self.register
        # What inferences scatter by, all of it in one product: each with its own variance.
        wider = _wider(design)
        place = np.sqrt(self.slack + self.late * wider[:, 0] + self.far * wider[:, 1])
        moved = design.slack * place[:, None]
        if self.stretch > 0:
            moved = np.concatenate([moved, np.sqrt(self.stretch) * design.stretch], axis=-1)
        return np.asarray(total + moved @ moved.transpose(0, 2, 1), np.float64)

    def root(self, design: Design, averaging: int) -> Root:
        """What whitens the rows of a design."""
        if not (self.slow or self.place or self.stretch or self.far) and averaging == 1:
            blocks, rows = design.at_ns.shape
            return Root(None, float(self.white**-0.5), blocks * rows * float(np.log(self.white)))
        lower = np.asarray(np.linalg.cholesky(self.covariance(design, averaging)), np.float64)
        return Root(_inverse(lower), 1.0, 2 * float(np.log(np.diagonal(lower, axis1=1, axis2=2)).sum()))

    def whitened(self, design: Design, averaging: int, columns: Floats) -> tuple[Floats, float]:
        """L^-1 columns (b, n, q), where L L' is the covariance, and the logarithm of its determinant."""
        root = self.root(design, averaging)
        return root.whitened(columns), root.determinant


def blurred(kernel: Kernel, noise: Noise, blur_ns: float, edge_ns: float = 0.0) -> Kernel:
    """The kernel with edges as far off as inferences scatter, each by what its room says, and by `blur_ns` in the mean; or all by `edge_ns` if that is any."""
    place = noise.place
    if edge_ns or not place:
        return replace(kernel, blur_ns=edge_ns or blur_ns, late=0.0, far=0.0)
    return replace(kernel, blur_ns=blur_ns, late=noise.late / place, far=noise.far / place)


@dataclass(frozen=True)
class Root:
    """L^-1 (b, n, n) of blocks whose covariance is L L', or `even` where all of it is that times the identity; logarithm of the determinant."""

    inverse: Floats | None
    even: float
    determinant: float

    def whitened(self, columns: Floats) -> Floats:
        """L^-1 columns (b, n, q)."""
        return columns * self.even if self.inverse is None else np.asarray(self.inverse @ columns, np.float64)


def forms(design: Design, averaging: int, slow_ns: float) -> list[Floats]:
    """The seven known forms, (b, n, n) each or of a shape that is broadcast to it."""
    identity = np.eye(design.at_ns.shape[1])[None]
    white = _filtered(design, averaging) if averaging > 1 else identity
    wider, turned = _wider(design), design.slack.transpose(0, 2, 1)
    stretch = design.stretch @ design.stretch.transpose(0, 2, 1)
    late, far = ((design.slack * wider[:, kind, None]) @ turned for kind in range(2))
    return [white, identity, _slow(design, slow_ns), design.slack @ turned, stretch, late, far]


def _filtered(design: Design, averaging: int) -> Floats:
    """What the chip's filter leaves of white noise."""
    keep = 1 - 1 / averaging
    apart = np.abs(design.number[:, :, None] - design.number[:, None, :])
    return np.asarray(keep**apart / (2 * averaging - 1), np.float64)


def _wider(design: Design) -> Floats:
    """`Design.width` for all that an inference's slack has, slope and bend (b, 2, m)."""
    return np.tile(design.width, design.slack.shape[-1] // max(design.width.shape[-1], 1))


def _slow(design: Design, slow_ns: float) -> Floats:
    """The form of power that wanders: exp(-|dt| / T) after one pole of time constant s, (T exp(-|dt| / T) - s exp(-|dt| / s)) / (T - s) T / (T + s)."""
    smooth_ns = min(design.smooth_ns, 0.8 * slow_ns)
    if smooth_ns < 1e-3 * slow_ns:
        return _decayed(design.at_ns, slow_ns)
    sharp = slow_ns * _decayed(design.at_ns, slow_ns) - smooth_ns * _decayed(design.at_ns, smooth_ns)
    return np.asarray(sharp * (slow_ns / (slow_ns**2 - smooth_ns**2)), np.float64)


def _decayed(at_ns: Floats, time_ns: float) -> Floats:
    """exp(-|dt| / T) between the rows of each block (b, n, n): from what each row's own exponential is, where that can be told."""
    away = (at_ns - at_ns.mean(axis=1, keepdims=True)) / time_ns
    if np.abs(away).max() > MOST_EXPONENT:
        return np.asarray(np.exp(np.abs(at_ns[:, :, None] - at_ns[:, None, :]) * (-1 / time_ns)), np.float64)
    falling = np.exp(-away)[:, :, None] * np.exp(away)[:, None, :]
    return np.asarray(np.minimum(falling, falling.transpose(0, 2, 1)), np.float64)


def _inverse(lower: Floats) -> Floats:
    """Inverse of triangular matrices (b, n, n), by halves: three quarters of what a general inverse does is for what is zero."""
    size = lower.shape[1]
    if size <= SMALL or size % 2:
        return np.asarray(np.linalg.inv(lower), np.float64)
    half = size // 2
    found = np.zeros_like(lower)
    # Both halves at once: calls cost more than small matrices.
    both = _inverse(np.concatenate([lower[:, :half, :half], lower[:, half:, half:]]))
    above, below = both[: len(lower)], both[len(lower) :]
    found[:, :half, :half], found[:, half:, half:] = above, below
    found[:, half:, :half] = -below @ (lower[:, half:, :half] @ above)
    return found


@dataclass(frozen=True)
class Sample:
    """Residuals (b, n) W of some blocks, with what their covariance is made of."""

    residual: Floats
    design: Design
    averaging: int


def estimate_noise(
    samples: Sequence[Sample],
    start: Noise,
    register: float,
    times_ns: Sequence[float] = (),
    farthest_ns: float = np.inf,
) -> Noise:
    """The variances of greatest likelihood; `register` is what the register's steps are known to add, W^2; `farthest_ns`: deviation that
    neither slack nor any of the others in time can exceed.

    The slow part's time is the likeliest of `times_ns`, or stays what it was. Where the chip does not average, white noise and the
    register's steps are one, and only their sum is estimated.
    """
    averaged = any(sample.averaging > 1 for sample in samples)
    start = replace(start, register=register if averaged else 0.0)
    if not times_ns:
        return _fitted(samples, start, farthest_ns)
    found: list[Noise] = []
    for time in sorted(times_ns, key=lambda each: abs(np.log(each / start.slow_ns))):
        found.append(_fitted(samples, replace(found[0] if found else start, slow_ns=time), farthest_ns))
    return max(found, key=lambda each: _likelihood(samples, each))


def _likelihood(samples: Sequence[Sample], noise: Noise) -> float:
    """Logarithm of the likelihood of residuals, but for a constant."""
    total = 0.0
    for sample in samples:
        residual, determinant = noise.whitened(sample.design, sample.averaging, sample.residual[..., None])
        total += determinant + float(np.sum(residual**2))
    return -total / 2


def _fitted(samples: Sequence[Sample], noise: Noise, farthest_ns: float = np.inf) -> Noise:
    """The likeliest variances with the correlation time held."""
    theta = noise.variances
    every = [forms(sample.design, sample.averaging, noise.slow_ns) for sample in samples]
    for _ in range(_ROUNDS):
        score, information = np.zeros(len(_FREE)), np.zeros((len(_FREE), len(_FREE)))
        for sample, parts in zip(samples, every, strict=True):
            one = _score_of(sample, parts, theta)
            score, information = score + one[0], information + one[1]
        step = np.zeros(theta.size)
        told = np.diag(information)
        # Of a form that no row has (gaps of engines of one kernel) nothing is told, and its variance stays.
        step[_FREE] = np.linalg.solve(information + np.diag(np.where(told > 0, 1e-9 * told, 1.0)), score)
        low, high = np.maximum(theta * 0.2, _FLOORS), np.maximum(theta * 5, _SCALES)
        high = np.minimum(high, np.where(_SCALES >= 1.0, farthest_ns**2, np.inf))
        moved = np.where(_MASK, np.clip(theta + step, low, high), theta)
        settled = np.all(np.abs(moved - theta) < _NEAR * theta + _FLOORS)
        theta = moved
        if settled:
            break
    return noise.with_variances(theta)


def _score_of(sample: Sample, parts: Sequence[Floats], theta: Floats) -> tuple[Floats, Floats]:
    """Slope (6,) of the log-likelihood in the free variances, and its average information (6, 6), of some blocks."""
    covariance = np.zeros((*sample.residual.shape, sample.residual.shape[1]))
    for value, part in zip(theta, parts, strict=True):
        if value > 0:
            covariance += value * part
    inverse = np.linalg.inv(covariance)
    weighed = inverse @ sample.residual[..., None]
    pulls = np.concatenate([parts[i] @ weighed for i in _FREE], axis=-1)
    score = np.sum(weighed * pulls, axis=(0, 1)) - [np.sum(inverse * parts[i]) for i in _FREE]
    information = np.sum(pulls.transpose(0, 2, 1) @ (inverse @ pulls), axis=0)
    return score / 2, information / 2
