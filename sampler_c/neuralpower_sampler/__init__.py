"""Reads a board's power rails on time, in C: sources, the loop, the tick ring, and the chip in software.

Importing works without the extension: `AVAILABLE` is then False, and using anything raises a
:class:`SamplerError` that names `REINSTALL`, the command that adds it.
"""

from __future__ import annotations

from ._calls import AVAILABLE, REINSTALL, clocks
from .errors import SamplerError
from .i2c import I2cChip, I2cSource, i2c_restore
from .ring import DEFAULT_SECONDS, Ring, RingReader, Slice
from .sampler import Sampler, Stats
from .sim import SimChip, SimError, SimSource, simulate
from .sources import HwmonInput, HwmonSource, IioInput, IioSource, ReplaySource, Source
from .tick import READING, tick_bytes, tick_dtype

__all__ = [
    "AVAILABLE",
    "DEFAULT_SECONDS",
    "READING",
    "REINSTALL",
    "HwmonInput",
    "HwmonSource",
    "I2cChip",
    "I2cSource",
    "IioInput",
    "IioSource",
    "ReplaySource",
    "Ring",
    "RingReader",
    "Sampler",
    "SamplerError",
    "SimChip",
    "SimError",
    "SimSource",
    "Slice",
    "Source",
    "Stats",
    "clocks",
    "i2c_restore",
    "simulate",
    "tick_bytes",
    "tick_dtype",
]
