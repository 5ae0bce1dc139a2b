"""The baseline: the mean of the readings that were taken inside a layer's window.

It takes a reading for the power at the moment it was read, which it is not, and most layers are shorter than the time
between readings and get none. It is kept to be compared with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def window_mean(read_ns: Ints, power_w: Floats, windows_ns: Ints) -> tuple[Floats, Floats, Ints]:
    """Mean power (n,) W, its standard error (n,) W, and the number of readings (n,), over all inferences of an engine.

    read_ns (k,) increasing, power_w (k,) without nan, windows_ns (m, n, 2). nan for a layer that no reading met, and a
    standard error of nan with fewer than two.
    """
    total = np.concatenate([[0.0], np.cumsum(power_w)])
    squares = np.concatenate([[0.0], np.cumsum(power_w**2)])
    low, high = np.searchsorted(read_ns, windows_ns[..., 0]), np.searchsorted(read_ns, windows_ns[..., 1])
    count = (high - low).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, (total[high] - total[low]).sum(axis=0) / count, np.nan)
        spread = (squares[high] - squares[low]).sum(axis=0) / count - mean**2
        error = np.where(count > 1, np.sqrt(np.maximum(spread, 0.0) / (count - 1)), np.nan)
    return mean, error, count.astype(np.int64)
