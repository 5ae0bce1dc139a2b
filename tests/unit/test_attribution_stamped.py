"""Attribution on readings that carry times of their own, as NVML's do: a GPU whose power and sensor are known (simulated)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.worlds.gpu.gpu_recording import (
    GpuLayer,
    GpuRun,
    GpuSensor,
    recording,
)

import neuralpower_align.layer_power as align
from neuralpower.attribution import Attribution, attribute
from neuralpower.attribution.sources import measured_engines, rails_of
from neuralpower.collect import rows_of
from neuralpower_align.readings.channel_readings import rail_readings
from neuralpower_wire import Flag, ReadingState

LAYERS = (
    GpuLayer("first", 6e6, 400.0),
    GpuLayer("idle 1", 1e6, 160.0),
    GpuLayer("second", 12e6, 250.0),
    GpuLayer("idle 2", 1e6, 160.0),
    GpuLayer("third", 9e6, 550.0),
)
RUN = GpuRun(LAYERS, count=300)
RING = GpuSensor()
INSTANT = GpuSensor(spacing_ns=100e6, jitter_ns=6e6, window_ns=27e6, delay_ns=10e6)


def test_readings_are_at_their_stamps_each_once() -> None:
    """Not when they came out of the queue, and not a second time where the source repeats them, nor fewer where two are equal."""
    memory = recording(RUN, RING)
    memory.rows["readings"]["value"][10:14, 0] = 200_000_000  # two readings of one value, and their repeats
    notes: list[str] = []
    found = rail_readings(memory.epoch, memory.rows, "gpu0", notes)
    assert found is not None and found.stamped and not notes
    stamps = memory.rows["t_ns"] - memory.rows["readings"]["scan"][:, 0]
    assert found.read_ns.tolist() == sorted(set(stamps.tolist())) and found.power_w.size == memory.rows.size // 2
    fresh = memory.rows["readings"]["state"][:, 0] == ReadingState.FRESH
    memory.rows["readings"]["flags"][~fresh, 0] = 0
    memory.rows["readings"]["flags"][fresh, 0] = Flag.STAMPED
    again = rail_readings(memory.epoch, memory.rows, "gpu0", notes)
    assert again is not None and np.array_equal(again.read_ns, found.read_ns)


@pytest.mark.parametrize(
    "sensor",
    [RING, replace(RING, window_ns=12e6, delay_ns=-2e6), replace(RING, lag_ns=15e6), INSTANT],
    ids=["ring", "late stamps", "lag", "instant"],
)
def test_window_and_delay_are_found(sensor: GpuSensor) -> None:
    """Window within 5 % (behind a slow pole 20 %), the centre of readings within 1 ms, from what ran when."""
    run = replace(RUN, count=1000) if sensor is INSTANT else RUN
    memory = recording(run, sensor)
    notes: list[str] = []
    rails = rails_of(memory, None, notes)
    (engine,) = measured_engines(memory, rails.first_ns, rails.last_ns, notes)
    classes = align.Classes.of([engine.runs])
    plan = classes.schedule([engine.runs], [])
    alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
    (piece,), found = align.stamped_sensor(plan.activity, list(rails.readings[0]), alone)
    assert piece.window_ns == pytest.approx(sensor.window_ns, rel=0.2 if sensor.lag_ns else 0.05)
    centre = found.delay_ns + found.lag_ns + piece.window_ns / 2
    assert centre == pytest.approx(sensor.delay_ns + sensor.lag_ns + sensor.window_ns / 2, abs=1e6)
    assert not found.ambiguous


@pytest.fixture(scope="module")
def attributed() -> Attribution:
    return attribute(recording(RUN, RING))


def test_powers_of_layers_are_the_true_ones(attributed: Attribution) -> None:
    """Each layer within 3 %, what lies between them is no layer, an inference's energy within 1 %."""
    engine = attributed.engines["net"]
    assert [layer.name for layer in engine.layers] == ["first", "second", "third"] and not engine.withheld
    for layer, true in zip(engine.layers, LAYERS[::2], strict=True):
        assert layer.power_w == pytest.approx(true.watts, rel=0.03), layer.name
        assert layer.runtime_s == pytest.approx(true.ns * 1e-9, rel=0.01)
    true_j = sum(layer.ns * layer.watts for layer in LAYERS) * 1e-9
    assert engine.energy_j == pytest.approx(true_j, rel=0.01)
    assert attributed.idle_power_w == pytest.approx(RUN.idle_w, rel=0.01)
    assert attributed.simulated and "gpu0" in attributed.rails


def test_the_dataset_has_a_row_for_each_layer_and_none_for_what_lies_between(attributed: Attribution) -> None:
    """With the geometry that the description tells."""
    dataset = rows_of(attributed, "here")
    assert dataset["layer"].tolist() == ["first", "second", "third"] and set(dataset["kind"].tolist()) == {"conv"}


def test_what_ran_unseen_is_the_same_class(attributed: Attribution) -> None:
    """All entries between layers share one power; layers keep their own."""
    memory: Any = recording(replace(RUN, count=30), RING)
    rails = rails_of(memory, None, [])
    (engine,) = measured_engines(memory, rails.first_ns, rails.last_ns, [])
    assert engine.runs.alike.tolist() == [0, 1, 2, 1, 3] and engine.idle == {1, 3}
