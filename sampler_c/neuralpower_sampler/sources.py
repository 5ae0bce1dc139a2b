"""Where readings come from: files of a driver, a recording. Chips in software are in sim.py, registers in i2c.py."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from . import _source_calls
from ._calls import Handle
from .errors import SamplerError
from .tick import READING, Ticks

Freshness = Literal["known", "unknown"]
CERTAIN_READS = 3
"""Waiting reads of a chip in a tick from which on every reading of it is certainly fresh (docs/chip.md)."""


class Source:
    """What a :class:`Sampler` reads; `readings` is how many values a tick of it has.

    `freshness` is what it can know about a reading: "known" where it can tell a new value that equals the one before from
    that one read again, "unknown" where only a changed value is certainly new.
    """

    def __init__(self, handle: Handle, readings: int, freshness: Freshness = "unknown") -> None:
        self._handle = handle
        self.readings = readings
        self.freshness: Freshness = freshness

    def revive(self) -> int:
        """Open again what is gone or was replaced; call it about once a second, beside the loop.

        Calls less than a second apart do nothing. Returns how many files were opened.
        """
        return _source_calls.source_revive(self._handle)

    def decimate(self, every: Sequence[int]) -> None:
        """Read reading i in every `every[i]`-th tick only; 1: in each. Before a sampler has it.

        The first tick reads all; then those with the same number take turns. Between, such a reading has Flag.HELD, takes
        no time, and is what it was when last read: REPEATED, or MISSING with its error.

        Raises:
            SamplerError: not one number from 1 to 255 for each reading, a running sampler reads it, files of the IIO driver
                (which give voltage and current in one read) or a replay.
        """
        if len(every) != self.readings or not all(1 <= each <= 255 for each in every):
            raise SamplerError(f"a source of {self.readings} readings needs as many numbers from 1 to 255, not {every}")
        _source_calls.source_decimate(self._handle, every)

    @property
    def underruns(self) -> int:
        """Reads for which the power timeline came too late; 0 for other sources."""
        return _source_calls.source_underruns(self._handle)

    def close(self) -> None:
        """Close its files; a second time does nothing.

        Raises:
            SamplerError: a running sampler reads it.
        """
        self._handle.close()


class HwmonInput(NamedTuple):
    """A file that holds one integer; the reading's value is that integer × `scale` (mV to µV: 1000)."""

    path: str
    scale: int


class HwmonSource(Source):
    """sysfs files, kept open. A file that cannot be read is a missing reading, whatever the reason.

    Args:
        inputs: 1 to 64; files in one folder belong to one chip.
        waits: this driver waits for the end of a scan in each read (the older ina3221 driver; a probe tells). A reading is
            then fresh when three scans have ended since the one before: always, where a tick reads three files or more of
            the chip and all of them answer.
        scan_ns: the longest that a scan of the chip can take, conversion times 10 % above typical; 0: not known. Readings
            further apart than this are fresh, whatever the driver.

    Raises:
        SamplerError: no input, or more than 64.
    """

    def __init__(self, inputs: Sequence[HwmonInput], waits: bool = False, scan_ns: int = 0) -> None:
        paths = [os.fspath(entry.path) for entry in inputs]
        handle = _source_calls.source_hwmon(paths, [entry.scale for entry in inputs], waits, scan_ns)
        reads = Counter(os.path.dirname(path) for path in paths)
        super().__init__(handle, len(paths), "known" if waits and min(reads.values()) >= CERTAIN_READS else "unknown")


class IioInput(NamedTuple):
    """A file of NVIDIA's ina3221x driver, and which of "bus_uv", "current_ua", "power_uw" to take from it.

    `ui_input_N` holds voltage and current of one moment and serves all three; other files hold one value in mV, mA or mW.
    """

    path: str
    quantity: str


class IioSource(Source):
    """IIO files (JetPack 4), kept open; inputs with the same path share one read a tick.

    Raises:
        SamplerError: no input, more than 64, another quantity.
    """

    QUANTITIES = ("bus_uv", "current_ua", "power_uw")

    def __init__(self, inputs: Sequence[IioInput]) -> None:
        for entry in inputs:
            if entry.quantity not in self.QUANTITIES:
                raise SamplerError(f"{entry.path}: no quantity {entry.quantity}, only {', '.join(self.QUANTITIES)}")
        quantities = [_source_calls.QUANTITIES[entry.quantity] for entry in inputs]
        super().__init__(_source_calls.source_iio([os.fspath(entry.path) for entry in inputs], quantities), len(inputs))


class ReplaySource(Source):
    """Readings of recorded ticks, one row a tick; then ENODATA, or from the start again with `repeat`.

    Raises:
        SamplerError: no ticks.
    """

    def __init__(self, ticks: Ticks, repeat: bool = False) -> None:
        rows = np.ascontiguousarray(ticks["readings"])
        if rows.dtype != READING or rows.ndim != 2 or not rows.size:
            raise SamplerError(f"cannot replay ticks of shape {rows.shape}")
        super().__init__(_source_calls.source_replay(rows, len(rows), rows.shape[1], repeat), rows.shape[1])
