"""The information filter: eliminating, placing and re-expanding lose nothing."""

from __future__ import annotations

import numpy as np
import pytest

from neuralpower_align.activity.layout import Layout
from neuralpower_align.fit.information import Information
from neuralpower_align.model.nuisance import DRIFTS, Model, Spline
from neuralpower_align.sensor.kernel import Kernel
from neuralpower_align.stream.packed import packed, unpacked
from neuralpower_align.stream.spans import reexpanded


def known(size: int, seed: int) -> Information:
    """Of random rows, with their scatter."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((4 * size, size))
    slopes = random.standard_normal((30, size))
    return Information(rows.T @ rows, rows.T @ random.standard_normal(4 * size), slopes.T @ slopes, 1.0, 4.0 * size, 30)


def test_an_eliminated_parameter_leaves_the_others_as_they_were() -> None:
    """Best values, covariance and sandwich of the rest, though the parameter is gone."""
    whole = known(7, 1)
    nothing = np.zeros((7, 7)), np.zeros(7)
    before = whole.solve(*nothing, scattered=True)
    keep = [0, 1, 2, 4, 5, 6]
    after = whole.without(3).solve(np.zeros((6, 6)), np.zeros(6), scattered=True)
    np.testing.assert_allclose(after.off, before.off[keep], rtol=1e-7)
    np.testing.assert_allclose(after.covariance, before.covariance[np.ix_(keep, keep)], rtol=1e-6)
    np.testing.assert_allclose(after.scattered, before.scattered[np.ix_(keep, keep)], rtol=1e-6, atol=1e-12)


def test_rows_that_come_later_find_what_was_known_before() -> None:
    """Eliminating first and adding rows that do not touch the parameter is the same as the other way round."""
    whole, later = known(6, 2), known(5, 3)
    place = np.array([0, 1, 2, 3, 5])
    wide = later.placed(place, 6)
    together = Information(whole.gram + wide.gram, whole.slope + wide.slope, whole.scatter, 0.0, 1.0, 2)
    first = whole.without(4)
    apart = Information(first.gram + later.gram, first.slope + later.slope, first.scatter, 0.0, 1.0, 2)
    best = together.solve(np.zeros((6, 6)), np.zeros(6)).off[place]
    np.testing.assert_allclose(apart.solve(np.zeros((5, 5)), np.zeros(5)).off, best, rtol=1e-7)


@pytest.mark.parametrize("span", [(0.0, 40.0), (10.0, 25.0), (-3.0, 300.0)])
def test_drift_told_over_another_time_is_the_same_drift(span: tuple[float, float]) -> None:
    """Powers and drifts of the new functions give the power of the old ones at any time, to first order."""
    power, layer = np.array([4.0, 7.0, 2.0]), np.array([True, True, False])
    drift, idle, size = slice(3, 6), slice(6, 9), 9
    turn = reexpanded(0.0, 20.0, *span, power, layer, drift, idle, size)
    new = np.zeros(size)
    new[drift], new[idle] = [1e-6, -2e-6, 3e-6], [2e-6, 1e-6, -1e-6]
    old = turn @ new
    at = np.linspace(0.0, 20.0, 50)

    def of(values: np.ndarray, begin: float, end: float) -> np.ndarray:
        empty = np.zeros(0)
        model = Model(power, layer, None, (), begin, end, Layout.usual(1), stall_of=empty)  # type: ignore[arg-type]  # no kernel is looked at
        phi = model.drifts(at)
        layers = (power[:2] + values[:2]) * (1 + phi @ values[drift])[:, None]
        return np.column_stack([layers, power[2] + values[2] + phi @ values[idle]])

    nothing = of(np.zeros(size), 0.0, 20.0)
    change, wanted = of(old, 0.0, 20.0) - nothing, of(new, *span) - nothing
    assert np.abs(wanted).max() > 1e-6
    np.testing.assert_allclose(change, wanted, rtol=0, atol=1e-2 * np.abs(wanted).max())


def test_its_size_does_not_grow() -> None:
    """Whatever is added."""
    state = known(20, 4)
    size = state.nbytes
    for number in range(50):
        state = state.without(19).placed(np.arange(19), 20).forget(0.99)
        state = Information(state.gram + known(20, number).gram, state.slope, state.scatter, 0.0, 1.0, 2)
    assert state.nbytes == size == (20 * 20 * 2 + 20) * 8


@pytest.mark.parametrize("second", [False, True])
def test_a_vector_of_parameters_is_that_of_the_model_made_of_it(second: bool) -> None:
    """Each parameter has its place both ways."""
    spline = Spline.over(0.0, 3e10)
    model = Model(
        np.full(4, 5.0), np.arange(4) < 2, Kernel(150e3, 140e3), (spline,), 0.0, 3e10, Layout.usual(1), second=second,
        stall_of=np.zeros(4), drift=np.zeros(DRIFTS), idle_drift=np.zeros(DRIFTS), shift_us=(np.zeros(spline.columns),),
    )  # fmt: skip
    drawn = np.random.default_rng(5).uniform(0.1, 0.5, model.index.size)
    drawn[model.index.lag] = 120.0
    drawn[model.index.second] = 60.0 if second else 0.0
    np.testing.assert_allclose(packed(unpacked(model, drawn)), drawn, rtol=1e-9, atol=1e-9)
