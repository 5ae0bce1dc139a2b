"""Durations that count in steps: the steps are found, and what a layer really took is told better than they tell it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_align.activity.durations import FEWEST, STEPS_NS, UsualDurations, likely_ns, step_ns


def true_ns(seed: int, inferences: int = 4000) -> np.ndarray:
    """Layers of 20 to 400 us: all of an inference longer or shorter by 1 %, and each by 1 % of its own."""
    random = np.random.default_rng(seed)
    mean = np.geomspace(20e3, 400e3, 12)
    common = 1 + 0.01 * random.standard_normal((inferences, 1))
    return np.asarray(mean * common * (1 + 0.01 * random.standard_normal((inferences, mean.size))))


def counted(durations: np.ndarray, step: float, seed: int = 0) -> np.ndarray:
    """As differences of events that count in steps, one after another; events come at any moment of a step."""
    begin = np.random.default_rng(seed).uniform(0, step, (len(durations), 1))
    ends = np.concatenate([begin, begin + np.cumsum(durations, axis=1)], axis=1)
    return np.asarray(np.rint(np.diff(np.floor(ends / step) * step, axis=1)), np.int64)


@pytest.mark.parametrize("step", STEPS_NS)
def test_steps_are_found(step: int) -> None:
    """Whichever of those that GPUs' clocks count in."""
    assert step_ns(counted(true_ns(1, 200), step)) == step


def test_durations_without_steps_stay() -> None:
    """Those that count in no steps, and those too few to tell a variance, are not touched."""
    smooth = np.rint(true_ns(2, 300)).astype(np.int64)
    assert step_ns(smooth) == 0
    assert likely_ns(smooth) is smooth
    few = counted(true_ns(2, FEWEST - 1), 1024)
    assert likely_ns(few) is few


@pytest.mark.parametrize("step", [512, 1024, 2048])
def test_a_regression_on_likely_durations_has_no_bias(step: int) -> None:
    """True durations rise one to one with the likely ones; with those that were counted they rise by far less where layers are short."""
    true = true_ns(3, 20_000)
    seen = counted(true, step)
    likely = likely_ns(seen)
    error = np.sqrt(np.mean((likely - true) ** 2, axis=0))
    assert np.all(error < 1.05 * np.sqrt(np.mean((seen - true) ** 2, axis=0)))
    short = slice(0, 6)

    def rises(by: np.ndarray) -> float:
        """Slope of the true durations of short layers beside their means."""
        x, y = (part[:, short] - part[:, short].mean(axis=0) for part in (by, true))
        return float((x * y).sum() / (x**2).sum())

    assert rises(likely) == pytest.approx(1.0, abs=0.08)
    assert rises(seen.astype(np.float64)) < {512: 0.95, 1024: 0.8, 2048: 0.5}[step]
    np.testing.assert_allclose(likely.mean(axis=0), seen.mean(axis=0), rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(STEPS_NS), st.integers(1, 60))
def test_a_part_is_told_as_in_the_whole(seed: int, step: int, some: int) -> None:
    """With what is usual of all of an engine's inferences, any of them are what they are among all; absent layers stay absent."""
    seen = counted(true_ns(seed % 1000, 200), step)
    seen[:, 3] *= np.arange(200) % 2
    usual = UsualDurations.of(seen)
    whole = likely_ns(seen)
    np.testing.assert_array_equal(usual.likely_ns(seen[:some]), whole[:some])
    assert np.all((whole == 0) == (seen == 0))
