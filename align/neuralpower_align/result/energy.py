"""Energy between two moments of a sampled power series."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def energy_between(
    t_ns: npt.ArrayLike,
    power_w: npt.ArrayLike,
    begin_ns: npt.ArrayLike,
    end_ns: npt.ArrayLike,
    max_gap_ns: int | None = None,
) -> Floats:
    """Integrate power over [begin, end]: straight lines between readings (trapezoids), joules.

    Energy is the difference of one cumulative integral at two moments, so E(a, b) + E(b, c) = E(a, c) to rounding.
    What was not measured is nan, never zero: a span that reaches outside the readings, touches a line to a nan reading,
    or crosses a hole longer than `max_gap_ns` between readings (missed ticks, a suspend). An empty span is 0 J.

    t_ns: (k,) increasing, ns. power_w: (k,) W. begin_ns, end_ns: scalars or arrays of one shape, ns, end >= begin.
    Returns float64 of that shape. Raises ValueError on shapes or order that cannot be.
    """
    t = np.asarray(t_ns, np.int64)
    power = np.asarray(power_w, np.float64)
    begin = np.asarray(begin_ns, np.int64)
    end = np.asarray(end_ns, np.int64)
    if t.ndim != 1 or power.shape != t.shape:
        raise ValueError(f"energy: times {t.shape} and powers {power.shape} are not two equal columns")
    if begin.shape != end.shape or np.any(end < begin):
        raise ValueError("energy: begin and end differ in shape, or a span ends before it begins")
    if np.any(np.diff(t) <= 0):
        raise ValueError("energy: reading times do not increase")
    if t.size < 2:
        return np.where(begin == end, 0.0, np.nan)
    step = np.diff(t) * 1e-9
    mean = (power[:-1] + power[1:]) / 2
    known = np.isfinite(mean)
    if max_gap_ns is not None:
        known &= np.diff(t) <= max_gap_ns
    energy = np.concatenate([[0.0], np.cumsum(np.where(known, mean * step, 0.0))])
    unknown = np.concatenate([[0], np.cumsum(~known)])

    def at(when: npt.NDArray[np.int64], later: bool) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Cumulative energy at `when`, and how many unknown segments lie before it (the one around it counted if `later`)."""
        segment = np.clip(np.searchsorted(t, when, side="left" if later else "right") - 1, 0, t.size - 2)
        into = (when - t[segment]) * 1e-9
        slope = (power[segment + 1] - power[segment]) / step[segment]
        partial = np.where(known[segment], into * (power[segment] + slope * into / 2), 0.0)
        return energy[segment] + partial, unknown[segment + 1] if later else unknown[segment]

    energy_begin, before = at(begin, later=False)
    energy_end, until = at(end, later=True)
    measured = (until <= before) & (begin >= t[0]) & (end <= t[-1])
    return np.where(begin == end, 0.0, np.where(measured, energy_end - energy_begin, np.nan))
