"""States of the clocks: a governor's step changes the time of all layers that do not wait for memory, and shows in how long inferences take.

A thermal drift, and the clock's own wander, move that by little and steadily; steps are found by segmentation, and only they count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FEWEST = 10
"""Rule: inferences in a row that make a state: fewer tell no step from their scatter."""
APART, APART_SE = 0.01, 6.0
"""Board: times step where they change by so large a share from one second to the next, and by so many standard errors. A governor's steps of 5 %
change the time of a network that waits for memory by no more than 1 to 2 %, and its power by 10. Drift with temperature and the clock's slow wander
change less within a second."""
SCALES = (FEWEST, 20, 40, 80, 160, 320)
"""Tuning: so many inferences before an edge are compared with as many behind it."""
STEADY = 0.01
"""Tuning: layers whose times scatter by no more weigh the same: of the steadiest alone too little is told."""
NEAR_NS, NEAR = 1_000_000_000, 128
"""Tuning: a step is measured on inferences no farther from it than this, or on so many where they are fewer: with a scatter of 1 % to 0.13 %."""


def beside_usual(durations_ns: Ints, usual_ns: Floats | None = None) -> Floats:
    """How many times longer than usual inferences (m,) took, by the mean of their layers' ratios (geometric), the steadier the heavier.

    durations_ns: (m, n); usual_ns: (n,), `usual_times` of these where not given. A clock's step changes layers that compute, and none that
    wait for memory: where these take most of an inference, as large fully connected layers do, its time as a whole hardly tells the step.
    """
    usual = usual_times(durations_ns) if usual_ns is None else usual_ns
    told = (durations_ns > 0).all(axis=0) & (usual > 0)
    if not told.any():
        return np.ones(len(durations_ns))
    ratio = np.log(durations_ns[:, told] / usual[told])
    scatter = np.abs(np.diff(ratio, axis=0)).mean(axis=0) if len(ratio) > 1 else np.zeros(ratio.shape[1])
    weight = 1 / (scatter**2 + STEADY**2)
    return np.asarray(np.exp(ratio @ (weight / weight.sum())), np.float64)


def usual_times(durations_ns: Ints) -> Floats:
    """Geometric means (n,), ns, of durations (m, n) that are any; 0 where none is."""
    ran = durations_ns > 0
    logs = np.log(np.where(ran, durations_ns, 1)).sum(axis=0)
    return np.asarray(np.where(ran.any(axis=0), np.exp(logs / np.maximum(ran.sum(axis=0), 1)), 0.0), np.float64)


def other_states(
    begin_ns: Ints, end_ns: Ints, spent: Floats, beside_ns: Sequence[Ints] = (), usual: float = 0.0
) -> list[tuple[int, int]]:
    """Stretches (begin, end), ns, of an engine's inferences (m,) in order that took another time `spent` than most.

    `beside_ns`: begins of other inferences of the same network, which count among most with the state that was nearest in time.
    `usual`: than this, where it is known, rather than than most. Both are in one unit, whichever.
    """
    count = spent.size
    if count < (2 if usual else 2 * FEWEST) or np.any(spent <= 0):
        return []
    log = np.log(spent)
    scatter = 1.4826 * float(np.median(np.abs(np.diff(log)))) / np.sqrt(2)
    calm = _calm(log, scatter)
    edges, steps = _steps(calm, begin_ns, scatter)
    if usual:
        size = np.diff(edges)
        means = np.add.reduceat(calm, edges[:-1]) / size
        other = np.abs(means - np.log(usual)) > np.maximum(APART, APART_SE * scatter / np.sqrt(size))
    else:
        other = _unlike_most(edges, steps, begin_ns, end_ns, beside_ns)
    found = []
    for number in np.flatnonzero(other).tolist():
        first, last = int(edges[number]), int(edges[number + 1]) - 1
        # A step is known to a few inferences, the fewer the larger it is beside the scatter.
        before, after = (
            1 + int(3 * (scatter / step) ** 2)
            for step in (np.append(APART, steps)[number], np.append(steps, APART)[number])
        )
        first, last = max(first - before * (number > 0), 0), min(last + after * (number < steps.size), count - 1)
        found.append((int(begin_ns[first]), int(end_ns[last])))
    return found


def _unlike_most(edges: Ints, steps: Floats, begin_ns: Ints, end_ns: Ints, beside_ns: Sequence[Ints]) -> Bools:
    """Which stretches (k + 1,) between edges (k + 2,) are of another state than most inferences."""
    # Only steps count: how far the clock wandered between them does not. A level that is near one from before is that one, or the errors of
    # steps would add up.
    levels, state = [0.0], [0]
    for step in steps.tolist():
        level = levels[state[-1]] + step
        near = int(np.argmin(np.abs(np.array(levels) - level)))
        if abs(levels[near] - level) > APART / 2:
            near = len(levels)
            levels.append(level)
        state.append(near)
    size = np.diff(edges)
    middle = (end_ns[edges[1:-1] - 1] + begin_ns[edges[1:-1]]) / 2
    for others in beside_ns:
        size = size + np.bincount(np.searchsorted(middle, others), minlength=size.size)
    return np.asarray(np.array(state) != np.argmax(np.bincount(state, size)), np.bool_)


def _calm(log: Floats, scatter: float) -> Floats:
    """Without outliers: those beyond four deviations from the median of their neighbours are put there."""
    beside = np.lib.stride_tricks.sliding_window_view(np.pad(log, FEWEST, mode="edge"), 2 * FEWEST + 1)
    middle = np.median(beside, axis=1)
    return np.clip(log, middle - 4 * scatter, middle + 4 * scatter)


def _steps(log: Floats, begin_ns: Ints, scatter: float) -> tuple[Ints, Floats]:
    """Edges (k + 2,) of stretches of even times, from 0 to m, and the steps (k,) between them: those that are no wander.

    Means of neighbours are compared at several scales (Hao, Niu and Zhang 2013: a short state in a long run shows at its own scale alone), and
    edges are then taken back, those that scatter explains first, then the smallest step.
    """
    total = np.append(0.0, np.cumsum(log))
    edges = [0, *_candidates(total, scatter), log.size]
    _take_back(edges, APART_SE, lambda number: _apart(total, edges, number, scatter))
    steps = _take_back(edges, APART, lambda number: _step(total, begin_ns, edges, number))
    return np.array(edges), steps


def _take_back(edges: list[int], enough: float, size: Callable[[int], float]) -> Floats:
    """Take edges out, the smallest first, until all that are left are large enough; returns their sizes."""
    sizes = np.array([size(number) for number in range(1, len(edges) - 1)])
    while sizes.size:
        least = int(np.argmin(np.abs(sizes)))
        if abs(sizes[least]) >= enough:
            break
        del edges[least + 1]
        sizes = np.delete(sizes, least)
        for beside in (least - 1, least):
            if 0 <= beside < sizes.size:
                sizes[beside] = size(beside + 1)
    return sizes


def _candidates(total: Floats, scatter: float) -> list[int]:
    """Where the means on both sides differ by APART_SE standard errors or more, and by more than anywhere near. total: sums (m + 1,)."""
    count, found = total.size - 1, np.zeros(total.size)
    for size in SCALES:
        if count < 2 * size:
            break
        at = np.arange(size, count - size + 1)
        apart = (
            np.abs(2 * total[at] - total[at - size] - total[at + size])
            / size
            / (max(scatter, 1e-6) * (2 / size) ** 0.5)
        )
        pad = np.pad(apart, size, constant_values=0.0)
        most = np.lib.stride_tricks.sliding_window_view(pad, 2 * size + 1).max(axis=1)
        peaks = at[(apart >= APART_SE) & (apart == most)]
        found[peaks] = np.maximum(found[peaks], apart[peaks - size])
    kept = np.zeros(total.size, np.bool_)
    for place in np.argsort(-found, kind="stable")[: np.count_nonzero(found)].tolist():
        kept[place] = not kept[max(place - FEWEST + 1, 0) : place + FEWEST].any()
    return [int(place) for place in np.flatnonzero(kept)]


def _apart(total: Floats, edges: Sequence[int], number: int, scatter: float) -> float:
    """By how many standard errors the means of the stretches on both sides of an edge differ."""
    low, at, high = edges[number - 1 : number + 2]
    left, right = at - low, high - at
    apart = (total[at] - total[low]) / left - (total[high] - total[at]) / right
    return float(abs(apart) / (max(scatter, 1e-6) * np.sqrt(1 / left + 1 / right)))


def _step(total: Floats, begin_ns: Ints, edges: Sequence[int], number: int) -> float:
    """By how much times change at an edge: of no more than NEAR_NS of inferences on either side, and of NEAR at the least."""
    low, at, high = edges[number - 1 : number + 2]
    low = max(low, min(int(np.searchsorted(begin_ns, begin_ns[at - 1] - NEAR_NS)), at - NEAR))
    high = min(high, max(int(np.searchsorted(begin_ns, begin_ns[at] + NEAR_NS)), at + NEAR))
    return float((total[high] - total[at]) / (high - at) - (total[at] - total[low]) / (at - low))
