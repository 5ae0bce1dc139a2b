"""What readings scatter by, beside the power that is sought: covariance of a block of rows, its parts estimated from residuals.

A block's covariance is a sum of known forms times unknown variances:

    white     noise of each conversion, filtered like the conversions where the chip averages
    register  what the register's steps add behind the filter
    slow      power that wanders: exp(-|dt| / T), smoothed as the sensor and the chip's filter smooth it
    slack     an inference that ran earlier or later than laid: s^2 g g', g the change of the readings with its shift

The variances are those of greatest likelihood, by Fisher scoring on blocks spread over the recording.
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
    found = [_score(samples, replace(start, slow_ns=time)) for time in times_ns or (start.slow_ns,)]
    return max(found, key=lambda each: each[1])[0]


def _score(samples: Sequence[Sample], noise: Noise) -> tuple[Noise, float]:
    """Fisher scoring with the correlation time held; the variances and their log-likelihood before the last step."""
    theta = noise.variances
    every = [forms(sample.design, sample.averaging, noise.slow_ns) for sample in samples]
    likelihood = -np.inf
    for _ in range(_ROUNDS):
        score, fisher, now = np.zeros(4), np.zeros((4, 4)), 0.0
        for sample, parts in zip(samples, every, strict=True):
            one = _score_of(sample.residual, parts, theta)
            score, fisher, now = score + one[0], fisher + one[1], now + one[2]
        inner = np.ix_(_FREE, _FREE)
        step = np.zeros(4)
        step[_FREE] = np.linalg.solve(fisher[inner] + 1e-9 * np.diag(np.diag(fisher)[_FREE]), score[_FREE])
        low, high = np.maximum(theta * 0.2, _FLOORS), np.maximum(theta * 5, _SCALES)
        moved = np.where(_MASK, np.clip(theta + step, low, high), theta)
        settled = np.all(np.abs(moved - theta) < 0.02 * theta + _FLOORS)
        theta, likelihood = moved, now
        if settled:
            break
    white, register, slow, slack = (float(value) for value in theta)
    return Noise(white, register, slow, slack, noise.slow_ns), likelihood


def _score_of(residual: Floats, parts: Sequence[Floats], theta: Floats) -> tuple[Floats, Floats, float]:
    """Slope and information of the log-likelihood in the variances (4), and the log-likelihood, of some blocks."""
    covariance = np.zeros((*residual.shape, residual.shape[1]))
    for value, part in zip(theta, parts, strict=True):
        if value > 0:
            covariance += value * part
    inverse = np.linalg.inv(covariance)
    weighed = (inverse @ residual[..., None])[..., 0]
    score, products = np.zeros(4), {}
    for i in _FREE:
        part = parts[i]
        whole = part.shape[-1] > 1 and part.shape[0] == 1
        if whole:  # the same for all blocks: nothing but the identity
            score[i] = float(np.sum(weighed**2) - np.trace(inverse, axis1=1, axis2=2).sum())
            products[i] = inverse
        else:
            score[i] = float(np.sum(weighed * (part @ weighed[..., None])[..., 0]) - np.sum(inverse * part))
            products[i] = inverse @ part
    fisher = np.zeros((4, 4))
    for a in _FREE:
        for b in _FREE:
            if b >= a:
                fisher[a, b] = fisher[b, a] = np.einsum("bij,bji->", products[a], products[b])
    log_determinant = float(np.linalg.slogdet(covariance)[1].sum())
    return score / 2, fisher / 2, -(log_determinant + float(np.sum(residual * weighed))) / 2
