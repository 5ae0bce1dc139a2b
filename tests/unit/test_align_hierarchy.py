"""What layers have in common: estimates nearer the truth, with intervals that hold it as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_align.result.hierarchy import FEWEST, shrunk
from neuralpower_align.result.resolution import Z95, resolved_units

LONG_S = np.full(40, 200e-6)
"""Layers so long that all scatter alike."""


def drawn(random: np.random.Generator, size: int, error: float, scatter: float) -> tuple[np.ndarray, ...]:
    """Truth, estimates and covariance of layers whose neighbours trade off against each other, and of one class beside them."""
    mix = np.eye(size + 1) - 0.8 * np.eye(size + 1, k=1)
    covariance = error**2 * mix.T @ np.diag(np.exp(random.uniform(-4, 2, size + 1))) @ mix
    truth = np.append(6.0 + scatter * random.standard_normal(size), 3.0)
    return truth, truth + np.linalg.cholesky(covariance) @ random.standard_normal(size + 1), covariance


def test_layers_gain_and_their_intervals_hold_even_where_chosen() -> None:
    """Over many engines: errors are less than half of the bare ones, as large as they say, and so are those of units told by them."""
    random = np.random.default_rng(4)
    before, after, squares, held = [], [], [], []
    for _ in range(150):
        truth, bare, covariance = drawn(random, 30, 1.0, 2.2)
        power, errors, _ = shrunk(bare, covariance, np.arange(30), LONG_S[:30])
        before.append(np.mean((bare - truth)[:30] ** 2))
        after.append(np.mean((power - truth)[:30] ** 2))
        squares.append(np.mean((power - truth)[:30] ** 2 / np.diag(errors)[:30]))
        seconds = random.uniform(1e-5, 4e-4, 30)
        units = resolved_units(power[:30], errors[:30, :30], seconds)
        true = np.bincount(units.unit, truth[:30] * seconds) / np.bincount(units.unit, seconds)
        held.append((np.abs(units.power_w - true) <= Z95 * units.power_se_w)[units.told])
    assert np.mean(after) < 0.5 * np.mean(before)
    assert np.mean(squares) == pytest.approx(1.0, abs=0.1)
    told = np.concatenate(held)
    assert told.size > 1000
    assert np.mean(told) == pytest.approx(0.95, abs=0.02)


def test_layers_that_are_alike_are_taken_as_one_and_those_that_are_known_stay() -> None:
    """Without scatter all layers come near their mean; with errors far below the scatter nothing moves."""
    random = np.random.default_rng(5)
    _, bare, covariance = drawn(random, 40, 1.0, 0.0)
    power, errors, _ = shrunk(bare, covariance, np.arange(40), LONG_S)
    assert np.std(power[:40]) < 0.2 * np.std(bare[:40])
    assert np.abs(power[:40] - 6.0).max() < 5 * np.sqrt(np.diag(errors)[:40]).max()
    _, bare, covariance = drawn(random, 40, 1e-3, 2.0)
    assert shrunk(bare, covariance, np.arange(40), LONG_S)[0] == pytest.approx(bare, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**31), st.floats(0.01, 5.0))
def test_covariance_shrinks_and_few_layers_stay(size: int, seed: int, error: float) -> None:
    """No interval of a layer grows by more than the spread among scatters explains, the covariance stays one, and few layers stay."""
    truth, bare, covariance = drawn(np.random.default_rng(seed), size, error, 1.5)
    power, errors, change = shrunk(bare, covariance, np.arange(size), LONG_S[:size])
    if size < FEWEST:
        assert power is bare and errors is covariance
        assert change.tolist() == np.eye(size + 1).tolist()
        return
    assert np.isfinite(power).all() and power.shape == truth.shape
    assert np.linalg.eigvalsh(errors).min() > -1e-9 * np.linalg.eigvalsh(errors).max()
    assert np.trace(errors[:size, :size]) < 2 * np.trace(covariance[:size, :size])
    same = change @ np.append(np.ones(size), 0.0)
    assert same[:size] == pytest.approx(np.ones(size), abs=1e-6)
