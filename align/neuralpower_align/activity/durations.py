"""What durations really were, from durations that count in steps.

CUDA events carry the time in steps (1.024 us on most GPUs), so that a duration of d is reported as the step below or above. Taken as it is, a
short layer seems to vary by far more than it does, and a regression on how much of a conversion it filled finds too little of
whatever sets it apart (errors in variables). The best linear prediction of the duration,

    d' = m c + k (d - m c),    k = v / (v + s^2 / 6),

m the layer's mean, c the inference's common factor, v its own variance beside the steps', s^2 / 6 that of the difference of two times that
count in steps of s, errs independently of itself, which biases nothing (Berkson 1950, "Are there two regressions?").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEPS_NS = (2048, 1024, 1000, 512, 500, 256, 128, 64, 32)
"""Board: steps that are looked for, ns: CUDA event clocks of GPUs so far are among them."""
COUNTED, NEAR_NS = 0.9, 3.0
"""Board: so many of the durations are multiples to so many ns (they come as 32-bit milliseconds) where they count in steps."""
LEAST_JITTER = 2e-3
"""Prior: deviation of a layer's duration, as a share of it, below which none is told."""
FEWEST = 10
"""Rule: inferences that tell a variance."""
SAMPLE = 4096
"""Tuning: durations in which steps are looked for."""


def step_ns(durations_ns: Ints) -> float:
    """In what steps durations (m, n) count; 0 where in none."""
    some = durations_ns[durations_ns > 0]
    some = some[:: max(some.size // SAMPLE, 1)]
    if not some.size:
        return 0.0
    for step in STEPS_NS:
        off = np.abs((some + step / 2) % step - step / 2)
        if np.mean(off <= NEAR_NS) >= COUNTED:
            return float(step)
    return 0.0


@dataclass(frozen=True)
class UsualDurations:
    """What an engine's durations count in, ns (0: no steps, or too few durations to tell), their means (n,), ns, and each layer's own variance
    (n,), ns^2, beside the steps'."""

    step_ns: float
    mean_ns: Floats
    own_ns2: Floats

    @classmethod
    def of(cls, durations_ns: Ints) -> UsualDurations:
        """From durations (m, n)."""
        step = step_ns(durations_ns) if len(durations_ns) >= FEWEST else 0.0
        values = durations_ns.astype(np.float64)
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        own = (LEAST_JITTER * mean) ** 2
        if step:
            own = np.maximum(np.mean((values - _common(values, mean)) ** 2, axis=0) - _error(step), own)
        return cls(step, mean, own)

    def likely_ns(self, durations_ns: Ints) -> Ints:
        """Durations (m, n) of the engine as they probably were, ns; as they are where they count in no steps."""
        if not self.step_ns:
            return durations_ns
        values = durations_ns.astype(np.float64)
        common = _common(values, self.mean_ns)
        found = common + (values - common) * (self.own_ns2 / (self.own_ns2 + _error(self.step_ns)))
        return np.asarray(np.where(durations_ns > 0, np.rint(np.maximum(found, 0.0)), 0), np.int64)


def _common(values: Floats, mean: Floats) -> Floats:
    """What the layers (m, n) would have taken if all of an inference were longer or shorter by one factor."""
    return np.asarray(mean[None] * (values.sum(axis=1) / max(float(mean.sum()), 1.0))[:, None], np.float64)


def _error(step: float) -> float:
    """Variance of the difference of two times that count in steps."""
    return step**2 / 6


def likely_ns(durations_ns: Ints) -> Ints:
    """The durations (m, n) as they probably were, ns; as they are where they count in no steps or are too few."""
    return UsualDurations.of(durations_ns).likely_ns(durations_ns)
