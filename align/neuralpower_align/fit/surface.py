"""The objective over all parameters, and steps that lower it.

Its value at a point is -2 log of the likelihood of the readings times the prior of all parameters (:class:`State`). Weights and variances stay as they
are for a turn of Levenberg-Marquardt, which takes no step that does not lower it; then both are made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import COMMON, GAP, TOLD, US
from neuralpower_align.activity.schedule import Part, Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.fit.gls import Normal, accumulate
from neuralpower_align.fit.pace import Pace
from neuralpower_align.fit.state import State, Whitening
from neuralpower_align.model.conversion_ends import ends_late
from neuralpower_align.model.noise import SLOW_NS, Noise, Root, Sample, blurred, estimate_noise
from neuralpower_align.model.nuisance import WIDEST, Model, Pull, moved, said
from neuralpower_align.model.piece import Piece, piece_of
from neuralpower_align.model.rows import BLOCK, Design, blocks_of, designs, seen_ns
from neuralpower_align.sensor.kernel import STEP_NS, Kernel, lag_of_ns, measured_ns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MARGIN_NS = 40e3
"""Board: readings so near the end of a conversion may hold another one."""
WIDEST_ROOMS, WIDEST_NS = 4.0, 200e3
"""Rule: far beyond what is believed of a fit (`trust`): there it no longer matters how wide edges are, and wide ones cost time."""
FARTHER_NS = 30e3
"""Rule: beyond half of the room between anchors: inferences that scatter by more contradict the fit (`trust`), and must be seen to."""
START_BLOCKS, START_CLASSES = 60, 120
"""Tuning: starts are compared on so many blocks, of engines that have together no more classes than this where there are more."""
WIDE_ROUNDS, ROUNDS, SWEEPS, RIVAL_SWEEPS = 8, 8, 16, 8
"""Tuning: most steps with wide edges, most in a turn, and most turns; the last of a maximum beside one that has settled, which is followed
on if it is the better one all the same. What has not settled by then is withheld (`trust`)."""
REREAD, LEAST_TURN, FAR_WORSE = 3, 0.2, 150.0
"""Tuning: in so many turns readings near the ends of conversions are numbered anew; no turn is shortened to less; no turn makes up for so
much of cost."""
SETTLED, NEAR = 0.1, 0.5
"""Tuning: steps below so many standard errors end a fit, at the end and on the way."""
TURNS, REWEIGHED = 5, 1.0
"""Tuning: after so many turns the weights are good enough: a turn that ended has settled the fit where weights made anew would move nothing by more
standard errors than this. Any weights near the true ones make an estimate, with errors that differ little."""
SAME_NOISE, NEARLY_SAME_NOISE = 0.01, 0.03
AS_NONE = np.array([1e-4, 1e-4, 1e-4, 50.0, 50.0, 50.0, 50.0])
"""Tuning: standard deviations of the noise that move by a smaller share have settled, after TURNS by the second, or by less than the last: 0.1 mW, and 50 ns."""
WORTH_A_STEP, MANY = 0.5, 50
"""Tuning: a step of all parameters that promises less than the first in the cost is none (that is 0.7 standard errors of all together, and 0.1 of each
of MANY; of more parameters as much of each): slopes in tables of
the response, with their steps of 1 us, are means over each, so that the cost is not that smooth."""
POLISHED, FINEST = 4, 0.02
"""Tuning: where it has ended, a fit goes on for so many turns, until steps are below so much of what would have ended it: what promises WORTH_A_STEP may still
be 0.7 standard errors of one parameter. Which maximum is ended at, rounding may decide all the same."""
PULL_BLOCKS, PULL_NS, PULL_WIDER, PULL_SKEW, PULL_GAP_NS = 120, 4e3, 0.2, 0.2, 200.0
"""Tuning: differences by which the information on powers is differentiated, on so many blocks."""
NO_BETTER = 4.0
"""Tuning: where no step lowers the cost, however short, and the step asked for is within two standard errors of all parameters together (of some
fifty), the cost cannot be told from its least."""
DAMPING, MOST_DAMPING = 1.0, 1e4
"""Tuning: the damping of the first step that is tried again, as a multiple of the curvature; beyond the second, steps are too short to be any."""

MOST_BLOCKS, KEPT_BLOCKS = 1000, 2500
"""Tuning: a maximum is sought on no more rows than are in the first (64 s at 1 kHz). From there few steps are gone on all, where there are no more of these
than in the second: what whitens them takes 82 MB; else one."""
MOST_SPREAD = 0.6
"""Tuning: of more than this share of all rows no part is chosen with room between."""
GOLDEN = (5**0.5 - 1) / 2
"""Number: parts of its multiples lie evenly, however many there are."""
TURN_BLOCKS, BESIDE_NS = 512, 2e6
"""Tuning: of all rows of a long recording so many blocks are placed at a time (half a minute at 1 kHz); and what ran so long beside them too, so that
a step of the sensor needs no others."""
Blocks = int | None
"""So many blocks spread evenly over all pieces, or all."""
EVERY: Blocks = None
Point = tuple[Model, list[Piece], Noise]


@dataclass(frozen=True)
class Surface:
    """What stays the same through all rounds; `some`: the blocks on which the maximum is approached, START_BLOCKS where starts are compared;
    `farthest_ns`: inferences scatter by no more; `widest_ns`: edges are blurred by no more."""

    plan: Schedule
    layer: Bools
    readings: Sequence[ChannelReadings]
    some: Blocks
    widest_ns: float
    farthest_ns: float
    best: Ints | None = None
    """Engines by whose rows starts are compared; None: all."""
    parts: dict[tuple[int, Blocks], Part] = field(default_factory=dict, compare=False)
    """Of each piece, by how many blocks are looked at: what ran around them. Of a long recording that is little of all, which is placed for each step."""
    spread: dict[int, tuple[list[Ints], list[list[Ints]]]] = field(default_factory=dict, compare=False)
    """By how many blocks are looked at: the conversions of all pieces, and which blocks of them were chosen last. Most points differ in no row."""
    pace: Pace = field(default_factory=Pace, compare=False)

    @property
    def of_all(self) -> bool:
        """Whether starts are compared by rows of all engines."""
        return self.best is None

    def at(self, point: Point, blocks: Blocks, whitening: Whitening | None = None) -> State:
        """The sums of some blocks at a point; `whitening`: how inferences scatter, if not as they do there."""
        model, pieces, noise = point
        widest = min(float(np.sqrt(noise.place * np.exp(model.wider))), self.widest_ns)
        model = replace(model, kernel=blurred(model.kernel, noise, widest, model.edge_ns))
        normal, whitening = self.normal(model, pieces, noise, blocks, whitening)
        return State(model, pieces, noise, normal, whitening=whitening)

    def reread(self, model: Model, pieces: list[Piece]) -> list[Piece]:
        """The rows where conversions end as the readings themselves tell: which of two conversions a reading near an end holds.

        When conversions saw what they saw stays what it is.
        """
        found = []
        for number, (piece, readings) in enumerate(zip(pieces, self.readings, strict=True)):
            again = piece
            if piece.clock is not None and piece.averaging == 1:
                late = ends_late(self.plan, number, piece, readings, model)
                again = piece_of(readings, piece.clock, piece.delay_ns, MARGIN_NS, late)
            found.append(again if again.number.size >= piece.number.size / 2 else piece)
        return found

    def settled(
        self,
        point: Point,
        blocks: Blocks,
        near: float,
        noise_blocks: int,
        reread: bool = True,
        worth: float = np.inf,
    ) -> State:
        """A maximum in all parameters and the noise's variances.

        In turn: steps that raise the likelihood under the weights of where the turn began, then the variances that are likeliest there. It
        has settled where, with weights made anew, the next step is short, and the variances move no more. Turns that swing about
        that place are shortened (Aitken's rule along the last one). `reread`: whether readings near the ends of conversions are numbered anew;
        `worth`: a search whose cost is far above this for each row after REREAD turns is given up.
        """
        state = self.at(point, blocks)
        share, last, read_last = 1.0, None, not reread or near > SETTLED
        for sweep in range(SWEEPS):
            if reread and sweep < REREAD:
                again = self.reread(state.model, state.pieces)
                state = self.at((state.model, again, state.noise), blocks)
            before, state = state, self.climbed(state, blocks, ROUNDS, near)
            stuck, gone, ended = state.gone is None, state.gone, state.settled
            model, pieces = state.model, state.pieces
            if gone is not None and last is not None:
                share = _shorter(share, last, gone, before.normal)
                if share < 1:
                    model, pieces = moved(before.model, before.pieces, share * gone)
            last = gone
            state = self.at((model, pieces, state.noise), blocks)
            times = SLOW_NS if sweep == 0 else ()
            noise = self.likelier(state.model, state.pieces, state.noise, noise_blocks, times)
            loud = _loud(noise, state.noise, SAME_NOISE if sweep < TURNS else NEARLY_SAME_NOISE)
            if loud:
                other = self.at((_as_wide(state.model, state.noise, noise), state.pieces, noise), blocks)
                loud, state = (True, other) if other.cost < state.cost else (False, state)
                share, last = (1.0, None) if loud and sweep < REREAD else (share, last)
            promised = state.promised
            far = state.newton()[1]
            rests = far < near or promised < _worth_of(state) or (stuck and promised < NO_BETTER)
            if sweep + 1 >= REREAD and state.cost > worth * state.normal.rows + FAR_WORSE:
                return state
            if sweep + 1 >= RIVAL_SWEEPS and worth < np.inf:
                return state
            if (
                (sweep + 1 >= REREAD or not reread)
                and not loud
                and (rests or (sweep >= TURNS and ended and far < REWEIGHED))
            ):
                again = state.pieces if read_last else self.reread(state.model, state.pieces)
                read_last = True
                if any(one.number.size != other.number.size for one, other in zip(again, state.pieces, strict=True)):
                    # One that holds another conversion than it is taken for may be off by a hundred deviations.
                    state, (share, last) = self.at((state.model, again, state.noise), blocks), (1.0, None)
                    continue
                return replace(self.polished(state, blocks, near) if near <= SETTLED else state, settled=True)
        return state

    def polished(self, state: State, blocks: Blocks, near: float) -> State:
        """On to the end of a maximum, under variances and rows as they are."""
        for _ in range(POLISHED):
            if state.newton()[1] < near * FINEST or state.promised < _worth_of(state) * FINEST:
                break
            state = self.climbed(state, blocks, ROUNDS, near * FINEST, FINEST)
            state = self.at((state.model, state.pieces, state.noise), blocks)
        return state

    def climbed(
        self, state: State, blocks: Blocks, rounds: int, near: float, part: float = 0.25, pulled: bool = True
    ) -> State:
        """Levenberg-Marquardt at fixed variances and weights: only steps that lower the cost are taken, else shorter ones are tried.

        It ends where a step is below `near` standard errors, or promises less than `part` of what one is worth. `pulled`: with what the restricted
        likelihood says of the sensor here, and not as before.
        """
        damping, whitening = 0.0, state.whitening
        state = replace(state, model=self.pulled(state, blocks)) if pulled else state
        for _ in range(rounds):
            change, far = state.newton()
            if far < near or state.promised < part * _worth_of(state):
                return replace(state, settled=True)
            while damping <= MOST_DAMPING:
                if damping:
                    change = state.newton(damping)[0]
                model, pieces = moved(state.model, state.pieces, change)
                trial = self.at((model, pieces, state.noise), blocks, whitening)
                if trial.cost < state.cost:
                    break
                damping = max(4 * damping, DAMPING)
            else:
                return state
            state = replace(trial, gone=change if state.gone is None else state.gone + change)
            damping = damping / 16 if damping > 0.1 else 0.0
        return state

    def pulled(self, state: State, blocks: Blocks) -> Model:
        """The model with what its restricted likelihood says of the sensor here (`Model.pull`), from differences on some blocks."""
        model, rows = state.model, state.normal.rows
        if model.known or not model.sensor:
            return model

        def information(other: Model) -> Floats:
            point = replace(other, sensor=False), state.pieces, state.noise
            some = self.at(point, PULL_BLOCKS if blocks is None else min(blocks, PULL_BLOCKS))
            return some.information(rows / some.normal.rows)

        def half(other: Model) -> float:
            return float(np.linalg.slogdet(information(other))[1]) / 2

        kernel, told = model.kernel, information(model)
        here = float(np.linalg.slogdet(told)[1]) / 2
        lag_ns = lag_of_ns(measured_ns(kernel.lag_ns) + PULL_NS)
        longer = half(replace(model, kernel=kernel.with_lags(lag_ns, kernel.second_ns)))
        wider = half(replace(model, wider=model.wider + PULL_WIDER)) if model.blurs else here
        tilted = kernel.skew + (PULL_SKEW if kernel.skew < 0 else -PULL_SKEW)
        skewed = half(replace(model, kernel=replace(kernel, skew=tilted))) if model.blurs else here
        layout, by_layout = model.layout, np.zeros(model.layout.size)
        # Of edges that are sharper than the tables' steps costs have corners, and slopes are none of theirs.
        if not layout.still and (model.edge_ns or state.noise.place >= STEP_NS**2 or not model.blurs):
            step_us = PULL_GAP_NS / US / self.most_gaps
            wide = replace(layout, value=layout.value + step_us * (np.arange(layout.size) == GAP))
            # The log det's change, of each class its part: an engine's own gap changes that of its own classes.
            change = np.linalg.inv(told) * (information(replace(model, layout=wide)) - told).T
            by_class = np.sum(change, axis=1) / (2 * step_us)
            by_layout[GAP] = -by_class.sum()
            if layout.apart:
                mine = self.engine_of >= 0
                by_layout[COMMON + 1 :: 2] = -np.bincount(self.engine_of[mine], by_class[mine], layout.engines)
        return replace(
            model,
            pull=Pull(
                (here - longer) / (PULL_NS / US),
                (here - wider) / PULL_WIDER,
                (here - skewed) / (tilted - kernel.skew),
                by_layout,
            ),
        )

    @cached_property
    def most_gaps(self) -> float:
        """Gaps between kernels from the middle of an inference to its end, of the engine that has most; at least 1."""
        return max(float(np.abs(self.plan.gaps).max()), 1.0)

    @cached_property
    def engine_of(self) -> Ints:
        """The engine that alone has a class (c,), -1: none or several."""
        plan = self.plan
        assert plan.starts is not None
        whose, classes = np.repeat(plan.engine, np.diff(plan.starts)), plan.classes[plan.starts[0] :]
        least, most = np.full(plan.count, np.iinfo(np.int64).max), np.full(plan.count, -1)
        np.minimum.at(least, classes, whose)
        np.maximum.at(most, classes, whose)
        return np.where(least == most, most, -1)

    def _each(
        self,
        model: Model,
        pieces: Sequence[Piece],
        blocks: Blocks,
        scatter: bool = True,
        portions: list[list[Ints]] | None = None,
    ) -> Iterator[tuple[int, Design]]:
        """Averaging and rows, some blocks at a time; `portions`: those of each piece, as they were at another point."""
        if portions is not None:
            chosen = portions
        elif blocks is not None:
            chosen = self._chosen(pieces, blocks)
        else:
            chosen = [blocks_of(piece.number.size) for piece in pieces]
        for number, (piece, mine) in enumerate(zip(pieces, chosen, strict=True)):
            kernel = replace(model.kernel, window_ns=piece.window_ns, smear_ns=piece.unplaced_ns)
            for some in [mine] if _kept(pieces, blocks) else _in_turns(mine):
                plan = self._around(number, piece, kernel, some, blocks).placed(model.layout)
                every = designs(
                    plan, number, piece, kernel, model.slope_w, some, model.stall_shares, scatter, portions is None, model.sensor
                )  # fmt: skip
                for design in every:
                    yield piece.averaging, design
                    self.pace.step(len(design.rows))

    def _chosen(self, pieces: Sequence[Piece], blocks: int) -> list[list[Ints]]:
        """Blocks spread evenly over all pieces (`_spread`), the same for points that differ in no row, wherever these lie."""
        numbers = [piece.number for piece in pieces]
        before, chosen = self.spread.get(blocks, ([], []))
        if len(before) != len(numbers) or any(one is not other for one, other in zip(before, numbers, strict=True)):
            best = self.best if blocks == START_BLOCKS else None
            chosen = _spread(
                pieces, blocks, () if best is None else [np.isin(_seen(self.plan, each), best) for each in pieces]
            )
            self.spread[blocks] = numbers, chosen
        return chosen

    def _around(self, number: int, piece: Piece, kernel: Kernel, blocks: list[Ints], name: Blocks) -> Schedule:
        """What ran around the rows of some blocks of piece `number`; it is kept by the `name` of these blocks while it has all that they saw."""
        if not blocks:
            return self.plan
        begin_ns, end_ns = seen_ns(piece, kernel, blocks)
        part = self.parts.get((number, name))
        if part is None or not part.covers(begin_ns, end_ns):
            part = self.plan.around(begin_ns - BESIDE_NS - kernel.reach_ns / 2, end_ns + BESIDE_NS)
            self.parts[number, name] = part
        return part.plan

    def normal(
        self,
        model: Model,
        pieces: Sequence[Piece],
        noise: Noise,
        blocks: Blocks,
        whitening: Whitening | None = None,
    ) -> tuple[Normal, Whitening]:
        """Normal equations over some blocks, and what whitened their rows."""
        normal = Normal.empty(model.index.size)
        if whitening is not None:
            every = self._each(model, pieces, blocks, scatter=False, portions=whitening.portions)
            for (averaging, design), root in zip(every, whitening.roots, strict=True):
                accumulate(normal, model, design, noise, averaging, root)
            return normal, whitening
        scatter = noise.place + noise.stretch + noise.far > 0
        roots: list[Root] = []
        portions: list[list[Ints]] = [[] for _ in pieces]
        for averaging, design in self._each(model, pieces, blocks, scatter):
            root = accumulate(normal, model, design, noise, averaging)
            if _kept(pieces, blocks):
                roots.append(root)
                portions[design.piece].append(design.rows)
        return normal, Whitening(roots, portions)

    def likelier(
        self,
        model: Model,
        pieces: Sequence[Piece],
        noise: Noise,
        blocks: Blocks,
        times_ns: Sequence[float] = (),
    ) -> Noise:
        """The likeliest variances, from residuals of some blocks."""
        samples = [
            Sample(design.value_w - said(model, design), design, averaging)
            for averaging, design in self._each(replace(model, sensor=False), pieces, blocks)
        ]
        register = max(piece.step_w for piece in pieces) ** 2 / 12
        return estimate_noise(samples, noise, register, times_ns, self.farthest_ns)


def _worth_of(state: State) -> float:
    """What a step must promise to be one."""
    return WORTH_A_STEP * max(state.normal.slope.size / MANY, 1.0)


def _kept(pieces: Sequence[Piece], blocks: Blocks) -> bool:
    """Whether so many blocks are few enough that what was made of them is kept."""
    return blocks is not None or sum(piece.number.size for piece in pieces) <= KEPT_BLOCKS * BLOCK


def _in_turns(groups: list[Ints]) -> Iterator[list[Ints]]:
    """Blocks a part of all at a time, TURN_BLOCKS at most."""
    for group in groups:
        for low in range(0, len(group), TURN_BLOCKS):
            yield [group[low : low + TURN_BLOCKS]]


def widest_ns(plan: Schedule) -> float:
    """A slack that no inference can have: several times the room from the begin anchor to the layers, and WIDEST_NS."""
    first = np.flatnonzero((plan.moves[1:] >= 0) & (plan.moves[1:] != plan.moves[:-1]))
    return WIDEST_ROOMS * float(np.median(np.diff(plan.edges_ns)[first])) + WIDEST_NS if first.size else WIDEST_NS


def farthest_ns(plan: Schedule) -> float:
    """A scatter that no inference can have, if layers lie between their anchors: half of what is around them, and FARTHER_NS."""
    told = plan.room[TOLD] > 0
    if not told.any():
        return float(np.inf)
    first = np.flatnonzero((plan.moves[1:] >= 0) & (plan.moves[1:] != plan.moves[:-1]))
    whose, before = plan.moves[first + 1], np.diff(plan.edges_ns)[first]
    rooms = [np.median(before[told[whose] & (plan.engine[whose] == each)]) for each in np.unique(plan.engine[told])]
    return float(max(rooms)) + FARTHER_NS


def _as_wide(model: Model, before: Noise, noise: Noise) -> Model:
    """The model under other variances with edges as wide as they were: what these say of the width is for steps to find, of all
    parameters together. Were it theirs at once, the better variances would seem the less likely ones."""
    if not model.blurs or not before.place or not noise.place:
        return model
    return replace(model, wider=float(np.clip(model.wider + np.log(before.place / noise.place), -WIDEST, WIDEST)))


def _loud(noise: Noise, before: Noise, share: float) -> bool:
    """Whether any variance has moved by more than comes to a share of the deviation of its kind, of readings or of places."""
    new, old = noise.variances, before.variances
    kinds = np.repeat([new[:3].sum(), new[3:].sum()], [3, 4])
    moved_by = np.abs(new - old) / (2 * np.sqrt(kinds))
    return bool(np.any(moved_by > share * np.sqrt(kinds) + AS_NONE)) or noise.slow_ns != before.slow_ns


def _shorter(share: float, last: Floats, gone: Floats, normal: Normal) -> float:
    """How much of a turn (q,) to go after another one, of which `share` was gone: where the line through both says that turns end."""
    size = np.maximum(np.diag(normal.gram), 0.0)
    along, square = float(last @ (size * gone)), float(last @ (size * last))
    bend = square - along
    return float(np.clip(share * square / bend, LEAST_TURN, 1.0)) if bend > 0 else 1.0


def _spread(pieces: Sequence[Piece], count: int, best: Sequence[Bools] = ()) -> list[list[Ints]]:
    """About `count` full blocks spread evenly over all pieces; of `best` rows where there are.

    Rows that another place of the sensor brings or takes away change few of them: costs on some blocks are costs of the same readings.
    """
    every = [blocks_of(piece.number.size)[0] for piece in pieces]
    if count < MOST_SPREAD * sum(map(len, every)):
        groups = [_anchored(piece.number) for piece in pieces]
    else:
        groups = [(group, np.arange(len(group), dtype=np.float64) * GOLDEN % 1) for group in every]
    if best:
        kept = [
            (group[good[group].all(axis=1)], order[good[group].all(axis=1)])
            for (group, order), good in zip(groups, best, strict=True)
        ]
        groups = kept if sum(len(group) for group, _ in kept) >= count / 2 else groups
    total = max(sum(len(group) for group, _ in groups), 1)
    chosen = []
    for group, order in groups:
        share = max(round(count * len(group) / total), 1)
        which = np.sort(np.argsort(order, kind="stable")[:share])
        chosen.append([group[which]] if len(group) else [])
    return chosen


def _anchored(number: Ints) -> tuple[Ints, Floats]:
    """Full blocks (b, BLOCK) of rows, of which each begins at the first conversion `number` (k,) behind a round number; and an order (b,) in which
    the first of any of them lie evenly."""
    per_row = (number[-1] - number[0]) / max(number.size - 1, 1)
    # In coarse steps, which few rows more or less hardly ever change, and with room for rows that are gone.
    step = max(int(BLOCK * np.floor(2 * per_row + 1.2) / 2), 1)
    rounds = np.arange(-(-number[0] // step), number[-1] // step + 1)
    firsts, which = np.unique(np.searchsorted(number, rounds * step), return_index=True)
    begins, order, free = [], [], 0
    for first, each in zip(firsts.tolist(), rounds[which].tolist(), strict=True):
        if free <= first <= number.size - BLOCK:
            begins.append(first)
            order.append(each * GOLDEN % 1)
            free = first + BLOCK
    return np.array(begins, np.int64)[:, None] + np.arange(BLOCK), np.array(order)


def best_measured(plan: Schedule, pieces: Sequence[Piece]) -> Ints | None:
    """Engines that have most rows for each of their classes, of START_CLASSES classes together; None: all, where there are no more, or one engine."""
    named = plan.moves >= 0
    if plan.count <= START_CLASSES or np.unique(plan.engine[plan.engine >= 0]).size < 2:
        return None
    whose = plan.engine[plan.moves[named]]
    count = int(plan.engine.max()) + 1
    sizes = np.array([np.unique(plan.classes[named][whose == each]).size for each in range(count)])
    seen = np.concatenate([_seen(plan, piece) for piece in pieces])
    rows = np.bincount(seen[seen >= 0], minlength=count)
    order = np.argsort(-rows / np.maximum(sizes, 1), kind="stable")
    most = max(int(np.searchsorted(np.cumsum(sizes[order]), START_CLASSES, side="right")), 1)
    return np.asarray(order[:most], np.int64)


def _seen(plan: Schedule, piece: Piece) -> Ints:
    """The engine that the rows (k,) of a piece saw last, -1 where none."""
    return np.asarray(plan.engine[np.clip(np.searchsorted(plan.begin_ns, piece.at_ns) - 1, 0, plan.begin_ns.size - 1)])
