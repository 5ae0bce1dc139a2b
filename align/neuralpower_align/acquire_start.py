"""A first delay and lag on a grid: good to some tenths of a millisecond, with or without a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire_rows import Series
from neuralpower_align.acquire_trace import Course, Rows, design, solved
from neuralpower_align.kernel import Kernel
from neuralpower_align.scan_clock import ScanClock

Floats = npt.NDArray[np.float64]

DELAY_STEP_NS = 150e3
FIRST_LAG_NS = 500e3
LAGS = (0.02, 0.1, 0.25, 0.5, 1.0)
"""Of the longest lag."""
SHIFTS_NS = (-200e3, 0.0, 200e3)


@dataclass(frozen=True)
class Start:
    """Delay, lag, the powers (count,) W that go with them, and the mean squared residual, W^2."""

    delay_ns: float
    lag_ns: float
    power_w: Floats
    error: float


Seen = tuple[Rows, float, float]
"""Rows with no delay taken off, their conversion and the smear of their place in time, ns."""


def seen(series: Sequence[Series], clocks: Sequence[ScanClock | None], margin: float) -> list[Seen]:
    """The rows of each stretch: under its clock, or with the place in the scan unknown."""
    parts: list[Seen] = []
    for each, clock in zip(series, clocks, strict=True):
        if clock is None:
            parts.append((each.blind_rows(), each.window_ns, each.scan_ns))
        else:
            parts.append((each.rows(clock, 0.0, margin)[0], each.window_ns, 0.0))
    return parts


def outcome(course: Course, parts: Sequence[Seen], delay_ns: float, lag_ns: float) -> Start:
    """The powers that fit best under a delay and a lag."""
    matrix = np.vstack(
        [
            design(course, rows.shifted(-delay_ns), Kernel(lag_ns, window, smear_ns=smear))
            for rows, window, smear in parts
        ]
    )
    value = np.concatenate([rows.value_w for rows, _, _ in parts])
    power, left = solved(matrix, value)
    return Start(delay_ns, lag_ns, power, left / max(value.size, 1))


def start(course: Course, parts: Sequence[Seen], earliest_ns: float, latest_ns: float, longest_lag_ns: float) -> Start:
    """The best of a grid: the sum of delay and lag first, which is what the readings tell best, then how it divides."""

    def best(
        candidates: Sequence[tuple[float, float]], key: Callable[[Start], float] = lambda each: each.error
    ) -> Start:
        return min((outcome(course, parts, delay, lag) for delay, lag in candidates), key=key)

    delays = np.arange(earliest_ns, latest_ns + longest_lag_ns - FIRST_LAG_NS + 1, DELAY_STEP_NS)
    total = best([(float(delay), FIRST_LAG_NS) for delay in delays])
    together = total.delay_ns + total.lag_ns
    lags = [longest_lag_ns * share for share in LAGS]
    return best(
        [(float(np.clip(together - lag + shift, earliest_ns, latest_ns)), lag) for lag in lags for shift in SHIFTS_NS]
    )
