"""Power of layers with its intervals, closure and baselines, from short simulated runs whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.accuracy.case import Case, load
from benchmarks.accuracy.conversions import shunt_ends
from benchmarks.accuracy.estimate import readings_of
from benchmarks.accuracy.world import World, draw

from neuralpower_align.layer_power import Baseline, Engine, LayerPower, layer_power
from neuralpower_align.scan_clock import ScanClock, Sensor

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


def solved(world: World, power_w: np.ndarray | None = None) -> LayerPower:
    """What is found, setting out from a sensor that is nearly right; `power_w`: instead of what the supply explains."""
    seen, truth = world.recording, world.truth
    readings = readings_of(seen)
    if power_w is not None:
        readings = replace(readings, power_w=power_w)
    ends = shunt_ends(world)
    clock = ScanClock(np.arange(ends.size), ends.astype(np.float64) + 20e3)
    sensor = Sensor(truth.delay_ns + 50e3, 1.1 * truth.lag_ns, (clock,), 50e3, ("counted",))
    baselines = [Baseline(each.kind, each.begin_ns, each.end_ns) for each in seen.baselines]
    engine = Engine(seen.begin_ns, seen.end_ns, seen.durations_ns, np.arange(seen.durations_ns.shape[1]))
    return layer_power([engine], [[readings]], [sensor], baselines)


@pytest.fixture(scope="module", params=[13])
def run(request: pytest.FixtureRequest) -> tuple[World, LayerPower]:
    """A drawn world (simulated) and what is found in it."""
    world = draw(small("fast"), request.param)
    return world, solved(world)


def test_energy_closes_and_its_parts_are_those_measured(run: tuple[World, LayerPower]) -> None:
    """Measured = layers + gaps + idling + unattributed; what is unattributed is small, and the total is the board's."""
    world, found = run
    balance = found.balance
    parts = balance.layers_j + balance.gaps_j + balance.idle_j + balance.unattributed_j
    assert parts == pytest.approx(balance.measured_j, rel=1e-12)
    assert abs(balance.unattributed_j) < 0.02 * balance.measured_j
    assert min(balance.layers_j, balance.gaps_j, balance.idle_j) > 0
    inside_j = found.engines[0].energy_j * len(world.recording.begin_ns)
    assert balance.layers_j == pytest.approx(inside_j, rel=0.01)


def test_energy_of_an_inference_is_the_truth_within_its_error(run: tuple[World, LayerPower]) -> None:
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


def test_baselines_are_reported(run: tuple[World, LayerPower]) -> None:
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
