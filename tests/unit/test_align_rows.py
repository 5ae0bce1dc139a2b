"""Kernel tables and rows of the regression, against brute force and against what must hold whatever the sensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuralpower_align.activity.layout import Room
from neuralpower_align.activity.schedule import Laid, Schedule, Stretch, schedule
from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock
from neuralpower_align.errors import Unattributable
from neuralpower_align.model.piece import Piece, piece_of
from neuralpower_align.model.rows import blocks_of, designs
from neuralpower_align.sensor.kernel import STEP_NS, Kernel

POWER = np.array([9.0, 6.0, 12.0, 3.5, 3.0, 2.0, 1.5])


def plan_of(seed: int = 0, inferences: int = 60) -> Schedule:
    """Three layers with launch, tail and gap around them, random gaps, and a stretch of idling that has a name."""
    random = np.random.default_rng(seed)
    durations = np.rint([60e3, 250e3, 15e3] * (1 + 0.02 * random.standard_normal((inferences, 3)))).astype(np.int64)
    total = durations.sum(axis=1) + 80_000
    gaps = random.integers(200_000, 1_500_000, inferences)
    begin = 50_000_000 + np.cumsum(total + gaps) - total
    end = begin + total
    laid = Laid(layer_windows(begin, end, durations), np.arange(3), 5, begin, end, 3, 4)
    return schedule([laid], 6, 7, named=[Stretch(6, 10_000_000, 40_000_000)])


def piece_at(at_ns: np.ndarray, value_w: np.ndarray | None = None) -> Piece:
    value = np.zeros(at_ns.size) if value_w is None else value_w
    return Piece(np.arange(at_ns.size), at_ns, value, 140e3, 1, None, 0.0)


def step_by_brute_force(kernel: Kernel, tau_ns: float, step_ns: float = 200.0) -> float:
    """The mean over the window of a step that passed both poles one after the other."""
    time = np.arange(-kernel.window_ns, max(tau_ns, 0.0) + step_ns, step_ns)
    out = (time >= 0).astype(float)
    for lag in (kernel.lag_ns, kernel.second_ns):
        if lag:
            keep, state = np.exp(-step_ns / lag), 0.0
            for i, x in enumerate(out):
                state = keep * state + (1 - keep) * x
                out[i] = state
    inside = (time > tau_ns - kernel.window_ns) & (time <= tau_ns)
    return float(out[inside].sum() * step_ns / kernel.window_ns)


@pytest.mark.parametrize(("lag", "second"), [(200e3, 0.0), (300e3, 100e3), (150e3, 150e3)])
def test_step_agrees_with_brute_force(lag: float, second: float) -> None:
    """One pole, two poles, and two that are equal answer a step as a fine simulation does."""
    kernel = Kernel(lag, 140e3, second)
    for tau in (30e3, 140e3, 400e3, 1200e3):
        assert float(kernel.step(np.array(tau))) == pytest.approx(step_by_brute_force(kernel, tau), abs=4e-3)


@pytest.mark.parametrize("skew", [0.0, -0.9])
def test_blur_is_the_mean_over_times(skew: float) -> None:
    """Each table with blur is the mean of the sharp one over times that scatter as far as it says, evenly or not; scatter is slope and bend."""
    kernel = Kernel(40e3, 140e3, blur_ns=30e3, skew=skew, late=0.5)
    table = kernel.table
    z = np.linspace(-6.0, 6.0, 4001)
    weight = np.exp(-(z**2) / 2) * (1 + skew * (z**3 - 3 * z) / 6)
    weight /= weight.sum()
    for level, deviation in enumerate(30e3 * kernel.levels):
        slope, bend = table.slopes[:2, level]
        for tau in (-20e3, 5e3, 60e3, 138e3, 200e3):
            at = round((tau - table.first_ns) / STEP_NS)
            seen = kernel.step(table.first_ns + at * STEP_NS - deviation * z)
            mean = float(weight @ seen)
            assert table.step[level, at] == pytest.approx(mean, abs=5e-4)
            if skew == 0.0 and deviation < 40e3:  # of wider ones more than two terms count
                spread = float(np.sqrt(weight @ (seen - mean) ** 2))
                variance = (slope[at] ** 2 + bend[at] ** 2) * deviation**2
                assert np.sqrt(variance) == pytest.approx(spread, abs=4e-3)
                # Of narrow ones the slopes' means between entries are off by more than what the second term adds.
                assert abs(variance - spread**2) < abs((slope[at] * deviation) ** 2 - spread**2) + 1e-4


def test_an_inference_is_seen_by_the_table_that_is_as_wide_as_it_scatters() -> None:
    """The one nearest to what its room says; the mean one where nothing is said; the widest where it is beyond all."""
    kernel = Kernel(40e3, 140e3, blur_ns=30e3, late=0.5, far=30.0)
    width, far = np.array([1.0, 3.0, 0.0, 1.0]), np.array([False, False, False, True])
    over = np.sqrt([1.0, 2.0, 0.5, 31.0])
    nearest = kernel.levels[kernel.level(width, far)] / over
    assert np.all(np.abs(np.log(nearest[:3])) < np.log(1.25) / 2 + 1e-9)
    assert kernel.level(width, far)[3] == 0
    assert Kernel(40e3, 140e3, blur_ns=30e3).levels.tolist() == [1.0]


@pytest.mark.parametrize("kernel", [Kernel(200e3, 140e3), Kernel(0.0, 140e3, blur_ns=30e3), Kernel(300e3, 140e3, 90e3)])
def test_shares_add_up_to_one(kernel: Kernel) -> None:
    """Each row's shares add up to one. No layer's is below zero by more than rounding; launch and tail lose what the scatter of
    inferences, a normal curve without end, puts outside the anchors."""
    at = np.linspace(45e6, 90e6, 300)
    found = list(designs(plan_of(), 0, piece_at(at), kernel, POWER))
    assert found
    for design in found:
        np.testing.assert_allclose(design.share.sum(axis=-1), 1.0, atol=1e-12)
        assert design.share[..., design.touched < 3].min() > -1e-12
        assert design.share.min() > (-0.02 if kernel.blur_ns else -1e-12)


def test_constant_power_gives_constant_readings_and_no_slopes() -> None:
    """If everything draws the same, no shift, lag or slack can change a reading."""
    level = np.full(POWER.size, 4.2)
    piece, kernel = piece_at(np.linspace(45e6, 90e6, 200)), Kernel(150e3, 140e3, blur_ns=20e3)
    found = list(designs(plan_of(), 0, piece, kernel, level))
    assert found
    for design in found:
        np.testing.assert_allclose(design.share @ level[design.touched], 4.2, atol=1e-12)
        for part in (design.slide, design.by_lag, design.by_second, design.scatter.slack):
            assert np.abs(part).max() == 0.0


def test_slopes_are_differences() -> None:
    """The columns for shift and lag are what predicted readings change by."""
    plan, at = plan_of(), np.linspace(60e6, 100e6, 250)
    kernel = Kernel(180e3, 140e3, blur_ns=6e3)

    def predicted(at_ns: np.ndarray, k: Kernel) -> np.ndarray:
        return np.concatenate(
            [(d.share @ POWER[d.touched]).ravel() for d in designs(plan, 0, piece_at(at_ns), k, POWER)]
        )

    found = list(designs(plan, 0, piece_at(at), kernel, POWER))
    slide = np.concatenate([design.slide.ravel() for design in found])
    by_lag = np.concatenate([design.by_lag.ravel() for design in found])
    moved = (predicted(at + 500.0, kernel) - predicted(at - 500.0, kernel)) / 1e3
    slower = (predicted(at, replace(kernel, lag_ns=182e3)) - predicted(at, replace(kernel, lag_ns=178e3))) / 4e3
    # At the kinks of a window a difference is not a slope.
    for column, difference, most in ((slide, moved, 0.02), (by_lag, slower, 0.06)):
        off = np.abs(column - difference) / np.abs(difference).max()
        assert np.quantile(off, 0.98) < most and np.median(off) < 0.01
    slack = np.concatenate([np.zeros(design.rows.size) for design in found])
    low = 0
    for design in found:
        seen, rows = design.scatter, design.rows.shape[1]
        at = low + (seen.block * rows + seen.first)[:, None] + np.arange(seen.slack.shape[1])
        np.add.at(slack, at, seen.slack.sum(axis=-1))
        low += design.rows.size
    fixed = np.concatenate([np.abs(design.slide).ravel() for design in found])
    assert np.corrcoef(slack, slide)[0, 1] > 0.9 and fixed.max() > 0


def test_filtered_rows_are_those_of_the_recursion() -> None:
    """Under averaging, rows of the conversions that were read are those of out += (x - out) / N over all of them."""
    plan, period = plan_of(inferences=200), 840e3
    clock = ScanClock(np.array([0, 1000]), np.array([1e6, 1e6 + 1000 * period]))
    number = np.sort(np.random.default_rng(2).choice(np.arange(150, 260), 70, replace=False))
    kernel = Kernel(150e3, 140e3)
    every = np.arange(0, 260)
    plain = piece_at(clock.end(every) - 100e3)
    direct = np.zeros((every.size, POWER.size))
    for design in designs(plan, 0, plain, kernel, POWER):
        for row, share in zip(design.rows.ravel(), design.share.reshape(-1, design.touched.size), strict=True):
            direct[row, design.touched] = share
    for i in range(1, every.size):
        direct[i] = direct[i - 1] + (direct[i] - direct[i - 1]) / 8
    piece = Piece(number, clock.end(number) - 100e3, np.zeros(70), 140e3, 8, clock, 100e3)
    for design in designs(plan, 0, piece, kernel, POWER):
        mine = np.zeros((*design.number.shape, POWER.size))
        mine[..., design.touched] = design.share
        np.testing.assert_allclose(mine, direct[design.number], atol=4e-3)


def test_readings_of_one_conversion_are_one_row() -> None:
    """Re-read conversions count once, and readings at the end of one that may be either are left out."""
    clock = ScanClock(np.array([0, 100]), np.array([0.0, 660e6]))
    read = np.arange(10_000_000, 600_000_000, 1_000_000)
    number = clock.last_before(read)
    readings = ChannelReadings(read, number.astype(float), 1.1e6, 6.6e6)
    piece = piece_of(readings, clock, 300e3, 40e3)
    assert np.all(np.diff(piece.number) > 0) and piece.number.size <= np.unique(number).size
    np.testing.assert_array_equal(piece.value_w, piece.number)
    np.testing.assert_allclose(piece.at_ns, clock.end(piece.number) - 300e3)
    near = ChannelReadings(np.array([6_600_000 * 3 + 10_000, 6_600_000 * 4 + 90_000]), np.zeros(2), 1.1e6, 6.6e6)
    assert piece_of(near, clock, 0.0, 40e3).number.tolist() == [4]


def test_blocks_hold_every_row_once() -> None:
    """Full blocks and one shorter at the end."""
    assert [group.shape for group in blocks_of(300, 128)] == [(2, 128), (1, 44)]
    assert np.concatenate([group.ravel() for group in blocks_of(300, 128)]).tolist() == list(range(300))
    assert [group.shape for group in blocks_of(50, 128)] == [(1, 50)]


@pytest.mark.parametrize("lag_ns", [2e3, 150e3, 900e3])
def test_rows_scatter_together_by_each_inference_that_they_saw(lag_ns: float) -> None:
    """Their covariance is that of inferences which run earlier or later each by itself, however many rows of a block saw one."""
    plan, at, kernel, step_ns = plan_of(), np.linspace(52e6, 68e6, 50), Kernel(lag_ns, 140e3), 200.0

    def readings(moved: Schedule) -> np.ndarray:
        found = designs(moved, 0, piece_at(at), kernel, POWER)
        return np.concatenate([(design.share @ POWER[design.touched]).ravel() for design in found])

    (design,) = designs(plan, 0, piece_at(at), kernel, POWER)
    wanted = np.zeros((at.size, at.size))
    for inference in range(plan.begin_ns.size):
        beside = np.where(plan.moves == inference, step_ns, 0.0)
        later = readings(replace(plan, beside_ns=beside)) - readings(replace(plan, beside_ns=-beside))
        wanted += np.outer(later, later) / (2 * step_ns) ** 2
    found = design.scatter.covariance(design.scatter.slack, design.rows.shape)[0]
    assert (2 * design.scatter.slack.shape[1] > at.size) == (lag_ns > 5e5) and np.linalg.norm(wanted) > 0
    np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())


def test_gaps_that_scatter_by_themselves_move_edges_as_a_random_walk() -> None:
    """The covariance of readings in an inference of forty layers is that of edges which lie as a random walk from the middle has them."""
    count, begin = 40, np.array([10_000_000])
    random = np.random.default_rng(3)
    durations = random.integers(30_000, 60_000, (1, count))
    ends = np.cumsum(durations, axis=1)
    windows, end = 10_060_000 + np.stack([ends - durations, ends], axis=-1), begin + ends[:, -1] + 120_000
    room = Room.of(begin, end, durations)
    alone = Laid(windows, np.arange(count), count + 2, begin, end, count, count + 1, room)
    plan = schedule([alone], count + 3, count + 4)
    power = random.uniform(3.0, 12.0, plan.count)
    at, kernel, step_ns = np.linspace(10.1e6, 12.1e6, 50), Kernel(20e3, 140e3), 200.0

    def readings(moved: Schedule) -> np.ndarray:
        found = designs(moved, 0, piece_at(at), kernel, power)
        return np.concatenate([(design.share @ power[design.touched]).ravel() for design in found])

    edges = np.flatnonzero(plan.moves >= 0)
    later = []
    for edge in edges:
        beside = np.zeros(plan.edges_ns.size)
        beside[edge] = step_ns
        later.append((readings(replace(plan, beside_ns=beside)) - readings(replace(plan, beside_ns=-beside))) / 2)
    place, slope = plan.place[edges], np.stack(later, axis=1) / step_ns
    walk = (np.abs(place)[:, None] + np.abs(place) - np.abs(place[:, None] - place)) / 2
    (design,) = designs(plan, 0, piece_at(at), kernel, power)
    found = design.scatter.covariance(design.scatter.stretch, design.rows.shape)[0]
    straight = np.outer(slope @ place, slope @ place)
    wanted = slope @ walk @ slope.T
    off = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert off < 0.15 and np.linalg.norm(straight - wanted) / np.linalg.norm(wanted) > 3 * off
    np.testing.assert_allclose(np.diag(found), np.diag(wanted), atol=0.15 * np.diag(wanted).max())


def test_named_stretches_and_gaps() -> None:
    """What is named is its class, gaps of an engine its own, and the time of every class adds up."""
    plan = plan_of()
    seconds = plan.activity.occupied_s(0, 200_000_000)
    assert seconds.sum() == pytest.approx(0.2)
    assert seconds[6] >= 0.03 and seconds[3] == pytest.approx(60 * 40e-6, rel=1e-6)
    assert set(plan.moves[plan.moves >= 0].tolist()) == set(range(1, 61))
    laid = Laid(layer_windows([0, 100], [50, 150], [[50], [50]]), np.array([0]), 1)
    with pytest.raises(Unattributable, match="overlap"):
        schedule([laid, replace(laid, gap=2)], 3, 4)
