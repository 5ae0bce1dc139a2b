"""Reads a board's power rails on time, in C: sources, the loop, the tick ring, and the chip in software.

Importing works without the extension: `AVAILABLE` is then False, and using anything raises a
:class:`SamplerError` that names `REINSTALL`, the command that adds it. Each name is imported when it is first used: help needs no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import SamplerError

if TYPE_CHECKING:
    from ._calls import AVAILABLE, REINSTALL, clocks
    from .i2c import I2cChip, I2cSource, i2c_restore
    from .nvml import Gpu, Nvml, NvmlChannel, NvmlConditions, NvmlSource, NvmlValue
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
    "Gpu",
    "HwmonInput",
    "HwmonSource",
    "I2cChip",
    "I2cSource",
    "IioInput",
    "IioSource",
    "Nvml",
    "NvmlChannel",
    "NvmlConditions",
    "NvmlSource",
    "NvmlValue",
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

_LAZY = {
    "_calls": ("AVAILABLE", "REINSTALL", "clocks"),
    "i2c": ("I2cChip", "I2cSource", "i2c_restore"),
    "nvml": ("Gpu", "Nvml", "NvmlChannel", "NvmlConditions", "NvmlSource", "NvmlValue"),
    "ring": ("DEFAULT_SECONDS", "Ring", "RingReader", "Slice"),
    "sampler": ("Sampler", "Stats"),
    "sim": ("SimChip", "SimError", "SimSource", "simulate"),
    "sources": ("HwmonInput", "HwmonSource", "IioInput", "IioSource", "ReplaySource", "Source"),
    "tick": ("READING", "tick_bytes", "tick_dtype"),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found
