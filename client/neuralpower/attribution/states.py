"""Stretches in which the board ran at other clocks than in most of a recording: they show in how long inferences take.

A layer's power and time are those of one state of the clocks. A governor's step changes the time of all layers at once; a thermal drift
moves it by little and steadily. What ran at other clocks is left out, readings and all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower.attribution.sources import MeasuredEngine, Rails
from neuralpower_align.activity.states import APART, beside_usual, other_states

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def at_one_clock(
    measured: Sequence[MeasuredEngine], rails: Rails, notes: list[str]
) -> tuple[list[MeasuredEngine], Rails]:
    """What ran at the clocks of most inferences, with a note of what did not; all of it where the clocks stood still."""
    stretches: list[tuple[int, int]] = []
    # What an engine with layers says comes first: anchors alone, of inferences without the profiler, scatter more.
    for each in sorted(measured, key=lambda each: each.runs.whole):
        kept = each if not stretches else _only(each, ~_inside(each, *_joined(stretches)))
        beside = [
            other.runs.begin_ns for other in measured if other.profiled and other.profiled == each.body.get("hash")
        ]
        if kept.runs.begin_ns.size:
            stretches += other_states(kept.runs.begin_ns, kept.runs.end_ns, _spent(kept), beside)
    if not stretches:
        return list(measured), rails
    begin, end = _joined(stretches)
    every, lost = [], 0
    for each in measured:
        inside = _inside(each, begin, end)
        lost += int(inside.sum())
        if not inside.all():
            every.append(_only(each, ~inside))
    seconds = float((end - begin).sum()) * 1e-9
    notes.append(
        f"clocks changed: {lost} inferences in {seconds:.1f} s took longer or shorter by {APART:.0%} or more than most; "
        "that time is left out"
    )
    return every, rails.without(begin, end)


def _inside(each: MeasuredEngine, begin: Ints, end: Ints) -> npt.NDArray[np.bool_]:
    """Which inferences touch one of some stretches."""
    return np.asarray(np.searchsorted(begin, each.runs.end_ns) != np.searchsorted(end, each.runs.begin_ns), np.bool_)


def _spent(each: MeasuredEngine) -> Floats:
    """Time of each inference (m,): of its layers, beside the usual, or ns between its anchors."""
    runs = each.runs
    return np.asarray(runs.end_ns - runs.begin_ns, np.float64) if runs.whole else beside_usual(runs.durations_ns)


def _joined(stretches: Sequence[tuple[int, int]]) -> tuple[Ints, Ints]:
    """Stretches in order, those that overlap as one."""
    found: list[list[int]] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([begin, end])
    both = np.array(found, np.int64)
    return both[:, 0], both[:, 1]


def _only(each: MeasuredEngine, kept: npt.NDArray[np.bool_]) -> MeasuredEngine:
    runs = each.runs
    return replace(
        each,
        runs=replace(
            runs, begin_ns=runs.begin_ns[kept], end_ns=runs.end_ns[kept], durations_ns=runs.durations_ns[kept]
        ),
    )
