"""The sensor of a rail from its readings, whichever way it can be had."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire import Search as Wide
from neuralpower_align.acquire import acquire
from neuralpower_align.activity import Activity
from neuralpower_align.scan_clock import ChannelReadings, ScanClock, Sensor
from neuralpower_align.sensor import Readings, Search, find_sensor

MOST_CLASSES = 400
"""Of a recording with more unknown powers the search on groups of layers finds the sensor sooner and as well."""


def sensor_of(
    activity: Activity, readings: Sequence[ChannelReadings], alone: tuple[int, ...], coarse: npt.NDArray[np.int64]
) -> Sensor:
    """The sensor acquired from scratch; where the scan is not known or not found, delay and lag with any place in the scan.

    `alone`: classes that are no layers, and are not joined with any while the sensor is searched. `coarse` (c,): coarser classes
    that the readings can tell apart even of many engines.

    Raises ValueError where there are too few readings while anything changed.
    """
    crowded = activity.count > MOST_CLASSES and all(piece.averaging == 1 for piece in readings)
    if not crowded and all(piece.scan_ns > piece.window_ns for piece in readings):
        found = acquire(activity, readings, Wide(alone=alone))
        if any(clock is not None for clock in found.clocks):
            return found
    plain = [Readings(piece.read_ns, piece.power_w, piece.window_ns, piece.scan_ns) for piece in readings]
    averaged = max(piece.averaging * piece.scan_ns for piece in readings if piece.averaging >= 1)
    longest = max(2e6, 2 * averaged if any(piece.averaging > 1 for piece in readings) else 0.0)
    old = find_sensor(activity.regroup(coarse), plain, Search(longest_lag_ns=longest))
    clocks: list[ScanClock | None] = []
    for piece, scan in zip(readings, old.scans, strict=True):
        if scan is None:
            clocks.append(None)
            continue
        number = np.array([0, max(int((piece.read_ns[-1] - piece.read_ns[0]) / scan.period_ns), 1)])
        first = float(scan.ended(piece.read_ns[0]))
        clocks.append(ScanClock(number, first + number * scan.period_ns))
    return Sensor(old.delay_ns, old.lag_ns, tuple(clocks), found=tuple("" if c is None else "fit" for c in clocks))
