"""Stretches in which the board ran at other clocks than in most of a recording: they show in how long inferences take.

A layer's power and time are those of one state of the clocks. A governor's step changes the time of all layers together, by more
than inferences scatter; a thermal drift moves it by little and steadily. What ran at other clocks is left out, readings and all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower.attribution.sources import Measured, Rails

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 20
"""Inferences whose median is held against the others: few enough for half a second of most networks."""
APART, APART_SE = 0.03, 8.0
"""Medians fall into two states where none lies between them over so large a share of them, and over so many standard errors: steps
of governors are 5 % and more, drift with temperature is less and leaves no hole."""


def at_one_clock(measured: Sequence[Measured], rails: Rails, notes: list[str]) -> tuple[list[Measured], Rails]:
    """What ran at the clocks of most inferences, with a note of what did not; all of it where the clocks stood still."""
    stretches = [
        stretch for each in measured for stretch in other_states(each.runs.begin_ns, each.runs.end_ns, _spent(each))
    ]
    if not stretches:
        return list(measured), rails
    begin, end = _joined(stretches)
    kept, lost = [], 0
    for each in measured:
        inside = np.searchsorted(begin, each.runs.end_ns) != np.searchsorted(end, each.runs.begin_ns)
        lost += int(inside.sum())
        if not inside.all():
            kept.append(_only(each, ~inside))
    seconds = float((end - begin).sum()) * 1e-9
    notes.append(
        f"clocks changed: {lost} inferences in {seconds:.1f} s took longer or shorter by {APART:.0%} or more than most; "
        "that time is left out"
    )
    return kept, rails.without(begin, end)


def other_states(begin_ns: Ints, end_ns: Ints, spent_ns: Floats) -> list[tuple[int, int]]:
    """Stretches (begin, end), ns, of an engine's inferences (m,) in order that took another time `spent_ns` than most."""
    count = spent_ns.size // BLOCK
    if count < 2 or np.any(spent_ns <= 0):
        return []
    log = np.log(spent_ns[: count * BLOCK].reshape(count, BLOCK))
    median = np.median(log, axis=1)
    scatter = 1.4826 * float(np.median(np.abs(log - median[:, None])))
    apart = max(APART, APART_SE * 1.2533 * scatter / np.sqrt(BLOCK))
    order = np.argsort(median)
    state = np.empty(count, np.int64)
    state[order] = np.append(0, np.cumsum(np.diff(median[order]) > apart))
    other = state != np.argmax(np.bincount(state))
    # The step lies within a block or at its edge.
    other = other | np.append(other[1:], False) | np.append(False, other[:-1])
    if not other.any() or other.all():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], other, [False]]).astype(np.int8)))
    last = np.where(edges[1::2] == count, spent_ns.size, edges[1::2] * BLOCK) - 1
    return [(int(begin_ns[a]), int(end_ns[b])) for a, b in zip(edges[::2] * BLOCK, last, strict=True)]


def _spent(each: Measured) -> Floats:
    """Time of each inference (m,), ns: of its layers, or between its anchors."""
    runs = each.runs
    return np.asarray(runs.end_ns - runs.begin_ns if runs.whole else runs.durations_ns.sum(axis=1), np.float64)


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


def _only(each: Measured, kept: npt.NDArray[np.bool_]) -> Measured:
    runs = each.runs
    return replace(
        each,
        runs=replace(
            runs, begin_ns=runs.begin_ns[kept], end_ns=runs.end_ns[kept], durations_ns=runs.durations_ns[kept]
        ),
    )
