"""The chip's scan in runs as users make them that once hid it: short ones, and ones with a slow sensor (simulated)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.worlds.runs.draw import draw, row_named
from tests.worlds.runs.make import make, write

from neuralpower.attribution.sources import measured_engines, rails_of
from neuralpower.attribution.states import at_one_clock
from neuralpower.recordings.recording import Recording
from neuralpower_align.acquire.sensing import sensor_of
from neuralpower_align.activity.classes import Classes

SCAN_NS = 840_000


@pytest.mark.parametrize("seed", [7005, 7008, 7009, 7013])
def test_the_scan_is_found(seed: int, tmp_path: Path) -> None:
    """Its rate to 200 ppm, where a wrong one was taken or none stood out; nothing speaks against it."""
    run = draw(row_named("run"), seed)
    write(make(run), tmp_path / "recording")
    notes: list[str] = []
    recording = Recording(tmp_path / "recording")
    rails = rails_of(recording, None, notes)
    measured, rails = at_one_clock(measured_engines(recording, rails.first_ns, rails.last_ns, notes), rails, notes)
    blind = [each.runs for each in measured if each.profiled]
    seen = rails.without(*(np.sort(np.concatenate([getattr(e, n) for e in blind])) for n in ("begin_ns", "end_ns")))
    engines = [each.runs for each in measured if not each.profiled]
    classes = Classes.of(engines)
    alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
    sensor = sensor_of(classes.schedule(engines, ()).activity, seen.readings[0], alone)
    assert sensor.ambiguous == ""
    true_ns = SCAN_NS * (1 + run.sensor["clock_ppm"] * 1e-6)
    assert [each.period_ns for each in sensor.clocks if each is not None] == pytest.approx([true_ns], rel=2e-4)
