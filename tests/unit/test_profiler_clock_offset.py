"""The offset of two clocks from one-sided bounds, beside the linear programs that it is the solution of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from neuralpower.profiler.clock_offset import (
    LARGEST_RATE,
    MOST_KEPT,
    RESOLUTION_NS,
    WANDER,
    WINDOW_NS,
    ClockOffset,
    Hull,
)

Floats = npt.NDArray[np.float64]


def solved(gain: list[float], rows: Floats, limits: Floats, bounds: list[tuple[float | None, float | None]]) -> float:
    """The greatest `gain @ x` with rows @ x <= limits."""
    found: Any = linprog(-np.array(gain), A_ub=rows, b_ub=limits, bounds=bounds, method="highs")
    assert found.status == 0, found.message
    return float(-found.fun)


def pairs(seed: int, count: int, ppm: float, tail_ns: float) -> tuple[Floats, Floats]:
    """Lower and upper bounds, (count, 2) each: time and bound, ns. The true offset is 0 at time 0 and grows by ppm."""
    random = np.random.default_rng(seed)
    ends = np.cumsum(random.uniform(2e6, 2e8, count))
    begins = ends - random.uniform(1e6, 2e6, count)
    late = [random.exponential(tail_ns, count) + floor for floor in (40e3, 8e3)]
    grown = ppm * 1e-6
    return np.column_stack((begins, begins * grown - late[0])), np.column_stack((ends, ends * grown + late[1]))


seeds, counts, rates, tails = st.integers(0, 10**6), st.integers(2, 45), st.floats(-100, 100), st.floats(1e3, 1e6)


@given(seeds, counts, rates, tails)
def test_the_slope_is_of_the_highest_line_below_all_bounds(seed: int, count: int, ppm: float, tail_ns: float) -> None:
    """Highest in the middle: the linear program of Moon, Skelly and Towsley, solved over all bounds, not the kept ones."""
    _, upper = pairs(seed, count, ppm, tail_ns)
    hull = Hull()
    for x, y in upper:
        hull.add(x, y)
    middle = (upper[0, 0] + upper[-1, 0]) / 2
    ahead = (upper[:, 0] - middle) / 1e9  # in s, and the rate in ns per s: the solver wants numbers of one size
    best = solved([1.0, 0.0], np.column_stack((np.ones(count), ahead)), upper[:, 1], [(None, None)] * 2)
    assert np.min(upper[:, 1] - hull.slope() * 1e9 * ahead) == pytest.approx(best, abs=0.1)


@given(seeds, counts, rates, tails)
def test_the_range_is_all_that_the_bounds_allow(seed: int, count: int, ppm: float, tail_ns: float) -> None:
    """The least and the greatest offset that contradict no bound at any age and rate: linear programs over all bounds."""
    lower, upper = pairs(seed, count, ppm, tail_ns)
    offset = ClockOffset()
    for below, above in zip(lower, upper, strict=True):
        found = offset.bounded((below[0], below[1]), (above[0], above[1]))
    now = upper[-1, 0]
    limits, rows = [], []
    for bounds, sign in ((upper, 1), (lower, -1)):
        age = now - bounds[:, 0]
        limits.append(sign * bounds[:, 1] + WANDER * age**2 / 2 + RESOLUTION_NS)
        rows.append(sign * np.column_stack((np.ones(count), -age / 1e9)))
    allowed = np.vstack(rows), np.concatenate(limits), [(None, None), (-LARGEST_RATE * 1e9, LARGEST_RATE * 1e9)]
    least, greatest = offset.range()
    assert least == pytest.approx(-solved([-1.0, 0.0], *allowed), abs=5)
    assert greatest == pytest.approx(solved([1.0, 0.0], *allowed), abs=5)
    assert least - 2 <= found <= greatest + 2 and least <= ppm * 1e-6 * now <= greatest


def test_few_bounds_are_kept_however_they_lie() -> None:
    """Not even where each new bound is a corner, as on a curve without noise; what is given up makes the range wider, not wrong."""
    offset, curve = ClockOffset(), WANDER / 4
    for number in range(20_000):
        at = number * 5e6
        true = curve * at**2 / 2
        offset.bounded((at - 1e6, true - 20e3), (at, true + 20e3))
        if number % 100 == 99:
            least, greatest = offset.range()
            assert least <= true <= greatest and greatest - least < 60e3
        for hull in (offset._upper, offset._lower):
            assert len(hull.x) <= MOST_KEPT and at - hull.x[0] <= WINDOW_NS + 1e6
    assert len(offset._upper.x) == MOST_KEPT


def test_the_bound_that_says_the_least_is_given_up() -> None:
    """Not the oldest, nor the best: the corner nearest to the line between its neighbours."""
    hull = Hull()
    for number in range(MOST_KEPT + 1):
        x = number * 1e8
        hull.add(x, 1e5 * (number / MOST_KEPT - 0.5) ** 2 - 5.0 * (number != 40))
    assert 40e8 not in hull.x and hull.x[0] == 0 and len(hull.x) == MOST_KEPT


def test_a_lower_bound_between_two_upper_ones_ends_the_search_for_a_rate() -> None:
    """Faster it lies above the older upper bound, slower above the newer: no rate is left, and the search must not go to and fro."""
    offset = ClockOffset()
    offset.bounded((0.0, -40e3), (1e6, 0.0))
    offset.bounded((2e9, 300e3), (2.001e9, 400e3))
    assert offset.bounded((4e9, -300e3), (4.001e9, 0.0)) == 0.0
    assert offset.range()[0] > -310e3


def test_lower_bounds_correct_a_rate_that_they_rule_out() -> None:
    """A line below all upper bounds runs level; the newest lower bound lies above it, and the offset is in the range again."""
    offset = ClockOffset()
    for at, upper in ((0.0, 0.0), (1.5e9, 0.0)):
        offset.bounded((at - 1e6, -500e3), (at, upper))
    found = offset.bounded((2e9 - 1e6, 80e3), (2e9, 100e3))
    least, greatest = offset.range()
    assert least <= found <= greatest < 102e3 and offset.rate == pytest.approx(160e-6, rel=0.05)


def test_a_contradiction_leaves_the_newest_pair_alone() -> None:
    """Bounds before and after a jump have no offset in common: those before it say nothing any more."""
    offset = ClockOffset()
    for number in range(100):
        offset.bounded((number * 5e6 - 2e6, -40e3), (number * 5e6, 10e3))
    assert offset.bounded((500e6, 5e6 - 40e3), (502e6, 5e6 + 10e3)) == 5e6 + 10e3
    least, greatest = offset.range()
    assert 5e6 - 46e3 < least < 5e6 < greatest < 5e6 + 13e3


def test_a_pair_that_contradicts_itself_keeps_the_upper_bound() -> None:
    """An event that lasted longer than the host waited tells of no offset: nothing is stated of it."""
    offset = ClockOffset()
    assert offset.bounded((0.0, 5e6), (2e6, 1e6)) == 1e6 and offset.rate == 0
    assert offset.range() == (-float("inf"), float("inf"))


def test_of_two_bounds_at_one_time_the_lesser_is_kept() -> None:
    """Times of events are coarse, and two may be equal."""
    hull = Hull()
    for y in (5.0, 7.0, 3.0):
        hull.add(1e6, y)
    assert (hull.x, hull.y) == ([1e6], [3.0]) and hull.slope() == 0
