"""Power per layer of many engines from one series of readings, by least squares with the sensor searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import Activity, Runs, activity
from neuralpower_align.energy import energy_between
from neuralpower_align.regression import Normal, autocorrelation_time, normal_equations, predicted
from neuralpower_align.sensor import Readings, Search, Sensor, find_sensor, fitted, mean_error, refine, with_sensor
from neuralpower_align.units import Units, resolve
from neuralpower_align.windows import launch_gap_ns, layer_windows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SEARCH_GROUPS = (10, 40)
"""Into how many pieces of equal time an engine is cut, at least and at most, while the sensor is searched; between them a
piece is half a scan long."""
MOST_ROUNDS = 5
SETTLED_NS = 30e3
"""A sensor that moves less than this when units take the place of the search's groups was right already."""
UNEXPLAINED = 8.0
"""So many times the scatter of idle readings is more than wander and jitter bring."""
LONGEST_HOLE_NS = 50_000_000
"""Energy is summed over no longer hole in the readings than this."""


@dataclass(frozen=True)
class Engine:
    """All inferences of one engine: anchors (m,), durations (m, n), ns; `alike` (n,) numbers layers 0, 1, .. in the order
    of first appearance, with one number for layers known to be the same."""

    begin_ns: Ints
    end_ns: Ints
    durations_ns: Ints
    alike: Ints


@dataclass(frozen=True)
class EnginePower:
    """Per layer (n,): the unit it belongs to, the unit's power and standard error, W. Gaps: between two inferences.

    `condition`: of the units' correlations, 1 is best. `residual_w`: rms of the readings left over.
    """

    unit: Ints
    power_w: Floats
    power_se_w: Floats
    gap_power_w: float
    condition: float
    residual_w: float
    readings: int


@dataclass(frozen=True)
class Balance:
    """Where the measured energy went, J: measured = layers + gaps + idle + unattributed, exactly.

    The launch gaps between the layers of an inference are counted with the layers.
    """

    measured_j: float
    layers_j: float
    gaps_j: float
    idle_j: float

    @property
    def unattributed_j(self) -> float:
        """What no class explains."""
        return self.measured_j - self.layers_j - self.gaps_j - self.idle_j


@dataclass(frozen=True)
class Solution:
    """Power of every engine's layers, the sensor that was found, and the energy balance."""

    engines: tuple[EnginePower, ...]
    idle_power_w: float
    sensor: Sensor
    residual_w: float
    balance: Balance
    launch_gap_ns: float
    unexplained: bool
    """Whether readings while engines run scatter far more than while idle: the sensor was not found right, and the intervals
    are too narrow."""


def solve(
    engines: Sequence[Engine], pieces: Sequence[Readings], largest_se: float = 0.1, search: Search | None = None
) -> Solution:
    """Attribute the readings to the layers of all engines.

    Layers whose power would have a standard error above the share `largest_se` of their engine's mean power are merged
    into units. The intervals are those of plain least squares, widened for residuals that resemble their neighbours and
    for the fitted sensor; a drift, or a wrong sensor, is not in them. Raises ValueError if inferences overlap or there are no readings.
    """
    classes = _Classes(engines)
    full = activity(classes.runs(engines), classes.idle, classes.count)
    pieces = _while_running(full, pieces)
    if not pieces:
        raise ValueError("least squares: no readings while an engine ran")
    half_scan_s = max(piece.scan_ns for piece in pieces) / 2e9
    groups = classes.grouped([_search_groups(engine, half_scan_s) for engine in engines])
    sensor = find_sensor(full.regroup(groups), pieces, search)
    problem = _Problem(classes, engines, full, pieces, largest_se)
    error = np.inf
    for _ in range(MOST_ROUNDS):
        units = [each.unit for each in problem.units(sensor)]
        merged = full.regroup(classes.grouped(units))
        before, sensor = sensor, refine(merged, pieces, sensor)
        last, error = error, mean_error(merged, pieces, sensor)
        settled = abs(sensor.delay_ns - before.delay_ns) + abs(sensor.lag_ns - before.lag_ns) < SETTLED_NS
        if settled or error > 0.9 * last:
            break
    return problem.solution(sensor)


class _Classes:
    """Numbers for all unknowns: the layers of each engine, then its gap; idling last."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        sizes = [int(engine.alike.max()) + 1 if engine.alike.size else 0 for engine in engines]
        starts = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64) + 1)])
        self.layers = [np.arange(start, start + size) for start, size in zip(starts[:-1], sizes, strict=True)]
        self.gaps = [int(start) + size for start, size in zip(starts[:-1], sizes, strict=True)]
        self.idle = int(starts[-1])
        self.between_ns = launch_gap_ns(
            [float(np.median(e.end_ns - e.begin_ns - e.durations_ns.sum(axis=1))) for e in engines],
            [_launches(e) for e in engines],
        )
        self.count = self.idle + 1

    def runs(self, engines: Sequence[Engine]) -> list[Runs]:
        """The engines as the activity wants them."""
        return [
            Runs(layer_windows(e.begin_ns, e.end_ns, e.durations_ns, between_ns=self.between_ns), layers[e.alike], gap)
            for e, layers, gap in zip(engines, self.layers, self.gaps, strict=True)
        ]

    def grouped(self, units: Sequence[Ints]) -> Ints:
        """Class -> coarser class, where the layers of an engine are grouped as `units` says and gaps stay single."""
        group_of = np.zeros(self.count, np.int64)
        at = 0
        for layers, gap, unit in zip(self.layers, self.gaps, units, strict=True):
            group_of[layers] = at + unit
            at += int(unit.max()) + 1 if unit.size else 0
            group_of[gap] = at
            at += 1
        group_of[self.idle] = at
        return group_of


def _launches(engine: Engine) -> int:
    """How many gaps between kernels an inference has."""
    return max(int(np.median((engine.durations_ns > 0).sum(axis=1))) - 1, 0)


def _gap_shares(engine: Engine, unit: Ints, between_ns: float) -> Floats:
    """For each layer, the share of launch gaps in its unit's time: there the GPU waits, and draws what it draws in gaps."""
    mean = engine.durations_ns.mean(axis=0)
    gaps = np.bincount(unit, (mean > 0) * between_ns)
    return np.asarray((gaps / np.maximum(gaps + np.bincount(unit, mean), 1e-9))[unit], np.float64)


def _class_seconds(engine: Engine) -> Floats:
    """Mean time per inference of each class of layers, s."""
    mean = engine.durations_ns.mean(axis=0) * 1e-9
    return np.asarray(np.bincount(engine.alike, mean), np.float64)


def _search_groups(engine: Engine, piece_s: float) -> Ints:
    seconds = _class_seconds(engine)
    pieces = int(np.clip(seconds.sum() / max(piece_s, 1e-6), *SEARCH_GROUPS))
    middle = (np.cumsum(seconds) - seconds / 2) / max(float(seconds.sum()), 1e-12)
    bins = np.minimum((middle * pieces).astype(np.int64), pieces - 1)
    return np.asarray(np.unique(bins, return_inverse=True)[1].reshape(-1), np.int64)


def _while_running(full: Activity, pieces: Sequence[Readings], margin_ns: int = 10**8) -> list[Readings]:
    """The readings near inferences: long idling before the first and after the last teaches nothing."""
    first, last = int(full.edges_ns[1]) - margin_ns, int(full.edges_ns[-1]) + margin_ns
    near = [piece.take((piece.read_ns > first) & (piece.read_ns < last)) for piece in pieces]
    return [piece for piece in near if piece.read_ns.size]


@dataclass(frozen=True)
class _Noise:
    """Of some readings: mean squared residual, W^2, how much correlation inflates variances, and how many there are."""

    variance: float
    inflation: float
    readings: int


@dataclass(frozen=True)
class _Problem:
    """Everything that stays the same while the sensor changes."""

    classes: _Classes
    engines: Sequence[Engine]
    full: Activity
    pieces: Sequence[Readings]
    largest_se: float

    def units(self, sensor: Sensor) -> list[Units]:
        """The units of each engine's classes of layers, the sensor taken as it is."""
        clear = sensor.clear(self.pieces)
        normal = normal_equations(self.full, sensor.observe(clear))
        return self._units(normal, normal.solve(), self._noise(clear, sensor, normal.solve()))

    def solution(self, sensor: Sensor) -> Solution:
        """The powers under the final sensor, its uncertainty included."""
        classes = self.classes
        clear = sensor.clear(self.pieces)
        normal = with_sensor(self.full, clear, sensor, fitted(self.full, clear, sensor)[0])
        everything = normal.solve()
        power = everything[: self.full.count]
        noise = self._noise(clear, sensor, power)
        found = []
        for number, units in enumerate(self._units(normal, power, noise)):
            alike, gap_power = self.engines[number].alike, float(power[classes.gaps[number]])
            unit = units.unit[alike]
            share = _gap_shares(self.engines[number], unit, classes.between_ns)
            layer_power = (units.power_w[unit] - share * gap_power) / (1 - share)
            error = units.power_se_w[unit] / (1 - share)
            residual, readings = float(np.sqrt(noise[number].variance)), noise[number].readings
            found.append(EnginePower(unit, layer_power, error, gap_power, units.condition, residual, readings))
        gaps = np.array(classes.gaps, np.int64)
        busy = float(np.median([each.variance for each in noise[:-1]]))
        idle = noise[-1]
        return Solution(
            engines=tuple(found),
            idle_power_w=float(power[classes.idle]),
            sensor=sensor,
            residual_w=float(np.sqrt(normal.residual(everything) / max(normal.readings, 1))),
            balance=_balance(self.full, self.pieces, power, gaps, classes.idle),
            launch_gap_ns=classes.between_ns,
            unexplained=idle.readings >= 30 and busy > UNEXPLAINED**2 * idle.variance,
        )

    def _units(self, normal: Normal, power: Floats, noise: Sequence[_Noise]) -> list[Units]:
        inverse = normal.inverse()
        found = []
        for engine, layers, seen in zip(self.engines, self.classes.layers, noise[:-1], strict=True):
            freedom = max(seen.readings - layers.size - 1, 1) / max(seen.readings, 1)
            covariance = inverse[np.ix_(layers, layers)] * (seen.variance * seen.inflation / freedom)
            seconds = _class_seconds(engine)
            mean_power = float(np.average(power[layers], weights=np.maximum(seconds, 1e-12)))
            found.append(resolve(power[layers], covariance, seconds, self.largest_se * max(mean_power, 1e-9)))
        return found

    def _noise(self, clear: Sequence[Readings], sensor: Sensor, power: Floats) -> list[_Noise]:
        """The noise of the readings that fall to each engine, and last of those while idling."""
        owner = np.full(self.classes.count, -1)
        for number, (layers, gap) in enumerate(zip(self.classes.layers, self.classes.gaps, strict=True)):
            owner[np.append(layers, gap)] = number
        residuals, owners = [], []
        for part in sensor.observe(clear):
            residuals.append(predicted(self.full, part, power) - part.power_w)
            stretch = np.searchsorted(self.full.edges_ns, part.at_ns, side="right") - 1
            owners.append(owner[self.full.classes[np.maximum(stretch, 0)]])
        residual, whose = np.concatenate(residuals), np.concatenate(owners)
        everyone = float(residual @ residual) / max(residual.size, 1)
        noise = []
        for number in [*range(len(self.engines)), -1]:
            mine = residual[whose == number]
            variance = float(mine @ mine) / mine.size if mine.size >= 30 else everyone
            noise.append(_Noise(variance, autocorrelation_time(mine), mine.size))
        return noise


def _balance(full: Activity, pieces: Sequence[Readings], power: Floats, gaps: Ints, idle: int) -> Balance:
    """Energy measured over all unbroken readings, and what the classes' powers make of the same time."""
    measured, seconds = 0.0, np.zeros(full.count)
    for piece in pieces:
        breaks = np.flatnonzero(np.diff(piece.read_ns) > LONGEST_HOLE_NS)
        lows, highs = np.append(0, breaks + 1), np.append(breaks, piece.read_ns.size - 1)
        for low, high in zip(lows, highs, strict=True):
            begin, end = int(piece.read_ns[low]), int(piece.read_ns[high])
            part = slice(low, high + 1)
            measured += float(energy_between(piece.read_ns[part], piece.power_w[part], begin, end))
            seconds += full.occupied_s(begin, end)
    energy = power * seconds
    gaps_j, idle_j = float(energy[gaps].sum()), float(energy[idle])
    return Balance(measured, float(energy.sum()) - gaps_j - idle_j, gaps_j, idle_j)
