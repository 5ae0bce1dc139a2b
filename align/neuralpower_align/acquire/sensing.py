"""The sensor of a rail from its readings, whichever way it can be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neuralpower_align.acquire.acquire import acquire
from neuralpower_align.acquire.choice import SearchRange
from neuralpower_align.acquire.start import unplaced
from neuralpower_align.activity.activity import Activity
from neuralpower_align.clock.scan_clock import ChannelReadings, Sensor

LAGS_OF_AVERAGING = 2.0
"""Tuning: where the filter of averaging cannot be undone it is taken for a lag, up to so many times as long as what it averages."""


def sensor_of(activity: Activity, readings: Sequence[ChannelReadings], alone: tuple[int, ...]) -> Sensor:
    """The sensor acquired from scratch; where the scan is not known or not found, delay and lag with any place in the scan.

    `alone`: classes that are no layers, and are not joined with any while the sensor is searched.

    Raises Unattributable where there are too few readings while anything changed, and where they never change.
    """
    search, reasons = SearchRange(alone=alone), ""
    if all(piece.scan_ns > piece.window_ns for piece in readings):
        found = acquire(activity, readings, search)
        if any(clock is not None for clock in found.clocks):
            return found
        reasons = found.ambiguous
    averaged = max(piece.averaging * piece.scan_ns for piece in readings if piece.averaging >= 1)
    longest = LAGS_OF_AVERAGING * averaged if any(piece.averaging > 1 for piece in readings) else 0.0
    search = replace(search, longest_lag_ns=max(search.longest_lag_ns, longest))
    return replace(unplaced(activity, readings, search), ambiguous=reasons)
