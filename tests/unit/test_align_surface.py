"""Steps lower the objective, and variances that are likelier are taken whatever width edges had under those before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_align.activity.layout import Layout
from neuralpower_align.activity.schedule import Laid, Schedule, schedule
from neuralpower_align.fit.surface import EVERY, NEAR, START_BLOCKS, Surface, _as_wide, _spread
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import DRIFTS, WIDEST, Model, Spline, columns
from neuralpower_align.model.piece import Piece
from neuralpower_align.model.rows import BLOCK, designs
from neuralpower_align.sensor.kernel import Kernel

Floats = npt.NDArray[np.float64]

LAYERS = 5
POWER = np.array([9.0, 6.0, 12.0, 8.0, 10.5, 3.6, 3.4, 3.0, 2.0])
LAYER = np.arange(POWER.size) < LAYERS
TRUE = Noise(white=0.03**2, slow=0.0, slack=12e3**2)


def plan_of(seed: int, inferences: int = 500) -> Schedule:
    """Five layers of 40 to 200 us, launch and tail, random gaps."""
    random = np.random.default_rng(seed)
    mean = np.array([120e3, 60e3, 200e3, 40e3, 90e3])
    durations = np.rint(mean * (1 + 0.01 * random.standard_normal((inferences, LAYERS)))).astype(np.int64)
    ends = np.cumsum(durations, axis=1) + 80_000
    begin = 10_000_000 + np.cumsum(random.integers(800_000, 1_900_000, inferences))
    windows = begin[:, None, None] + np.stack([ends - durations, ends], axis=-1)
    return schedule([Laid(windows, np.arange(LAYERS), 7, begin, begin + ends[:, -1] + 80_000, 5, 6)], 8, 9)


def many_layers(seed: int, inferences: int = 120, count: int = 64) -> Schedule:
    """Layers of 20 to 60 us, launch and tail, random gaps."""
    random = np.random.default_rng(seed)
    mean = random.uniform(20e3, 60e3, count)
    durations = np.rint(mean * (1 + 0.01 * random.standard_normal((inferences, count)))).astype(np.int64)
    ends = np.cumsum(durations, axis=1) + 80_000
    begin = 10_000_000 + np.cumsum(random.integers(4_000_000, 5_000_000, inferences))
    windows = begin[:, None, None] + np.stack([ends - durations, ends], axis=-1)
    return schedule(
        [Laid(windows, np.arange(count), count + 2, begin, begin + ends[:, -1] + 80_000, count, count + 1)],
        count + 3,
        count + 4,
    )


def model_of(piece: Piece, kernel: Kernel) -> Model:
    spline = Spline.over(float(piece.at_ns[0]), float(piece.at_ns[-1]))
    return Model(
        POWER, LAYER, kernel, (spline,), float(piece.at_ns[0]), float(piece.at_ns[-1]), Layout.usual(1),
        stall_of=np.zeros(POWER.size), drift=np.zeros(DRIFTS), idle_drift=np.zeros(DRIFTS), shift_us=(np.zeros(spline.columns),),
        lag_from_ns=kernel.lag_ns, stalls=False, each=False, blurs=True, level_w=6.0, centre_w=9.0,
    )  # fmt: skip


def readings_of(plan: Schedule, seed: int) -> tuple[Piece, Model]:
    """Readings of a sharp sensor drawn from the model, under TRUE, and the model."""
    random = np.random.default_rng(seed)
    at: Floats = np.arange(5e6, float(plan.edges_ns[-1]) + 3e6, 0.4e6) + float(random.uniform(0, 4e5))
    piece = Piece(np.arange(at.size), at, np.zeros(at.size), 140e3, 1, None, 0.0)
    model = model_of(piece, Kernel(4e3, 140e3, blur_ns=12e3))
    value = np.zeros(at.size)
    for design in designs(plan, 0, piece, model.kernel, POWER):
        root = np.linalg.cholesky(TRUE.covariance(design, 1))
        drawn = (root @ random.standard_normal((*design.rows.shape, 1)))[..., 0]
        value[design.rows] = columns(model, design)[2] + drawn
    return replace(piece, value_w=value), model


@pytest.mark.parametrize("seed", [2, 4])
def test_scatter_that_was_thought_too_large_is_mended(seed: int) -> None:
    """From variances nine times too large, with edges as wide, the search comes to the true ones, and settles."""
    plan = plan_of(seed)
    piece, model = readings_of(plan, seed)
    surface = Surface(plan, LAYER, (), 200, 1e6, 1e6)
    begun = Noise(white=0.045**2, slow=0.01**2, slack=28e3**2, late=22e3**2)
    found = surface.settled((model, [piece], begun), EVERY, NEAR, 60, reread=False)
    assert found.settled
    assert found.noise.white**0.5 == pytest.approx(0.03, rel=0.15)
    assert found.noise.place**0.5 == pytest.approx(12e3, rel=0.35)


@settings(max_examples=100, deadline=None)
@given(st.floats(1.0, 200e3), st.floats(1.0, 200e3), st.floats(-WIDEST, WIDEST))
def test_edges_stay_as_wide_as_they_were(before_ns: float, after_ns: float, wider: float) -> None:
    """Whatever the variances become, but for the bounds of what edges may be wider by; a model whose edges are given stays as it is."""
    at: Floats = np.arange(4) * 1e6
    piece = Piece(np.arange(4), at, np.zeros(4), 140e3, 1, None, 0.0)
    model = replace(model_of(piece, Kernel(4e3, 140e3)), wider=wider)
    before, after = (Noise(1e-3, slack=each**2) for each in (before_ns, after_ns))
    other = _as_wide(model, before, after)
    wide = before.place * np.exp(wider)
    least, most = (after.place * np.exp(bound) for bound in (-WIDEST, WIDEST))
    assert after.place * np.exp(other.wider) == pytest.approx(np.clip(wide, least, most), rel=1e-6)
    assert _as_wide(replace(model, blurs=False), before, after).wider == wider


@pytest.mark.parametrize("seed", [1, 2])
def test_no_step_raises_the_objective(seed: int) -> None:
    """Of many layers and few readings, with a lag that may run away: that powers are integrated over is in what steps lower, exactly."""
    plan, count = many_layers(seed), 64
    random = np.random.default_rng(seed)
    at: Floats = np.arange(5e6, float(plan.edges_ns[-1]) + 3e6, 0.84e6)
    layer = np.arange(count + 4) < count
    piece = Piece(np.arange(at.size), at, 8 + random.standard_normal(at.size), 140e3, 1, None, 0.0)
    model = model_of(piece, Kernel(60e3, 140e3))
    model = replace(
        model, power_w=np.full(count + 4, 8.0), layer=layer, stall_of=np.zeros(count + 4), blurs=False, edge_ns=15e3
    )
    surface = Surface(plan, layer, (), 200, 1e6, 1e6)
    state = surface.at((model, [piece], Noise.even(1.0)), EVERY)
    costs = [state.cost]
    for _ in range(6):
        state = surface.climbed(state, EVERY, 1, NEAR)
        costs.append(state.cost)
    assert np.all(np.diff(costs) <= 0), costs


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.floats(0.0, 0.03))
def test_some_blocks_are_of_the_same_readings_whatever_rows_are_gone(seed: int, count: int, gone: float) -> None:
    """Full blocks that do not overlap; where a few rows are gone nearly all of the others are in the same blocks as before."""
    random = np.random.default_rng(seed)
    at: Floats = np.arange(9000) * 1e6
    whole = Piece(np.arange(9000) + int(random.integers(0, 5000)), at, np.zeros(9000), 140e3, 1, None, 0.0)
    fewer = whole.taken(np.flatnonzero(random.random(9000) >= gone))
    chosen = []
    for piece in (whole, fewer):
        (rows,) = _spread([piece], count)[0]
        assert rows.shape[1] == BLOCK and np.all(np.diff(rows.ravel()) >= 1)
        assert abs(len(rows) - count) <= 1
        chosen.append(piece.number[rows.ravel()])
    assert np.isin(chosen[1], chosen[0]).mean() > 0.8


def test_starts_are_compared_by_some_engines_whatever_rows_come() -> None:
    """Readings that are numbered anew make other rows, and more of them: those of the engines chosen are found among them."""
    plan = plan_of(1, 4000)
    whole, model = readings_of(plan, 1)
    surface = Surface(plan, LAYER, (), 200, 1e6, 1e6, np.array([0]))
    sizes = []
    for piece in (whole.taken(np.arange(BLOCK * 100)), whole):
        state = surface.at((model, [piece], Noise.even(0.01)), START_BLOCKS)
        sizes.append(state.normal.rows)
    assert sizes == [START_BLOCKS * BLOCK] * 2
