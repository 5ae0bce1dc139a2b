"""The tick as numpy sees it: the layout of `struct np_reading` and of the ring's slots (docs/ring.md)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Ticks = npt.NDArray[np.void]
"""A structured array of :func:`tick_dtype`."""

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
MAX_READINGS = 64


@lru_cache(MAX_READINGS + 1)
def tick_dtype(readings: int) -> np.dtype[Any]:
    """A tick of `readings` readings: 40 + 24 · readings bytes."""
    head = [("commit", "<u8"), ("index", "<u8"), ("slot", "<u8"), ("t_ns", "<i8"), ("epoch", "<u4"), ("n", "<u4")]
    return np.dtype([*head, ("readings", READING, (readings,))])


def tick_bytes(readings: int) -> int:
    """What a tick takes in the ring."""
    return tick_dtype(readings).itemsize
