"""Readings of time of which a recording does not say in what state the board was, though it says so of other time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import Baseline, Classes
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BEHIND_NS = 20_000_000
"""Chip: readings so long behind a stretch saw nothing of it."""
LONG_NS = 10**9
"""Rule: idling, or something else, of this length has a say in the mean of its class that only a class of one state may have."""

Rails = Sequence[Sequence[ChannelReadings]]


def named_only(plan: Schedule, classes: Classes, rails: Rails, baselines: Sequence[Baseline]) -> tuple[Rails, float]:
    """The readings that saw nothing of unnamed time, and how many seconds of readings did; all where the recording names no idling.

    A board with no engine loaded, one that loads it and one that holds it idle differ by a tenth and more of their power. As one
    class they would bend drift, gaps and the energy of layers by some hundred times their errors.
    """
    if not any(each.kind in ("device-idle", "context-idle") for each in baselines):
        return rails, 0.0
    kept = [[piece.take(named(plan, classes, piece.read_ns)) for piece in rail] for rail in rails]
    kept = [[piece for piece in rail if piece.read_ns.size] for rail in kept]
    if not all(kept):
        return rails, 0.0
    before, after = (sum(piece.read_ns.size for piece in rail) for rail in (rails[0], kept[0]))
    apart = np.median(np.concatenate([np.diff(piece.read_ns) for piece in rails[0]]))
    seconds = float((before - after) * apart) * 1e-9
    return kept, seconds


def named(plan: Schedule, classes: Classes, read_ns: Ints) -> Bools:
    """Which readings (k,) saw nothing of idling that is long, or before or behind all that ran, and has no name."""
    begin, end = _unnamed(plan, classes)
    return np.asarray(np.searchsorted(begin, read_ns, "right") == np.searchsorted(end + BEHIND_NS, read_ns), np.bool_)


def _unnamed(plan: Schedule, classes: Classes) -> tuple[Ints, Ints]:
    """Stretches (m,) in order: idling before, behind or beside what has a name, and what is long."""
    edges = np.append(plan.edges_ns, np.iinfo(np.int64).max // 2)
    has_name = np.isin(
        plan.classes, [classes.device_idle, classes.context_idle, classes.aside, *classes.gap_alone.tolist()]
    )
    outside = np.zeros(has_name.size, bool)
    outside[[0, -1]] = True
    beside = np.append(False, has_name[:-1]) | np.append(has_name[1:], False)
    long = np.diff(edges) >= LONG_NS
    chosen = (plan.classes == classes.idle) & (outside | beside | long) | (plan.classes == classes.aside) & long
    at = np.flatnonzero(chosen)
    return edges[at], edges[at + 1]
