"""Power of layers with its intervals, closure and baselines, from short simulated runs whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.accuracy.estimate import readings_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.worlds.attribution.case import Case, load
from tests.worlds.attribution.conversions import shunt_ends
from tests.worlds.attribution.world import World, draw

from neuralpower_align.activity.classes import Baseline, Classes, EngineRuns
from neuralpower_align.clock.scan_clock import LONGEST_HOLE_NS, ChannelReadings, ScanClock, Sensor
from neuralpower_align.layer_power import RailAttribution, layer_power
from neuralpower_align.result.balance import balance_of
from neuralpower_align.result.trust import contradiction

WHOLE = load()


def small(name: str, inferences: int = 300, droop: tuple[float, float] = (0, 0.02)) -> Case:
    """The case with few layers, few inferences and short baselines."""
    case = WHOLE.case(name)
    return replace(
        case,
        network=replace(case.network, layers=(8, 8), duration_us=(150, 400)),
        run=replace(case.run, inferences=inferences, baselines_s=0.5),
        power=replace(case.power, droop=droop),
    )


def solved(world: World, power_w: np.ndarray | None = None) -> RailAttribution:
    """What is found, setting out from a sensor that is nearly right; `power_w`: instead of what the supply explains."""
    seen, truth = world.recording, world.truth
    readings = readings_of(seen)
    if power_w is not None:
        readings = replace(readings, power_w=power_w)
    ends = shunt_ends(world)
    clock = ScanClock(np.arange(ends.size), ends.astype(np.float64) + 20e3)
    sensor = Sensor(truth.delay_ns + 50e3, 1.1 * truth.lag_ns, (clock,), 50e3, ("counted",))
    baselines = [Baseline(each.kind, each.begin_ns, each.end_ns) for each in seen.baselines]
    engine = EngineRuns(seen.begin_ns, seen.end_ns, seen.durations_ns, np.arange(seen.durations_ns.shape[1]))
    return layer_power([engine], [[readings]], [sensor], baselines)


@pytest.fixture(scope="module", params=[("fast", 13), ("reset-short", 15)], ids=lambda each: each[0])
def run(request: pytest.FixtureRequest) -> tuple[World, RailAttribution]:
    """A drawn world (simulated) and what is found in it."""
    name, seed = request.param
    world = draw(small(name), seed)
    return world, solved(world)


def test_energy_closes_and_its_parts_are_those_measured(run: tuple[World, RailAttribution]) -> None:
    """Measured = layers + gaps + idling + unattributed; what is unattributed is small, and the total is the board's."""
    world, found = run
    balance = found.balance
    parts = balance.layers_j + balance.gaps_j + balance.idle_j + balance.unattributed_j
    assert parts == pytest.approx(balance.measured_j, rel=1e-12)
    # Of a scan of 6.6 ms so short a run has 300 readings, whose own mean is that far off.
    most = 0.01 if world.case.name == "fast" else 0.03
    assert abs(balance.unattributed_j) < most * balance.measured_j
    assert min(balance.layers_j, balance.gaps_j, balance.idle_j) > 0
    inside_j = found.engines[0].energy_j * len(world.recording.begin_ns)
    assert balance.layers_j == pytest.approx(inside_j, rel=0.01)


def test_energy_of_an_inference_is_the_truth_within_its_error(run: tuple[World, RailAttribution]) -> None:
    """Four standard errors, which are small; layers are within six of theirs."""
    world, found = run
    engine, truth = found.engines[0], world.truth
    assert not engine.withheld
    assert 0 < engine.energy_se_j < 0.02 * engine.energy_j
    assert abs(engine.energy_j - truth.energy_j) < 4 * engine.energy_se_j
    off = (engine.layer_w - truth.power_w) / np.sqrt(np.diag(engine.covariance))
    assert np.abs(off).max() < 6
    beside_j = float((world.recording.end_ns - world.recording.begin_ns).mean()) * 1e-9 - truth.time_s.sum()
    assert engine.window_j == pytest.approx(truth.energy_j + beside_j * (truth.launch_w + truth.tail_w) / 2, rel=0.02)


def test_baselines_are_reported(run: tuple[World, RailAttribution]) -> None:
    """Idling without and with an engine, and gaps, each within four standard errors (and slow noise of 30 mW)."""
    world, found = run
    wanted = {
        "device": (found.device_idle, WHOLE.case("fast").run.device_idle_w),
        "context": (found.context_idle, world.truth.context_idle_w),
        "gap": (found.engines[0].gap, world.truth.gap_w),
    }
    for name, (level, watts) in wanted.items():
        assert 0 < level.se_w < 0.1, name
        assert abs(level.power_w - watts) < 4 * np.hypot(level.se_w, 0.03), name


def test_a_layer_that_gives_power_back_contradicts_the_fit(run: tuple[World, RailAttribution]) -> None:
    """What was found is believed; the same with one layer far below 0 W is not."""
    rail = run[1].rails[0]
    assert contradiction([], [rail]) == ""
    model = rail.found.model
    wrong = replace(model, power_w=np.where(np.arange(model.power_w.size) == 2, -9.0, model.power_w))
    assert "less than nothing" in contradiction([], [replace(rail, found=replace(rail.found, model=wrong))])


def test_droop_is_treated_and_would_bias_the_layers_if_it_were_not() -> None:
    """A supply that gives way by a tenth: with the voltage read beside each current layers are off by more than their errors say."""
    world = draw(small("fast", 250, (0.1, 0.1)), 14)
    treated, ignored = (
        np.mean((engine.layer_w - world.truth.power_w) ** 2 / np.diag(engine.covariance))
        for engine in (solved(world, power_w).engines[0] for power_w in (None, world.recording.power_w))
    )
    assert treated < 2.5
    assert ignored > 3 * treated


def test_gap_state_that_nobody_declared_is_unattributed_and_not_in_layers() -> None:
    """1 W on half of the time in gaps, which a gap measured alone did not have."""
    case = small("undeclared-gap", 400)
    world = draw(replace(case, run=replace(case.run, undeclared_w=1.0, undeclared_dwell_s=0.05, baselines_s=2)), 16)
    found, truth = solved(world), world.truth
    assert "unattributed" in " ".join(found.notes)
    assert found.balance.unattributed_j == pytest.approx(truth.undeclared_j, rel=0.5)
    off = (found.engines[0].energy_j - truth.energy_j) / found.engines[0].energy_se_j
    assert abs(off) < 4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(1, 12))
def test_what_is_measured_goes_somewhere_whatever_the_powers_are(seed: int, inferences: int, layers: int) -> None:
    """Any runs, readings and powers: measured = layers + gaps + idling + unattributed to rounding, and the seconds are all there."""
    random = np.random.default_rng(seed)
    durations = random.integers(5_000, 400_000, (inferences, layers))
    slack, gap = random.integers(0, 90_000, inferences), random.integers(100_000, 9_000_000, inferences)
    end = 10**12 + np.cumsum(durations.sum(axis=1) + slack + gap)
    begin = end - durations.sum(axis=1) - slack
    engine = EngineRuns(begin, end, durations, np.arange(layers))
    classes = Classes.of([engine])
    plan = classes.schedule([engine], [Baseline("gap", int(begin[0]) - 10**9, int(begin[0]) - 10**7)])
    read = np.sort(random.choice(int(end[-1] - begin[0]) + 10**9, 400, replace=False)) + int(begin[0]) - 10**9
    rails = [[ChannelReadings(read, random.uniform(1, 9, 400), 140e3, 840e3, 1)] for _ in range(2)]
    power = random.uniform(-2, 20, plan.count)
    balance = balance_of(plan, rails, classes, power)
    parts = balance.layers_j + balance.gaps_j + balance.idle_j + balance.unattributed_j
    assert parts == pytest.approx(balance.measured_j, rel=1e-9, abs=1e-9)
    even = balance_of(plan, rails, classes, np.ones(plan.count))
    spans = np.diff(read)
    assert even.layers_j + even.gaps_j + even.idle_j == pytest.approx(spans[spans <= LONGEST_HOLE_NS].sum() * 1e-9)
