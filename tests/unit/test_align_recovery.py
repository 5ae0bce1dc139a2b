"""Power per layer recovered from readings of a sensor simulated here, on a grid of time, without any code of align."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from neuralpower_align.least_squares import Engine, Solution, solve
from neuralpower_align.sensor import Readings
from neuralpower_align.steady import steady_power
from neuralpower_align.units import resolve
from neuralpower_align.window_mean import window_mean
from neuralpower_align.windows import layer_windows

DELAY_NS, LAG_NS, PPM, CONVERSION_NS, SCAN_NS, IDLE_W = 410e3, 260e3, -12_000, 140e3, 840e3, 4.0


@dataclass(frozen=True)
class Bench:
    """What was simulated, and what a sensor of its own clock gave."""

    engines: list[Engine]
    truth_w: list[np.ndarray]
    read_ns: np.ndarray
    power_w: np.ndarray
    truth_j: float


def lagged(power: np.ndarray, keep: float) -> np.ndarray:
    """One pole, in blocks short enough for powers of `keep` to stay finite."""
    out, state = np.empty_like(power), float(power[0])
    block = 200
    ramp = keep ** np.arange(1, block + 1)
    for low in range(0, power.size, block):
        part = power[low : low + block]
        r = ramp[: part.size]
        out[low : low + block] = r * (state + (1 - keep) * np.cumsum(part / r))
        state = float(out[low + part.size - 1])
    return out


def simulate(seed: int, seconds: float = 3.0, jitter: float = 0.02) -> Bench:
    """Three engines after one another, random gaps; step of the grid 4 us."""
    random, step, t = np.random.default_rng(seed), 4e3, 6e8
    edges, powers, engines, truth = [0.0], [IDLE_W], [], []
    for _ in range(3):
        n = int(random.integers(8, 16))
        base, watts = random.uniform(40e3, 300e3, n), random.uniform(6, 14, n)
        begins, ends, spent = [], [], []
        until = t + seconds * 1e9
        while t < until:
            t += 3e5 + random.exponential(5e5)
            durations = base * (1 + jitter * random.standard_normal(n))
            begins.append(t)
            spent.append(durations)
            edges.extend(t + np.concatenate([[0.0], np.cumsum(durations)]))
            powers.extend([*watts, IDLE_W])
            t += durations.sum()
            ends.append(t)
        columns = (np.array(begins), np.array(ends), np.rint(spent))
        begin, end, durations_ns = (np.asarray(each).astype(np.int64) for each in columns)
        engines.append(Engine(begin, end, durations_ns, np.arange(n)))
        truth.append(watts)
        t += 3e8
    grid = np.arange(0.0, t, step)
    power = np.array(powers)[np.searchsorted(edges, grid, side="right") - 1]
    total = np.concatenate([[0.0], np.cumsum(lagged(power, np.exp(-step / LAG_NS))) * step])
    read = np.arange(5e8, t, 1e6) + random.exponential(3e4, np.arange(5e8, t, 1e6).size)
    period = SCAN_NS * (1 + PPM * 1e-6)
    phase = random.uniform(0, period)
    ended = phase + np.floor((read - phase) / period) * period - DELAY_NS
    at = np.append(grid, t)[: total.size]
    value = (np.interp(ended, at, total) - np.interp(ended - CONVERSION_NS, at, total)) / CONVERSION_NS
    value = np.round((value + 0.02 * random.standard_normal(value.size)) / 0.04) * 0.04
    return Bench(engines, truth, read.astype(np.int64), value, float(power.sum() * step * 1e-9))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return simulate(5)


@pytest.fixture(scope="module")
def solution(bench: Bench) -> Solution:
    return solve(bench.engines, [Readings(bench.read_ns, bench.power_w, CONVERSION_NS, SCAN_NS)])


def test_sensor_is_found(solution: Solution) -> None:
    """Delay, lag and the period of the chip's clock, none of which was told, come out within some microseconds."""
    scan = solution.sensor.scans[0]
    assert scan is not None
    assert solution.sensor.delay_ns == pytest.approx(DELAY_NS, abs=25e3)
    assert solution.sensor.lag_ns == pytest.approx(LAG_NS, abs=8e3)
    assert scan.period_ns / SCAN_NS == pytest.approx(1 + PPM * 1e-6, abs=1e-6)
    assert not solution.unexplained


def test_powers_are_found(bench: Bench, solution: Solution) -> None:
    """Units have the mean power of their layers to 3 %, and most lie within two standard errors."""
    within = []
    for engine, found, watts in zip(bench.engines, solution.engines, bench.truth_w, strict=True):
        weight = engine.durations_ns.mean(axis=0)
        mean = np.bincount(found.unit, watts * weight) / np.bincount(found.unit, weight)
        assert found.unit.max() + 1 >= 0.7 * watts.size
        np.testing.assert_allclose(found.power_w, mean[found.unit], rtol=0.03)
        within.extend(np.abs(found.power_w - mean[found.unit]) < 2 * found.power_se_w)
    assert np.mean(within) > 0.7
    assert solution.idle_power_w == pytest.approx(IDLE_W, abs=0.02)


def test_units_are_runs_of_layers(solution: Solution) -> None:
    """Every layer is in exactly one unit, and a unit is a run of neighbours with one power."""
    for found in solution.engines:
        assert found.unit[0] == 0 and set(np.diff(found.unit)) <= {0, 1}
        for unit in range(int(found.unit[-1]) + 1):
            assert np.unique(found.power_w[found.unit == unit]).size == 1


def test_energy_balances(bench: Bench, solution: Solution) -> None:
    """Layers, gaps, idling and the unattributed rest are the measured energy exactly; the rest is small."""
    b = solution.balance
    assert b.layers_j + b.gaps_j + b.idle_j + b.unattributed_j == pytest.approx(b.measured_j, rel=1e-12)
    assert abs(b.unattributed_j) < 0.01 * b.measured_j
    true = sum(float(w @ e.durations_ns.sum(axis=0)) for w, e in zip(bench.truth_w, bench.engines, strict=True)) * 1e-9
    assert b.layers_j == pytest.approx(true, rel=3e-3)


def test_shuffled_readings_do_not_resolve(bench: Bench, solution: Solution) -> None:
    """With the readings shuffled in time nothing is found: the residual is their own scatter, and layers stay merged."""
    random = np.random.default_rng(0)
    shift = random.permutation(bench.power_w.size)
    blind = solve(bench.engines, [Readings(bench.read_ns, bench.power_w[shift], CONVERSION_NS, SCAN_NS)])
    assert blind.residual_w > 0.9 * np.std(bench.power_w) > 5 * solution.residual_w
    assert all(found.unit.max() + 1 < 0.7 * found.unit.size for found in blind.engines)


def test_baseline_misses_short_layers(bench: Bench) -> None:
    """The window mean gives a layer of some 100 us the power of what ran earlier: far from the truth."""
    engine, watts = bench.engines[0], bench.truth_w[0]
    windows = layer_windows(engine.begin_ns, engine.end_ns, engine.durations_ns)
    mean, _, count = window_mean(bench.read_ns, bench.power_w, windows)
    assert np.nanstd(mean - watts) > 1.0
    inside = (bench.read_ns[:, None] >= windows[:, 0, 0]) & (bench.read_ns[:, None] < windows[:, 0, 1])
    assert count[0] == inside.sum()
    assert mean[0] == pytest.approx(bench.power_w[inside.any(axis=1)].mean())


def test_merging_stops_at_the_wanted_error() -> None:
    """Layers that only occur together become one unit with the mean of their powers over time; others stay alone."""
    random = np.random.default_rng(3)
    share = random.random((4000, 4))
    share[:, 2] = share[:, 1] * 0.5
    power, seconds = np.array([5.0, 9.0, 6.0, 11.0]), np.array([2.0, 2.0, 1.0, 3.0])
    value = share @ power + 0.05 * random.standard_normal(4000)
    inverse = np.linalg.inv(share.T @ share + 1e-6 * np.eye(4))
    estimate = inverse @ share.T @ value
    units = resolve(estimate, inverse * 0.05**2, seconds, 0.1)
    assert units.unit.tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(units.power_w, [5.0, 8.0, 11.0], atol=0.03)
    assert np.all(units.power_se_w < 0.1) and units.condition >= 1.0
    assert resolve(estimate, inverse * 1e6, seconds, 0.1).unit.tolist() == [0, 0, 0, 0]
    negative = resolve(np.array([5.0, -1.0, 7.0]), np.eye(3) * 1e-6, np.array([1.0, 1.0, 1.0]), 0.1)
    assert negative.unit[-1] == 1 and np.all(negative.power_w > 0)


def test_steady_reading_leaves_the_edges_out() -> None:
    """Only readings that the sensor had settled for count, and the standard error is that of their mean."""
    random = np.random.default_rng(4)
    begin = np.arange(10) * 50_000_000
    end = begin + 30_000_000
    read = np.arange(0, 500_000_000, 1_000_000)
    on = (read % 50_000_000 >= 5_000_000) & (read % 50_000_000 <= 30_000_000)
    value = np.where(on, 9.0, 100.0) + 0.1 * random.standard_normal(read.size)
    steady = steady_power(read, value, begin, end, 5e6)
    assert steady.readings == 260
    assert abs(steady.power_w - 9.0) < 4 * steady.power_se_w
    assert 0.1 / np.sqrt(260) * 0.7 < steady.power_se_w < 0.1 / np.sqrt(260) * 2.5
    assert steady_power(read, value, begin, begin + 1, 5e6).readings == 0
