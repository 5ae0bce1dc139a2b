"""The sensor of readings that carry times of their own (NVML): window, delay and lag, from what ran when.

Each reading is a conversion that ended at its stamp, so there is no scan to find and no phase. What is not known is how long it
looked back. The time that a reading is about, its centre, is what the readings tell best: it is looked for first, under each window
of a series, then window, centre and lag are bettered together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.acquire import gaps_vary
from neuralpower_align.acquire.choice import thinned
from neuralpower_align.acquire.groups import grouped
from neuralpower_align.acquire.rows import Series
from neuralpower_align.acquire.start import START_ROWS, Start, check_readings, first_read_ns, outcome
from neuralpower_align.acquire.trace import Course
from neuralpower_align.activity.activity import Activity
from neuralpower_align.clock.scan_clock import ChannelReadings, Sensor

Floats = npt.NDArray[np.float64]

LONGEST_WINDOW_NS = 1.6e9
"""Chip: NVML's means over a second, and some more."""
SHORTEST, WINDOWS = 1 / 16, 1.4
"""Tuning: of the spacing of readings, the shortest window; and by how much one is longer than the one before it."""
EARLIEST, LATEST, DELAYS_A_SPACING = -1.0, 2.0, 8
"""Tuning: where the end of the window lies before the stamp, in spacings of readings, and how finely that is looked through."""
NO_LAG = 1 / 64
"""Tuning: a lag of so much of the spacing of readings stands for none, as the response divides by it."""
FINER = (0.5, 0.25, 0.1, 0.04, 0.015, 0.005)
"""Tuning: steps of window, centre and lag, in spacings of readings."""
MOST_MOVES = 12
"""Tuning: so many steps of one size at most; a search that goes on is farther than the grid before it was coarse."""
UNVARIED_NS = 2e6
"""Prior: where gaps hardly vary another delay fits as well; it is unsure by so much."""


@dataclass(frozen=True)
class _Guess:
    """Window, time from a reading's centre to its stamp, and lag, ns."""

    window_ns: float
    centre_ns: float
    lag_ns: float

    @property
    def delay_ns(self) -> float:
        """From the end of the window to the stamp."""
        return self.centre_ns - self.window_ns / 2 - self.lag_ns


def stamped_sensor(
    activity: Activity, pieces: Sequence[ChannelReadings], alone: tuple[int, ...]
) -> tuple[list[ChannelReadings], Sensor]:
    """The pieces with the window that fits best, and the sensor that goes with it.

    `alone`: classes that are no layers, and are joined with none. Raises Unattributable with too few readings, and where they never change.
    """
    origin = first_read_ns(pieces)
    full = Course.of(activity, origin, alone)
    coarse = full.regrouped(grouped(activity, alone))
    series = thinned(
        [Series.of(piece, origin) for piece in pieces], (None,) * len(pieces), START_ROWS, np.random.default_rng(0)
    )
    check_readings(series)
    spacing = float(np.median(np.concatenate([np.diff(piece.read_ns) for piece in pieces])))

    def tried(guess: _Guess) -> Start:
        rows = [(each.blind_rows(), guess.window_ns, 0.0) for each in series]
        return outcome(coarse, rows, guess.delay_ns, guess.lag_ns)

    best = min(_grid(spacing), key=lambda guess: tried(guess).error)
    best = _bettered(best, spacing, lambda guess: tried(guess).error)
    found = [replace(piece, window_ns=best.window_ns) for piece in pieces]
    alike = "" if gaps_vary(activity, alone) else "gaps hardly vary: another window, delay and lag may fit as well"
    error = UNVARIED_NS if alike else float("inf")
    nowhere = (None,) * len(pieces)
    return found, Sensor(best.delay_ns, best.lag_ns, nowhere, error, ("",) * len(pieces), alike)


def _grid(spacing_ns: float) -> list[_Guess]:
    """Windows in a series, each with centres about those that its delay allows."""
    guesses, window = [], SHORTEST * spacing_ns
    lag = NO_LAG * spacing_ns
    ends = np.arange(EARLIEST, LATEST + 1e-9, 1 / DELAYS_A_SPACING) * spacing_ns
    while window <= max(LONGEST_WINDOW_NS, 2 * spacing_ns):
        guesses += [_Guess(window, float(end) + window / 2 + lag, lag) for end in ends]
        window *= WINDOWS
    return guesses


def _bettered(begin: _Guess, spacing_ns: float, error: Callable[[_Guess], float]) -> _Guess:
    """By smaller and smaller steps of each, and of window and lag against each other, which the readings tell apart worst."""
    least, shortest = error(begin), NO_LAG * spacing_ns
    for share in FINER:
        step = share * spacing_ns
        for _ in range(MOST_MOVES):
            trials = [
                _Guess(
                    max(begin.window_ns + window * step, shortest),
                    begin.centre_ns + centre * step,
                    max(begin.lag_ns + lag * step, shortest / 4),
                )
                for window, centre, lag in (
                    (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (2, 0, -1), (-2, 0, 1),
                )
            ]  # fmt: skip
            errors = [error(each) for each in trials]
            at = int(np.argmin(errors))
            if errors[at] >= least:
                break
            begin, least = trials[at], errors[at]
    return begin
