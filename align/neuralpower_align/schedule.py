"""What ran when, as laid between the anchors: moments at which the running class changes, and what may move them.

Beside the classes of an :class:`Activity` it knows of which inference a moment is, since all moments of an inference move
together if it ran earlier or later than laid, and how much longer than usual a layer took, since it may then have drawn less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import BEFORE_NS, Activity

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BESIDE_NS = 50_000_000
"""What lies between a named stretch and its neighbour, if it is no longer than this, belongs to the one before."""


@dataclass(frozen=True)
class Laid:
    """All inferences of one engine in order: layer windows (m, n, 2) ns, classes of its layers (n,), of the gaps after it.

    `launch` is the class from the begin anchor (m,) to the first layer, `tail` from the last layer to the end anchor; None
    for both counts these as gap.
    """

    windows_ns: Ints
    layers: Ints
    gap: int
    begin_ns: Ints | None = None
    end_ns: Ints | None = None
    launch: int | None = None
    tail: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Class `classes[e]` runs from `edges_ns[e]` to the next edge, the last one for ever; classes are 0 .. count - 1.

    `moves[e]`: the inference that moves edge e, -1 where none does (inferences are counted in the order of time).
    `stall[e]`: mean duration over duration, less one, of the layer that runs after edge e; 0 where no layer does.
    `begin_ns` (i,): the first layer's begin of each inference; `engine` (i,): whose it is, negative for named stretches.
    """

    edges_ns: Ints
    classes: Ints
    count: int
    moves: Ints
    stall: Floats
    begin_ns: Ints
    engine: Ints

    @property
    def activity(self) -> Activity:
        """Without what moves."""
        return Activity(self.edges_ns, self.classes, self.count)

    def steps(self, power_w: Floats) -> Floats:
        """By how much the power changes at each edge (e,), W."""
        level = power_w[self.classes]
        return np.diff(level, prepend=level[:1])


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
    idling. Neighbouring copies of one layer are one stretch. Raises ValueError if inferences overlap, or there are none.
    """
    parts = [_edges(number, laid) for number, laid in enumerate(engines) if laid.windows_ns.size]
    if not parts:
        raise ValueError("schedule: no inferences")
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
        raise ValueError("schedule: inferences overlap in time")
    starts = np.empty(order.size, np.int64)
    starts[order] = np.cumsum(size[order]) - size[order]
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    total = int(size.sum())
    edges, classes, moves = (np.empty(total, np.int64) for _ in range(3))
    stall = np.empty(total)
    begin = np.empty(order.size, np.int64)
    at = 0
    for part in parts:
        mine = slice(at, at + len(part.time))
        place = starts[mine, None] + np.arange(part.time.shape[1])
        edges[place], classes[place], stall[place] = part.time, part.classes, part.stall
        moves[place] = np.where(part.fixed, -1, rank[mine, None])
        begin[rank[mine]] = part.time[:, part.layer]
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
    )


@dataclass(frozen=True)
class _Edges:
    """Of one engine: times (m, e), classes (e,), stalls (m, e), which edges never move (e,), where the layers begin."""

    engine: int
    time: Ints
    classes: Ints
    stall: Floats
    fixed: npt.NDArray[np.bool_]
    layer: int


def _edges(number: int, laid: Laid) -> _Edges:
    windows, layers = laid.windows_ns, np.asarray(laid.layers, np.int64)
    new = np.concatenate([[True], layers[1:] != layers[:-1]])
    lasts = np.append(np.flatnonzero(new)[1:], layers.size) - 1
    times = np.concatenate([windows[:, :1, 0], windows[:, lasts, 1]], axis=1)
    spent = np.diff(times, axis=1).astype(np.float64)
    mean = spent.mean(axis=0)
    stall = np.where(spent > 0, mean / np.maximum(spent, 1.0) - 1, 0.0)
    stall = np.clip(stall, -0.5, 1.0)
    classes = np.append(layers[new], laid.gap)
    stall = np.concatenate([stall, np.zeros((len(times), 1))], axis=1)
    fixed = np.zeros(classes.size, bool)
    layer = 0
    if laid.launch is not None and laid.tail is not None and laid.begin_ns is not None and laid.end_ns is not None:
        zero = np.zeros((len(times), 1))
        begin = np.minimum(laid.begin_ns, times[:, 0])
        end = np.maximum(laid.end_ns, times[:, -1])
        times = np.concatenate([begin[:, None], times, end[:, None]], axis=1)
        classes = np.concatenate([[laid.launch], classes[:-1], [laid.tail, laid.gap]])
        stall = np.concatenate([zero, stall, zero], axis=1)
        fixed = np.concatenate([[True], fixed, [True]])
        layer = 1
    return _Edges(number, times, classes, stall, fixed, layer)
