"""Voltage and current of a channel are converted one after the other, and the supply gives way under load: V = V0 - r I.

The voltage that goes with a current is therefore not the one read beside it, but the one that the supply has at that current.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BLOCK = 64
"""Tuning: readings whose mean is taken: over these it does not matter that the two were converted at different moments."""


@dataclass(frozen=True)
class Supply:
    """Voltage without load, V, resistance, ohm, and the standard error of the resistance."""

    volt: float
    ohm: float
    ohm_se: float

    def power_w(self, ampere: Floats) -> Floats:
        """What flows into the load at each current."""
        return np.asarray(ampere * (self.volt - self.ohm * ampere), np.float64)


def supply(volt: Floats, ampere: Floats) -> Supply:
    """The supply behind readings of voltage and current (k,), in the order of time, no nan.

    A straight line through means of BLOCK readings. A resistance that is not told from 0 (two standard errors), or negative, is 0.
    """
    blocks = max(volt.size // BLOCK, 1)
    size = min(BLOCK, volt.size)
    v, i = (part[: blocks * size].reshape(blocks, size).mean(axis=1) for part in (volt, ampere))
    off = i - i.mean()
    square = float(off @ off)
    if blocks < 3 or square <= 0:
        return Supply(float(volt.mean()), 0.0, float("inf"))
    ohm = -float(off @ v) / square
    left = v - v.mean() + ohm * off
    error = float(np.sqrt(left @ left / (blocks - 2) / square))
    if ohm < 2 * error:
        return Supply(float(v.mean()), 0.0, error)
    return Supply(float(v.mean() + ohm * i.mean()), ohm, error)
