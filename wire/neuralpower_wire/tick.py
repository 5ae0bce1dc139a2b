"""The tick: what the sampler's loop writes each period, byte for byte."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Ticks = npt.NDArray[np.void]
"""A structured array of :func:`tick_dtype`."""


class ReadingState(IntEnum):
    """What is known of a reading."""

    UNKNOWN = 0
    """A value whose source cannot tell whether the chip has converted since the reading before."""
    FRESH = 1
    """A value converted since the reading before."""
    REPEATED = 2
    """The value of the reading before, known not to be a new conversion."""
    MISSING = 3
    """No value; the reading's `error` is the errno that says why."""


class Flag(IntFlag):
    """What else a source knows of a reading."""

    MIXED = 1
    """Voltage and current of this rail may come from different scans of the chip."""
    SCAN = 2
    """`scan` and `span` are known."""
    HELD = 4
    """Not read in this tick: the reading is what it was when last read, REPEATED or MISSING, and took no time."""
    STAMPED = 8
    """`scan` and `span` tell the time stamp that the driver gave the value; never with SCAN."""


READING = np.dtype(
    [
        ("value", "<i8"),
        ("begin_ns", "<u4"),
        ("end_ns", "<u4"),
        ("state", "u1"),
        ("error", "u1"),
        ("flags", "u1"),
        ("span", "u1"),
        ("scan", "<u4"),
    ]
)
"""One channel quantity: `begin_ns` and `end_ns` are offsets from the tick's `t_ns`, saturating at 2**32 - 1.

Where :attr:`Flag.SCAN` is set, the value comes from a scan of the chip in [`scan` - `span`, `scan`], counted by the source
from its start, modulo 2**32. Where :attr:`Flag.STAMPED` is set, the value's own time is `scan` ns before the tick's `t_ns`, to
`span` µs, both saturating: :func:`neuralpower_wire.power.stamps_ns`.
"""


def by_epoch(ticks: Ticks) -> list[Ticks]:
    """`ticks`, of which there may be none, cut where the epoch changes; epochs only grow."""
    epoch = ticks["epoch"]
    if not len(ticks) or epoch.item(0) == epoch.item(-1):
        return [ticks] if len(ticks) else []
    return np.split(ticks, np.flatnonzero(epoch[1:] != epoch[:-1]) + 1)


MAX_READINGS = 64
"""Readings in a tick: four INA3221 chips with V and I on every channel are 24; the rest is room for energy counters."""


@lru_cache(MAX_READINGS + 1)
def tick_dtype(readings: int) -> np.dtype[Any]:
    """The layout of a tick of `readings` readings: 40 + 24 · readings bytes, little-endian, no padding.

    `commit` is `index` + 1 once the tick is whole, `slot` the number of the deadline on the grid t0 + slot · period,
    `t_ns` the CLOCK_MONOTONIC time when the tick began, `epoch` the epoch that explains the readings.
    """
    if not 0 <= readings <= MAX_READINGS:
        raise ValueError(f"a tick holds 0 to {MAX_READINGS} readings, not {readings}")
    head = [("commit", "<u8"), ("index", "<u8"), ("slot", "<u8"), ("t_ns", "<i8"), ("epoch", "<u4"), ("n", "<u4")]
    return np.dtype([*head, ("readings", READING, (readings,))])
