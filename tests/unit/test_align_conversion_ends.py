"""Which conversion a reading near the end of one held, and clocks that bend: what the fit's rows are numbered and placed by."""

from __future__ import annotations

import numpy as np
import pytest

from neuralpower_align.activity.layout import Layout
from neuralpower_align.activity.schedule import Laid, Schedule, schedule
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock
from neuralpower_align.model.conversion_ends import ends_late, evened
from neuralpower_align.model.nuisance import DRIFTS, Model, Spline
from neuralpower_align.model.piece import Late, piece_of
from neuralpower_align.sensor.kernel import Kernel

PERIOD_NS, WINDOW_NS, DELAY_NS = 840_000.0, 140_000.0, 100_000.0
POWER_W = np.array([9.0, 3.0, 3.0])
LAYER = np.array([True, False, False])


def plan_of(seconds: float) -> Schedule:
    """A layer of 2 ms again and again, with random gaps."""
    gaps = np.random.default_rng(3).uniform(1e6, 5e6, int(seconds * 200))
    begin = np.asarray(10_000_000 + np.cumsum(gaps + 2e6), np.int64)
    return schedule([Laid(np.stack([begin, begin + 2_000_000], axis=-1)[:, None], np.array([0]), 1)], 2, 3)


def measured(plan: Schedule, end_late_ns: float, seconds: float = 8.0) -> tuple[ChannelReadings, ScanClock]:
    """Readings each millisecond of what a clock's conversions saw, which end later than the clock has it."""
    clock = ScanClock(np.array([0, 20_000]), np.array([0.0, 20_000 * PERIOD_NS]))
    read = np.asarray(np.arange(20e6, seconds * 1e9, 1.003e6), np.int64)
    number = clock.last_before(read - end_late_ns)
    at = clock.end(number) - DELAY_NS
    kernel = Kernel(50e3, WINDOW_NS)
    value = np.full(at.size, POWER_W[2])
    for edge, step in zip(plan.edges_ns[1:], plan.steps(POWER_W)[1:], strict=True):
        near = np.flatnonzero(at > edge)
        value[near] += step * kernel.step(at[near] - edge)
    value += 0.02 * np.random.default_rng(4).standard_normal(at.size)
    return ChannelReadings(read, value, WINDOW_NS, PERIOD_NS), clock


def model_of(begin_ns: float, end_ns: float) -> Model:
    """All known."""
    return Model(
        POWER_W, LAYER, Kernel(50e3, WINDOW_NS), (Spline.over(begin_ns, end_ns),), begin_ns, end_ns, Layout.usual(1),
        stall_of=np.zeros(3), drift=np.zeros(DRIFTS), idle_drift=np.zeros(DRIFTS), stalls=False, each=False,
    )  # fmt: skip


@pytest.mark.parametrize("late_ns", [-120e3, 0.0, 90e3])
def test_readings_tell_when_conversions_end(late_ns: float) -> None:
    """To some microseconds in each five seconds; numbered so, all readings hold what the clock says they do."""
    plan = plan_of(9.0)
    readings, clock = measured(plan, late_ns)
    piece = piece_of(readings, clock, DELAY_NS, 40e3)
    late = ends_late(plan, 0, piece, readings, model_of(float(readings.read_ns[0]), float(readings.read_ns[-1])))
    assert late is not None and late.by_ns.size == 2
    np.testing.assert_allclose(late.by_ns, late_ns, atol=15e3)
    again = piece_of(readings, clock, DELAY_NS, 40e3, late)
    held = clock.last_before(readings.read_ns - late_ns)
    true = dict(zip(held.tolist(), readings.power_w.tolist(), strict=True))
    assert all(abs(true[n] - v) < 0.2 for n, v in zip(again.number.tolist(), again.value_w.tolist(), strict=True))
    np.testing.assert_array_equal(again.at_ns, clock.end(again.number) - DELAY_NS)


def test_readings_of_even_power_tell_nothing() -> None:
    """Where nothing changes either conversion explains a reading."""
    plan = plan_of(0.5)
    read = np.asarray(np.arange(2e9, 10e9, 1.003e6), np.int64)
    readings = ChannelReadings(read, np.full(read.size, 3.0), WINDOW_NS, PERIOD_NS)
    clock = ScanClock(np.array([0, 20_000]), np.array([0.0, 20_000 * PERIOD_NS]))
    piece = piece_of(readings, clock, DELAY_NS, 40e3)
    assert ends_late(plan, 0, piece, readings, model_of(2e9, 10e9)) is None


def test_rows_move_by_the_shift_itself_and_not_by_straight_lines_between_a_clocks_points() -> None:
    """A clock of two points, and a shift that bends: rows lie where it has them."""
    plan = plan_of(9.0)
    readings, clock = measured(plan, 0.0)
    piece = piece_of(readings, clock, DELAY_NS, 40e3, Late(np.array([0.0]), np.array([0.0])))
    bend = 50e3 * np.sin(piece.at_ns / 2e9)
    np.testing.assert_allclose(piece.shifted(bend).at_ns - piece.at_ns, bend, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_an_evened_clock_has_the_path_and_not_the_errors(seed: int) -> None:
    """An oscillator that swings by 50 ppm in a minute comes out to some microseconds where the search was off by 15 us rms from one half second to the next."""
    random, number = np.random.default_rng(seed), np.arange(0, 60_000, 600)
    true_ns = number * PERIOD_NS + 0.48e6 * np.sin(number * PERIOD_NS / 60e9 * 2 * np.pi + seed)
    found = ScanClock(number, true_ns + 15e3 * random.standard_normal(number.size))
    read = np.arange(0, int(true_ns[-1]), 1_000_000)
    even = evened(found, ChannelReadings(read, np.ones(read.size), WINDOW_NS, PERIOD_NS))
    at = np.arange(1000, 59_000)
    off = even.end(at) - np.interp(at, number, true_ns)
    assert np.std(off) < 8e3 and np.std(np.diff(off[::1000])) < 3e3
    assert np.std(found.end(at) - np.interp(at, number, true_ns)) > 9e3
    again = evened(even, ChannelReadings(read, np.ones(read.size), WINDOW_NS, PERIOD_NS))
    np.testing.assert_allclose(again.end(at), even.end(at), atol=300)
