"""The sensor found from the readings: delay, lag and the chip's scan, jointly over all engines of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import Activity
from neuralpower_align.regression import Normal, Observed, normal_equations, predicted
from neuralpower_align.response import Response
from neuralpower_align.scan import Scan, find_scan

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COARSE_READINGS = 4000
REFINE_READINGS = 16000
JUMP_READINGS = 5000
MOST_SHIFT_NS = 40e3
JUMP_MARGIN = 0.2
"""How far off the phase of a scan may still be, as a share of its period."""
CLEAR_MARGIN = 0.025
MOST_SEARCHES = 4
SETTLED_GAIN = 0.1
WORTH_IT = 0.8
"""A scan is believed if it brings the squared error below this share of what is left without knowing it."""


@dataclass(frozen=True)
class Readings:
    """One unbroken stretch of one chip: when it was read (k,) ns, power (k,) W, conversion and scan (0: unknown), ns.

    No nan; what is missing is left out.
    """

    read_ns: Ints
    power_w: Floats
    window_ns: float
    scan_ns: float

    def take(self, keep: npt.NDArray[np.bool_] | Ints) -> Readings:
        """The readings chosen by a mask or by indices."""
        return replace(self, read_ns=self.read_ns[keep], power_w=self.power_w[keep])


@dataclass(frozen=True)
class Sensor:
    """Delay and lag, shared, and the scan of each stretch of readings, None where it was not found."""

    delay_ns: float
    lag_ns: float
    scans: tuple[Scan | None, ...]

    def observe(self, pieces: Sequence[Readings]) -> list[Observed]:
        """What the readings saw, under this sensor."""
        return [self._observe(piece, scan) for piece, scan in zip(pieces, self.scans, strict=True)]

    def clear(self, pieces: Sequence[Readings], margin: float = CLEAR_MARGIN) -> list[Readings]:
        """The readings without those so close (a share of the period) to the end of a conversion that they may hold another."""
        kept = []
        for piece, scan in zip(pieces, self.scans, strict=True):
            if scan is not None:
                age = piece.read_ns - scan.ended(piece.read_ns)
                piece = piece.take((age > margin * scan.period_ns) & (age < (1 - margin) * scan.period_ns))
            kept.append(piece)
        return kept

    def _observe(self, piece: Readings, scan: Scan | None) -> Observed:
        ended = piece.read_ns if scan is None else scan.ended(piece.read_ns)
        response = Response(self.lag_ns, piece.window_ns, piece.scan_ns if scan is None else 0.0)
        return Observed(np.asarray(ended - self.delay_ns, np.float64), piece.power_w, response)


@dataclass(frozen=True)
class Search:
    """Where to look: delays 0 to latest_delay_ns, lags up to longest_lag_ns, the scan within +- scan_tolerance."""

    latest_delay_ns: float = 1.5e6
    longest_lag_ns: float = 2.0e6
    scan_tolerance: float = 0.04
    seed: int = 0


def find_sensor(activity: Activity, pieces: Sequence[Readings], search: Search | None = None) -> Sensor:
    """Search delay, lag and scans that leave the smallest residual; `activity` in classes coarse enough to be resolved.

    First on a grid with the place in the scan unknown (any place equally likely: unbiased, but noisy), then the scan of
    each stretch, then all by Gauss-Newton. Raises ValueError without readings.
    """
    search = search or Search()
    if not sum(piece.read_ns.size for piece in pieces):
        raise ValueError("sensor: no readings while an engine ran")
    random = np.random.default_rng(search.seed)
    pieces = thinned(informative(activity, pieces, search), REFINE_READINGS, random)
    coarse = _coarse(activity, thinned(pieces, COARSE_READINGS, random), search)
    best = refine(activity, pieces, coarse)
    power, error = fitted(activity, pieces, best)
    enough = WORTH_IT
    for _ in range(MOST_SEARCHES):
        trial = refine(activity, pieces, _with_scans(activity, pieces, power, best, search))
        trial_power, trial_error = fitted(activity, pieces, trial)
        if trial_error < enough * error:
            gain, best, power, error, enough = 1 - trial_error / error, trial, trial_power, trial_error, 1.0
            if gain > SETTLED_GAIN:
                continue
        break
    return best


def _with_scans(activity: Activity, pieces: Sequence[Readings], power: Floats, guess: Sensor, search: Search) -> Sensor:
    """The scan of each stretch searched from rough powers and lag; the delay is that of the longest stretch."""
    longest = max(range(len(pieces)), key=lambda i: pieces[i].read_ns.size)
    delay = guess.delay_ns
    scans: list[Scan | None] = [None] * len(pieces)
    for i in sorted(range(len(pieces)), key=lambda i: i != longest):
        piece = pieces[i]
        if piece.scan_ns <= piece.window_ns:
            continue
        found = find_scan(
            activity, np.maximum(power, 0.0), piece.read_ns, piece.power_w, Response(guess.lag_ns, piece.window_ns),
            piece.scan_ns, search.latest_delay_ns, search.scan_tolerance, search.seed,
        )  # fmt: skip
        if found is None:
            continue
        if i == longest:
            delay = found.delay_ns
        scans[i] = Scan(found.scan.period_ns, found.scan.phase_ns + delay - found.delay_ns)
    return Sensor(delay, guess.lag_ns, tuple(scans))


def fitted(activity: Activity, pieces: Sequence[Readings], sensor: Sensor) -> tuple[Floats, float]:
    """The best powers under a sensor, W, and the mean squared residual that they leave, W^2."""
    normal = normal_equations(activity, sensor.observe(pieces))
    power = normal.solve()
    return power, normal.residual(power) / max(normal.readings, 1)


def mean_error(activity: Activity, pieces: Sequence[Readings], sensor: Sensor) -> float:
    """Mean squared residual of the best powers under a sensor, W^2."""
    return fitted(activity, pieces, sensor)[1]


def informative(activity: Activity, pieces: Sequence[Readings], search: Search) -> list[Readings]:
    """The readings that may hold a change of class: those of long steady stretches tell nothing of the sensor."""
    kept = []
    for piece in pieces:
        reach = piece.window_ns + piece.scan_ns + search.latest_delay_ns + 3 * search.longest_lag_ns
        low = np.searchsorted(activity.edges_ns, piece.read_ns - int(reach))
        kept.append(piece.take(np.searchsorted(activity.edges_ns, piece.read_ns) > low))
    return kept


def thinned(pieces: Sequence[Readings], most: int, random: np.random.Generator) -> list[Readings]:
    """A random part of the readings, about `most` altogether."""
    total = sum(piece.read_ns.size for piece in pieces)
    return [piece.take(random.random(piece.read_ns.size) * total < most) for piece in pieces]


def _coarse(activity: Activity, pieces: Sequence[Readings], search: Search) -> Sensor:
    """The best delay and lag of a grid, scans unknown."""
    delays = np.arange(0.0, search.latest_delay_ns + 1, 1.5e5)
    lags = search.longest_lag_ns / 2.5 ** np.arange(0, 6)
    none = (None,) * len(pieces)
    candidates = [Sensor(float(delay), float(lag), none) for delay, lag in product(delays, lags)]
    return min(candidates, key=lambda sensor: mean_error(activity, pieces, sensor))


def refine(activity: Activity, pieces: Sequence[Readings], sensor: Sensor, rounds: int = 2) -> Sensor:
    """Make a sensor that is nearly right exact: what moves readings smoothly and what moves them in jumps, in turn.

    Phase and delay move all readings alike but for those near the end of a conversion, which jump to another one. So:
    Gauss-Newton without these for phase less delay, then those alone tell the delay.
    """
    pieces = thinned(pieces, REFINE_READINGS, np.random.default_rng(0))
    for _ in range(rounds):
        sensor = _smooth(activity, sensor.clear(pieces, JUMP_MARGIN), sensor)
        sensor = _with_delay(activity, pieces, sensor)
    return sensor


def _smooth(activity: Activity, pieces: Sequence[Readings], sensor: Sensor, rounds: int = 8) -> Sensor:
    """Gauss-Newton on the lag, and on shift and drift of each scan (or on the delay where no scan is known)."""
    best = sensor
    power, best_error = fitted(activity, pieces, best)
    for _ in range(rounds):
        change = with_sensor(activity, pieces, best, power).solve()[activity.count :]
        for scale in (1.0, 0.5, 0.25, 0.1):
            trial = _moved(best, pieces, scale * change)
            trial_power, error = fitted(activity, pieces, trial)
            if error < best_error:
                break
        else:
            return best
        gain = 1 - error / best_error
        best, power, best_error = trial, trial_power, error
        if gain < 1e-5:
            break
    return best


def _near_jumps(pieces: Sequence[Readings], sensor: Sensor) -> list[Readings]:
    """The readings whose conversion may be another one if the phase is off by up to JUMP_MARGIN."""
    near = []
    for piece, scan in zip(pieces, sensor.scans, strict=True):
        age = np.zeros(piece.read_ns.size) if scan is None else piece.read_ns - scan.ended(piece.read_ns)
        far = (
            np.zeros(age.size, bool)
            if scan is None
            else (age > JUMP_MARGIN * scan.period_ns) & (age < (1 - JUMP_MARGIN) * scan.period_ns)
        )
        near.append(piece.take(~far))
    return near


def with_sensor(activity: Activity, pieces: Sequence[Readings], sensor: Sensor, power: Floats) -> Normal:
    """Normal equations with columns for small changes of the sensor after the classes: us of lag, then per stretch us of
    shift and us of drift (at its ends).

    `power`: of the classes, where the readings are taken as straight lines in the sensor. Their solution is one Gauss-Newton step, and their inverse has the variance of the powers with the sensor unsure.
    """
    observed = sensor.observe(pieces)
    parts = []
    for i, (piece, part) in enumerate(zip(pieces, observed, strict=True)):
        extra = np.zeros((piece.read_ns.size, 1 + 2 * len(pieces)))
        step = 1e3
        base = predicted(activity, part, power)
        extra[:, 1 + 2 * i] = predicted(activity, replace(part, at_ns=part.at_ns + step), power) - base
        if sensor.scans[i] is not None:
            extra[:, 2 + 2 * i] = extra[:, 1 + 2 * i] * _along(piece)
        slower = replace(part, response=replace(part.response, lag_ns=sensor.lag_ns + step))
        extra[:, 0] = predicted(activity, slower, power) - base
        parts.append(replace(part, extra=extra))
    return normal_equations(activity, parts)


def _along(piece: Readings) -> Floats:
    """Where in its stretch each reading lies, -1 to 1."""
    first, last = (int(piece.read_ns[0]), int(piece.read_ns[-1])) if piece.read_ns.size else (0, 1)
    return np.asarray((piece.read_ns - (first + last) / 2) / max((last - first) / 2, 1.0), np.float64)


def _moved(sensor: Sensor, pieces: Sequence[Readings], change_us: Floats) -> Sensor:
    """The sensor after a Gauss-Newton step (bounded, so that a wild one does no harm)."""
    lag = float(np.clip(sensor.lag_ns + 1e3 * change_us[0], sensor.lag_ns / 2, sensor.lag_ns * 2 + 1e3))
    moves = np.clip(1e3 * change_us[1:].reshape(-1, 2), -MOST_SHIFT_NS, MOST_SHIFT_NS)
    scans: list[Scan | None] = []
    delay = sensor.delay_ns
    blind = [i for i, scan in enumerate(sensor.scans) if scan is None]
    if blind:
        weight = np.array([pieces[i].read_ns.size for i in blind], np.float64)
        delay = max(delay - float(np.average(moves[blind, 0], weights=weight)), 0.0)
    for piece, scan, (shift, drift) in zip(pieces, sensor.scans, moves, strict=True):
        if scan is None:
            scans.append(None)
            continue
        first, last = float(piece.read_ns[0]), float(piece.read_ns[-1])
        middle, half = (first + last) / 2, max((last - first) / 2, 1.0)
        scans.append(scan.moved(middle, shift + delay - sensor.delay_ns, drift / half))
    return Sensor(delay, lag, tuple(scans))


def _with_delay(activity: Activity, pieces: Sequence[Readings], sensor: Sensor) -> Sensor:
    """The delay, all phases moving with it, that leaves the smallest error; powers are kept. Blind sensors stay as they are."""
    if all(scan is None for scan in sensor.scans):
        return sensor
    power = normal_equations(activity, sensor.observe(sensor.clear(pieces, JUMP_MARGIN))).solve()
    pieces = thinned(_near_jumps(pieces, sensor), JUMP_READINGS, np.random.default_rng(0))
    reach = JUMP_MARGIN * max(scan.period_ns for scan in sensor.scans if scan is not None)
    best, best_error = sensor, np.inf
    for change in reach * np.linspace(-1, 1, 61):
        if sensor.delay_ns + change < 0:
            continue
        scans = tuple(scan and Scan(scan.period_ns, scan.phase_ns + change) for scan in sensor.scans)
        trial = Sensor(float(sensor.delay_ns + change), sensor.lag_ns, scans)
        observed = trial.observe(pieces)
        error = sum(float(np.sum((predicted(activity, part, power) - part.power_w) ** 2)) for part in observed)
        if error < best_error:
            best, best_error = trial, error
    return best
