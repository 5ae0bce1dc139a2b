"""Units: what is resolved, what is grouped, what is not told; excitation and droop beside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_align.readings.droop import supply
from neuralpower_align.result.resolution import GROUP_ERROR, HALF_WIDTH, Z95, resolved_units
from neuralpower_align.sensor.excitation import excitation


def covariance_of(random: np.random.Generator, size: int, error: float) -> np.ndarray:
    """Neighbours that trade off against each other, as attribution gives them."""
    mix = np.eye(size) - 0.8 * np.eye(size, k=1)
    return np.asarray(error**2 * (mix.T @ np.diag(random.uniform(0.1, 4.0, size)) @ mix))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**31), st.floats(0.01, 5.0))
def test_every_layer_is_in_one_unit_of_neighbours(size: int, seed: int, error: float) -> None:
    """Units are runs of neighbours, each layer in one, and their energy is that of their layers."""
    random = np.random.default_rng(seed)
    covariance, seconds = covariance_of(random, size, error), random.uniform(1e-5, 4e-4, size)
    power = random.uniform(5, 15, size) + np.linalg.cholesky(covariance + 1e-12 * np.eye(size)) @ random.normal(
        size=size
    )
    units = resolved_units(power, covariance, seconds)
    assert units.unit[0] == 0 and set(np.diff(units.unit)) <= {0, 1} and units.told.size == units.unit[-1] + 1
    time = np.bincount(units.unit, seconds)
    assert units.power_w @ time == pytest.approx(power @ seconds)
    assert np.all(np.linalg.eigvalsh(units.covariance) > -1e-9 * error**2)


def test_rule_of_resolution_holds() -> None:
    """What counts as told is a layer known to 20 %, or a group known to 5 %; the rest says that it is not told."""
    random = np.random.default_rng(3)
    for error in (0.2, 0.8, 2.0, 30.0):
        covariance, seconds = covariance_of(random, 30, error), random.uniform(1e-5, 4e-4, 30)
        power = np.full(30, 10.0)
        units = resolved_units(power, covariance, seconds)
        single = np.bincount(units.unit) == 1
        relative = units.power_se_w / 10.0
        assert np.all(relative[units.told & single] <= HALF_WIDTH / Z95 + 1e-9)
        assert np.all(relative[units.told & ~single] <= GROUP_ERROR + 1e-9)
        assert units.told.all() or error == 30.0
    assert resolved_units(np.full(4, 10.0), np.eye(4) * 1e6, np.ones(4)).told.tolist() == [False] * len(
        set(resolved_units(np.full(4, 10.0), np.eye(4) * 1e6, np.ones(4)).unit.tolist())
    )


def test_known_layers_stay_alone() -> None:
    """With small errors each layer is a unit; one that nothing tells is grouped with a neighbour."""
    power, seconds = np.array([8.0, 9.0, 12.0]), np.array([2e-4, 1e-5, 2e-4])
    assert resolved_units(power, np.eye(3) * 1e-4, seconds).unit.tolist() == [0, 1, 2]
    covariance = np.diag([1e-4, 9.0, 1e-4])
    assert resolved_units(power, covariance, seconds).unit.max() == 1


def test_windows_that_lie_everywhere_see_everything() -> None:
    """Random gaps leave nothing unseen; windows locked to the inference leave what they never cover, and say where."""
    random = np.random.default_rng(5)
    begin = np.cumsum(random.integers(6_000_000, 9_000_000, 4000))
    end = begin + 4_000_000
    free = excitation(np.arange(5e6, float(end[-1]), 840e3), 140e3, begin, end)
    assert free.unseen == 0.0
    locked = np.arange(4000) * 6_600_000
    seen = excitation(locked + 2.5e6, 1.1e6, locked, locked + 4_000_000)
    assert seen.unseen == pytest.approx(1 - 1.1 / 4, abs=0.03)


def test_supply_gives_the_voltage_at_the_current() -> None:
    """Voltage and current read apart under a changing load: the line between them, and the power at the current's own moment."""
    random = np.random.default_rng(6)
    load = np.repeat(random.uniform(0.3, 1.8, 600), 40)
    ampere = load + 0.012 * random.standard_normal(load.size)
    volt = 5.0 - 0.07 * np.roll(load, 1) + 0.012 * random.standard_normal(load.size)
    found = supply(np.round(volt / 0.008) * 0.008, ampere)
    assert found.ohm == pytest.approx(0.07, abs=5 * found.ohm_se + 2e-3)
    np.testing.assert_allclose(found.power_w(load), load * (5 - 0.07 * load), rtol=2e-3)
    flat = supply(5 + 0.01 * random.standard_normal(5000), ampere[:5000])
    assert flat.ohm == 0.0 and flat.volt == pytest.approx(5.0, abs=1e-3)
