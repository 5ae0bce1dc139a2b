"""Power per layer recovered from readings of a sensor simulated here, on a grid of time, without any code of align."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.layer_power import EVEN_W, EngineRuns, RailAttribution, layer_power
from neuralpower_align.sensor.steady import autocorrelation_time, steady_power
from neuralpower_align.sensor.window_mean import window_mean

DELAY_NS, LAG_NS, PPM, CONVERSION_NS, SCAN_NS, IDLE_W = 410e3, 260e3, -12_000, 140e3, 840e3, 4.0


@dataclass(frozen=True)
class Bench:
    """What was simulated, and what a sensor of its own clock gave."""

    engines: list[EngineRuns]
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
        engines.append(EngineRuns(begin, end, durations_ns, np.arange(n)))
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


def readings(bench: Bench) -> ChannelReadings:
    return ChannelReadings(bench.read_ns, bench.power_w, CONVERSION_NS, SCAN_NS, step_w=0.04)


@pytest.fixture(scope="module")
def solution(bench: Bench) -> RailAttribution:
    return layer_power(bench.engines, [[readings(bench)]])


def test_sensor_is_found(solution: RailAttribution) -> None:
    """Delay, lag and the period of the chip's clock, none of which was told, come out within some microseconds."""
    found = solution.rails[0].found
    clock = found.pieces[0].clock
    assert clock is not None
    assert found.delay_ns == pytest.approx(DELAY_NS, abs=25e3)
    assert found.lag_ns == pytest.approx(LAG_NS, abs=8e3)
    assert clock.period_ns / SCAN_NS == pytest.approx(1 + PPM * 1e-6, abs=1e-6)


def test_powers_are_found(bench: Bench, solution: RailAttribution) -> None:
    """Units have the mean power of their layers: most within two standard errors, none beyond five."""
    off, error = [], []
    for engine, found, watts in zip(bench.engines, solution.engines, bench.truth_w, strict=True):
        weight = engine.durations_ns.mean(axis=0)
        mean = np.bincount(found.unit, watts * weight) / np.bincount(found.unit, weight)
        assert found.unit.max() + 1 >= 0.7 * watts.size
        off.append((found.units.power_w - mean)[found.units.told])
        error.append(found.units.power_se_w[found.units.told])
    miss = np.abs(np.concatenate(off)) / np.concatenate(error)
    assert np.mean(miss < 2) > 0.7 and miss.max() < 5
    assert np.median(np.concatenate(error)) < 0.5
    assert solution.idle.power_w == pytest.approx(IDLE_W, abs=0.02)


def test_units_are_runs_of_layers(solution: RailAttribution) -> None:
    """Every layer is in exactly one unit, and a unit is a run of neighbours with one power."""
    assert solution.engines
    for found in solution.engines:
        assert found.unit[0] == 0 and set(np.diff(found.unit)) <= {0, 1}
        for unit in range(int(found.unit[-1]) + 1):
            assert np.unique(found.power_w[found.unit == unit]).size == 1


def test_energy_balances(bench: Bench, solution: RailAttribution) -> None:
    """Layers, gaps, idling and the unattributed rest are the measured energy exactly; the rest is small."""
    b = solution.balance
    assert b.layers_j + b.gaps_j + b.idle_j + b.unattributed_j == pytest.approx(b.measured_j, rel=1e-12)
    assert abs(b.unattributed_j) < 0.01 * b.measured_j
    true = sum(float(w @ e.durations_ns.sum(axis=0)) for w, e in zip(bench.truth_w, bench.engines, strict=True)) * 1e-9
    assert b.layers_j == pytest.approx(true, rel=3e-3)


def test_baseline_misses_short_layers(bench: Bench) -> None:
    """The window mean gives a layer of some 100 us the power of what ran earlier: far from the truth."""
    engine, watts = bench.engines[0], bench.truth_w[0]
    windows = layer_windows(engine.begin_ns, engine.end_ns, engine.durations_ns)
    mean, _, count = window_mean(bench.read_ns, bench.power_w, windows)
    assert np.nanstd(mean - watts) > 1.0
    inside = (bench.read_ns[:, None] >= windows[:, 0, 0]) & (bench.read_ns[:, None] < windows[:, 0, 1])
    assert count[0] == inside.sum()
    assert mean[0] == pytest.approx(bench.power_w[inside.any(axis=1)].mean())


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


def test_autocorrelation_inflates_only_what_is_correlated() -> None:
    """White residuals have a factor near one, a first-order process that of its spectrum at zero."""
    random = np.random.default_rng(2)
    white = random.normal(size=20_000)
    assert autocorrelation_time(white) == pytest.approx(1.0, abs=0.25)
    red = np.zeros_like(white)
    for i in range(1, white.size):
        red[i] = 0.7 * red[i - 1] + white[i]
    assert autocorrelation_time(red) == pytest.approx(1.7 / 0.3, rel=0.25)


def test_last_digits_of_readings_decide_nothing(bench: Bench, solution: RailAttribution) -> None:
    """Readings moved by 1e-9 of themselves give the same numbers, to the last bit: they are even to 0.1 mW before anything is made of them."""
    random = np.random.default_rng(0)
    share = bench.power_w / EVEN_W % 1.0
    moved = np.where(
        np.abs(share - 0.5) > 1e-3,
        bench.power_w * (1 + 1e-9 * random.uniform(-1, 1, bench.power_w.size)),
        bench.power_w,
    )
    assert np.mean(moved != bench.power_w) > 0.99
    other = layer_power(bench.engines, [[replace(readings(bench), power_w=moved)]])
    for mine, theirs in zip(solution.engines, other.engines, strict=True):
        np.testing.assert_array_equal(theirs.power_w, mine.power_w)
        np.testing.assert_array_equal(theirs.power_se_w, mine.power_se_w)
        assert (theirs.energy_j, theirs.energy_se_j) == (mine.energy_j, mine.energy_se_j)


def test_readings_are_taken_to_a_tenth_of_a_milliwatt(bench: Bench, solution: RailAttribution) -> None:
    """What that takes away is far less than what any power is told to."""
    off = bench.power_w - EVEN_W * np.rint(bench.power_w / EVEN_W)
    assert np.abs(off).max() <= 62e-6 and abs(off.mean()) < 0.01 * min(
        float(e.power_se_w.min()) for e in solution.engines
    )
