"""Stretches at other clocks: found by how long inferences take, whatever their scatter, and left out with their readings."""

from __future__ import annotations

import numpy as np
import pytest

from neuralpower.attribution.sources import MeasuredEngine, Rails
from neuralpower.attribution.states import at_one_clock
from neuralpower_align.activity.states import FEWEST, beside_usual, other_states, usual_times
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.layer_power import EngineRuns


def laid(spent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of inferences with a gap of 2 ms."""
    end = np.cumsum(spent + 2e6)
    return (end - spent).astype(np.int64), end.astype(np.int64)


@pytest.mark.parametrize("scatter", [0.003, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_steady_clocks_are_one_state(scatter: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    spent = 5e6 * (1 + scatter * random.standard_normal(3000))
    assert other_states(*laid(spent), spent) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_drift_with_temperature_is_one_state(seed: int) -> None:
    random = np.random.default_rng(seed)
    spent = 5e6 * (1 + 0.04 * np.linspace(0, 1, 3000)) * (1 + 0.01 * random.standard_normal(3000))
    assert other_states(*laid(spent), spent) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_wander_of_a_clock_is_one_state(seed: int) -> None:
    """0.4 % in 5 s (Ornstein-Uhlenbeck) is the most that decision 0008 draws."""
    random = np.random.default_rng(seed)
    wander, keep = np.zeros(6000), np.exp(-7e-3 / 5)
    for i in range(1, wander.size):
        wander[i] = wander[i - 1] * keep + 0.004 * np.sqrt(1 - keep**2) * random.standard_normal()
    spent = 5e6 * (1 + wander) * (1 + 0.01 * random.standard_normal(wander.size))
    assert other_states(*laid(spent), spent) == []


def layers(count: int, clock: np.ndarray | float, seed: int = 0) -> np.ndarray:
    """Durations (m, 10), ns, in steps of 1.024 us, of a network whose three large layers wait for memory and whose others follow the clock."""
    random = np.random.default_rng(seed)
    usual = np.array([12e3, 52e3, 10e3, 144e3, 90e3, 100e3, 70e3, 1525e3, 680e3, 168e3])
    slower = np.ones((count, 10))
    slower[:, :7] /= np.reshape(clock, (-1, 1))
    scatter = 1 + 0.012 * random.standard_normal((count, 10)) + 0.009 * random.standard_normal((count, 1))
    return 1024 * np.rint(usual * slower * scatter / 1024).astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_a_step_shows_in_layers_though_most_of_the_time_waits_for_memory(seed: int) -> None:
    clock = np.ones(600)
    clock[100:220] = 0.92
    durations = layers(600, clock, seed)
    begin, end = laid(durations.sum(axis=1))
    (found,) = other_states(begin, end, beside_usual(durations))
    assert begin[88] <= found[0] <= begin[112] and end[207] <= found[1] <= end[231]
    steady = layers(600, 1.0, seed)
    assert other_states(*laid(steady.sum(axis=1)), beside_usual(steady)) == []


@pytest.mark.parametrize("seed", range(5))
def test_layers_at_another_clock_than_usual_are_known_from_the_usual_times(seed: int) -> None:
    usual, other = usual_times(layers(400, 1.0, 99)), layers(200, 0.95, seed)
    begin, end = laid(other.sum(axis=1))
    ((low, high),) = other_states(begin, end, beside_usual(other, usual), usual=1.0)
    assert low == begin[0] and high == end[-1]
    same = layers(200, 1.0, seed)
    assert other_states(*laid(same.sum(axis=1)), beside_usual(same, usual), usual=1.0) == []


def test_a_layer_that_took_no_time_at_times_tells_no_clock() -> None:
    durations = layers(300, 1.0)
    durations[::3, 4] = 0
    durations[:, 9] = 0
    told = beside_usual(durations)
    assert np.isfinite(told).all() and told.std() < 0.03
    assert usual_times(durations)[9] == 0 and usual_times(durations)[4] == pytest.approx(90e3, rel=0.01)
    assert beside_usual(np.zeros((5, 3), np.int64)).tolist() == [1.0] * 5
    assert beside_usual(np.zeros((0, 3), np.int64)).size == 0


@pytest.mark.parametrize("step", [0.02, -0.02, 0.07, -0.07, 0.4])
@pytest.mark.parametrize("first", [0, 500, 1507])
def test_a_step_is_found_from_end_to_end(step: float, first: int) -> None:
    """Also one of 2 %, by which the time of a network that waits for memory changes with a clock's 6 %."""
    random = np.random.default_rng(first)
    spent = 5e6 * (1 + 0.014 * random.standard_normal(3000))
    spent[first : first + 400] *= 1 + step
    begin, end = laid(spent)
    (found,) = other_states(begin, end, spent)
    few = 4 + int(30 * (0.014 / step) ** 2)
    assert found[0] <= begin[first + few]
    assert found[1] >= end[first + 399 - few]
    assert found[1] - found[0] <= (end[first + 399] - begin[first]) + 2 * few * (5e6 + 2e6)


@pytest.mark.parametrize("seed", range(12))
def test_small_steps_are_found_however_many_there_are(seed: int) -> None:
    """Four of 2 % in runs with holes between: how large each was is known with an error, and errors add up from one to the next."""
    random = np.random.default_rng(seed)
    begin = np.concatenate([4e9 * run + 7e6 * np.arange(int(random.integers(70, 400))) for run in range(24)])
    stepped = np.isin((begin // 4e9).astype(int), random.permutation(np.arange(1, 23, 2))[:4])
    spent = 2e6 * (1 + 0.02 * stepped) * (1 + 0.012 * random.standard_normal(begin.size))
    found = other_states(begin.astype(np.int64), (begin + spent).astype(np.int64), spent)
    out = np.zeros(begin.size, bool)
    for low, high in found:
        out |= (begin >= low) & (begin < high)
    assert np.mean(out[stepped]) > 0.97 and np.mean(out[~stepped]) < 0.05


def test_of_two_states_alike_the_one_in_which_the_other_inferences_ran_is_usual() -> None:
    """Those without the profiler run beside: both are to be told at one clock."""
    random = np.random.default_rng(4)
    spent = 5e6 * (1 + 0.01 * random.standard_normal(1000))
    spent[480:] *= 1.05
    begin, end = laid(spent)
    ((low, high),) = other_states(begin, end, spent)
    assert high <= end[490] and low == begin[0]
    ((low, high),) = other_states(begin, end, spent, [begin[100:400] + 1000])
    assert low >= begin[470] and high == end[-1]


def test_few_inferences_are_not_judged() -> None:
    spent = np.array([5e6] * FEWEST + [9e6] * (FEWEST - 1))
    assert other_states(*laid(spent), spent) == []


def test_a_stretch_at_other_clocks_is_left_out_with_its_readings_and_what_else_ran() -> None:
    random = np.random.default_rng(2)
    spent = 5e6 * (1 + 0.01 * random.standard_normal(2000))
    spent[600:1000] *= 1.25
    begin, end = laid(spent)
    one, other = np.arange(2000) % 2 == 0, np.arange(2000) % 2 == 1
    engines = [
        MeasuredEngine({"name": name}, (None,), np.zeros(0, np.int64), EngineRuns(begin[m], end[m], spent[m, None].astype(np.int64), np.zeros(1, np.int64)))
        for name, m in (("a", one), ("b", other))
    ]  # fmt: skip
    read_ns = np.arange(0, int(end[-1]), 1_000_000)
    rails = Rails(("VDD_IN",), ((ChannelReadings(read_ns, np.ones(read_ns.size), 140e3, 420e3),),), "bench", None)
    notes: list[str] = []
    kept, left = at_one_clock(engines, rails, notes)
    assert sum(each.runs.begin_ns.size for each in kept) >= 1600 - 4 * FEWEST
    assert all(each.runs.durations_ns.max() < 5e6 * 1.1 for each in kept)
    assert not np.any((left.readings[0][0].read_ns > begin[600]) & (left.readings[0][0].read_ns < end[999]))
    assert left.readings[0][0].read_ns.size > 0.7 * read_ns.size
    assert len(notes) == 1
    assert "clocks changed" in notes[0]
