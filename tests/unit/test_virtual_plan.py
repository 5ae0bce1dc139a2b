"""What the virtual device plans: times that follow one another, energy that adds up, durations as TensorRT tells them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower.virtual.device.hardware import Hardware
from neuralpower.virtual.device.load import Load
from neuralpower.virtual.device.manner import EVENT_STEP_NS
from neuralpower.virtual.device.plan import BoardState, Chunk, DevicePlanner
from neuralpower.virtual.device.wander import Wander
from neuralpower.virtual.networks.known import build
from neuralpower.virtual.sweep import repeated, sweep

HARDWARE = Hardware()
IDLE_UW = (3_000_000, 600_000, 900_000)
LOADS = {name: Load.of(name, build(name), HARDWARE) for name in ("lenet5", "mobilenet_v2")}
LOADS["sweep"] = Load.of("sweep", repeated(sweep(1, 1, 0, 0)[0], HARDWARE, 1), HARDWARE)

cases = given(st.sampled_from(sorted(LOADS)), st.integers(0, 2**20), st.integers(1, 12))


def integral_j(chunk: Chunk, begin_ns: int, end_ns: int) -> np.ndarray:
    """Energy of the timeline from `begin_ns` to `end_ns`: (3,)."""
    start, stop = np.clip(chunk.start_ns, begin_ns, end_ns), np.clip(chunk.stop_ns, begin_ns, end_ns)
    return ((stop - start)[:, None] * chunk.power_uw).sum(axis=0) * 1e-15


@settings(max_examples=25, deadline=None)
@cases
def test_records_follow_one_another(name: str, seed: int, count: int) -> None:
    """Records have length, leave no hole, begin where the last chunk ended and end where this one does."""
    planner, at = DevicePlanner(HARDWARE, IDLE_UW, seed), 1_000_000_007
    for _ in range(2):
        chunk = planner.inferences(LOADS[name], count, at)
        assert chunk.start_ns[0] == at and chunk.stop_ns[-1] == chunk.end_ns[-1]
        assert np.all(chunk.stop_ns > chunk.start_ns) and np.all(chunk.start_ns[1:] == chunk.stop_ns[:-1])
        at = int(chunk.end_ns[-1])


@settings(max_examples=25, deadline=None)
@cases
def test_energy_in_is_energy_out(name: str, seed: int, count: int) -> None:
    """The truth's energy of each inference is the integral of what is published, and the layers' are all of it but launch gaps,
    which draw what gaps draw; the rests are what is published between inferences."""
    planner = DevicePlanner(HARDWARE, IDLE_UW, seed)
    chunk = planner.inferences(LOADS[name], count, 10**9)
    for number in range(count):
        published = integral_j(chunk, int(chunk.begin_ns[number]), int(chunk.end_ns[number]))
        np.testing.assert_allclose(chunk.inference_j[number], published, rtol=1e-9)
    gap_s = (chunk.end_ns - chunk.begin_ns).sum() * 1e-9 - chunk.duration_s.sum()
    (rest,) = chunk.rests
    assert rest.state is BoardState.GAP
    np.testing.assert_allclose(rest.joules / rest.seconds * 1e6, planner.level_uw(BoardState.GAP, 10**9), rtol=1e-6)
    gap_j = gap_s / rest.seconds * rest.joules
    np.testing.assert_allclose(chunk.energy_j.sum(axis=0) + gap_j, chunk.inference_j.sum(axis=0), rtol=1e-6)
    whole = integral_j(chunk, int(chunk.start_ns[0]), int(chunk.stop_ns[-1]))
    np.testing.assert_allclose(chunk.inference_j.sum(axis=0) + rest.joules, whole, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20))
def test_baselines_differ_as_on_a_board(seed: int) -> None:
    """A loaded engine draws more than an idle device, and gaps more than that, on every rail; the first rest may be context idle."""
    planner = DevicePlanner(HARDWARE, IDLE_UW, seed)
    device, context, gap = (planner.level_uw(state, 10**9) for state in BoardState)
    assert np.all(device < context) and np.all(context < gap) and np.all(gap < device + 2_000_000)
    first, rest = planner.inferences(LOADS["lenet5"], 3, 10**9, 50_000_000).rests
    assert (first.state, rest.state) == (
        BoardState.CONTEXT_IDLE,
        BoardState.GAP,
    ) and first.seconds > 0.05 > rest.seconds > 0


@settings(max_examples=25, deadline=None)
@cases
def test_host_anchors_enclose_the_work_and_never_overlap(name: str, seed: int, count: int) -> None:
    """Enqueue is entered before the GPU begins, synchronise left after it ends, and before the next enqueue."""
    planner, at, leave = DevicePlanner(HARDWARE, IDLE_UW, seed), 10**9, 0
    for _ in range(2):
        chunk = planner.inferences(LOADS[name], count, at)
        assert np.all(chunk.enter_ns < chunk.begin_ns) and np.all(chunk.leave_ns >= chunk.end_ns)
        assert chunk.enter_ns[0] > leave and np.all(chunk.enter_ns[1:] > chunk.leave_ns[:-1])
        at, leave = int(chunk.end_ns[-1]), int(chunk.leave_ns[-1])


@settings(max_examples=25, deadline=None)
@cases
def test_reports_are_differences_of_quantised_events(name: str, seed: int, count: int) -> None:
    """Durations are multiples of 1.024 µs, zero for a NoOp, and in sum within a step of the truth per layer."""
    load = LOADS[name]
    chunk = DevicePlanner(HARDWARE, IDLE_UW, seed).inferences(load, count, 10**9)
    assert not np.any(chunk.reported_ns % EVENT_STEP_NS)
    idle = np.setdiff1d(np.arange(len(load.layers)), load.active)
    assert not chunk.reported_ns[:, idle].any()
    error = np.abs(chunk.reported_ns[:, load.active].sum(axis=0) - chunk.duration_s * 1e9)
    assert np.all(error < EVENT_STEP_NS * count)


def test_reports_are_right_in_the_mean() -> None:
    """Quantisation adds no bias: over many inferences the mean of a short layer is its true mean."""
    load = LOADS["lenet5"]
    chunk = DevicePlanner(HARDWARE, IDLE_UW, 1).inferences(load, 4000, 10**9)
    reported = chunk.reported_ns[:, load.active].mean(axis=0)
    np.testing.assert_allclose(reported, chunk.duration_s * 1e9 / 4000, atol=30)


def test_jitter_is_own_and_common() -> None:
    """Half of a layer's variance is shared by its inference, the other half averages out over the layers."""
    load = LOADS["sweep"]
    chunk = DevicePlanner(HARDWARE, IDLE_UW, 2).inferences(load, 3000, 10**9)
    times = chunk.reported_ns.astype(float)
    half = times.shape[1] // 2
    first, second = times[:, :half].sum(axis=1), times[:, half : 2 * half].sum(axis=1)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(1 / (1 + 1 / half), abs=0.03)
    whole = times.sum(axis=1)
    assert whole.std() / whole.mean() == pytest.approx(0.01 * (1 + 1 / times.shape[1]) ** 0.5, rel=0.1)


def test_the_same_seed_gives_the_same_plan() -> None:
    """A plan can be repeated."""
    one, two = (DevicePlanner(HARDWARE, IDLE_UW, 5).inferences(LOADS["lenet5"], 3, 10**9) for _ in range(2))
    np.testing.assert_equal(vars(one), vars(two))


def test_repeated_layers_share_records() -> None:
    """A repeated-layer engine publishes slices far longer than one short layer, and shorter than a conversion or two."""
    load = LOADS["sweep"]
    chunk = DevicePlanner(HARDWARE, IDLE_UW, 5).inferences(load, 1, 10**9)
    spans = (chunk.stop_ns - chunk.start_ns)[1:-1]
    assert load.repeats == len(load.layers) > len(spans)
    assert spans.max() < 300_000


def test_wander_is_slow_and_small() -> None:
    """Over a second the factor hardly moves, over minutes it spreads as stated."""
    wander = Wander(0.01, 20.0, np.random.default_rng(1))
    values = [wander.at(second * 10**9) for second in range(20_000)]
    assert max(abs(b - a) for a, b in pairwise(values)) < 0.02
    assert np.std(values) == pytest.approx(0.01, rel=0.15)
