"""Whether the readings saw all of an inference: what no window ever covered is not told, however small its standard error seems.

Where inferences follow each other at a fixed ratio to the chip's scan, the windows lie at the same places of each inference. A
slow sensor still carries over from what ran between the windows, and the regression would make an estimate out of that alone;
its interval would rest on the exact shape of the response. Then the engine's layers are withheld, and the energy of its inferences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 100
"""Tuning: parts of an inference that are looked at."""
SEEN = 0.1
"""Rule: a part of the inference counts as seen if windows covered it this often, compared with the mean over all parts."""
MOST_UNSEEN = 0.05
"""Rule: with more of its time unseen an engine is withheld."""


@dataclass(frozen=True)
class Excitation:
    """How often windows covered each of BINS equal parts of an inference, compared with the mean (BINS,)."""

    cover: Floats

    @property
    def unseen(self) -> float:
        """Share of the inference's time that was not seen."""
        return float(np.mean(self.cover < SEEN))


def excitation(at_ns: Floats, window_ns: float, begin_ns: Ints, end_ns: Ints) -> Excitation:
    """Of one engine's inferences, first layer's begin to last layer's end (m,) rising; windows that end at `at_ns` (k,) rising."""
    span = max(float(np.mean(end_ns - begin_ns)), 1.0)
    count = np.zeros(BINS + 1)
    # A window may lie over the end of one inference and the begin of the next.
    for later in (0, 1):
        which = np.searchsorted(begin_ns, at_ns - window_ns, side="right") - 1 + later
        inside = (which >= 0) & (which < begin_ns.size)
        begin = begin_ns[np.clip(which, 0, begin_ns.size - 1)]
        low, high = (np.clip((at_ns - shift - begin) / span, 0.0, 1.0) for shift in (window_ns, 0.0))
        good = inside & (high > low)
        np.add.at(count, np.floor(low[good] * BINS).astype(np.int64), 1.0)
        np.add.at(count, np.minimum(np.ceil(high[good] * BINS), BINS).astype(np.int64), -1.0)
    cover = np.cumsum(count)[:BINS]
    return Excitation(np.asarray(cover / max(float(cover.mean()), 1e-12), np.float64))
