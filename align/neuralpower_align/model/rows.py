"""Rows of the regression: which conversion each reading held, and what that conversion saw.

A reading holds the last conversion of its channel that had ended; several readings of one conversion are one row. Under
averaging the register holds out += (x - out) / N over all conversions x, also those that nobody read: shares are then made for
all of them, filtered in the same way, and those that were read are taken. Rows are worked on in blocks of neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import COMMON, LEAD_FAR, LEADS, NEAR, TOLD, US, WIDTH
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock
from neuralpower_align.sensor.kernel import STEP_NS, Kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 64
"""Rows whose noise is taken as related; between blocks it is not."""
WALK = 16
"""Parts of an inference, in each of which its gaps scatter together. Of a network of 150 kernels 4, 8 and 16 of them left 11, 5 and 3 % more noise in all readings than idling
has (docs/decisions/0010)."""
ENTRIES, AT_ONCE, FEWEST_AT_ONCE = 200_000, 32, 16
"""About so many pairs of a conversion and a stretch at once, and no more blocks: what is worked on stays near the processor (2 MB where 120 parameters
are touched), and few blocks touch few classes. Of fewer blocks calls cost more than what they do."""
MEMORY_FILTERS = 6
"""A filter over N conversions is begun so many N before the first that counts: exp(-6) of it is left then."""


@dataclass(frozen=True)
class Late:
    """By how much later than a clock has it conversions end: `by_ns` at `at_ns` (k,), and between in straight lines. When they saw the power
    is not touched by it."""

    at_ns: Floats
    by_ns: Floats

    def of(self, times_ns: npt.NDArray[np.generic]) -> Floats:
        """At some times, ns."""
        return np.interp(times_ns.astype(np.float64), self.at_ns, self.by_ns)


@dataclass(frozen=True)
class Piece:
    """Rows of one stretch of readings: conversion numbers (k,), ends less delay (k,) ns, values (k,) W.

    `clock` is None where readings are taken as conversions of their own; numbers then count readings. `unplaced_ns` is the
    scan where the place of a reading in it is unknown.
    """

    number: Ints
    at_ns: Floats
    value_w: Floats
    window_ns: float
    averaging: int
    clock: ScanClock | None
    delay_ns: float
    step_w: float = 0.0
    unplaced_ns: float = 0.0
    late: Late | None = None

    @property
    def late_ns(self) -> float:
        """By how much later than the clock has it conversions end, in the mean."""
        return 0.0 if self.late is None else float(np.mean(self.late.by_ns))

    @property
    def filter_ns(self) -> float:
        """Time constant of the chip's recursive filter."""
        if self.averaging == 1 or self.clock is None:
            return 0.0
        return float(-self.clock.period_ns / np.log1p(-1 / self.averaging))

    def at(self, number: Ints) -> Floats:
        """When conversions saw the power, ns: their ends less the delay."""
        if self.clock is None:
            return np.interp(number, self.number, self.at_ns)
        return self.clock.end(number) - self.delay_ns

    def taken(self, rows: Ints) -> Piece:
        """Some of its rows."""
        return replace(self, number=self.number[rows], at_ns=self.at_ns[rows], value_w=self.value_w[rows])

    def shifted(self, shift_ns: Floats) -> Piece:
        """The piece with row i seen later by shift_ns[i]."""
        if self.clock is None or self.number.size < 2:
            return replace(self, at_ns=self.at_ns + shift_ns)
        moved = self.clock.moved(lambda ends: np.interp(ends, self.at_ns + self.delay_ns, shift_ns))
        # The clock is straight between its points, which the shift need not be. What filters needs all conversions, and has them from the clock.
        at_ns = self.at_ns + shift_ns if self.averaging == 1 else moved.end(self.number) - self.delay_ns
        return replace(self, clock=moved, at_ns=at_ns)


def piece_of(
    readings: ChannelReadings, clock: ScanClock | None, delay_ns: float, margin_ns: float, late: Late | None = None
) -> Piece:
    """The rows of a stretch: one per conversion; readings within `margin_ns` of the end of a conversion are left out. `late`: by how
    much later than the clock has it these end."""
    if clock is None:
        unplaced = readings.scan_ns if readings.scan_ns > readings.window_ns else 0.0
        number = np.arange(readings.read_ns.size)
        at = np.asarray(readings.read_ns - delay_ns, np.float64)
        return Piece(number, at, readings.power_w, readings.window_ns, 1, None, delay_ns, readings.step_w, unplaced)
    read_ns = readings.read_ns if late is None else readings.read_ns - late.of(readings.read_ns)
    number = clock.last_before(read_ns - margin_ns)
    clear = number == clock.last_before(read_ns + margin_ns)
    number, first = np.unique(number[clear], return_index=True)
    value = readings.power_w[clear][first]
    stretched = readings.window_ns * (clock.period_ns / readings.scan_ns if readings.scan_ns else 1.0)
    at = clock.end(number) - delay_ns
    return Piece(number, at, value, stretched, max(readings.averaging, 1), clock, delay_ns, readings.step_w, late=late)


@dataclass(frozen=True)
class Design:
    """What the rows of b blocks of n neighbours saw, of t classes and m inferences that they touch.

    `rows` (b, n) are their places in the piece. `share` (b, n, t) of the classes `touched` (t,); `stalled` the same with each
    stretch weighted by its stall, None where `share` has the stalls in it already; `by_stall` (b, n): W for each share of stall; `slide`, `by_lag`, `by_second` (b, n): change of the reading, W per ns, if it is seen later or if
    a pole is slower; `slack` (b, n, m): by what they scatter if
    inferences run earlier or later, W per ns of its deviation; `stretch` (b, n, WALK m): if each of their gaps is longer or shorter by itself, W per ns of the deviation of all together;
    `width` (b, 2, m): how wide each inference's place scatters, squared, beside the mean; and 1 where its room is far beyond the usual.
    `bend` (b, n): the sum of the bends of all inferences, W per ns; `by_blur`, `by_skew` (b, n): change with the logarithm of the variance of their places, and with its skewness, W. `layout` (b, n, j): change with the parameters of the layout numbered `moved` (j,). `smooth_ns`: time constant by which slow changes are smoothed.
    """

    piece: int
    rows: Ints
    number: Ints
    at_ns: Floats
    value_w: Floats
    touched: Ints
    share: Floats
    stalled: Floats | None
    by_stall: Floats
    slide: Floats
    by_lag: Floats
    by_second: Floats
    by_blur: Floats
    by_skew: Floats
    bend: Floats
    slack: Floats
    stretch: Floats
    width: Floats
    moved: Ints
    layout: Floats
    smooth_ns: float


def blocks_of(rows: int, size: int = BLOCK) -> list[Ints]:
    """Row numbers of neighbours (b, n): full blocks, and what is left at the end as one shorter."""
    full = rows // size
    found = [np.arange(full * size).reshape(full, size)] if full else []
    if rows % size:
        found.append(np.arange(full * size, rows).reshape(1, -1))
    return found


def designs(
    plan: Schedule,
    number: int,
    piece: Piece,
    kernel: Kernel,
    power_w: Floats,
    blocks: list[Ints] | None = None,
    stalls: Floats | None = None,
    scatter: bool = True,
    cut: bool = True,
) -> Iterator[Design]:
    """The rows of a piece some blocks at a time. `power_w` (c,): of the classes, for the slopes; `number`: of the piece.

    `stalls` (c,): the stall share of each class, where that is known; else what stalls are is kept apart. `scatter`: whether the rows
    have what inferences scatter by, else `slack` and `stretch` are of none. `cut`: whether blocks are cut into portions; they come as they are where
    they were already.
    """
    slopes = _Slopes.of(plan, kernel, power_w, stalls)
    blocks = blocks_of(piece.number.size) if blocks is None else blocks
    for rows in _portions(plan, piece, blocks, kernel.reach_ns) if cut else blocks:
        yield _design(plan, number, piece, kernel, slopes, rows, scatter)


def seen_ns(piece: Piece, kernel: Kernel, blocks: list[Ints]) -> tuple[Floats, Floats]:
    """From when till when the rows of each of some blocks saw the power, ns."""
    begin, end = [], []
    for group in blocks:
        if piece.averaging == 1:
            at = piece.at_ns[group]
            begin.append(at.min(axis=1))
            end.append(at.max(axis=1))
        else:
            number = piece.number[group]
            begin.append(piece.at(number[:, -1] - _span(piece, number)))
            end.append(piece.at(number[:, -1]))
    return np.concatenate(begin) - kernel.reach_ns, np.concatenate(end) + kernel.ahead_ns


def _span(piece: Piece, number: Ints) -> int:
    """How many conversions before the last of each block (b, n) its rows hold something of, where a filter is over them."""
    return int((number[:, -1] - number[:, 0]).max()) + MEMORY_FILTERS * piece.averaging


def _portions(plan: Schedule, piece: Piece, blocks: list[Ints], reach_ns: float) -> Iterator[Ints]:
    """Blocks (b, n) that are worked on together: neighbours, and where there are several engines such of one, as far as it goes."""
    per_row = 4 + plan.density * reach_ns
    for group in blocks:
        at_once = max(int(ENTRIES / per_row / group.shape[1]), 1)
        if piece.averaging > 1:
            # How far back a filter is begun is one for a portion (`_span`), so that these are as large as can be.
            yield from (group[low : low + at_once] for low in range(0, len(group), at_once))
            continue
        at_once = min(at_once, AT_ONCE)
        running = np.searchsorted(plan.begin_ns, piece.at_ns[group[:, 0]].astype(np.int64), side="right") - 1
        whose = plan.engine[np.maximum(running, 0)]
        told = np.flatnonzero(whose >= 0)
        others = told[1:][np.diff(whose[told]) != 0]
        low = 0
        while low < len(group):
            high = min(low + at_once, len(group))
            near = others[np.searchsorted(others, low + FEWEST_AT_ONCE) :]
            if near.size and near[0] < high:
                high = int(near[0])
            yield group[low:high]
            low = high


def _design(
    plan: Schedule, index: int, piece: Piece, kernel: Kernel, slopes: _Slopes, rows: Ints, scatter: bool
) -> Design:
    number = piece.number[rows]
    if piece.averaging == 1:
        at, picked = piece.at_ns[rows], None
    else:
        span = _span(piece, number)
        every = number[:, -1:] - span + np.arange(span + 1)
        at, picked = piece.at(every), number - every[:, :1]
    seen = _overlap(plan, at.ravel(), kernel, slopes.level)
    present = np.zeros(plan.count, bool)
    classes = plan.classes[seen.edge]
    present[classes] = True
    more = None if plan.more is None else plan.more[seen.edge]
    if more is not None:
        rests = np.where(plan.moves[seen.edge] >= 0, plan.rest[plan.moves[seen.edge]], classes)
        present[rests] = True
    touched = np.flatnonzero(present)
    cells = seen.row * touched.size + (np.cumsum(present) - 1)[classes]
    shape = (*at.shape, touched.size)
    own = seen.share if more is None else seen.share * (1 - more)
    if slopes.worth is None:
        share = _summed(cells, own, shape)
        stalled = _summed(cells, own * plan.stall[seen.edge], shape)
    else:
        share, stalled = _summed(cells, own * slopes.worth[seen.edge], shape), None
    if more is not None:
        share += _summed(seen.row * touched.size + (np.cumsum(present) - 1)[rests], seen.share * more, shape)
    by_stall = np.add.reduceat(seen.share * slopes.stalled[seen.edge], seen.first).reshape(at.shape)
    pulls = seen.slopes * slopes.steps[seen.edge]
    slide, bend, by_lag, by_second, by_blur, by_skew = np.add.reduceat(pulls, seen.first, axis=1).reshape(6, *at.shape)
    slack, stretch, width, moved, layout = _moving(
        plan, seen, slopes, pulls[: 2 if kernel.blur_ns and scatter else 1], at.shape[0], at.shape[1], scatter
    )
    if picked is not None:
        share, bend, slack, stretch, layout, by_stall, slide, by_lag, by_second, by_blur, by_skew = (
            _read(_filtered(part, piece.averaging), picked)
            for part in (share, bend, slack, stretch, layout, by_stall, slide, by_lag, by_second, by_blur, by_skew)
        )
        if stalled is not None:
            stalled = _read(_filtered(stalled, piece.averaging), picked)
    return Design(
        index, rows, number, piece.at_ns[rows], piece.value_w[rows], touched, share, stalled, by_stall, slide, by_lag, by_second,
        by_blur, by_skew, bend, slack, stretch, width, moved, layout, kernel.lag_ns + kernel.second_ns + piece.filter_ns,
    )  # fmt: skip


@dataclass(frozen=True)
class _Slopes:
    """Of each edge (e,): the step of power, W, and the inference that moves it, or -1; `new`: whether another one than the last edge's.
    `before`, `after`: the last inference that moves an edge up to this one, the first that moves one from this one on. `stalled`: W for each
    share of stall; `worth`: what the stall share of the class makes of the stretch after the edge; `thins` (2, e): by how much its power
    changes with each ns that each gap between kernels is longer, of those that are as long as usual, and that all together are, W per ns."""

    steps: Floats
    moves: Ints
    new: npt.NDArray[np.bool_]
    before: Ints
    after: Ints
    stalled: Floats
    worth: Floats | None
    thins: Floats | None
    level: Ints

    @classmethod
    def of(cls, plan: Schedule, kernel: Kernel, power_w: Floats, stalls: Floats | None) -> _Slopes:
        """With the powers of classes (c,)."""
        moves, worth = plan.moves, None if stalls is None else 1 + plan.stall * stalls[plan.classes]
        level = power_w[plan.classes] if worth is None else power_w[plan.classes] * worth
        thins = None
        if plan.thinned is not None and plan.more is not None:
            apart = np.where(moves >= 0, power_w[plan.rest[moves]] - level, 0.0)
            level = level + plan.more * apart
            thins = plan.thinned * np.stack([-plan.more * apart, (1 - plan.more) * apart])
        behind = np.where(moves >= 0, moves, np.iinfo(np.int64).max)
        return cls(
            np.diff(level, prepend=level[:1]),
            moves,
            np.diff(moves, prepend=-2) != 0,
            np.maximum.accumulate(moves),
            np.minimum.accumulate(behind[::-1])[::-1],
            plan.stall * power_w[plan.classes],
            worth,
            thins,
            _levels(plan, kernel),
        )


def _levels(plan: Schedule, kernel: Kernel) -> Ints:
    """Which of the kernel's tables sees each edge (e,): that of its inference, and of no inference that of the mean one."""
    usual = kernel.level(np.ones(1), np.zeros(1, np.bool_))
    return np.append(kernel.level(plan.room[WIDTH], plan.room[LEAD_FAR] > 0), usual)[plan.moves]


@dataclass(frozen=True)
class _Overlap:
    """Sparse: conversion `row[i]` saw the stretch after edge `edge[i]` with weight `share[i]`; `slopes[:, i]` of R at that edge: slope,
    bend, by either pole, by variance, by skewness. Entries of a row are neighbours, from `first[row]` on."""

    row: Ints
    edge: Ints
    first: Ints
    share: Floats
    slopes: Floats


def _overlap(plan: Schedule, at: Floats, kernel: Kernel, level: Ints) -> _Overlap:
    edges, table = plan.edge_ns, kernel.table
    first = np.maximum(np.searchsorted(edges, at - kernel.reach_ns, side="right") - 1, 0)
    last = np.maximum(np.searchsorted(edges, at + kernel.ahead_ns, side="right") - 1, first)
    count = last - first + 1
    ends = np.cumsum(count)
    starts = ends - count
    row = np.repeat(np.arange(at.size), count)
    edge = np.arange(row.size) + np.repeat(first - starts, count)
    # Differences of times near one another, so that nothing is lost to their size.
    place = np.repeat(at - table.first_ns, count) - edges[edge]
    if plan.beside_ns is not None:
        place -= plan.beside_ns[edge]
    place *= 1 / STEP_NS
    np.clip(place, 0.0, table.size - 1.001, out=place)
    index = place.astype(np.int64)
    place -= index
    index += level[edge] * table.size
    step, rise, every = table.flat
    on = step[index]
    place *= rise[index]
    on += place
    on[starts] = 1.0
    share = on.copy()
    share[:-1] -= on[1:]
    share[ends - 1] = on[ends - 1]
    slopes = every.take(index, axis=1)
    slopes[:, starts] = 0.0
    return _Overlap(row, edge, starts, share, slopes)


def _moving(
    plan: Schedule, seen: _Overlap, slopes: _Slopes, pulls: Floats, blocks: int, width: int, scatter: bool
) -> tuple[Floats, Floats, Floats, Ints, Floats]:
    """How readings change where inferences move: by what they scatter if these run earlier or later, W per ns, slope (and bend)
    (blocks, width, m or 2 m) with inferences next to one another; the same of stretches (blocks, width, WALK m); the width of each (blocks, 2, m);
    and the layout's parameters and columns."""
    new = slopes.new[seen.edge]
    new[seen.first] = True
    begins = np.flatnonzero(new)
    moves, row = slopes.moves[seen.edge[begins]], seen.row[begins]
    along = np.empty((len(pulls) + 3, seen.row.size))
    along[:-3] = pulls
    # Edges that an anchor holds scatter with their inference, and are moved by nothing else.
    along[-1] = pulls[0] if plan.held is None else np.where(plan.held[seen.edge], 0.0, pulls[0])
    np.multiply(along[-1], plan.place[seen.edge], out=along[-3])
    np.multiply(along[-1], plan.gaps[seen.edge], out=along[-2])
    if slopes.thins is not None:
        # What is more of gaps than usual is at the power of a gap. The sums are taken with the other sign.
        along[-3] -= seen.share * slopes.thins[1, seen.edge]
        along[-2] -= seen.share * slopes.thins[0, seen.edge]
    sums = np.add.reduceat(along, begins, axis=1)
    moved = moves >= 0
    sums, moves, row = sums[:, moved], moves[moved], row[moved]
    # A reading sees an edge later where the edge comes later: the other way round than if the reading does.
    slope, place, gaps = -sums[-1], -sums[-3], -US * sums[-2]
    room, whose = plan.room[:, moves], np.maximum(plan.engine[moves], 0)
    parts = [*(slope * room[:LEADS]), place * room[NEAR], gaps]
    numbers = list(range(COMMON))
    for engine in np.flatnonzero(np.bincount(whose)) if plan.apart else ():
        mine = whose == engine
        parts += [np.where(mine, US * slope * room[TOLD], 0.0), np.where(mine, gaps, 0.0)]
        numbers += [COMMON + 2 * engine, COMMON + 2 * engine + 1]
    size = blocks * width
    flat = np.empty((size, len(parts)))
    for number, part in enumerate(parts):
        flat[:, number] = np.bincount(row, part, size)
    columns: Floats = flat.reshape(blocks, width, -1)
    if not scatter:
        none = np.zeros((blocks, width, 0))
        return none, none, np.zeros((blocks, 2, 0)), np.array(numbers, np.int64), columns
    lasts = np.append(seen.first[1:], seen.row.size) - 1
    earliest = slopes.after[seen.edge[seen.first].reshape(blocks, width)].min(axis=1)
    latest = slopes.before[seen.edge[lasts].reshape(blocks, width)].max(axis=1)
    most = max(int(np.max(latest - earliest, initial=0, where=latest >= earliest)) + 1, 1)
    cells = row * most + moves - earliest[row // width]
    shape = (blocks, width, most)
    slack: Floats = np.concatenate([_summed(cells, part, shape) for part in sums[:-3]], axis=-1)
    stretch = _walked(plan, seen, slopes, pulls[0], begins, moved, cells, shape)
    which = np.clip(earliest[:, None] + np.arange(most), 0, max(plan.room.shape[1] - 1, 0))
    wider = np.stack([plan.room[WIDTH, which], plan.room[LEAD_FAR, which] > 0], axis=1)
    return slack, stretch, wider, np.array(numbers, np.int64), columns


def _walked(
    plan: Schedule,
    seen: _Overlap,
    slopes: _Slopes,
    pull: Floats,
    begins: Ints,
    moved: npt.NDArray[np.bool_],
    cells: Ints,
    shape: tuple[int, ...],
) -> Floats:
    """How readings scatter if each gap is longer or shorter by itself, (blocks, width, WALK m): edges then lie as a random walk from the middle has
    them, of variance 1 from begin to end, which is straight within each of WALK parts of an inference."""
    place, parts = plan.place[seen.edge], []
    free = pull if plan.held is None else np.where(plan.held[seen.edge], 0.0, pull)
    for number in range(WALK):
        begin = number / WALK - 0.5
        # Of the parts before the middle an increment moves what lies before it, to the other side.
        gone = np.clip((place - begin) * WALK, 0.0, 1.0) - (begin < 0)
        along = free * (gone * WALK**-0.5)
        if slopes.thins is not None:
            inside = (place > begin) & (place <= begin + 1 / WALK)
            along -= seen.share * slopes.thins[1, seen.edge] * inside * WALK**0.5
        parts.append(_summed(cells, np.add.reduceat(along, begins)[moved], shape))
    return np.concatenate(parts, axis=-1)


def _summed(cells: Ints, values: Floats, shape: tuple[int, ...]) -> Floats:
    """Values added up in their cells, which are numbered through an array of a shape."""
    return np.asarray(np.bincount(cells, values, int(np.prod(shape))).reshape(shape), np.float64)


def _read(part: Floats, picked: Ints) -> Floats:
    """Of the conversions (b, w, ..) of each block those that were read (b, n, ..)."""
    return np.asarray(part[np.arange(len(part))[:, None], picked], np.float64)


def _filtered(part: Floats, averaging: int) -> Floats:
    """out += (x - out) / N along axis 1, from the first x on."""
    out, keep = part / averaging, 1 - 1 / averaging
    out[:, 0] = part[:, 0]
    for i in range(1, out.shape[1]):
        out[:, i] += keep * out[:, i - 1]
    return out
