"""The chip's own clock: when, in its scan, a register was last converted, found from the readings alone.

A register read at t holds the conversion that ended last before t: at phase + k * period. The reading is then
old by t - phase modulo period, a sawtooth that beats with the reader's grid. Its period is known to a few percent (the
data sheet allows 10), its phase not at all. Where power changes (an inference begins, a layer ends) the reading tells
its age. So: predict each reading for every age it could have, from powers that are roughly known, and look for the
period and phase whose sawtooth runs along the small errors. Short pieces of time first, which forgive a wrong period,
each with a phase of its own; then longer ones, until one phase holds for the whole time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import Activity
from neuralpower_align.regression import Observed, predicted
from neuralpower_align.response import Response

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEPS = 24
"""Ages within one scan that are told apart."""
FIRST_PIECE_S = 0.4
GROWTH = 4.0
MOST_READINGS = 5000
MOST_PIECES = 20


@dataclass(frozen=True)
class Scan:
    """Conversions of the register end at phase_ns + k * period_ns."""

    period_ns: float
    phase_ns: float

    def ended(self, read_ns: npt.ArrayLike) -> Floats:
        """When the conversion ended that a read at `read_ns` finds, ns relative to the same origin as the phase."""
        read = np.asarray(read_ns, np.float64)
        return np.asarray(self.phase_ns + np.floor((read - self.phase_ns) / self.period_ns) * self.period_ns)

    def moved(self, about_ns: float, shift_ns: float, slope: float) -> Scan:
        """Conversions later by shift_ns + slope * (when - about_ns)."""
        phase = self.phase_ns + shift_ns + slope * (self.phase_ns - about_ns)
        return Scan(self.period_ns * (1 + slope), phase)


@dataclass(frozen=True)
class Found:
    """A scan, the delay that goes with it, and the mean squared error, W^2, it leaves in the readings it was found from."""

    scan: Scan
    delay_ns: float
    error: float


def find_scan(
    activity: Activity,
    power_w: Floats,
    read_ns: Ints,
    value_w: Floats,
    response: Response,
    nominal_ns: float,
    latest_delay_ns: float,
    tolerance: float = 0.03,
    seed: int = 0,
) -> Found | None:
    """Search the scan's period (nominal +- tolerance), its phase, and the delay from 0 to `latest_delay_ns`.

    power_w: rough powers of the classes. read_ns, value_w: (k,) when a reading was read and what it gave.
    `response` without smear. None if there are too few readings to tell.
    """
    if read_ns.size < 500:
        return None
    origin = read_ns[0]
    t = (read_ns - origin).astype(np.float64)
    ages = np.arange(0.0, nominal_ns + latest_delay_ns, nominal_ns / STEPS)
    random = np.random.default_rng(seed)
    piece_s, relative, width = FIRST_PIECE_S, 1.0, tolerance
    while True:
        pieces = _pieces(t, piece_s * 1e9, random)
        tables = [(t[i], _errors(activity, power_w, origin, t[i], value_w[i], response, ages)) for i in pieces]
        span = min(piece_s * 1e9, float(t[-1]))
        step = nominal_ns / 6 / span
        trials = relative + np.arange(-width, width + step / 2, step)
        outcomes = [_trial(tables, nominal_ns * trial, nominal_ns) for trial in trials]
        winner = int(np.argmin([outcome[0] for outcome in outcomes]))
        relative, width = float(trials[winner]), 1.5 * step
        error, age_step, phase_step = outcomes[winner]
        if span >= float(t[-1]):
            period = nominal_ns * relative
            phase = (phase_step + 0.5) * period / STEPS
            return Found(Scan(period, phase + float(origin)), age_step * nominal_ns / STEPS, error)
        piece_s *= GROWTH


def _pieces(t: Floats, length_ns: float, random: np.random.Generator) -> list[Ints]:
    """Indices of the readings of up to MOST_PIECES pieces of time, thinned to MOST_READINGS altogether."""
    number = (t // length_ns).astype(np.int64)
    names, counts = np.unique(number, return_counts=True)
    names = names[counts >= 0.5 * np.median(counts)]
    if names.size > MOST_PIECES:
        names = np.sort(random.choice(names, MOST_PIECES, replace=False))
    share = MOST_READINGS // names.size
    chosen = []
    for name in names:
        inside = np.flatnonzero(number == name)
        chosen.append(inside if inside.size <= share else np.sort(random.choice(inside, share, replace=False)))
    return chosen


def _errors(
    activity: Activity, power_w: Floats, origin: np.int64, t: Floats, value_w: Floats, response: Response, ages: Floats
) -> Floats:
    """Squared error of each reading at each age it could have, (k, ages)."""
    at = (t[:, None] - ages[None, :]).ravel() + float(origin)
    guess = predicted(activity, Observed(at, np.zeros(0), response), power_w)
    return np.asarray((guess.reshape(t.size, ages.size) - value_w[:, None]) ** 2)


def _trial(tables: list[tuple[Floats, Floats]], period_ns: float, nominal_ns: float) -> tuple[float, int, int]:
    """Mean squared error of the best delay under a period, each piece with its best phase; the delay and last phase, in steps.

    For each piece the errors are summed by where in the period the reading fell (bucket) and by age; a phase and a delay
    are then one diagonal of that small table.
    """
    bucket = np.arange(STEPS)
    total: Floats = np.zeros(0)
    phases = np.zeros(0, np.int64)
    readings = 0
    for t, errors in tables:
        where = np.minimum((t % period_ns) / period_ns * STEPS, STEPS - 1).astype(np.int64)
        one_hot = np.zeros((STEPS, t.size))
        one_hot[where, np.arange(t.size)] = 1.0
        table = one_hot @ errors
        at_age = np.lib.stride_tricks.sliding_window_view(table, errors.shape[1] - STEPS + 1, axis=1)
        cost = at_age[bucket[:, None], (bucket[:, None] - bucket[None, :] - 1) % STEPS].sum(axis=0)
        phases = np.argmin(cost, axis=0)
        total = cost.min(axis=0) if total.size == 0 else total + cost.min(axis=0)
        readings += t.size
    delay = int(np.argmin(total))
    return float(total[delay]) / max(readings, 1), delay, int(phases[delay])
