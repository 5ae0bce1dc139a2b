"""Drift functions over another time: the stream spans more of it as it goes on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuralpower_align.model.nuisance import legendre

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def legendre_within(begin_ns: float, end_ns: float, new_begin_ns: float, new_end_ns: float) -> Floats:
    """1 and the drift functions over a new span (k, 1 + m) are those over the old one times this (1 + m, 1 + m)."""
    x = np.cos(np.pi * (np.arange(8) + 0.5) / 8)
    t = begin_ns + (x + 1) / 2 * (end_ns - begin_ns)
    new = 2 * (t - new_begin_ns) / max(new_end_ns - new_begin_ns, 1.0) - 1
    return np.asarray(np.linalg.lstsq(_with_one(x), _with_one(new), rcond=None)[0], np.float64)


def reexpanded(
    begin_ns: float,
    end_ns: float,
    new_begin_ns: float,
    new_end_ns: float,
    power_w: Floats,
    layer: Bools,
    drift: slice,
    idle_drift: slice,
    size: int,
) -> Floats:
    """How deviations with drift functions over [begin, end] follow from those over another span (q, q).

    The functions and 1 span all cubics, over whatever time. A new function is D_0 + sum_k D_k old_k: its constant part is a change of
    all layers' powers in proportion (of idling and gaps: alike). To first order in the drifts, whose reference is 0.
    """  # fmt: skip
    told = legendre_within(begin_ns, end_ns, new_begin_ns, new_end_ns)
    turn = np.eye(size)
    turn[drift, drift] = told[1:, 1:]
    turn[idle_drift, idle_drift] = told[1:, 1:]
    turn[: power_w.size, drift] = np.outer(np.where(layer, power_w, 0.0), told[0, 1:])
    turn[: power_w.size, idle_drift] = np.outer(np.where(layer, 0.0, 1.0), told[0, 1:])
    return turn


def _with_one(x: Floats) -> Floats:
    """1 and the drift functions (k, 1 + m)."""
    return np.column_stack([np.ones_like(x), legendre(x)])
