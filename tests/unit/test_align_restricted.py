"""The likelihood of the sensor with powers integrated over: what keeps it from being found sharper than it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuralpower_align.activity.layout import COMMON, GAP, US, Layout, Room
from neuralpower_align.activity.schedule import Laid, Schedule, schedule
from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.fit.surface import EVERY, PULL_NS, Surface
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import DRIFTS, WIDEST, Model, Pull, Spline, prior
from neuralpower_align.model.piece import Piece
from neuralpower_align.sensor.kernel import Kernel, lag_of_ns, measured_ns

LAYERS, NOISE = 60, Noise.even(0.05**2)


def plan_of(seed: int, inferences: int = 150) -> Schedule:
    """Many layers of 10 to 60 us, random gaps."""
    random = np.random.default_rng(seed)
    mean = random.uniform(10e3, 60e3, LAYERS)
    durations = np.rint(mean * (1 + 0.01 * random.standard_normal((inferences, LAYERS)))).astype(np.int64)
    total = durations.sum(axis=1) + 160_000
    begin = 10_000_000 + np.cumsum(total + random.integers(100_000, 1_200_000, inferences)) - total
    laid = Laid(
        layer_windows(begin, begin + total, durations),
        np.arange(LAYERS),
        LAYERS + 2,
        begin,
        begin + total,
        LAYERS,
        LAYERS + 1,
    )
    return schedule([laid], LAYERS + 3, LAYERS + 4)


@pytest.fixture
def surface() -> Surface:
    return Surface(plan_of(1), np.arange(LAYERS + 4) < LAYERS, (), 200, 1e6, 1e6)


@pytest.fixture
def two() -> Surface:
    """Two engines by turns, of 30 and 10 layers with gaps between them."""
    random, laid, at, classes = np.random.default_rng(2), [], 10_000_000, 0
    turns = np.arange(120)
    for number, layers in enumerate((30, 10)):
        durations = np.rint(
            random.uniform(15e3, 60e3, layers) * (1 + 0.01 * random.standard_normal((turns.size, layers)))
        ).astype(np.int64)
        begin = at + turns * 5_000_000 + number * 2_500_000
        end = begin + durations.sum(axis=1) + 160_000 + random.integers(0, 40_000, turns.size)
        windows = layer_windows(begin, end, durations)
        mine = np.arange(classes, classes + layers)
        classes += layers + 3
        room = Room.of(begin, end, durations)
        laid.append(Laid(windows, mine, classes - 1, begin, end, classes - 3, classes - 2, room))
    layer = np.ones(classes + 1, np.bool_)
    layer[[30, 31, 32, 43, 44, 45, 46]] = False
    return Surface(schedule(laid, classes, classes + 1), layer, (), 200, 1e6, 1e6)


def piece_of(plan: Schedule) -> Piece:
    """Readings of nothing."""
    at = np.arange(5e6, float(plan.edges_ns[-1]) + 3e6, 0.84e6)
    return Piece(np.arange(at.size), at, np.full(at.size, 5.0), 140e3, 1, None, 0.0)


def model_of(surface: Surface, piece: Piece, lag_ns: float) -> Model:
    power, layer = np.where(surface.layer, 8.0, 4.0), surface.layer
    begin, end = float(piece.at_ns[0]), float(piece.at_ns[-1])
    spline = Spline.over(begin, end)
    return Model(
        power, layer, Kernel(lag_ns, 140e3), (spline,), begin, end, Layout.usual(1), stall_of=np.zeros(power.size), drift=np.zeros(DRIFTS),
        idle_drift=np.zeros(DRIFTS), shift_us=(np.zeros(spline.columns),), lag_from_ns=lag_ns, each=False, centre_w=8.0, level_w=6.0,
    )  # fmt: skip


@pytest.mark.parametrize("lag_ns", [20e3, 80e3, 300e3])
def test_a_sharper_sensor_tells_powers_better_and_that_is_counted(surface: Surface, lag_ns: float) -> None:
    """The information on powers falls with the lag; its slope is what pulls the lag up, against a likelihood in which powers are fitted."""
    piece = piece_of(surface.plan)
    here, longer, longest = (
        surface.at((model_of(surface, piece, lag_of_ns(measured_ns(lag_ns) + more)), [piece], NOISE), EVERY)
        for more in (0.0, PULL_NS / 4, 3 * PULL_NS / 4)
    )
    assert here.restricted > longer.restricted > longest.restricted
    pulled = surface.pulled(here, EVERY)
    slope = (longer.restricted - longest.restricted) / 2 / (PULL_NS / 2 / US)
    assert pulled.pull is not None and pulled.pull.lag == pytest.approx(slope, rel=0.1) and pulled.pull.blur == 0.0
    free = surface.at((pulled, [piece], NOISE), EVERY)
    one, other = (each.newton()[0][each.model.index.lag][0] for each in (here, free))
    assert other > one


def test_the_pull_is_a_slope_of_the_prior(surface: Surface) -> None:
    """It adds itself to the slope in lag, whatever the prior's width, and to nothing else; a sensor that is known is not pulled."""
    piece = piece_of(surface.plan)
    model = model_of(surface, piece, 50e3)
    nothing = np.zeros(model.layout.size)
    pulled = replace(model, pull=Pull(3.0, 0.7, 0.2, nothing))
    (precision, away), (same, other) = prior(model), prior(pulled)
    np.testing.assert_array_equal(precision, same)
    change = precision @ (other - away)
    assert change[model.index.lag][0] == pytest.approx(3.0) and np.count_nonzero(np.abs(change) > 1e-9) == 1
    known = replace(model, known=True)
    np.testing.assert_array_equal(prior(known)[1], prior(replace(known, pull=pulled.pull))[1])
    blurred = replace(model, blurs=True)
    change = prior(blurred)[0] @ (prior(replace(blurred, pull=Pull(0.0, 0.7, 0.2, nothing)))[1] - prior(blurred)[1])
    assert change[model.index.blur][0] == pytest.approx(0.7) and change[model.index.skew][0] == pytest.approx(0.2)
    gaps = np.arange(nothing.size, dtype=np.float64)
    change = precision @ (prior(replace(model, pull=Pull(0.0, 0.0, 0.0, gaps)))[1] - away)
    np.testing.assert_allclose(change[model.index.layout], gaps, atol=1e-9)


def test_gaps_are_pulled_by_what_the_powers_of_their_own_engine_are_told_by(two: Surface) -> None:
    """Longer gaps tell powers better or worse, and the pull is the slope of that: of the common gap, and of each engine's own by its classes."""
    piece = piece_of(two.plan)
    model = model_of(two, piece, 20e3)
    model = replace(model, layout=replace(Layout.usual(2), value=Layout.usual(2).value))

    def moved_by(number: int, gap_us: float) -> float:
        wide = replace(model.layout, value=model.layout.value + gap_us * (np.arange(model.layout.size) == number))
        return two.at((replace(model, layout=wide), [piece], NOISE), EVERY).restricted

    pull = two.pulled(two.at((model, [piece], NOISE), EVERY), EVERY).pull
    assert pull is not None
    for number in (GAP, COMMON + 1, COMMON + 3):
        slope = (moved_by(number, 0.01) - moved_by(number, -0.01)) / 2 / 0.02
        assert pull.layout[number] == pytest.approx(-slope, rel=0.15, abs=0.02 * abs(pull.layout[GAP]))
    assert pull.layout[GAP] == pytest.approx(pull.layout[COMMON + 1 :: 2].sum(), rel=0.05)
    still = replace(model, layout=replace(model.layout, still=True))
    held = two.pulled(two.at((still, [piece], NOISE), EVERY), EVERY).pull
    assert held is not None and not held.layout.any()


def test_a_width_at_its_bound_goes_no_further_and_promises_nothing(surface: Surface) -> None:
    """A step past what edges may be is no step: a fit that ends there has settled."""
    piece = piece_of(surface.plan)
    model = replace(model_of(surface, piece, 50e3), blurs=True, wider=WIDEST)
    model = replace(model, pull=Pull(0.0, 40.0, 0.0, np.zeros(model.layout.size)))
    state = surface.at((model, [piece], NOISE), EVERY)
    assert state.newton()[0][model.index.blur][0] == pytest.approx(0.0, abs=1e-12)
    inside = surface.at((replace(model, wider=WIDEST - 0.3), [piece], NOISE), EVERY)
    assert 0 < inside.newton()[0][model.index.blur][0] <= 0.3 + 1e-9
