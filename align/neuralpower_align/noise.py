"""What readings scatter by, beside the power that is sought: covariance of a block of rows, its parts estimated from residuals.

A block's covariance is a sum of known forms times unknown variances:

    white     noise of each conversion, filtered like the conversions where the chip averages
    register  what the register's steps add behind the filter
    slow      power that wanders: exp(-|dt| / T), smoothed as the sensor and the chip's filter smooth it
    slack     an inference that ran earlier or later than laid: s^2 g g', g the change of the readings with its shift

All but the slack are exponentials of what lies between two rows, so that a block is whitened row by row, in a time that grows with its
rows and not with their square (Foreman-Mackey et al. 2017, "Fast and scalable Gaussian process modeling", celerite); the slack is of low rank
and is put in afterwards.

The variances are those of greatest likelihood on blocks spread over the recording, by rounds of Newton's with the average of observed and
expected information (Gilmour, Thompson and Cullis 1995), which needs no products of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.rows import Design

Floats = npt.NDArray[np.float64]

SLOW_NS = (30e6, 100e6, 300e6, 1000e6)
"""Correlation times among which the likeliest is taken."""
_ROUNDS = 10
_NEAR = 0.1
"""Steps below this share of a variance need no further round: these shrink like squares."""
_FREE = [0, 2, 3]
_MASK = np.array([True, False, True, True])
_SCALES = np.array([1e-4, 1e-6, 1e-4, (1e3) ** 2])
"""Variances that are as good as none: (10 mW)^2 and (1 us)^2."""
_FLOORS = 1e-2 * _SCALES


@dataclass(frozen=True)
class Noise:
    """Variances: white, register and slow, W^2; slack, ns^2; and the correlation time of the slow part, ns."""

    white: float = 0.01
    register: float = 0.0
    slow: float = 0.01
    slack: float = 0.0
    slow_ns: float = 100e6

    @property
    def variances(self) -> Floats:
        """All four, in the order of :func:`forms`."""
        return np.array([self.white, self.register, self.slow, self.slack])

    def covariance(self, design: Design, averaging: int) -> Floats:
        """(b, n, n) W^2 of the rows of a design."""
        total = np.zeros((*design.at_ns.shape, design.at_ns.shape[1]))
        for variance, form in zip(self.variances, forms(design, averaging, self.slow_ns), strict=True):
            if variance > 0:
                total += variance * form
        return total

    def whitened(self, design: Design, averaging: int, columns: Floats) -> tuple[Floats, float]:
        """L^-1 columns (b, n, q), where L L' is the covariance, and the logarithm of its determinant.

        The slack: I + U U', with U = s L^-1 g of few columns, has the root I + U (..) U' by the root of K = I + U' U.
        """
        size = columns.shape[-1]
        both = np.concatenate([columns, np.sqrt(self.slack) * design.slack], axis=-1)
        determinant = self._whiten(design, averaging, both)
        columns, slack = both[..., :size], both[..., size:]
        across = slack.transpose(0, 2, 1)
        few = slack.shape[-1] < slack.shape[1]
        inner = (across @ slack) if few else (slack @ across)
        np.einsum("bii->bi", inner)[:] += 1
        root = np.linalg.cholesky(inner)
        determinant += 2 * float(np.log(np.diagonal(root, axis1=1, axis2=2)).sum())
        if few:
            return columns - slack @ (np.linalg.inv(inner + root) @ (across @ columns)), determinant
        return np.asarray(np.linalg.inv(root) @ columns, np.float64), determinant

    def _whiten(self, design: Design, averaging: int, columns: Floats) -> float:
        """The same without slack, in place.

        Row by row, what earlier rows say of a row is taken from it: for each exponential one running sum, which decays from row to row.
        """
        weights, decays = self._exponentials(design, averaging)
        total = float(weights.sum()) + self.register + (self.white if averaging == 1 else 0.0)
        terms, blocks, rows = decays.shape
        pivots = np.empty((blocks, rows))
        told, said = np.zeros((terms, terms, blocks)), np.zeros((terms, blocks, columns.shape[-1]))
        gain = np.zeros((terms, blocks))
        for i in range(rows):
            if i:
                decay = decays[:, :, i]
                told += pivots[:, i - 1] * gain[:, None] * gain
                told *= decay[:, None] * decay
                said += gain[..., None] * columns[:, i - 1]
                said *= decay[..., None]
                for part in said:
                    columns[:, i] -= part
            known = told.sum(axis=1)
            pivots[:, i] = total - known.sum(axis=0)
            gain = (weights[:, None] - known) / pivots[:, i]
        columns /= np.sqrt(pivots)[..., None]
        return float(np.log(pivots).sum())

    def _exponentials(self, design: Design, averaging: int) -> tuple[Floats, Floats]:
        """Covariance of different rows as a sum: weights (k,) W^2, and by what each decays from the row before (k, b, n)."""
        apart = np.diff(design.at_ns, axis=1, prepend=design.at_ns[:, :1])
        weights, decays = [], []
        smooth_ns = min(design.smooth_ns, 0.8 * self.slow_ns)
        if smooth_ns < 1e-3 * self.slow_ns:
            weights, decays = [self.slow], [np.exp(apart * (-1 / self.slow_ns))]
        else:
            scale = self.slow * self.slow_ns / (self.slow_ns**2 - smooth_ns**2)
            weights = [scale * self.slow_ns, -scale * smooth_ns]
            decays = [np.exp(apart * (-1 / time)) for time in (self.slow_ns, smooth_ns)]
        if averaging > 1:
            weights.append(self.white / (2 * averaging - 1))
            decays.append((1 - 1 / averaging) ** np.diff(design.number, axis=1, prepend=design.number[:, :1]))
        return np.array(weights), np.stack(decays)


def forms(design: Design, averaging: int, slow_ns: float) -> list[Floats]:
    """The four known forms, (b, n, n) each or of a shape that is broadcast to it."""
    size = design.at_ns.shape[1]
    identity = np.eye(size)[None]
    if averaging > 1:
        keep = 1 - 1 / averaging
        apart = np.abs(design.number[:, :, None] - design.number[:, None, :])
        white = keep**apart / (2 * averaging - 1)
    else:
        white = identity
    slow = _smoothed(np.abs(design.at_ns[:, :, None] - design.at_ns[:, None, :]), slow_ns, design.smooth_ns)
    return [white, identity, slow, design.slack @ design.slack.transpose(0, 2, 1)]


def _smoothed(apart_ns: Floats, slow_ns: float, smooth_ns: float) -> Floats:
    """exp(-|dt| / T) after one pole of time constant s: (T exp(-|dt| / T) - s exp(-|dt| / s)) / (T - s) T / (T + s)."""
    smooth_ns = min(smooth_ns, 0.8 * slow_ns)
    if smooth_ns < 1e-3 * slow_ns:
        return np.exp(apart_ns * (-1 / slow_ns))
    sharp = slow_ns * np.exp(apart_ns * (-1 / slow_ns)) - smooth_ns * np.exp(apart_ns * (-1 / smooth_ns))
    return np.asarray(sharp * (slow_ns / (slow_ns**2 - smooth_ns**2)), np.float64)


@dataclass(frozen=True)
class Sample:
    """Residuals (b, n) W of some blocks, with what their covariance is made of."""

    residual: Floats
    design: Design
    averaging: int


def estimate_noise(samples: Sequence[Sample], start: Noise, register: float, times_ns: Sequence[float] = ()) -> Noise:
    """The variances of greatest likelihood; `register` is what the register's steps are known to add, W^2.

    The slow part's time is the likeliest of `times_ns`, or stays what it was. Where the chip does not average, white noise and the
    register's steps are one, and only their sum is estimated.
    """
    averaged = any(sample.averaging > 1 for sample in samples)
    start = replace(start, register=register if averaged else 0.0)
    if not times_ns:
        return _fitted(samples, start)
    found: list[Noise] = []
    for time in sorted(times_ns, key=lambda each: abs(np.log(each / start.slow_ns))):
        found.append(_fitted(samples, replace(found[0] if found else start, slow_ns=time)))
    return max(found, key=lambda each: _likelihood(samples, each))


def _likelihood(samples: Sequence[Sample], noise: Noise) -> float:
    """Logarithm of the likelihood of residuals, but for a constant."""
    total = 0.0
    for sample in samples:
        residual, determinant = noise.whitened(sample.design, sample.averaging, sample.residual[..., None])
        total += determinant + float(np.sum(residual**2))
    return -total / 2


def _fitted(samples: Sequence[Sample], noise: Noise) -> Noise:
    """The likeliest variances with the correlation time held."""
    theta = noise.variances
    every = [forms(sample.design, sample.averaging, noise.slow_ns) for sample in samples]
    for _ in range(_ROUNDS):
        score, information = np.zeros(len(_FREE)), np.zeros((len(_FREE), len(_FREE)))
        for sample, parts in zip(samples, every, strict=True):
            one = _score_of(sample, parts, theta)
            score, information = score + one[0], information + one[1]
        step = np.zeros(4)
        step[_FREE] = np.linalg.solve(information + 1e-9 * np.diag(np.diag(information)), score)
        low, high = np.maximum(theta * 0.2, _FLOORS), np.maximum(theta * 5, _SCALES)
        moved = np.where(_MASK, np.clip(theta + step, low, high), theta)
        settled = np.all(np.abs(moved - theta) < _NEAR * theta + _FLOORS)
        theta = moved
        if settled:
            break
    white, register, slow, slack = (float(value) for value in theta)
    return Noise(white, register, slow, slack, noise.slow_ns)


def _score_of(sample: Sample, parts: Sequence[Floats], theta: Floats) -> tuple[Floats, Floats]:
    """Slope (3,) of the log-likelihood in the free variances, and its average information (3, 3), of some blocks."""
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
