"""The regression: unbiased, with intervals that hold what they say, on rows drawn from its own model of noise and by brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_align.activity.layout import US, Layout
from neuralpower_align.activity.schedule import Laid, Schedule, schedule
from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.fit.gls import Normal, accumulate
from neuralpower_align.fit.information import Information, within
from neuralpower_align.model.noise import Noise, Sample, estimate_noise
from neuralpower_align.model.nuisance import Model, Spline, between, columns, moved, prior, said
from neuralpower_align.model.piece import Piece
from neuralpower_align.model.rows import Design, blocks_of, designs
from neuralpower_align.sensor.kernel import Kernel, lag_of_ns, lag_rate, measured_ns

LAYERS = 5
DRAWS = 240
POWER = np.array([9.0, 6.0, 12.0, 8.0, 10.5, 3.6, 3.4, 3.0, 2.0])
LAYER = np.arange(POWER.size) < LAYERS
KERNEL = Kernel(150e3, 140e3)
NOISE = Noise(0.06**2, 0.0, 0.1**2, (20e3) ** 2)
OF_TABLES = {"lag", "second", "blur", "skew", "layout"}
"""Parameters that move what tables of the sensor's response or the layout say: tests of their own hold their columns."""


def plan_of(seed: int, inferences: int = 400) -> Schedule:
    """Five layers of 40 to 200 us, launch and tail, random gaps."""
    random = np.random.default_rng(seed)
    mean = np.array([120e3, 60e3, 200e3, 40e3, 90e3])
    durations = np.rint(mean * (1 + 0.01 * random.standard_normal((inferences, LAYERS)))).astype(np.int64)
    total = durations.sum(axis=1) + 160_000
    begin = 10_000_000 + np.cumsum(total + random.integers(100_000, 1_200_000, inferences)) - total
    laid = Laid(layer_windows(begin, begin + total, durations), np.arange(LAYERS), 7, begin, begin + total, 5, 6)
    return schedule([laid], 8, 9)


def piece_of(plan: Schedule, seed: int) -> Piece:
    at = np.arange(5e6, float(plan.edges_ns[-1]) + 3e6, 1e6) + np.random.default_rng(seed).uniform(0, 8e5)
    return Piece(np.arange(at.size), at, np.zeros(at.size), 140e3, 1, None, 0.0)


def model_of(piece: Piece, power: np.ndarray, *, sensor: bool = False, kernel: Kernel = KERNEL) -> Model:
    spline = Spline.over(float(piece.at_ns[0]), float(piece.at_ns[-1]))
    return Model(
        power, LAYER, kernel, (spline,), float(piece.at_ns[0]), float(piece.at_ns[-1]), Layout.usual(1), stall_of=np.zeros(power.size),
        shift_us=(np.zeros(spline.columns),), lag_from_ns=kernel.lag_ns, sensor=sensor,
    )  # fmt: skip


def with_noise(plan: Schedule, piece: Piece, model: Model, seed: int) -> Piece:
    """Readings drawn from the model: what it says, and noise with the covariance of each block."""
    random, value = np.random.default_rng(seed), np.zeros(piece.number.size)
    for design in designs(plan, 0, piece, model.kernel, model.power_w):
        root = np.linalg.cholesky(NOISE.covariance(design, 1))
        drawn = (root @ random.standard_normal((*design.rows.shape, 1)))[..., 0]
        value[design.rows] = columns(model, design)[2] + drawn
    return replace(piece, value_w=value)


def every(plan: Schedule, piece: Piece, model: Model) -> list[Design]:
    return list(designs(plan, 0, piece, model.kernel, model.power_w))


def summed(plan: Schedule, piece: Piece, model: Model, *, backwards: bool = False) -> Normal:
    normal = Normal.empty(model.index.size)
    found = every(plan, piece, model)
    for design in found[::-1] if backwards else found:
        accumulate(normal, model, design, NOISE, 1)
    return normal


def test_estimates_are_unbiased_and_their_intervals_hold_the_truth() -> None:
    """Many draws of one design: the mean of the estimates is the truth, and 95 % intervals hold it about that often."""
    plan, errors = plan_of(1), []
    piece = piece_of(plan, 1)
    truth = model_of(piece, POWER)
    for seed in range(DRAWS):
        drawn = with_noise(plan, piece, truth, seed)
        start = model_of(piece, np.where(LAYER, 8.0, 3.0))
        for _ in range(2):
            step = Information.of(summed(plan, drawn, start)).solve(*prior(start), scattered=True)
            start, _ = moved(start, [drawn], step.off)
        error = np.sqrt(np.diag(step.covariance))[:LAYERS]
        errors.append((start.power_w[:LAYERS] - POWER[:LAYERS]) / error)
    z = np.array(errors)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(DRAWS)
    assert 0.91 < np.mean(np.abs(z) < 1.96) < 0.985
    assert 0.85 < z.std() < 1.15


def test_a_shifted_sensor_is_found_back() -> None:
    """From 40 us of shift and a lag a fifth too long, rounds come back to both, with the powers."""
    plan = plan_of(2, 900)
    piece = piece_of(plan, 2)
    drawn = with_noise(plan, piece, model_of(piece, POWER), 7)
    pieces = [drawn.shifted(np.full(drawn.number.size, 40e3))]
    model = model_of(piece, np.where(LAYER, 8.0, 3.0), sensor=True, kernel=replace(KERNEL, lag_ns=180e3))
    model = replace(model, sensor=False, centre_w=8.0)
    for number in range(9):
        step = Information.of(summed(plan, pieces[0], model)).solve(*prior(model), scattered=True)
        model, pieces = moved(model, pieces, step.off)
        model = replace(model, sensor=True, centre_w=8.0 if number < 3 else 0.0)
    assert np.abs(pieces[0].at_ns - piece.at_ns).max() < 12e3
    assert model.kernel.lag_ns == pytest.approx(150e3, abs=8e3)
    error = np.sqrt(np.diag(step.covariance))[:LAYERS]
    assert np.abs((model.power_w[:LAYERS] - POWER[:LAYERS]) / error).max() < 4


def test_order_of_blocks_does_not_matter() -> None:
    """Sums taken backwards, or in two parts, are the same."""
    plan = plan_of(3, 200)
    piece = piece_of(plan, 3)
    model = model_of(piece, POWER, sensor=True)
    drawn = with_noise(plan, piece, model, 3)
    one, other = summed(plan, drawn, model), summed(plan, drawn, model, backwards=True)
    np.testing.assert_allclose(one.gram, other.gram, rtol=1e-9, atol=1e-9 * np.abs(one.gram).max())
    np.testing.assert_allclose(one.slope, other.slope, rtol=1e-7, atol=1e-9 * np.abs(one.slope).max())
    assert one.rows == other.rows == piece.number.size and one.clusters.keys() == other.clusters.keys()


def test_twice_the_power_is_twice_the_estimate() -> None:
    """Readings, noise and priors' scales doubled: estimates and errors double."""
    plan = plan_of(4, 300)
    piece = piece_of(plan, 4)
    drawn = with_noise(plan, piece, model_of(piece, POWER), 4)
    doubled = replace(drawn, value_w=2 * drawn.value_w)
    start = replace(model_of(piece, np.where(LAYER, 8.0, 3.0)), level_w=4.0)
    one = Information.of(summed(plan, drawn, start)).solve(*prior(start), scattered=True)
    twice = replace(model_of(piece, np.where(LAYER, 16.0, 6.0)), level_w=8.0)
    normal = Normal.empty(twice.index.size)
    louder = replace(NOISE, white=4 * NOISE.white, slow=4 * NOISE.slow)
    for design in every(plan, doubled, twice):
        accumulate(normal, twice, design, louder, 1)
    two = Information.of(normal).solve(*prior(twice))
    np.testing.assert_allclose(two.off[:LAYERS], 2 * one.off[:LAYERS], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        two.covariance[:LAYERS, :LAYERS], 4 * one.covariance[:LAYERS, :LAYERS], rtol=1e-6, atol=1e-9
    )


def test_variances_are_found() -> None:
    """White and slow noise and the slack come out of residuals within a few tenths, the slow part's time among those tried.

    All inferences have the same room: what of their scatter grows with it is not told apart.
    """
    plan = plan_of(5, 2500)
    piece = piece_of(plan, 5)
    truth = model_of(piece, POWER)
    drawn = with_noise(plan, piece, truth, 5)
    blocks = [blocks_of(piece.number.size)[0][:30]]
    samples = [
        Sample(design.value_w - columns(truth, design)[2], design, 1)
        for design in designs(plan, 0, drawn, truth.kernel, POWER, blocks)
    ]
    found = estimate_noise(samples, Noise(), 0.0, (30e6, 100e6, 1000e6))
    assert np.sqrt(found.white) == pytest.approx(0.06, rel=0.15)
    assert np.sqrt(found.slow) == pytest.approx(0.1, rel=0.3) and found.slow_ns == 100e6
    assert np.sqrt(found.place) == pytest.approx(20e3, rel=0.25)


@pytest.mark.parametrize("averaging", [1, 4])
def test_rows_without_scatter_are_whitened(averaging: int) -> None:
    """A search for starts takes noise as even: rows then say nothing of inferences that run early or late."""
    plan = plan_of(5, 100)
    piece, noise = piece_of(plan, 5), Noise.even(0.01)
    if averaging > 1:
        piece = replace(piece, averaging=averaging)
    blocks = [blocks_of(piece.number.size)[0][:2]]
    found = list(designs(plan, 0, piece, KERNEL, POWER, blocks, scatter=False))
    assert found
    for design in found:
        assert not design.scatter.block.size
        every = np.broadcast_to(np.eye(design.rows.shape[1]), (*design.rows.shape, design.rows.shape[1]))
        root = noise.root(design, averaging).whitened(every)
        told = np.linalg.inv(np.swapaxes(root, 1, 2) @ root)
        np.testing.assert_allclose(told, noise.covariance(design, averaging), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_between_two_models_is_the_step_from_one_to_the_other(seed: int) -> None:
    """Of all parameters, as they are numbered; between a model and itself is nothing."""
    plan = plan_of(7, 60)
    piece = piece_of(plan, 7)
    model = replace(
        model_of(piece, POWER, sensor=True), each=False, drift=np.array([0.01, -0.02, 0.005]), idle_drift=np.zeros(3)
    )
    step = np.random.default_rng(seed).uniform(-0.05, 0.05, model.index.size)
    step[model.index.second] = 0.0
    other, _ = moved(model, [piece], step)
    np.testing.assert_allclose(between(model, other, model), step, atol=1e-9)
    np.testing.assert_allclose(between(other, model, model), -step, atol=1e-9)
    assert not between(model, model, model).any()


def test_columns_are_derivatives() -> None:
    """Each column of the regression is what the model's reading changes by with its parameter."""
    plan = plan_of(6, 60)
    piece = piece_of(plan, 6)
    power = POWER + 0.3
    model = replace(
        model_of(piece, power, sensor=True), stall_of=np.full(POWER.size, 0.1), drift=np.array([0.01, -0.02, 0.005]),
        idle_drift=np.array([0.02, 0.0, 0.01]),
    )  # fmt: skip
    index = model.index
    named = {name: where for name, where in vars(index).items() if isinstance(where, slice) and name not in OF_TABLES}
    checked = {0, 3, 7, *(number for where in named.values() for number in range(where.stop - 1, where.start - 1, -2))}
    seen = set()
    for design in every(plan, piece, model):
        numbers, dense, said = columns(model, design)
        for number in checked:
            change = np.zeros(index.size)
            change[number] = 1e-6
            other = columns(moved(model, [piece], change)[0], design)[2]
            place = np.flatnonzero(numbers == number)
            if place.size:
                seen.add(number)
                np.testing.assert_allclose((other - said) / 1e-6, dense[..., place[0]], atol=0.05)
    assert seen == checked


@pytest.mark.parametrize("lag_ns", [1e3, 8e3, 40e3, 150e3, 900e3])
def test_a_longer_lag_is_seen_later_and_not_farther_away(lag_ns: float) -> None:
    """The column of the lag is what readings change by along its step, at the same mean answer; it does not vanish where the lag does."""
    plan = plan_of(6, 60)
    piece, step = piece_of(plan, 6), 2.0
    kernel = Kernel(lag_ns, 140e3, blur_ns=8e3)
    model = replace(model_of(piece, POWER, sensor=True, kernel=kernel), each=False)
    change = np.zeros(model.index.size)
    change[model.index.lag] = step
    other, (later,) = moved(model, [piece], change)
    gone = other.kernel.lag_ns - lag_ns
    np.testing.assert_allclose(later.at_ns - piece.at_ns, gone, atol=1e-3)
    np.testing.assert_allclose(other.shift_us[0] - model.shift_us[0], gone / US, atol=1e-6)
    ends = [(model, [piece]), moved(model, [piece], change), moved(model, [piece], 2 * change)]
    rows = zip(*(list(every(plan, pieces[0], which)) for which, pieces in ends), strict=True)
    for before, here, after in rows:
        numbers, dense, _ = columns(ends[1][0], here)
        column = dense[..., np.flatnonzero(numbers == model.index.lag.start)[0]]
        found = (columns(ends[2][0], after)[2] - columns(model, before)[2]) / (2 * step)
        # Tables of 1 us know a lag of 1 us to a tenth.
        assert np.abs(found - column).max() < 0.15 * np.abs(column).max() and np.abs(column).max() > 1e-3


@pytest.mark.parametrize(
    ("lag_ns", "skew", "late"), [(8e3, 0.0, 0.0), (8e3, -0.8, 0.7), (40e3, 0.5, 0.4), (300e3, -0.3, 0.7)]
)
def test_width_and_skewness_of_places_have_the_columns_that_readings_change_by(
    lag_ns: float, skew: float, late: float
) -> None:
    """Wider or more uneven places change readings as their columns say, whether all inferences scatter alike or each as its room says."""
    plan = plan_of(6, 60)
    piece, step = piece_of(plan, 6), 0.1
    kernel = Kernel(lag_ns, 140e3, blur_ns=12e3, skew=skew, late=late)
    model = replace(model_of(piece, POWER, sensor=True, kernel=kernel), each=False, blurs=True)
    wider, narrower = (replace(kernel, blur_ns=12e3 * np.exp(each / 2)) for each in (step, -step))
    more, less = (replace(kernel, skew=skew + each) for each in (step, -step))
    for name, (up, down) in (("blur", (wider, narrower)), ("skew", (more, less))):
        rows = zip(*(every(plan, piece, replace(model, kernel=each)) for each in (kernel, up, down)), strict=True)
        for here, one, other in rows:
            numbers, dense, _ = columns(model, here)
            column = dense[..., np.flatnonzero(numbers == getattr(model.index, name).start)[0]]
            found = (said(model, one) - said(model, other)) / (2 * step)
            # Between entries of a table its means are taken.
            assert np.abs(found - column).max() < 0.1 * np.abs(column).max() and np.abs(column).max() > 1e-4


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_best_step_within_bounds_is_the_best_there_is(seed: int) -> None:
    """Nothing pulls what is free, and what is held would leave what can be (Karush, Kuhn and Tucker's conditions)."""
    random = np.random.default_rng(seed)
    size = int(random.integers(2, 14))
    root = random.standard_normal((size, size + 2))
    total, slope = root @ root.T + 0.01 * np.eye(size), 3 * random.standard_normal(size)
    least, most = -random.uniform(0, 0.5, size), random.uniform(0, 0.5, size)
    least[random.random(size) < 0.2], most[random.random(size) < 0.2] = 0.0, 0.0
    least[random.random(size) < 0.3], most[random.random(size) < 0.3] = -np.inf, np.inf
    inverse = np.linalg.inv(total)
    best, held = within(inverse @ slope, inverse, least, most)
    pull = slope - total @ best
    assert np.all((best >= least) & (best <= most))
    assert np.abs(pull[~held]).max(initial=0.0) < 1e-6
    fixed = least == most
    assert np.all(pull[held & ~fixed & (best == most)] > -1e-6) and np.all(pull[held & ~fixed & (best == least)] < 1e-6)
    assert slope @ best - best @ total @ best / 2 > -1e-9, "a step promises no loss"


@settings(max_examples=200, deadline=None)
@given(st.floats(0.0, 1e7), st.floats(0.0, 1e7))
def test_a_pole_is_measured_both_ways(lag_ns: float, other_ns: float) -> None:
    """What measures a pole gives it back, grows with it, by its square where it is short and as it does where it is long."""
    assert lag_of_ns(measured_ns(lag_ns)) == pytest.approx(lag_ns, rel=1e-6, abs=1.0)
    assert (measured_ns(lag_ns) < measured_ns(other_ns)) <= (lag_ns < other_ns)
    assert measured_ns(2e3) == pytest.approx(4 * measured_ns(1e3), rel=1e-2)
    assert measured_ns(3e6) - measured_ns(2e6) == pytest.approx(1e6, rel=1e-2)
    assert lag_rate(80e3) == pytest.approx(1 / (measured_ns(80.5e3) - measured_ns(79.5e3)) * 1e3, rel=1e-3)
