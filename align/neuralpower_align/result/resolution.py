"""What can be told apart: resolved layers, and groups of neighbours that only together are known well enough.

A resolved layer's 95 % half-width is at most 20 % of its estimate; neighbours that are not resolved are grouped until the group's standard
error is at most 5 % of its power. Every layer is in exactly one unit. Of all partitions into such units the one is taken that leaves
most time in resolved layers, and then the most units (dynamic programming over where units end).

The powers that come in are those of hierarchy.py. Were they bare estimates, chance would have a say in which layers count as
resolved, and intervals of these would hold the truth less often than they say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuralpower_align.result.units import Units

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Z95 = 1.959963984540054
"""Number: 97.5 % point of the normal law."""
HALF_WIDTH = 0.20
"""Rule: a layer is resolved if its 95 % half-width is at most this share of its power; `--half-width` sets another."""
GROUP_ERROR = 0.05
"""Rule: the standard error of a group is at most this share of its power; `--group-error` sets another."""
NOT_TOLD = 1e3
"""Rule: by how much time that is not told counts more than time that is resolved."""
UNIT_WORTH = 0.25
"""Rule: what one more unit is worth, as a share of a layer's mean time: of two partitions that resolve about the same time the finer."""


def resolved_units(
    power_w: Floats,
    covariance: Floats,
    seconds: Floats,
    half_width: float = HALF_WIDTH,
    group_error: float = GROUP_ERROR,
) -> Units:
    """The units of an engine's layers.

    power_w (n,), covariance (n, n): estimates of the layers in order. seconds (n,): their mean times. A unit's power is its energy over
    its time. What is not known to `group_error` however it is grouped is in units that are not told: as little time as possible.
    """
    seconds = np.maximum(seconds, 1e-12)
    size = power_w.size
    energy, time = np.append(0.0, np.cumsum(power_w * seconds)), np.append(0.0, np.cumsum(seconds))
    square = np.zeros((size + 1, size + 1))
    square[1:, 1:] = np.cumsum(np.cumsum(covariance * np.outer(seconds, seconds), axis=0), axis=1)
    best = np.full(size + 1, -np.inf)
    best[0], before, known = 0.0, np.zeros(size + 1, np.int64), np.zeros(size + 1, bool)
    worth = UNIT_WORTH * float(seconds.mean())
    for end in range(1, size + 1):
        begin = np.arange(end)
        span = time[end] - time[begin]
        variance = square[end, end] - square[begin, end] - square[end, begin] + square[begin, begin]
        error = np.sqrt(np.maximum(variance, 0.0)) / span
        found = (energy[end] - energy[begin]) / span
        allowed = error <= group_error * found
        single = end - 1
        resolved = Z95 * error[single] <= half_width * found[single]
        allowed[single] |= resolved
        score = best[:end] + np.where(allowed, worth, -NOT_TOLD * span)
        score[single] += span[single] if resolved else 0.0
        before[end] = int(np.argmax(score))
        best[end], known[end] = score[before[end]], allowed[before[end]]
    told: list[bool] = []
    unit, end = np.zeros(size, np.int64), size
    while end > 0:
        unit[before[end] : end] = len(told)
        told.append(bool(known[end]))
        end = int(before[end])
    unit = len(told) - 1 - unit
    average = np.zeros((int(unit[-1]) + 1, size))
    average[unit, np.arange(size)] = seconds
    average /= average.sum(axis=1, keepdims=True)
    return Units(unit, average @ power_w, average @ covariance @ average.T, np.array(told[::-1], bool))
