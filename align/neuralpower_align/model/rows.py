"""Rows of the regression: which conversion each reading held, and what that conversion saw.

A reading holds the last conversion of its channel that had ended; several readings of one conversion are one row (`piece.py`). Under
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
from neuralpower_align.model.overlap import WALK, Moved, Ran, overlap
from neuralpower_align.model.piece import Piece
from neuralpower_align.sensor.kernel import SLOPES, Kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 64
"""Prior: rows whose noise is taken as related; between blocks it is not."""
ENTRIES, AT_ONCE, FEWEST_AT_ONCE = 200_000, 32, 16
"""Tuning: about so many pairs of a conversion and a stretch at once, and no more blocks: what is worked on stays near the processor (2 MB where 120 parameters
are touched), and few blocks touch few classes. Of fewer blocks calls cost more than what they do."""
MEMORY_FILTERS = 6
"""Tuning: a filter over N conversions is begun so many N before the first that counts: exp(-6) of it is left then."""


@dataclass(frozen=True)
class Scatter:
    """By what rows scatter as inferences run earlier or later, a patch of R rows for each inference that a block saw: most inferences are seen by few rows
    of it, and most rows see few inferences.

    `block`, `first` (p,): the block of each patch, and its first row there. `slack` (p, R, s): W per ns of the deviation of the inference's place, by slope and
    by bend; `stretch` (p, R, WALK): if each of its gaps is longer or shorter by itself, W per ns of the deviation of all together; `width` (p, 2): how wide its
    place scatters, squared, beside the mean; and 1 where its room is far beyond the usual.
    """

    block: Ints
    first: Ints
    slack: Floats
    stretch: Floats
    width: Floats

    @classmethod
    def none(cls) -> Scatter:
        """Of nothing."""
        nothing = np.zeros(0, np.int64)
        return cls(nothing, nothing, np.zeros((0, 0, 1)), np.zeros((0, 0, WALK)), np.zeros((0, 2)))

    def covariance(self, columns: Floats, shape: tuple[int, int]) -> Floats:
        """Of all rows (b, n, n), of which each patch has columns (p, R, k) that are independent of one another and of those of other patches."""
        (blocks, rows), (count, high, _) = shape, columns.shape
        at = self.first[:, None] + np.arange(high)
        if count and 2 * high > rows:
            # Where most rows saw an inference one product of a block costs less than those of its patches, which lie one after another.
            rank = np.arange(count) - np.searchsorted(self.block, self.block)
            dense = np.zeros((blocks, rows, int(rank.max()) + 1, columns.shape[2]))
            dense[self.block[:, None], at, rank[:, None]] = columns
            flat = dense.reshape(blocks, rows, -1)
            return np.asarray(flat @ flat.transpose(0, 2, 1), np.float64)
        cells = ((self.block[:, None] * rows + at) * rows)[:, :, None] + at[:, None, :]
        patches = columns @ columns.transpose(0, 2, 1)
        return _summed(cells.ravel(), patches.ravel(), (blocks, rows, rows))


@dataclass(frozen=True)
class Design:
    """What the rows of b blocks of n neighbours saw, of t classes and m inferences that they touch.

    `rows` (b, n) are their places in the piece. `share` (b, n, t) of the classes `touched` (t,); `stalled` the same with each
    stretch weighted by its stall, None where `share` has the stalls in it already; `by_stall` (b, n): W for each share of stall; `slide`, `by_lag`, `by_second` (b, n): change of the reading, W per ns, if it is seen later or if
    a pole is slower; `scatter`: by what they scatter if inferences run earlier or later. `bend` (b, n): the sum of the bends of all inferences, W per ns;
    `by_blur`, `by_skew` (b, n): change with the logarithm of the variance of their places, and with its skewness, W. `layout` (b, n, j): change with the parameters of the layout numbered `moved` (j,). `smooth_ns`: time constant by which slow changes are smoothed.
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
    scatter: Scatter
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
    sensor: bool = True,
) -> Iterator[Design]:
    """The rows of a piece some blocks at a time. `power_w` (c,): of the classes, for the slopes; `number`: of the piece.

    `stalls` (c,): the stall share of each class, where that is known; else what stalls are is kept apart. `scatter`: whether the rows
    have what inferences scatter by. `cut`: whether blocks are cut into portions; they come as they are where
    they were already. `sensor`: whether they have changes with the sensor and the layout, which take half of the time; else these are 0.
    """
    ran = _ran(plan, kernel, power_w, stalls)
    blocks = blocks_of(piece.number.size) if blocks is None else blocks
    for rows in _portions(plan, piece, blocks, kernel.reach_ns) if cut else blocks:
        yield _design(plan, number, piece, kernel, ran, rows, scatter, sensor)


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
    plan: Schedule, index: int, piece: Piece, kernel: Kernel, ran: Ran, rows: Ints, scatter: bool, sensor: bool
) -> Design:
    number = piece.number[rows]
    if piece.averaging == 1:
        at, picked = piece.at_ns[rows], None
    else:
        span = _span(piece, number)
        every = number[:, -1:] - span + np.arange(span + 1)
        at, picked = piece.at(every), number - every[:, :1]
    slopes = 2 if kernel.blur_ns else 1  # that inferences scatter by
    by_place = slopes if scatter else 0
    seen = overlap(ran, kernel, at, slopes=SLOPES if sensor else by_place, along=sensor, by_place=by_place)
    share, by_stall = seen.share.reshape(*at.shape, -1), seen.by_stall.reshape(at.shape)
    stalled = None if seen.stalled is None else seen.stalled.reshape(share.shape)
    changes, moved, layout = np.zeros((SLOPES, *at.shape)), np.zeros(0, np.int64), np.zeros((*at.shape, 0))
    scattered = Scatter.none()
    if sensor and seen.runs is not None:
        changes = seen.changes.reshape(SLOPES, *at.shape)
        moved, layout = _by_layout(plan, seen.runs, at.shape)
    slide, bend, by_lag, by_second, by_blur, by_skew = changes
    if scatter and seen.runs is not None:
        whole = picked is not None  # a filter spreads over all rows of a block
        scattered = _scatter(plan, seen.runs, at.shape, whole)
    if picked is not None:
        share, bend, layout, by_stall, slide, by_lag, by_second, by_blur, by_skew = (
            _read(_filtered(part, piece.averaging), picked)
            for part in (share, bend, layout, by_stall, slide, by_lag, by_second, by_blur, by_skew)
        )
        if stalled is not None:
            stalled = _read(_filtered(stalled, piece.averaging), picked)
        if scattered.block.size:
            mine = picked[scattered.block]
            slack, stretch = (
                _read(_filtered(part, piece.averaging), mine) for part in (scattered.slack, scattered.stretch)
            )
            scattered = replace(scattered, slack=slack, stretch=stretch)
    return Design(
        index, rows, number, piece.at_ns[rows], piece.value_w[rows], seen.touched, share, stalled, by_stall, slide, by_lag, by_second,
        by_blur, by_skew, bend, scattered, moved, layout, kernel.lag_ns + kernel.second_ns + piece.filter_ns,
    )  # fmt: skip


def _ran(plan: Schedule, kernel: Kernel, power_w: Floats, stalls: Floats | None) -> Ran:
    """What ran with the powers of classes (c,), and their stall shares."""
    moves, worth = plan.moves, None if stalls is None else 1 + plan.stall * stalls[plan.classes]
    level = power_w[plan.classes] if worth is None else power_w[plan.classes] * worth
    thins = None
    if plan.thinned is not None and plan.more is not None:
        apart = np.where(moves >= 0, power_w[plan.rest[moves]] - level, 0.0)
        level = level + plan.more * apart
        thins = plan.thinned * np.stack([-plan.more * apart, (1 - plan.more) * apart])
    steps = np.diff(level, prepend=level[:1])
    return Ran(plan, steps, plan.stall * power_w[plan.classes], worth, thins, _levels(plan, kernel))


def _levels(plan: Schedule, kernel: Kernel) -> Ints:
    """Which of the kernel's tables sees each edge (e,): that of its inference, and of no inference that of the mean one."""
    usual = kernel.level(np.ones(1), np.zeros(1, np.bool_))
    return np.append(kernel.level(plan.room[WIDTH], plan.room[LEAD_FAR] > 0), usual)[plan.moves]


def _by_layout(plan: Schedule, runs: Moved, shape: tuple[int, ...]) -> tuple[Ints, Floats]:
    """The layout's parameters that move something, and how readings change with them (blocks, width, j)."""
    # A reading sees an edge later where the edge comes later: the other way round than if the reading does.
    place, gaps, slope = -runs.along.T
    gaps = US * gaps
    room, whose = plan.room[:, runs.inference], np.maximum(plan.engine[runs.inference], 0)
    parts = [*(slope * room[:LEADS]), place * room[NEAR], gaps]
    numbers = list(range(COMMON))
    for engine in np.flatnonzero(np.bincount(whose)) if plan.apart else ():
        mine = whose == engine
        parts += [np.where(mine, US * slope * room[TOLD], 0.0), np.where(mine, gaps, 0.0)]
        numbers += [COMMON + 2 * engine, COMMON + 2 * engine + 1]
    blocks, width = shape
    flat = np.empty((blocks * width, len(parts)))
    for number, part in enumerate(parts):
        flat[:, number] = np.bincount(runs.row, part, len(flat))
    return np.array(numbers, np.int64), flat.reshape(blocks, width, -1)


def _scatter(plan: Schedule, runs: Moved, shape: tuple[int, ...], whole: bool) -> Scatter:
    """By what readings scatter if inferences run earlier or later; `whole`: patches are of all rows of a block."""
    blocks, width = shape
    block, row, inference = runs.row // width, runs.row % width, runs.inference
    least = np.full(blocks, np.iinfo(np.int64).max)
    np.minimum.at(least, block, inference)
    present = np.zeros((blocks, int(np.max(inference - least[block], initial=-1)) + 1), bool)
    present[block, inference - least[block]] = True
    patch = (np.cumsum(present).reshape(present.shape) - 1)[block, inference - least[block]]
    count = int(np.count_nonzero(present))
    first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
    first[patch[::-1]], last[patch] = row[::-1], row
    rows = width if whole else int(np.max(last - first, initial=0)) + 1
    first = np.minimum(first, width - rows)
    cells, size = patch * rows + row - first[patch], (count, rows)
    slack, stretch = (_patched(cells, each, size) for each in (runs.slack, runs.walk))
    which, whose = np.zeros(count, np.int64), np.zeros(count, np.int64)
    which[patch], whose[patch] = inference, block
    wider = np.stack([plan.room[WIDTH, which], plan.room[LEAD_FAR, which] > 0], axis=-1)
    return Scatter(whose, first, slack, stretch, wider)


def _patched(cells: Ints, values: Floats, size: tuple[int, int]) -> Floats:
    """Values (r, k) of runs added up in the cells of patches (p, R, k)."""
    each = values.shape[1]
    return _summed((cells[:, None] * each + np.arange(each)).ravel(), values.ravel(), (*size, each))


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
