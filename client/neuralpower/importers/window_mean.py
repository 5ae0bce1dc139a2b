"""Window mean: a layer's power as the mean of the samples inside its window. A baseline, and a poor one.

A window shorter than the sampling interval holds no sample, and one that is late by a whole inference holds another
layer's. It is kept because earlier tools report it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def window_mean(
    sample_ns: ArrayLike, sample_w: ArrayLike, begin_ns: ArrayLike, end_ns: ArrayLike
) -> NDArray[np.float64]:
    """Mean power of the samples with begin <= time <= end, for each window.

    Args:
        sample_ns: (n,) times of the samples, ascending, integer nanoseconds.
        sample_w: (n,) their power in watts; nan marks a missing sample, which counts for nothing.
        begin_ns, end_ns: (m,) the windows, both ends inclusive.

    Returns (m,) watts, nan where a window holds no sample. Raises ValueError when the times descend.
    """
    times = np.asarray(sample_ns, dtype=np.int64)
    watts = np.asarray(sample_w, dtype=np.float64)
    known = ~np.isnan(watts)
    times, watts = times[known], watts[known]
    if np.any(np.diff(times) < 0):
        raise ValueError("the samples' times descend")
    first = np.searchsorted(times, np.asarray(begin_ns, dtype=np.int64), side="left")
    last = np.searchsorted(times, np.asarray(end_ns, dtype=np.int64), side="right")
    total = np.concatenate([[0.0], np.cumsum(watts)])
    count = np.maximum(last - first, 0)
    return np.where(count > 0, (total[last] - total[first]) / np.maximum(count, 1), np.nan)
