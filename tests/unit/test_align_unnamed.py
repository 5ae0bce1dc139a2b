"""Readings of idling that no mark names, beside such that one does."""

from __future__ import annotations

import numpy as np

from neuralpower_align.activity.classes import Baseline, Classes, EngineRuns
from neuralpower_align.activity.unnamed import BEHIND_NS, named_only
from neuralpower_align.clock.scan_clock import ChannelReadings

MS = 10**6


def _runs(first_ms: int) -> EngineRuns:
    begin = np.arange(first_ms, first_ms + 500, 5, dtype=np.int64) * MS
    durations = np.full((begin.size, 2), MS, np.int64)
    return EngineRuns(begin, begin + 3 * MS, durations, np.arange(2))


def _kept_ms(baselines: list[Baseline]) -> tuple[np.ndarray, float]:
    engine = _runs(2000)
    classes = Classes.of([engine])
    read = np.arange(0, 6000, dtype=np.int64) * MS
    readings = ChannelReadings(read, np.ones(read.size), 1e5, 8e5)
    rails, seconds = named_only(classes.schedule([engine], baselines), classes, [[readings]], baselines)
    return rails[0][0].read_ns // MS, seconds


def test_readings_outside_all_that_has_a_name_are_left_out() -> None:
    named = [Baseline("device-idle", 500 * MS, 1000 * MS), Baseline("context-idle", 1980 * MS, 2000 * MS)]
    kept, seconds = _kept_ms(named)
    behind = BEHIND_NS // MS
    expected = np.concatenate([np.arange(500 + behind, 1000), np.arange(1980 + behind, 2498)])
    assert abs(int(kept[0]) - int(expected[0])) <= 1 and abs(int(kept[-1]) - int(expected[-1])) <= 1
    assert abs(kept.size - expected.size) <= 4
    assert np.isclose(seconds, (6000 - kept.size) * 1e-3)


def test_all_readings_stay_where_no_idling_has_a_name() -> None:
    for named in ([], [Baseline("gap", 1000 * MS, 1900 * MS)]):
        kept, seconds = _kept_ms(named)
        assert kept.size == 6000 and seconds == 0.0
