"""A first delay and lag on a grid: good to some tenths of a millisecond, with or without a clock; all there is where none is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.choice import SearchRange, best_measured, thinned
from neuralpower_align.acquire.groups import grouped
from neuralpower_align.acquire.rows import Series
from neuralpower_align.acquire.trace import Course, Rows, design, solved
from neuralpower_align.activity.activity import Activity
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock, Sensor
from neuralpower_align.errors import Unattributable
from neuralpower_align.sensor.kernel import Kernel

Floats = npt.NDArray[np.float64]

FEWEST_READS, START_ROWS = 300, 3000
"""Rule: fewer readings while anything changed tell no sensor. Tuning: rows on which starts are compared."""
DELAY_STEP_NS, STEPS_A_LAG = 150e3, 12
"""Tuning: delays are so far apart, or further if lags may be so many times longer."""
FIRST_LAG_NS = 500e3
"""Prior: with this lag delays are compared first, before others are tried with the best."""
LAGS = (0.02, 0.1, 0.25, 0.5, 1.0)
"""Tuning: of the longest lag."""
SHIFTS = (-4 / 3, 0.0, 4 / 3)
"""Tuning: in steps of the delay."""
SPREAD = 1.0
"""Prior: of powers about the mean reading, as a share of it."""
FINER, MOST_MOVES = ((0.6, 2.0), (0.3, 1.35), (0.1, 1.16), (0.03, 1.16)), 8
"""Tuning: steps of the delay (of DELAY_STEP_NS) and factors of the lag, by which a start is bettered."""


@dataclass(frozen=True)
class Start:
    """Delay, lag, the powers (count,) W that go with them, and the mean squared residual, W^2."""

    delay_ns: float
    lag_ns: float
    power_w: Floats
    error: float


def first_read_ns(pieces: Sequence[ChannelReadings]) -> int:
    """The time of the first reading, from which others are counted. Raises Unattributable without any."""
    first = [piece.read_ns[0] for piece in pieces if piece.read_ns.size]
    if not first:
        raise Unattributable("no readings")
    return int(min(first))


def check_readings(series: Sequence[Series]) -> None:
    """Raises Unattributable where readings while anything changed are too few to tell a sensor, or never change themselves."""
    count = sum(each.t_ns.size for each in series)
    if count < FEWEST_READS:
        raise Unattributable(
            f"too few readings while anything changed: {count}, and {FEWEST_READS} are needed; record for longer"
        )
    value = np.concatenate([each.value_w for each in series])
    if value.min() == value.max():
        raise Unattributable(
            f"all {count} readings while anything changed are {value[0]:g} W: the sensor does not follow the load"
        )


Seen = tuple[Rows, float, float]
"""Rows with no delay taken off, their conversion and the smear of their place in time, ns."""


def seen(series: Sequence[Series], clocks: Sequence[ScanClock | None], margin: float) -> list[Seen]:
    """The rows of each stretch: under its clock, or with the place in the scan unknown."""
    parts: list[Seen] = []
    for each, clock in zip(series, clocks, strict=True):
        if clock is None:
            unknown = each.scan_ns if each.scan_ns > each.window_ns else 0.0
            parts.append((each.blind_rows(), each.window_ns, unknown))
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
    mean = float(value.mean()) if value.size else 0.0
    _, left = solved(matrix, value)
    # Powers that readings hardly tell stay near the mean: wild ones would hide where in the scan a reading lies.
    hold = np.sqrt(left / max(value.size, 1)) / max(SPREAD * abs(mean), 1e-12)
    held = np.vstack([matrix, hold * np.eye(matrix.shape[1])])
    power, _ = solved(held, np.append(value, np.full(matrix.shape[1], hold * mean)))
    left = float(np.sum((value - matrix @ power) ** 2))
    return Start(delay_ns, lag_ns, power, left / max(value.size, 1))


def start(course: Course, parts: Sequence[Seen], earliest_ns: float, latest_ns: float, longest_lag_ns: float) -> Start:
    """The best of a grid: the sum of delay and lag first, which is what the readings tell best, then how it divides."""

    def best(
        candidates: Sequence[tuple[float, float]], key: Callable[[Start], float] = lambda each: each.error
    ) -> Start:
        return min((outcome(course, parts, delay, lag) for delay, lag in candidates), key=key)

    step = max(DELAY_STEP_NS, longest_lag_ns / STEPS_A_LAG)
    delays = np.arange(earliest_ns, latest_ns + longest_lag_ns - FIRST_LAG_NS + 1, step)
    total = best([(float(delay), FIRST_LAG_NS) for delay in delays])
    together = total.delay_ns + total.lag_ns
    lags = [longest_lag_ns * share for share in LAGS]
    return best(
        [
            (float(np.clip(together - lag + shift * step, earliest_ns, latest_ns)), lag)
            for lag in lags
            for shift in SHIFTS
        ]
    )


def polished(course: Course, parts: Sequence[Seen], begin: Start) -> Start:
    """A start made better by smaller and smaller steps of delay and lag, that together stay or move, too."""
    for share, factor in FINER:
        for _ in range(MOST_MOVES):
            trials = [begin]
            for lag in (begin.lag_ns / factor, begin.lag_ns, begin.lag_ns * factor):
                for delay in (begin.delay_ns, begin.delay_ns + begin.lag_ns - lag):
                    trials += [
                        outcome(course, parts, delay + shift * share * DELAY_STEP_NS, lag) for shift in (-1.0, 0.0, 1.0)
                    ]
            best = min(trials, key=lambda each: each.error)
            if best is begin:
                break
            begin = best
    return begin


def unplaced(activity: Activity, pieces: Sequence[ChannelReadings], search: SearchRange) -> Sensor:
    """Delay and lag alone, for conversions that may have ended any time in the last scan, if that is known; filters count as lag.

    Raises Unattributable with too few readings while anything changed, and where they never change.
    """
    origin = first_read_ns(pieces)
    every = Course.of(activity, origin, search.alone)
    plain = [Series.of(replace(piece, averaging=1), origin) for piece in pieces]
    measured = best_measured(activity, every, [search.informative(every, each) for each in plain], search)
    check_readings(measured.series)
    full = Course.of(measured.activity, origin, measured.alone)
    coarse = full.regrouped(grouped(measured.activity, measured.alone))
    nowhere = (None,) * len(pieces)
    few = thinned(measured.series, nowhere, START_ROWS, np.random.default_rng(search.seed))
    rows = seen(few, nowhere, 0.0)
    first = start(coarse, rows, search.earliest_delay_ns, search.latest_delay_ns, search.longest_lag_ns)
    begin = polished(full, rows, outcome(full, rows, first.delay_ns, first.lag_ns))
    return Sensor(begin.delay_ns, begin.lag_ns, nowhere, found=("",) * len(pieces))
