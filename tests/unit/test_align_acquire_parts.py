"""The parts of the search for the sensor: clocks from what is certain, predictions in closed form, the filter undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_align.acquire.choice import MOST_CLASSES, SearchRange, best_measured, engines
from neuralpower_align.acquire.edges import bounded_clock
from neuralpower_align.acquire.groups import grouped
from neuralpower_align.acquire.guess import Held, RowVariance
from neuralpower_align.acquire.rows import Series
from neuralpower_align.acquire.trace import Course, Trace, design
from neuralpower_align.activity.activity import Activity
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock, latched_ns, transfer_ns, waits
from neuralpower_align.sensor.kernel import Kernel

SCAN_NS, WINDOW_NS = 6.6e6, 1.1e6
Random = np.random.Generator


def wandering(random: Random, seconds: float, nominal_ns: float, off: float) -> np.ndarray:
    """Ends of conversions (n,) ns of a clock that is off, swings by +-50 ppm in 60 s, and walks."""
    count = int(seconds * 1e9 / nominal_ns)
    t = np.arange(count) * nominal_ns * 1e-9
    ppm = (
        50 * np.sin(2 * np.pi * (t / 60 + random.random()))
        + np.cumsum(random.normal(0, 1, count)) * nominal_ns**0.5 * 3e-5
    )
    return np.asarray(1e9 + random.uniform(0, nominal_ns) + np.cumsum(nominal_ns * (1 + off + ppm * 1e-6)))


def held(random: Random, ends: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the register holds at each read, a third of neighbours being equal, and the number of the conversion."""
    value = np.where(random.random(ends.size) < 0.35, 0.0, random.integers(0, 200, ends.size) * 0.04).cumsum()
    number = np.searchsorted(ends, read, side="right") - 1
    return value[number], number


def off_ns(clock: ScanClock, ends: np.ndarray, read: np.ndarray) -> np.ndarray:
    """How far the clock's ends are from the true ones, each read's last one, modulo a scan."""
    mine = clock.end(clock.last_before(read))
    true = ends[np.searchsorted(ends, read, side="right") - 1]
    period = clock.period_ns
    return np.asarray((mine - true + period / 2) % period - period / 2)


def readings(read: np.ndarray, power: np.ndarray, **more: object) -> ChannelReadings:
    return ChannelReadings(read.astype(np.int64), power, WINDOW_NS, SCAN_NS, **more)  # type: ignore[arg-type]  # test data


@pytest.mark.parametrize("seed", range(4))
def test_edges_give_the_clock_to_some_microseconds(seed: int) -> None:
    """Reads each millisecond of a scan of 6.6 ms: a clock that is percents off and wanders is followed without any power known."""
    random = np.random.default_rng(seed)
    ends = wandering(random, 62, SCAN_NS, random.uniform(-0.035, 0.035))
    read = 1.1e9 + np.arange(60_000) * 1e6 + random.exponential(40e3, 60_000)
    found = bounded_clock(readings(read, held(random, ends, read)[0]), 0.04)
    assert found is not None and found.source == "edges"
    off = off_ns(found.clock, ends, read)
    assert abs(off.mean()) < 3e3 and off.std() < 8e3 and found.se_ns < 15e3


def test_the_registers_changes_count_not_those_of_the_power() -> None:
    """Power with the voltage of the moment in it changes at other times; then the register says when the current did."""
    random = np.random.default_rng(5)
    ends = wandering(random, 22, SCAN_NS, 0.01)
    read = 1.1e9 + np.arange(20_000) * 1e6 + random.exponential(40e3, 20_000)
    current = held(random, ends, read)[0]
    voltage = held(random, ends + SCAN_NS / 6, read)[0]
    found = bounded_clock(
        readings(read, current * (1 + voltage), register=np.rint(current * 25).astype(np.int64)), 0.04
    )
    assert found is not None
    assert np.abs(off_ns(found.clock, ends, read)).max() < 50e3


def test_counted_scans_give_the_clock_with_their_numbers() -> None:
    """At a scan of 0.84 ms there are no edges, but a source that counts scans bounds each end from both sides."""
    random = np.random.default_rng(6)
    ends = wandering(random, 22, 0.84e6, -0.02)
    read = 1.1e9 + np.arange(20_000) * 1e6 + random.exponential(40e3, 20_000)
    number = np.searchsorted(ends, read, side="right") - 1 + 70
    span = (random.random(read.size) < 0.3).astype(np.int64)
    piece = ChannelReadings(read.astype(np.int64), random.random(read.size), 140e3, 0.84e6, scan=number, span=span)
    found = bounded_clock(piece, 0.04)
    assert found is not None and found.source == "counted"
    assert np.mean(found.clock.last_before(read) == number) > 0.98
    assert off_ns(found.clock, ends, read).std() < 10e3


@pytest.mark.parametrize(("period_ns", "close_ns"), [(6.45e6, 60e3), (20e6 / 3 * 1.0005, 150e3), (20e6 / 3, 2e6)])
def test_a_driver_that_waits_tells_the_clock(period_ns: float, close_ns: float) -> None:
    """Reads that sleep until the first tick of 4 ms after a quarter of the scan: their ends bound the ends of scans.

    Scans nearly in step with ticks pass them only now and then; in between the clock is as even as it is.
    """
    random = np.random.default_rng(7)
    ends = wandering(random, 42, SCAN_NS, period_ns / SCAN_NS - 1)
    scans = ends + period_ns * 5 / 6
    begin, end, now, seen = [], [], 1.1e9, 0
    while now < 41e9:
        start, now = now, now + 75e3
        while True:
            last = int(np.searchsorted(scans, now, side="right"))
            if last > seen:
                seen = last
                break
            now = (now + 1.65e6) // 4e6 * 4e6 + 4e6 + 120e3
        now += 165e3
        begin.append(start)
        end.append(now)
    starts, stops = np.array(begin, np.int64), np.array(end, np.int64)
    assert transfer_ns(np.append(starts, 0), np.append(stops, 240_000), SCAN_NS) == pytest.approx(120e3)
    read = latched_ns(stops, 120e3)
    piece = readings(read, random.random(read.size), waits_ns=waits(starts, stops, 120e3), place=1 / 6)
    found = bounded_clock(piece, 0.04)
    assert found is not None and found.source == "waits"
    off = off_ns(found.clock, ends, read.astype(np.float64))
    assert np.abs(off).max() < close_ns
    # Scans quite in step with the ticks may lie anywhere between them: then it is said.
    assert (found.se_ns > 250e3) == (close_ns > 1e6)


def test_noise_has_no_lattice() -> None:
    """Values that change anywhere give no clock rather than a wrong one."""
    random = np.random.default_rng(8)
    read = 1.1e9 + np.arange(20_000) * 1e6
    changes = np.cumsum(random.random(20_000) < 0.15).astype(np.float64)
    assert bounded_clock(readings(read, changes), 0.04) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_clock_and_its_inverse_agree(seed: int) -> None:
    """The last conversion before a time has ended, the next has not; at its end it counts."""
    random = np.random.default_rng(seed)
    number = np.cumsum(random.integers(1, 1000, random.integers(2, 9))).astype(np.int64)
    clock = ScanClock(number, 1e12 + np.cumsum(np.diff(number, prepend=0) * random.uniform(8e5, 9e5)))
    t = random.uniform(clock.end_ns[0] - 1e9, clock.end_ns[-1] + 1e9, 200)
    last = clock.last_before(t)
    assert np.all(clock.end(last) <= t) and np.all(clock.end(last + 1) > t)
    assert np.array_equal(clock.last_before(clock.end(last)), last)
    assert np.allclose(clock.moved(500.0).end(last), clock.end(last) + 500.0)


def test_a_clock_must_rise() -> None:
    """Knots out of order are refused."""
    with pytest.raises(ValueError, match="rise"):
        ScanClock(np.array([0, 1]), np.array([5.0, 5.0]))


def some_course(random: Random, classes: int = 5) -> Course:
    edges = np.cumsum(random.uniform(30e3, 900e3, 400))
    return Course(edges, random.integers(0, classes, 400), classes)


def test_traces_and_shares_are_the_same_integral() -> None:
    """Both ways of predicting a reading agree with a sum over a fine grid of time."""
    random = np.random.default_rng(9)
    course, power, lag = some_course(random), random.uniform(2, 12, 5), 400e3
    at = np.sort(random.uniform(course.edges_ns[60], course.edges_ns[-1], 50))
    series = Series.of(ChannelReadings(at.astype(np.int64), np.zeros(50), 140e3, 0.84e6), 0)
    trace = Trace.of(course, power, lag)
    rows = series.blind_rows()
    by_share = design(course, rows, Kernel(lag, 140e3)) @ power
    assert np.allclose(rows.predicted(trace, 140e3), by_share, atol=0.02)
    step = 1e3
    grid = np.arange(course.edges_ns[0], course.edges_ns[-1] + step, step)
    level = power[course.classes[np.clip(np.searchsorted(course.edges_ns, grid, side="right") - 1, 0, None)]]
    lagged, state = np.empty_like(level), level[0]
    for i, each in enumerate(level):
        state += (each - state) * -np.expm1(-step / lag)
        lagged[i] = state
    total = np.concatenate([[0.0], np.cumsum(lagged)]) * step
    mean = (
        np.interp(at, np.append(grid, grid[-1] + step), total)
        - np.interp(at - 140e3, np.append(grid, grid[-1] + step), total)
    ) / 140e3
    assert np.allclose(by_share, mean, atol=0.03)


def test_the_filter_is_undone_exactly() -> None:
    """With every scan filtered and reads now and then, each row's weights give its value back from the conversions."""
    random = np.random.default_rng(10)
    clock = ScanClock(np.array([0, 1000]), np.array([0.0, 0.84e9]))
    raw = random.uniform(2, 12, 1000)
    register = np.empty(1000)
    out = raw[0]
    for i, each in enumerate(raw):
        out += (each - out) / 16
        register[i] = out
    read = np.sort(random.uniform(2e6, 0.83e9, 700))
    number = clock.last_before(read)
    piece = ChannelReadings(read.astype(np.int64), register[number], 140e3, 0.84e6, averaging=16)
    rows, index = Series.of(piece, 0).rows(clock, 0.0, 0.01)
    assert index.size > 300
    again = np.bincount(rows.row, rows.weight * raw[np.rint(rows.at_ns / 0.84e6).astype(np.int64)], index.size)
    assert np.allclose(again, rows.value_w)


def test_repeats_of_a_conversion_are_one_row() -> None:
    """Without averaging a conversion that is read seven times is one row."""
    clock = ScanClock(np.array([0, 100]), np.array([0.0, 100 * SCAN_NS]))
    read = 1e6 + 3e3 + np.arange(400) * 1e6
    piece = readings(read, np.zeros(400))
    _, index = Series.of(piece, 0).rows(clock, 0.0, 0.0)
    assert np.unique(clock.last_before(read)[index]).size == index.size


def test_noise_is_split_into_what_slopes_explain() -> None:
    """Base and slack come back from residuals that were drawn with them."""
    random = np.random.default_rng(11)
    slope = random.normal(0, 3e-6, 20_000)
    residual = random.normal(0, np.sqrt(0.005 + (30e3 * slope) ** 2))
    noise = RowVariance.of(residual, slope)
    assert noise.base_w2 == pytest.approx(0.005, rel=0.1) and noise.slack_ns == pytest.approx(30e3, rel=0.1)


def test_bending_costs_and_moving_does_not() -> None:
    """A clock that is off or late is as likely as any other; one that bends sharply is not."""
    number = np.arange(0, 60_000, 3000)
    straight = ScanClock(number, 1e9 + number * 0.85e6)
    held_by = Held.bending(straight)
    assert held_by.cost(straight) < 1e-3 and held_by.cost(straight.moved(4e5)) < 1e-3
    bent = straight.moved(300e3 * (number == 30_000))
    assert held_by.cost(bent) > 100


def test_groups_keep_neighbours_together_and_gaps_alone() -> None:
    """Short layers are joined in order, what is alone stays alone, and no group is missing."""
    random = np.random.default_rng(12)
    layers, inferences = 40, 30
    width = np.append(random.uniform(20e3, 200e3, layers), 3e6)
    edges = np.cumsum(np.concatenate([[0.0], np.tile(width, inferences)])).astype(np.int64)
    activity = Activity(edges, np.append(np.tile(np.arange(layers + 1), inferences), layers + 1), layers + 2)
    group = grouped(activity, (layers, layers + 1))
    assert set(np.diff(group)) <= {0, 1} and group[0] == 0
    assert group[layers] == group[layers - 1] + 1 and group[layers + 1] == group[layers] + 1
    assert 8 <= group[layers] <= 24


def test_engines_that_were_hardly_measured_are_left_out() -> None:
    """Of a small engine that ran often and a large one that ran twice the small one is kept, with the readings that saw nothing else."""
    small, large, alone = 20, MOST_CLASSES, 4
    first = np.append(np.full(small, 100e3), [20e3, 30e3, 900e3])
    second = np.append(np.full(large, 100e3), [20e3, 30e3, 900e3])
    width = np.concatenate([np.tile(first, 300), np.tile(second, 2)])
    own, other = np.arange(small + alone - 1), small + alone + np.arange(large + alone - 1)
    classes = np.concatenate([np.tile(own, 300), np.tile(other, 2)])
    edges = np.append(0, np.cumsum(width)).astype(np.int64)
    count = small + large + 2 * alone
    activity = Activity(edges, np.append(classes, count - 1), count)
    aside = (*range(small, small + alone), *range(small + alone + large, count))
    assert engines(count, aside).tolist() == [0] * (small + alone) + [1] * (large + alone)
    read = np.arange(1_000_000, edges[-1], 700_000)
    series = Series.of(readings(read, np.zeros(read.size)), 0)
    search = SearchRange(alone=aside)
    found = best_measured(activity, Course.of(activity, 0, aside), [series], search)
    assert found.activity.count == small + alone + 1 and found.alone == tuple(range(small, small + alone + 1))
    turn = first.sum() * 300
    assert found.series[0].t_ns.size == np.count_nonzero(read - search.earliest_delay_ns <= turn)
    few = best_measured(activity.regroup(np.minimum(np.arange(count), 99)), Course.of(activity, 0), [series], search)
    assert few.activity.count == 100 and few.series[0].t_ns.size == read.size
