"""Layer windows and energy integration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower_align.activity.windows import launch_gap_ns, layer_windows
from neuralpower_align.result.energy import energy_between

DURATIONS = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 10**7), min_size=n, max_size=n), min_size=1, max_size=5)
)


@given(DURATIONS, st.integers(0, 2**60), st.integers(0, 10**8), st.floats(0, 1), st.floats(0, 1e6))
def test_windows_keep_order_and_anchors(
    durations: list[list[int]], begin: int, span: int, lead: float, between: float
) -> None:
    """Windows are ordered, do not overlap and lie between the anchors, also when the durations do not fit."""
    d = np.array(durations)
    begins = begin + np.arange(len(d)) * span
    windows = layer_windows(begins, begins + span, d, lead, between)
    flat = windows.reshape(len(d), -1)
    assert windows.shape == (*d.shape, 2)
    assert np.all(np.diff(flat, axis=1) >= 0)
    assert np.all(flat[:, 0] >= begins) and np.all(flat[:, -1] <= begins + span)
    fits = d.sum(axis=1) + between * d.shape[1] <= span
    np.testing.assert_allclose((windows[..., 1] - windows[..., 0])[fits], d[fits], atol=1)


def test_slack_is_split_by_lead() -> None:
    """The slack goes before the first layer by the share `lead`, exactly."""
    assert layer_windows(100, 200, [30, 50], lead=0.0).tolist() == [[100, 130], [130, 180]]
    assert layer_windows(100, 200, [30, 50], lead=1.0).tolist() == [[120, 150], [150, 200]]
    assert layer_windows(100, 140, [30, 50], lead=0.3).tolist() == [[100, 115], [115, 140]]


def test_launch_gaps_lie_between_layers_that_run() -> None:
    """A gap comes before each further layer that takes time, and its length is found from engines of different sizes."""
    assert layer_windows(0, 100, [30, 0, 20, 10], 0.5, 5.0).tolist() == [[15, 45], [45, 45], [50, 70], [75, 85]]
    launches = np.array([0, 10, 50, 100, 100, 2000])
    slack = 80e3 + 600.0 * launches + np.array([500, -400, 300, -200, 300e3, 0])
    assert launch_gap_ns(slack, launches) == pytest.approx(600, abs=10)
    assert launch_gap_ns([5e4], [10]) == 0.0 and launch_gap_ns([5e4, 1e4], [10, 20]) == 0.0


def test_windows_refuse_what_cannot_be() -> None:
    """Anchors in the wrong order or of another length are refused in one line."""
    with pytest.raises(ValueError, match="ends before it begins"):
        layer_windows(10, 5, [1])
    with pytest.raises(ValueError, match="do not fit"):
        layer_windows([1, 2], [3, 4], [[1]])


T = np.array([0, 10, 20, 30, 40]) * 10**9
P = np.array([1.0, 3.0, 3.0, 0.0, 5.0])


@given(st.lists(st.integers(0, 40 * 10**9), min_size=3, max_size=3))
def test_energy_adds_up(moments: list[int]) -> None:
    """E(a, b) + E(b, c) = E(a, c)."""
    a, b, c = sorted(moments)
    parts = energy_between(T, P, [a, b, a], [b, c, c])
    assert parts[0] + parts[1] == pytest.approx(parts[2], abs=1e-9)


def test_energy_of_straight_lines() -> None:
    """A ramp and a plateau integrate to their areas."""
    assert energy_between(T, P, 0, 10 * 10**9) == pytest.approx(20.0)
    assert energy_between(T, P, 5 * 10**9, 15 * 10**9) == pytest.approx(12.5 + 15.0)
    np.testing.assert_allclose(energy_between(T, P, T[:-1], T[1:]), [20.0, 30.0, 15.0, 25.0])


def test_unknown_energy_is_nan() -> None:
    """Spans outside the readings, beside a missing reading or over a hole are unknown, and others are not."""
    s = 10**9
    assert np.isnan(energy_between(T, P, -1, 10 * s)) and np.isnan(energy_between(T, P, 10 * s, 40 * s + 1))
    missing = P.copy()
    missing[2] = np.nan
    energy = energy_between(T, missing, [0, 9 * s, 29 * s, 30 * s, 15 * s], [10 * s, 11 * s, 31 * s, 40 * s, 15 * s])
    assert np.isnan(energy).tolist() == [False, True, True, False, False]
    assert np.all(np.isnan(energy_between(T, P, T[:-1], T[1:], max_gap_ns=5 * s)))
    assert energy_between([1], [2.0], 1, 1) == 0.0
    with pytest.raises(ValueError, match="do not increase"):
        energy_between([1, 1], [2.0, 2.0], 1, 1)
