"""The sensor's response and the shares, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from neuralpower_align.activity import Activity, Runs, activity
from neuralpower_align.regression import CHUNK, Observed, autocorrelation_time, normal_equations, predicted
from neuralpower_align.response import Response, shares
from neuralpower_align.windows import layer_windows


def by_brute_force(response: Response, act: Activity, at_ns: float, step_ns: float = 500.0) -> np.ndarray:
    """Shares from a fine grid of time: lag kernel, then the mean over the window, then over the scan."""
    grid = np.arange(at_ns - 40e5, at_ns, step_ns) + step_ns / 2
    running = act.classes[np.searchsorted(act.edges_ns, grid, side="right") - 1]
    seen = np.zeros((grid.size, act.count))
    state = np.zeros(act.count)
    keep = np.exp(-step_ns / response.lag_ns)
    for i, cls in enumerate(running):
        state = state * keep
        state[cls] += 1 - keep
        seen[i] = state
    width = round(response.window_ns / step_ns)
    sums = np.vstack([np.zeros(act.count), np.cumsum(seen, axis=0)])
    windows = (sums[width:] - sums[:-width]) / width
    if not response.smear_ns:
        return np.asarray(windows[-1])
    return np.asarray(windows[-round(response.smear_ns / step_ns) :].mean(axis=0))


@pytest.fixture
def some_activity() -> Activity:
    """Three layers of 60, 250 and 15 us in four inferences with uneven gaps."""
    begin = np.array([1_000_000, 1_500_000, 2_020_000, 2_500_000])
    durations = np.array([[60_000, 250_000, 15_000]] * 4)
    windows = layer_windows(begin, begin + 340_000, durations)
    return activity([Runs(windows, np.array([0, 1, 2]), 3)], idle_class=4, count=5)


@pytest.mark.parametrize("smear", [0.0, 840e3])
@pytest.mark.parametrize("lag", [20e3, 180e3, 300e3])
def test_shares_agree_with_brute_force(some_activity: Activity, lag: float, smear: float) -> None:
    """Each class's share of a reading is what a fine simulation of lag and window gives, and shares add up to one."""
    response = Response(lag, 140e3, smear)
    at = np.array([1_100_000.0, 1_420_000.0, 2_345_000.0, 2_700_000.0])
    found = shares(some_activity, at, response)
    for i, moment in enumerate(at):
        mine = found.row == i
        share = np.bincount(found.column[mine], found.share[mine], some_activity.count)
        np.testing.assert_allclose(share, by_brute_force(response, some_activity, moment), atol=4e-3)
        assert share.sum() == pytest.approx(1.0, abs=1e-12)


def test_normal_equations_are_those_of_the_dense_matrix(some_activity: Activity) -> None:
    """Built in chunks with extra columns, they equal X'X and X'y of the whole matrix."""
    random = np.random.default_rng(1)
    at = np.sort(random.uniform(9e5, 3e6, CHUNK + 100))
    response, power = Response(50e3, 140e3), np.array([9.0, 7.0, 12.0, 4.0, 3.0])
    found = shares(some_activity, at, response)
    dense = np.zeros((at.size, 5))
    np.add.at(dense, (found.row, found.column), found.share)
    extra = random.normal(size=(at.size, 2))
    value = dense @ power + extra @ [0.5, -1.0]
    normal = normal_equations(some_activity, [Observed(at, value, response, extra)])
    whole = np.hstack([dense, extra])
    np.testing.assert_allclose(normal.gram, whole.T @ whole, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(normal.moment, whole.T @ value, rtol=1e-10)
    np.testing.assert_allclose(normal.solve(), [*power, 0.5, -1.0], rtol=1e-4)
    clean = predicted(some_activity, Observed(at, value, response), power)
    np.testing.assert_allclose(clean, dense @ power, rtol=1e-12)


def test_regrouping_keeps_time(some_activity: Activity) -> None:
    """Merged classes have the sum of the times of their members."""
    merged = some_activity.regroup(np.array([0, 0, 1, 2, 2]))
    seconds, coarse = some_activity.occupied_s(0, 3_000_000), merged.occupied_s(0, 3_000_000)
    np.testing.assert_allclose(coarse, [seconds[0] + seconds[1], seconds[2], seconds[3] + seconds[4]])
    assert merged.edges_ns.size < some_activity.edges_ns.size


def test_copies_of_a_layer_are_one_stretch() -> None:
    """Neighbouring layers of one class make one stretch, from the first one's begin to the last one's end."""
    windows = np.array([[[10, 20], [20, 30], [30, 40], [40, 50]]]) * 10**6
    joined = activity([Runs(windows, np.array([0, 0, 0, 1]), 2)], 3, 4)
    assert joined.edges_ns[1:].tolist() == [10 * 10**6, 40 * 10**6, 50 * 10**6]
    assert joined.classes.tolist() == [3, 0, 1, 3]


def test_gaps_between_different_engines_are_idling() -> None:
    """A gap belongs to an engine only between two inferences of its own that follow soon; overlap is refused."""
    first = layer_windows([0, 1000, 4000], [500, 1500, 4500], [[500]] * 3)
    second = layer_windows([2000], [2500], [[500]])
    act = activity([Runs(first, np.array([0]), 1), Runs(second, np.array([2]), 3)], 4, 5)
    assert act.classes.tolist() == [4, 0, 1, 0, 4, 2, 4, 0, 4]
    with pytest.raises(ValueError, match="overlap"):
        activity([Runs(first, np.array([0]), 1), Runs(layer_windows([100], [600], [[500]]), np.array([2]), 3)], 4, 5)


def test_autocorrelation_inflates_only_what_is_correlated() -> None:
    """White residuals have a factor near one, a first-order process that of its spectrum at zero."""
    random = np.random.default_rng(2)
    white = random.normal(size=20_000)
    assert autocorrelation_time(white) == pytest.approx(1.0, abs=0.25)
    red = np.zeros_like(white)
    for i in range(1, white.size):
        red[i] = 0.7 * red[i - 1] + white[i]
    assert autocorrelation_time(red) == pytest.approx(1.7 / 0.3, rel=0.25)
