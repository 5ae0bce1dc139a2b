"""What ran when, as laid between the anchors: moments at which the running class changes, and what may move them.

Beside the classes of an :class:`Activity` it knows of which inference a moment is, since all moments of an inference move
together if it ran earlier or later than laid, and how much longer than usual a layer took, since it may then have drawn less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.activity import BEFORE_NS, Activity
from neuralpower_align.activity.layout import COMMON, GAP, LEADS, NEAR, ROOMS, SPREAD, TOLD, US, WIDTH, Layout, Room
from neuralpower_align.errors import Unattributable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LEAST_STALL, MOST_STALL = -0.5, 1.0
"""Prior: of a layer that takes more than twice or less than half its usual time no more than this is taken for stall."""
SHORTEST_NS, MOST_MORE = 500, 0.5
"""Tuning: of a shorter stretch, and of a larger part of one, it is not said how much of it is a gap."""
BESIDE_NS = 50_000_000
"""Rule: what lies between a named stretch and its neighbour, if it is no longer than this, belongs to the one before."""


@dataclass(frozen=True)
class Laid:
    """All inferences of one engine in order: layer windows (m, n, 2) ns, classes of its layers (n,), of the gaps after it.

    `launch` is the class from the begin anchor (m,) to the first layer, `tail` from the last layer to the end anchor; None
    for both counts these as gap. `room`: what may move the windows; None where nothing is known to.
    """

    windows_ns: Ints
    layers: Ints
    gap: int
    begin_ns: Ints | None = None
    end_ns: Ints | None = None
    launch: int | None = None
    tail: int | None = None
    room: Room | None = None


@dataclass(frozen=True)
class Levers:
    """Of the edges that move, in order, what no layout changes: which they are (k,), whose, by how much gaps move them; which of them
    begin their inference; and of those that the next one of the same inference follows (n,) which they are, whose, and by how much more the next
    one is moved by gaps (2, n)."""

    moving: Ints
    whose: Ints
    gaps: Floats
    place: Floats
    first: Ints
    inner: Ints
    here: Ints
    mine: Ints
    apart: Floats

    @classmethod
    def of(cls, plan: Schedule) -> Levers:
        """Of all edges of a schedule."""
        moving = np.flatnonzero(plan.moves >= 0)
        whose, gaps, place = plan.moves[moving], plan.gaps[moving], plan.place[moving]
        inner = np.flatnonzero(whose[1:] == whose[:-1])
        apart = np.stack([each[inner + 1] - each[inner] for each in (gaps, place)])
        first = np.flatnonzero(np.diff(whose, prepend=-1))
        return cls(moving, whose, gaps, place, first, inner, moving[inner], whose[inner], apart)


@dataclass(frozen=True)
class Schedule:
    """Class `classes[e]` runs from `edges_ns[e]` to the next edge, the last one for ever; classes are 0 .. count - 1.

    `moves[e]`: the inference that moves edge e, -1 where none does (inferences are counted in the order of time).
    `stall[e]`: mean duration over duration, less one, of the layer that runs after edge e; 0 where no layer does.
    `begin_ns` (i,): the first layer's begin of each inference; `engine` (i,): whose it is, negative for named stretches.

    What moves edges (layout.py), in factors: `laid_ns` (e,) where they lie with all parameters 0; `gaps`, `place` (e,); `room` (7, i): the room beside
    the median by shares of the lead, near, ns, width, and 1 where layers may lie elsewhere between the anchors, 0 where nobody knows when they ran; `anchors_ns` (2, i): between which the edges of an inference stay;
    `rest` (i,): the class between inferences of an engine, which also runs in the gaps between its kernels.
    """

    edges_ns: Ints
    classes: Ints
    count: int
    moves: Ints
    stall: Floats
    begin_ns: Ints
    engine: Ints
    laid_ns: Ints
    gaps: Floats
    place: Floats
    room: Floats
    anchors_ns: Ints
    rest: Ints
    apart: bool = False
    """Whether engines have parameters of their own."""
    held: Bools | None = None
    """Which edges (e,) would lie beyond an anchor and are held there: nothing moves them but the sensor."""
    beside_ns: Floats | None = None
    """By how much later than `edges_ns` edges (e,) lie as placed: a part of a nanosecond, that the likelihood may be smooth."""
    thinned: Floats | None = None
    """What part of the stretch after each edge one more ns of each gap between kernels is, and one more ns of all together (2, e), 1 / ns."""
    more: Floats | None = None
    """What part of the stretch after each edge (e,) is more of such a gap than usual: there its engine's `rest` runs, and not its layer."""
    starts: Ints | None = None
    """Number of the first edge of each inference and named stretch, and of all edges (i + 1,)."""
    dense: float = 0.0
    """Edges in a nanosecond, of the whole of which this is a part; 0: this is the whole."""
    levers: Levers | None = None
    """Kept of a part, which is placed often."""

    @property
    def density(self) -> float:
        """Edges in a nanosecond, in the mean."""
        return self.dense or (self.laid_ns.size - 1) / max(float(self.laid_ns[-1] - self.laid_ns[1]), 1.0)

    @cached_property
    def edge_ns(self) -> Floats:
        """The edges as floating numbers: times that are looked up are, and all edges would be converted for each look."""
        return self.edges_ns.astype(np.float64)

    def placed(self, layout: Layout) -> Schedule:
        """With all edges where a layout has them."""
        value, by_engine = layout.value, np.maximum(self.engine, 0)
        levers = self.levers or Levers.of(self)
        moving, whose, here, mine = levers.moving, levers.whose, levers.here, levers.mine
        own = value[COMMON:].reshape(-1, 2)[by_engine] if layout.engines else np.zeros((by_engine.size, 2))
        lead = value[:LEADS] @ self.room[:LEADS] + US * own[:, 0] * self.room[TOLD]
        near = value[SPREAD] * self.room[NEAR]
        gaps = (US * (value[GAP] + own[:, 1]))[whose] * levers.gaps
        gaps += near[whose] * levers.place
        by = lead[whose] + gaps
        edges, beside = np.array(self.laid_ns), np.zeros(self.laid_ns.size)
        whole = np.rint(by)
        at = edges[moving] + whole.astype(np.int64)
        # A gap may come out a little below 0, where durations hold more than the kernel; no layer ends before it has begun.
        edges[moving] = np.clip(at, self.anchors_ns[0, whose], self.anchors_ns[1, whose])
        edges = np.maximum.accumulate(edges)
        kept = edges[moving]
        held = np.zeros(edges.size, bool)
        held[moving] = kept != at
        beside[moving] = np.where(held[moving], 0.0, by - whole)
        begin = np.array(self.begin_ns)
        begin[whose[levers.first]] = kept[levers.first]
        thinned, more = np.zeros((2, edges.size)), np.zeros(edges.size)
        size = np.maximum(kept[levers.inner + 1] - kept[levers.inner], SHORTEST_NS)
        for row, apart in enumerate(levers.apart):
            thinned[row, here] = apart / size
        more[here] = np.clip(thinned[1, here] * near[mine], -MOST_MORE, MOST_MORE)
        return replace(
            self, edges_ns=edges, begin_ns=begin, apart=layout.apart, held=held, beside_ns=beside, thinned=thinned,
            more=more,
        )  # fmt: skip

    def around(self, begin_ns: Floats, end_ns: Floats) -> Part:
        """What ran in some stretches of time (k,), whatever the layout, and what ran before and behind each."""
        assert self.starts is not None
        count = self.anchors_ns.shape[1]
        low = np.maximum(np.searchsorted(self.anchors_ns[1].astype(np.float64), begin_ns, side="right") - 1, 0)
        high = np.minimum(np.searchsorted(self.anchors_ns[0].astype(np.float64), end_ns, side="right"), count)
        turns = np.zeros(count + 1, np.int64)
        np.add.at(turns, low, 1)
        np.add.at(turns, np.maximum(high, low + 1), -1)
        kept = np.cumsum(turns)[:count] > 0
        change = np.diff(np.concatenate([[False], kept, [False]]).astype(np.int64))
        first, past = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
        spans = [np.arange(a, b) for a, b in zip(self.starts[first].tolist(), self.starts[past].tolist(), strict=True)]
        edges = np.concatenate([[0], *spans])
        number = np.cumsum(kept) - 1
        moves = self.moves[edges]
        sizes = np.diff(self.starts)[kept]
        part = Schedule(
            self.laid_ns[edges], self.classes[edges], self.count, np.where(moves >= 0, number[moves], -1),
            self.stall[edges], self.begin_ns[kept], self.engine[kept], self.laid_ns[edges], self.gaps[edges],
            self.place[edges], self.room[:, kept], self.anchors_ns[:, kept], self.rest[kept],
            starts=np.append(1, 1 + np.cumsum(sizes)), dense=self.density,
        )  # fmt: skip
        # Of the first inference of a run all edges may lie before what is looked at, and at least one does.
        known_from = np.where(first > 0, self.anchors_ns[1, first], -np.inf)
        known_to = np.where(past < count, self.anchors_ns[0, np.minimum(past, count - 1)], np.inf)
        return Part(replace(part, levers=Levers.of(part)), known_from, known_to)

    @property
    def activity(self) -> Activity:
        """Without what moves."""
        return Activity(self.edges_ns, self.classes, self.count)

    def steps(self, power_w: Floats) -> Floats:
        """By how much the power changes at each edge (e,), W."""
        level = power_w[self.classes]
        return np.diff(level, prepend=level[:1])


@dataclass(frozen=True)
class Part:
    """What ran around some stretches of time, and from when (k,) till when (k,) nothing lacks, ns."""

    plan: Schedule
    from_ns: Floats
    to_ns: Floats

    def covers(self, begin_ns: Floats, end_ns: Floats) -> bool:
        """Whether nothing lacks of other stretches (n,)."""
        run = np.searchsorted(self.from_ns, begin_ns, side="right") - 1
        return bool(np.all(run >= 0) and np.all(end_ns < self.to_ns[run]))


@dataclass(frozen=True)
class Stretch:
    """A stretch without inferences that the recording names: its class, begin and end, ns."""

    number: int
    begin_ns: int
    end_ns: int


def schedule(
    engines: Sequence[Laid],
    idle_class: int,
    count: int,
    longest_gap_ns: int = 10**9,
    named: Sequence[Stretch] = (),
) -> Schedule:
    """Join the inferences of all engines, and stretches between them that have names.

    A gap between two inferences of one engine belongs to that engine; other gaps, and gaps longer than `longest_gap_ns`, are
    idling. Neighbouring copies of one layer are one stretch. Raises Unattributable if inferences overlap, or there are none.
    """
    parts = [_edges(number, laid) for number, laid in enumerate(engines) if laid.windows_ns.size]
    if not parts:
        raise Unattributable("no inferences")
    for stretch in named:
        time = np.array([[stretch.begin_ns, stretch.end_ns]])
        nothing = np.zeros((1, 2))
        parts.append(_Edges(-1 - len(parts), time, np.full(2, stretch.number), nothing, np.ones(2, bool), 0))
    first = np.concatenate([part.time[:, 0] for part in parts])
    last = np.concatenate([part.time[:, -1] for part in parts])
    size = np.concatenate([np.full(len(part.time), part.time.shape[1]) for part in parts])
    whose = np.concatenate([np.full(len(part.time), part.engine) for part in parts])
    order = np.argsort(first, kind="stable")
    if np.any(first[order][1:] < last[order][:-1]):
        raise Unattributable("inferences overlap in time")
    starts = np.empty(order.size, np.int64)
    starts[order] = np.cumsum(size[order]) - size[order]
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    total = int(size.sum())
    edges, classes, moves = (np.empty(total, np.int64) for _ in range(3))
    stall, gaps, place = (np.zeros(total) for _ in range(3))
    begin = np.empty(order.size, np.int64)
    anchors = np.empty((2, order.size), np.int64)
    room = np.zeros((ROOMS, order.size))
    room[WIDTH] = 1.0
    rest = np.full(order.size, idle_class)
    at = 0
    for part in parts:
        mine = slice(at, at + len(part.time))
        where = starts[mine, None] + np.arange(part.time.shape[1])
        edges[where], classes[where], stall[where] = part.time, part.classes, part.stall
        moves[where] = np.where(part.fixed, -1, rank[mine, None])
        begin[rank[mine]] = part.time[:, part.layer]
        anchors[:, rank[mine]] = part.time[:, 0], part.time[:, -1]
        gaps[where], place[where] = part.gaps, part.place
        if part.engine >= 0:
            room[:, rank[mine]] = part.room
            rest[rank[mine]] = engines[part.engine].gap
        at += len(part.time)
    ends = starts[order] + size[order] - 1
    apart, who = first[order][1:] - last[order][:-1], whose[order]
    beside = (np.minimum(who[1:], who[:-1]) < 0) & (apart <= BESIDE_NS)
    rests = np.append(((who[1:] != who[:-1]) & ~beside) | (apart > longest_gap_ns), True)
    classes[ends[rests]] = idle_class
    return Schedule(
        np.concatenate([[edges[0] - BEFORE_NS], edges]),
        np.concatenate([[idle_class], classes]),
        count,
        np.concatenate([[-1], moves]),
        np.concatenate([[0.0], stall]),
        begin,
        who,
        np.concatenate([[edges[0] - BEFORE_NS], edges]),
        np.append(0.0, gaps),
        np.append(0.0, place),
        room,
        anchors,
        rest,
        starts=np.append(1 + starts[order], total + 1),
    )


@dataclass(frozen=True)
class _Edges:
    """Of one engine: times (m, e), classes (e,), stalls (m, e), which edges never move (e,), where the layers begin; and what moves
    the others: gaps and place (e,), room (7, m)."""

    engine: int
    time: Ints
    classes: Ints
    stall: Floats
    fixed: Bools
    layer: int
    gaps: Floats | float = 0.0
    place: Floats | float = 0.0
    room: Floats | float = 0.0


def _edges(number: int, laid: Laid) -> _Edges:
    windows, layers = laid.windows_ns, np.asarray(laid.layers, np.int64)
    new = np.concatenate([[True], layers[1:] != layers[:-1]])
    lasts = np.append(np.flatnonzero(new)[1:], layers.size) - 1
    times = np.concatenate([windows[:, :1, 0], windows[:, lasts, 1]], axis=1)
    spent = np.diff(times, axis=1).astype(np.float64)
    mean = spent.mean(axis=0)
    stall = np.where(spent > 0, mean / np.maximum(spent, 1.0) - 1, 0.0)
    stall = np.clip(stall, LEAST_STALL, MOST_STALL)
    classes = np.append(layers[new], laid.gap)
    stall = np.concatenate([stall, np.zeros((len(times), 1))], axis=1)
    fixed = np.zeros(classes.size, bool)
    layer = 0
    gaps, place, room = np.zeros(classes.size), np.zeros(classes.size), np.zeros((ROOMS, len(times)))
    room[WIDTH] = 1.0
    if laid.room is not None:
        which = np.append(0, lasts + 1)
        gaps, place = laid.room.gaps[which], laid.room.place[which]
        room = np.vstack([laid.room.beside, laid.room.near, laid.room.width, np.ones(len(times))])
    if laid.launch is not None and laid.tail is not None and laid.begin_ns is not None and laid.end_ns is not None:
        zero = np.zeros((len(times), 1))
        times = np.concatenate([laid.begin_ns[:, None], times, laid.end_ns[:, None]], axis=1)
        classes = np.concatenate([[laid.launch], classes[:-1], [laid.tail, laid.gap]])
        stall = np.concatenate([zero, stall, zero], axis=1)
        fixed = np.concatenate([[True], fixed, [True]])
        gaps, place = (np.concatenate([[0.0], each, [0.0]]) for each in (gaps, place))
        layer = 1
    return _Edges(number, times, classes, stall, fixed, layer, gaps, place, room)
