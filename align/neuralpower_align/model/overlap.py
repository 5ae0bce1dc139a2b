"""What conversions saw of what ran: sums over all edges of a schedule, which take nine tenths of the time of a fit where the sensor answers slowly.

They are done in C (`align/src/overlap.c`) where that was compiled, and else by numpy (`summed_here`), with which such a fit takes twice as long; both give
the same to rounding, which tests hold (docs/decisions/0016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.sensor.kernel import STEP_NS, Kernel, KernelAnswer

try:
    from neuralpower_align.model._overlap import ffi, lib
except ImportError:  # not compiled, or without cffi
    ffi, lib = None, None

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WALK = 16
"""Prior: parts of an inference, in each of which its gaps scatter together. Of a network of 150 kernels 4, 8 and 16 of them left 11, 5 and 3 % more
noise in all readings than idling has (docs/decisions/0010). Compiled in (`NP_WALK`)."""
ALONG = 3
"""Number: ways in which a layout moves the edges of an inference: by their place in it, by the gaps before them, and all alike."""


@dataclass(frozen=True)
class Ran:
    """What ran, as rows see it, of each edge (e,): the `steps` of power there, W; `stalled`, W for each share of stall; `worth`, what the stall
    share of the class makes of the stretch after the edge, None: stalls are summed apart; `thins` (2, e): by how much its power changes with each ns that each
    gap between kernels is longer, of those that are as long as usual, and that all together are, W per ns; `level`: which of the kernel's
    tables sees it."""

    plan: Schedule
    steps: Floats
    stalled: Floats
    worth: Floats | None
    thins: Floats | None
    level: Ints

    @cached_property
    def turns(self) -> Ints:
        """How many runs have begun up to each edge (e,), counted from the first."""
        return np.cumsum(np.diff(self.plan.moves, prepend=-2) != 0)


@dataclass(frozen=True)
class Moved:
    """Neighbouring edges that one row saw and one inference moves, (r,): `row`, `inference`; W per ns that they lie elsewhere: `along` (r, ALONG) by
    what layouts move; `slack` (r, by_place) by slope and bend, all alike; `walk` (r, WALK) each part by itself."""

    row: Ints
    inference: Ints
    along: Floats
    slack: Floats
    walk: Floats


@dataclass(frozen=True)
class Overlap:
    """Of k rows: `share` (k, t) of the classes `touched` (t,); `stalled`, the same with each stretch weighted by its stall, or None; `by_stall` (k,): W for
    each share of stall; `changes` (s, k) with slopes of the answer, W; and the runs, None where none were asked for."""

    touched: Ints
    share: Floats
    stalled: Floats | None
    by_stall: Floats
    changes: Floats
    runs: Moved | None


@dataclass(frozen=True)
class Asked:
    """Rows (k,) that end `at_ns` and see the edges from `first` to `last`, of the classes `touched` (t,), with so many slopes; the rest as :func:`overlap` has it."""

    at_ns: Floats
    first: Ints
    last: Ints
    touched: Ints
    slopes: int
    along: bool
    by_place: int


def overlap(
    ran: Ran,
    kernel: Kernel,
    at_ns: Floats,
    *,
    slopes: int,
    along: bool,
    by_place: int,
    compiled: bool = lib is not None,
) -> Overlap:
    """What conversions that end `at_ns` (b, n), neighbours in each of b blocks, saw, with so many slopes of the answer.

    `along`: whether runs have what layouts move; `by_place`: by how many slopes they scatter, 0: not at all. `compiled`: whether C does it.
    """
    edges, at = ran.plan.edge_ns, at_ns.ravel()
    first = np.maximum(np.searchsorted(edges, at - kernel.reach_ns, side="right") - 1, 0)
    last = np.maximum(np.searchsorted(edges, at + kernel.ahead_ns, side="right") - 1, first)
    touched = _touched(ran.plan, first.reshape(at_ns.shape), last.reshape(at_ns.shape))
    asked = Asked(at, first, last, touched, slopes, along, by_place)
    return summed_in_c(ran, kernel, asked) if compiled else summed_here(ran, kernel, asked)


def _touched(plan: Schedule, first: Ints, last: Ints) -> Ints:
    """The classes that any row of some blocks (b, n) saw."""
    present = np.zeros(plan.count, np.bool_)
    for low, high in zip(first.min(axis=1).tolist(), last.max(axis=1).tolist(), strict=True):
        here = slice(low, high + 1)
        present[plan.classes[here]] = True
        if plan.more is not None:
            moves = plan.moves[here]
            present[plan.rest[moves[moves >= 0]]] = True
    return np.flatnonzero(present)


def summed_in_c(ran: Ran, kernel: Kernel, asked: Asked) -> Overlap:
    """:func:`overlap`, compiled."""
    at, first, last, touched = asked.at_ns, asked.first, asked.last, asked.touched
    slopes, along, by_place = asked.slopes, asked.along, asked.by_place
    plan, table = ran.plan, kernel.table if slopes else kernel.answer
    rows, in_runs = at.size, along or by_place > 0
    column = np.full(plan.count, -1)
    column[touched] = np.arange(touched.size)
    share = np.zeros((rows, touched.size))
    stalled = None if ran.worth is not None else np.zeros((rows, touched.size))
    by_stall, changes = np.empty(rows), np.empty((slopes, rows))
    most = 0
    if in_runs:
        most = int(np.sum(ran.turns[last] - ran.turns[first] + 1))
    row, inference = np.empty(most, np.int64), np.empty(most, np.int64)
    alongs = np.empty((most if along else 0, ALONG))
    slack, walk = np.empty((most, by_place)), np.empty((most if by_place else 0, WALK))
    kept: list[Any] = []  # what C is pointed at lives until it is done

    def at_of(kind: str, values: npt.NDArray[Any] | None, when: bool = True) -> Any:
        if values is None or not when:
            return ffi.NULL
        kept.append(values)
        return ffi.from_buffer(f"{kind}[]", values, require_writable=False)

    def doubles(values: Floats | None, when: bool = True) -> Any:
        return at_of("double", None if values is None else np.ascontiguousarray(values, np.float64), when)

    def integers(values: Ints, when: bool = True) -> Any:
        return at_of("int64_t", np.ascontiguousarray(values, np.int64), when)

    what = ffi.new(
        "np_ran *",
        {
            "edge_ns": doubles(plan.edge_ns),
            "beside_ns": doubles(plan.beside_ns),
            "classes": integers(plan.classes),
            "moves": integers(plan.moves),
            "level": integers(ran.level),
            "steps": doubles(ran.steps),
            "stalled": doubles(ran.stalled),
            "stall": doubles(plan.stall),
            "worth": doubles(ran.worth),
            "more": doubles(plan.more),
            "rest": integers(plan.rest),
            "gaps": doubles(plan.gaps),
            "place": doubles(plan.place),
            "held": at_of("uint8_t", None if plan.held is None else plan.held.view(np.uint8)),
            "thins": doubles(ran.thins),
            "edges": plan.edge_ns.size,
        },
    )
    answer = ffi.new("np_answer *", _answer(table, slopes, doubles))
    seen = ffi.new(
        "np_seen *",
        {
            "share": doubles(share),
            "stalled": doubles(stalled),
            "touched": touched.size,
            "column": integers(column),
            "by_stall": doubles(by_stall),
            "changes": doubles(changes, slopes > 0),
            "run_row": integers(row, in_runs),
            "run_inference": integers(inference, in_runs),
            "run_along": doubles(alongs, along),
            "run_slack": doubles(slack, by_place > 0),
            "by_place": by_place,
            "run_walk": doubles(walk, by_place > 0),
        },
    )
    count = lib.np_overlap(what, answer, rows, doubles(at), integers(first), integers(last), seen)
    runs = Moved(row[:count], inference[:count], alongs[:count], slack[:count], walk[:count]) if in_runs else None
    return Overlap(touched, share, stalled, by_stall, changes, runs)


def _answer(table: KernelAnswer, slopes: int, doubles: Any) -> dict[str, Any]:
    return {
        "first_ns": table.first_ns,
        "per_ns": 1 / STEP_NS,
        "size": table.size,
        "width": table.rows.shape[1],
        "slopes": slopes,
        "rows": doubles(table.rows),
    }


def summed_here(ran: Ran, kernel: Kernel, asked: Asked) -> Overlap:
    """:func:`overlap` by numpy: each pair of a row and an edge is an entry."""
    at, first, last, touched = asked.at_ns, asked.first, asked.last, asked.touched
    slopes, along, by_place = asked.slopes, asked.along, asked.by_place
    plan, edges = ran.plan, ran.plan.edge_ns
    count = last - first + 1
    ends = np.cumsum(count)
    starts = ends - count
    row = np.repeat(np.arange(at.size), count)
    edge = np.arange(row.size) + np.repeat(first - starts, count)
    share, pulls = _answered(ran, kernel, np.repeat(at, count), edges, edge, starts, ends, slopes)
    column = np.full(plan.count, -1)
    column[touched] = np.arange(touched.size)
    size, cells = (at.size, touched.size), row * touched.size + column[plan.classes[edge]]
    more = None if plan.more is None else plan.more[edge]
    own = share if more is None else share * (1 - more)
    worth = 1.0 if ran.worth is None else ran.worth[edge]
    shares = _summed(cells, own * worth, size)
    stalled = None if ran.worth is not None else _summed(cells, own * plan.stall[edge], size)
    if more is not None:
        moves = plan.moves[edge]
        rests = np.where(moves >= 0, plan.rest[moves], plan.classes[edge])
        shares += _summed(row * touched.size + column[rests], share * more, size)
    by_stall = np.add.reduceat(share * ran.stalled[edge], starts)
    pulls *= ran.steps[edge]
    changes = np.add.reduceat(pulls, starts, axis=1)
    runs = _runs(ran, row, edge, starts, share, pulls, along, by_place) if along or by_place else None
    return Overlap(touched, shares, stalled, by_stall, changes, runs)


def _answered(
    ran: Ran, kernel: Kernel, at: Floats, edges: Floats, edge: Ints, starts: Ints, ends: Ints, slopes: int
) -> tuple[Floats, Floats]:
    """Of each entry, whose row ends `at`, the weight of the stretch after its edge, and the slopes of the answer there (s, e)."""
    table, plan = kernel.table if slopes else kernel.answer, ran.plan
    # Differences of times near one another, so that nothing is lost to their size.
    place = at - table.first_ns - edges[edge]
    if plan.beside_ns is not None:
        place -= plan.beside_ns[edge]
    place *= 1 / STEP_NS
    np.clip(place, 0.0, table.size - 1.001, out=place)
    index = place.astype(np.int64)
    place -= index
    index += ran.level[edge] * table.size
    step, rise = table.flat
    on = step[index]
    place *= rise[index]
    on += place
    on[starts] = 1.0
    share = on.copy()
    share[:-1] -= on[1:]
    share[ends - 1] = on[ends - 1]
    pulls = kernel.table.flat_slopes[:slopes].take(index, axis=1) if slopes else np.zeros((0, index.size))
    pulls[:, starts] = 0.0
    return share, pulls


def _runs(
    ran: Ran, row: Ints, edge: Ints, starts: Ints, share: Floats, pulls: Floats, along: bool, by_place: int
) -> Moved:
    plan = ran.plan
    new = np.diff(plan.moves, prepend=-2)[edge] != 0
    new[starts] = True
    begins = np.flatnonzero(new)
    inference = plan.moves[edge[begins]]
    moved = inference >= 0

    def sums(entries: Floats) -> Floats:
        return np.asarray(np.add.reduceat(entries, begins, axis=-1)[..., moved].T, np.float64)

    # Edges that an anchor holds scatter with their inference, and are moved by nothing else.
    free = pulls[0] if plan.held is None else np.where(plan.held[edge], 0.0, pulls[0])
    alongs = np.zeros((0, ALONG))
    if along:
        every = np.stack([free * plan.place[edge], free * plan.gaps[edge], free])
        if ran.thins is not None:
            # What is more of gaps than usual is at the power of a gap. The sums are taken with the other sign.
            every[0] -= share * ran.thins[1, edge]
            every[1] -= share * ran.thins[0, edge]
        alongs = sums(every)
    walk = np.zeros((0, WALK))
    if by_place:
        spans = np.diff(np.append(begins, edge.size))
        inside = np.repeat(moved, spans)
        number = np.repeat(np.arange(np.count_nonzero(moved)), spans[moved])
        thins = None if ran.thins is None else share[inside] * ran.thins[1, edge[inside]]
        walk = _walked(plan.place[edge[inside]], free[inside], thins, number, int(np.count_nonzero(moved)))
    return Moved(row[begins][moved], inference[moved], alongs, sums(pulls[:by_place]), walk)


def _walked(place: Floats, free: Floats, thins: Floats | None, number: Ints, count: int) -> Floats:
    """How readings scatter if each gap is longer or shorter by itself, (r, WALK): edges then lie as a random walk from the middle has them, of variance 1
    from begin to end, which is straight within each of WALK parts of an inference. Of entries (e,) of the runs `number`."""
    at = np.clip((place + 0.5) * WALK, 0.0, WALK)
    part = np.minimum(at.astype(np.int64), WALK - 1)
    cells, shape = number * WALK + part, (count, WALK)
    # An increment moves what lies behind its part, and of what lies in it as much as lies before.
    within, before = _summed(cells, free * (at - part), shape), np.cumsum(_summed(cells, free, shape), axis=-1)
    found = within - before
    # Of the parts before the middle an increment moves what lies before it, to the other side.
    found[:, WALK // 2 :] += before[:, -1:]
    found *= WALK**-0.5
    if thins is not None:
        inside = (at > 0) & (place <= 0.5)
        cells = number * WALK + np.maximum(np.ceil(at).astype(np.int64) - 1, 0)
        found -= _summed(cells, np.where(inside, thins, 0.0), shape) * WALK**0.5
    return found


def _summed(cells: Ints, values: Floats, shape: tuple[int, int]) -> Floats:
    """Values added up in their cells, which are numbered through an array of a shape."""
    return np.asarray(np.bincount(cells, values, int(np.prod(shape))).reshape(shape), np.float64)
