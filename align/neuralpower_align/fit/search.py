"""From a sensor that is nearly right to the best maximum of the objective: coarse to fine, from several starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import (
    COMMON,
    GAP,
    GAP_CENTRE_US,
    LEAD_LESS,
    LEAD_MORE,
    OWN,
    OWN_GAP_US,
    US,
    Layout,
)
from neuralpower_align.clock.scan_clock import Sensor
from neuralpower_align.fit.pace import ALL, END, MAXIMA, STARTS
from neuralpower_align.fit.state import State
from neuralpower_align.fit.surface import (
    EVERY,
    MOST_BLOCKS,
    NEAR,
    NO_BETTER,
    SETTLED,
    START_BLOCKS,
    WIDE_ROUNDS,
    Blocks,
    Point,
    Surface,
)
from neuralpower_align.model.drifts import drift_means, drift_sums
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import DRIFTS, Model, Spline, moved
from neuralpower_align.model.piece import Piece
from neuralpower_align.model.rows import BLOCK
from neuralpower_align.sensor.kernel import SHORTEST_NS, Kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EVERY_ROUNDS, ENOUGH = 3, 0.5
"""Tuning: steps on all rows from where a part of them has its maximum; a part that is so much of MOST_BLOCKS need not grow."""
NOISE_BLOCKS, FINAL_NOISE_BLOCKS = 64, 200
"""Tuning: for variances on the way and at the end."""
WORTH_A_POLE = 8.0
"""Rule: a second pole is kept if the likelihood grows by more than this (natural logarithm)."""
WIDE_NS, SHARP_NS = 60e3, 15e3
"""Tuning: edges are so wide at first, and then so sharp: of sharp ones the likelihood has many maxima, of wide ones one."""
FOLLOWED = 2
"""Tuning: so many starts that lie apart are followed with sharp edges, and from where that ends to their maxima; of many engines, which take long, one,
of the likeliest gap."""
AROUND_NS, AROUND_GAP_NS, AROUND_GAPS = tuple(range(-45_000, 46_000, 15_000)), 12e3, 3
"""Tuning: around the best maximum others are looked for by so much of delay, and by gaps that move the first and last layers by so much, so many to
either side: what lies apart by half of that ends in the same one."""
AROUND_LAG_NS, TRIED, TRIALS, LEFT, PROBED = 150e3, 3, 2, 3, 3
"""Tuning: where the lag is shorter than the first: each is tried for so many rounds, one in LEFT of them for so many turns more; and so many of those
are followed."""
CLOSE, CONTESTED, MORE = 60.0, 3, 1.5
"""Tuning: maxima whose cost is no more above the best one's, so many at most, are ended on all rows before one is chosen, where there are so many times
as many as it was approached by."""
MOST_ENGINES = 16
"""Tuning: of more engines, whose fits take long, nothing is looked at again."""
ALONE, FEW_GAPS = 2.0, 10
"""Rule: an engine's gap that is more than so many of the prior's deviations from the one that most have is doubted, where that moves its first and last
layers by AROUND_GAP_NS. Engines with fewer gaps before their middle than the second tell too little of them."""
GAP_STEP_NS, APART_US = 25e3, 0.4
"""Tuning: gaps between kernels that are tried move the first and last layers by so much."""
APART_NS = 15e3
"""Tuning: starts whose first layers lie nearer are one: sharp edges lead from either to the same maximum."""
SAME_NS, SAME_US = 1e3, 0.02
"""Tuning: maxima whose delays and lags together, and gaps, are nearer than this are one that was ended at twice."""
START_LAGS, START_SHORT_NS, START_SHORTS_NS = (0.5, 0.8, 1.0, 1.25), 150e3, (0.0, 40e3, 120e3)
START_SHIFTS_NS, NEAR_SHIFTS_NS = tuple(range(-240_000, 241_000, 30_000)), tuple(range(-75_000, 76_000, 15_000))
NEAR_LAGS_NS, NEAR_SHORT_NS = (0.0, 25e3, 60e3), 400e3
START_LEADS = (0.15, 0.45, 0.8)
"""Tuning: starts: lags as shares of the one acquired where it is not short, and short ones, which are acquired least well; how much later or
earlier than acquired delay and lag are together; and shares of an inference's room that lie before its layers. Under a wrong share
layers scatter by tens of microseconds, and other delays than the true one fit best."""


@dataclass(frozen=True)
class Maximum:
    """Where a maximum lies: the sensor's delay and lags, and the layout's values. From there other readings of the same engines may be searched."""

    delay_ns: float
    lag_ns: float
    second_ns: float
    layout: Floats

    @classmethod
    def of(cls, state: State) -> Maximum:
        """Of a state whose rows were numbered anew at the end. Delays are means over all pieces, as readings tell them."""
        model, sizes = state.model, [piece.number.size for piece in state.pieces]
        delays = []
        for piece, spline, shift_us in zip(state.pieces, model.splines, model.shift_us, strict=True):
            # A clock was moved along with its rows, and readings say by how much later its conversions end.
            later_ns = piece.late_ns if piece.clock else -US * float(np.mean(spline.value(piece.at_ns, shift_us)))
            delays.append(piece.delay_ns + later_ns)
        return cls(
            float(np.average(delays, weights=sizes)),
            model.kernel.lag_ns,
            model.kernel.second_ns if model.second else 0.0,
            model.layout.value,
        )


@dataclass(frozen=True)
class FoundAt:
    """Maxima of other readings of the same engines that a search sets out from too; `alone`: from nothing else."""

    maxima: tuple[Maximum, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class StartingPoint:
    """Where a search may set out: a model, with all of `base` seen later by `by_ns`. There are hundreds, and rows are many: they are shifted when asked for."""

    model: Model
    base: list[Piece]
    by_ns: float = 0.0

    @property
    def pieces(self) -> list[Piece]:
        """The rows as the start has them."""
        return [each.shifted(np.full(each.number.size, self.by_ns)) for each in self.base] if self.by_ns else self.base

    @property
    def here(self) -> StartingPoint:
        """The same, with rows that were shifted once for all."""
        return StartingPoint(self.model, self.pieces)

    def with_values(self, first: int, past: int, each: float) -> StartingPoint:
        """With another value of neighbouring parameters of the layout."""
        value = np.array(self.model.layout.value)
        value[first:past] = each
        return replace(self, model=replace(self.model, layout=replace(self.model.layout, value=value)))


@dataclass(frozen=True)
class Search(Surface):
    """How the best maximum is approached."""

    def first(self, pieces: list[Piece], sensor: Sensor, stalls: bool, layout: Layout) -> Model:
        """Before anything is known but the sensor."""
        splines = tuple(Spline.over(float(piece.at_ns[0]), float(piece.at_ns[-1])) for piece in pieces)
        mean = float(np.mean(np.concatenate([piece.value_w for piece in pieces])))
        window = pieces[0].window_ns
        model = Model(
            power_w=np.full(self.plan.count, mean),
            layer=self.layer,
            kernel=Kernel(max(sensor.lag_ns, SHORTEST_NS), window, smear_ns=pieces[0].unplaced_ns),
            splines=splines,
            begin_ns=min(float(piece.at_ns[0]) for piece in pieces),
            end_ns=max(float(piece.at_ns[-1]) for piece in pieces),
            layout=layout,
            stall_of=np.zeros(self.plan.count),
            drift=np.zeros(DRIFTS),
            idle_drift=np.zeros(DRIFTS),
            shift_us=tuple(np.zeros(spline.columns) for spline in splines),
            lag_from_ns=sensor.lag_ns,
            stalls=stalls,
            each=False,
            level_w=mean,
            centre_w=mean,
        )
        spent = drift_sums(model, self.plan.placed(layout), model.begin_ns, model.end_ns)
        return replace(model, own_phi=drift_means(spent))

    def start(self, model: Model, pieces: list[Piece]) -> tuple[Model, list[Piece], float]:
        """Powers, held near their mean, with the sensor as it is and wide edges; and the variance of rows that this leaves."""
        fixed, square = replace(model, sensor=False, edge_ns=WIDE_NS), 1.0
        blocks = START_BLOCKS
        for _ in range(2):
            state = self.at((fixed, pieces, Noise.even(square)), blocks)
            square *= state.profiled / state.normal.rows
            fixed, pieces = moved(state.model, state.pieces, state.newton()[0])
            layers = float(np.median(fixed.power_w[self.layer])) if np.any(self.layer) else model.level_w
            fixed = replace(fixed, centre_w=float(np.clip(layers, model.level_w, 3 * model.level_w)))
        return replace(fixed, sensor=True), pieces, square

    def approach(self, model: Model, pieces: list[Piece], square: float, found_at: FoundAt) -> State:
        """The best maximum on a part of the rows, from several starts, and from the maxima of other readings."""
        # Starts may be compared on some engines alone; in which valley the others are their own rows say.
        rows: Blocks = START_BLOCKS if self.of_all else self.some
        self.pace.begin(STARTS)
        sharp = [
            self.scaled(self.climbed(self.begun(start, square, rows), rows, WIDE_ROUNDS, NEAR), square)
            for start in (() if found_at.alone else self.chosen(StartingPoint(model, pieces), square))
        ]
        sharp.sort(key=lambda each: each.noise.white)
        sharp += [
            self.scaled(self.begun(self.laid(each, StartingPoint(model, pieces)), square, rows), square)
            for each in found_at.maxima
        ]
        self.pace.begin(MAXIMA)
        found: list[State] = []
        for state in self.unlike(sharp, len(sharp)):
            point = self.loosened(state, model.layout.apart, rows)
            found.append(self.settled(point, self.some, NEAR, NOISE_BLOCKS, worth=_worth(found)))
        best = self.compared(found, self.some)[0]
        if not found_at.alone:
            around = self.around_of(best) if best.model.kernel.lag_ns < AROUND_LAG_NS else []
            for state in [*around, *self.told_otherwise(best)]:
                point = (state.model, state.pieces, state.noise)
                found.append(self.settled(point, self.some, NEAR, NOISE_BLOCKS, worth=_worth(found)))
        found = self.compared(found, self.some)
        return replace(found[0], rivals=settled_maxima(found))

    def compared(self, states: Sequence[State], blocks: Blocks) -> list[State]:
        """The likeliest first, by their `level` on some blocks, each under the variances that are likeliest there.

        A reading near the end of a conversion is one row or another as the sensor lies, and may be none: costs of other rows differ by more
        than what one place is likelier by.
        """
        if len(states) < 2:
            return list(states)
        common = [_common(pieces) for pieces in zip(*(each.pieces for each in states), strict=True)]
        found = []
        for number, each in enumerate(states):
            pieces = [piece.taken(rows[number]) for piece, rows in zip(each.pieces, common, strict=True)]
            noise = self.likelier(each.model, pieces, each.noise, NOISE_BLOCKS if blocks is EVERY else self.some)
            found.append(replace(each, level=self.at((each.model, pieces, noise), blocks).cost))
        found.sort(key=lambda each: each.level)
        # One that has not settled is no better than one that has if their costs cannot be told apart.
        best = next((each for each in found if each.settled and each.level < found[0].level + NO_BETTER), found[0])
        return [best, *(each for each in found if each is not best)]

    def chosen(self, begin: StartingPoint, square: float) -> list[StartingPoint]:
        """The best of several starts, compared with wide edges first and then with sharp ones.

        While edges are wide on purpose the scatter of rows is taken as even: were it made of the powers' own steps, powers without steps
        would seem likely.
        """
        rough = self.ranked(self.starts(begin), square, START_BLOCKS)[0].here
        if self.of_all:
            acquired = replace(begin, model=replace(begin.model, layout=rough.model.layout))
            both = (start for each in (acquired, rough) for start in self.nearby(each))
            return self.apart(self.ranked(both, square, START_BLOCKS), APART_NS, FOLLOWED)
        likeliest = self.ranked(self.by_gap(rough), square, self.some)[0]
        return self.ranked(self.nearby(likeliest), square, START_BLOCKS)[:1]

    def laid(self, there: Maximum, begin: StartingPoint) -> StartingPoint:
        """A start at a maximum that was found of other readings."""
        model = begin.model
        kernel = model.kernel.with_lags(there.lag_ns, there.second_ns)
        two = there.second_ns > 0
        model = replace(
            model, kernel=kernel, second=two, edge_ns=SHARP_NS, layout=replace(model.layout, value=there.layout, still=True),
            lag_from_ns=kernel.lag_ns if two else model.lag_from_ns, second_from_ns=kernel.second_ns,
        )  # fmt: skip
        return _later(replace(begin, model=model), begin.base[0].delay_ns - there.delay_ns)

    def loosened(self, state: State, apart: bool, blocks: Blocks) -> Point:
        """Where a start sets out with all parameters free: inferences may scatter by all that they might."""
        quiet = Noise(white=state.noise.white / 2, slack=SHARP_NS**2)
        layout = replace(state.model.layout, still=False, apart=apart)
        free = replace(state.model, edge_ns=0.0, blurs=True, layout=layout)
        quiet = self.likelier(free, state.pieces, quiet, blocks)
        shared = replace(quiet, slack=quiet.slack / 2, late=quiet.slack / 2, stretch=quiet.slack / 4, far=quiet.slack)
        return free, state.pieces, shared

    def told_otherwise(self, best: State) -> list[State]:
        """The best with gaps that durations have in them, if its own have not, or with usual ones: a runtime does either, and under a long lag a part of
        the rows hardly tells which."""
        layout = best.model.layout
        if layout.engines > MOST_ENGINES:
            return []
        apart_us = AROUND_GAP_NS / US / self.most_gaps
        usual_us = min(GAP_CENTRE_US, layout.most_gap_us)
        gap_us = 0.0 if layout.value[GAP] > apart_us else usual_us
        return [self.beginning(best, gap_us)] if abs(gap_us - layout.value[GAP]) > apart_us else []

    def beginning(self, best: State, gap_us: float, shift_ns: float = 0.0, lead_us: float = 0.0) -> State:
        """The best with another common gap and all engines' leads alike, all seen later by so much: where its likeliest powers set out, with all
        parameters free."""
        layout = best.model.layout
        # What engines have of their own was found with the gap that they have in common.
        common = np.where(np.arange(layout.size) < COMMON, layout.value, 0.0)
        common[COMMON::OWN] = lead_us
        sharp = replace(best.model, edge_ns=SHARP_NS, layout=replace(layout, value=common, apart=False))
        start = _with_gap(_later(StartingPoint(sharp, best.pieces), shift_ns), gap_us)
        square = 4 * best.noise.white
        state = self.scaled(self.begun(start, square, START_BLOCKS), square)
        return self.at(self.loosened(state, layout.apart, START_BLOCKS), START_BLOCKS)

    def around_of(self, best: State) -> list[State]:
        """Other maxima around the best: sharp edges of short layers have some that lie a few microseconds apart.

        Which of them is the likeliest only their own scatter says: while edges are wide on purpose there may be one alone.
        """
        layout = best.model.layout
        step_us = min(AROUND_GAP_NS / US / self.most_gaps, GAP_CENTRE_US)
        near = layout.value[GAP] + step_us * np.arange(-AROUND_GAPS, AROUND_GAPS + 1)
        gaps = np.unique(np.clip(near, 0.0, layout.most_gap_us))
        tried = [self.tried(self.beginning(best, gap, by_ns)) for gap, by_ns in product(gaps.tolist(), AROUND_NS)]
        tried.sort(key=lambda each: each.cost)
        left = tried[: -(-len(tried) // LEFT)]
        for _ in range(TRIALS):
            left = [self.tried(self.at((each.model, each.pieces, each.noise), START_BLOCKS)) for each in left]
        return self.unlike([best, *sorted(left, key=lambda each: each.cost)], 1 + PROBED)[1:]

    def tried(self, state: State) -> State:
        """A few rounds on, on some blocks, and under the variances that are likeliest there; sharp sensors are counted as where it set out."""
        state = self.climbed(state, START_BLOCKS, TRIED, NEAR, pulled=False)
        noise = self.likelier(state.model, state.pieces, state.noise, START_BLOCKS)
        return replace(self.at((state.model, state.pieces, noise), START_BLOCKS), whitening=None)

    def searched(self, model: Model, pieces: list[Piece], square: float, found_at: FoundAt) -> tuple[State, float]:
        """The maximum on all rows, with one pole or two; and by how many standard errors one pole is contradicted."""
        state = self.approach(model, pieces, square, found_at)
        split, rivals = state.split, state.rivals
        if state.may_have_second:
            two = self.settled(state.with_second(), self.some, NEAR, NOISE_BLOCKS, reread=False)
            state = two if two.cost < state.cost - 2 * WORTH_A_POLE else state
        self.pace.begin(END)
        found, rivals = self.contested(state, rivals)
        found, rivals = self.agreed(found, rivals)
        if not found.model.second:
            split = found.split
        if found.may_have_second:
            # On the same rows, or their likelihoods would not compare.
            blocks = EVERY if found.normal.rows <= MOST_BLOCKS * BLOCK else MOST_BLOCKS
            other = self.settled(found.with_second(), blocks, SETTLED, FINAL_NOISE_BLOCKS, reread=False)
            other = other if blocks is EVERY else self.everywhere(other, reread=False)
            found = other if other.cost < found.cost - 2 * WORTH_A_POLE else found
        return replace(found, rivals=() if found.model.second else rivals), split

    def contested(self, state: State, rivals: Sequence[State]) -> tuple[State, tuple[State, ...]]:
        """The maximum on all rows, and the maxima that were followed, with it first: of some that are nearly as likely by a part of the rows all tell."""
        close = self.unlike([each for each in rivals if each.level - rivals[0].level < CLOSE], CONTESTED)
        rows = sum(piece.number.size for piece in state.pieces)
        if len(close) < 2 or state.model.second or rows < MORE * state.normal.rows:
            return self.finish(state), tuple(rivals)
        ends = self.compared(
            [self.finish(each) for each in close], EVERY if rows <= MOST_BLOCKS * BLOCK else MOST_BLOCKS
        )
        return ends[0], settled_maxima(ends)

    def agreed(self, found: State, rivals: tuple[State, ...]) -> tuple[State, tuple[State, ...]]:
        """The maximum once more from a gap that engines agree on, if one of them has found another: each alone may have ended in a valley of its own."""
        layout, plan = found.model.layout, self.plan
        if not 1 < layout.engines <= MOST_ENGINES or found.model.second:
            return found, rivals
        named = np.flatnonzero(plan.moves >= 0)
        kernels = np.zeros(layout.engines)
        np.maximum.at(kernels, plan.engine[plan.moves[named]], np.abs(plan.gaps[named]))
        agreed_us = gap_agreed_on(np.array([layout.gap_us(engine) for engine in range(layout.engines)]), kernels)
        if agreed_us is None:
            return found, rivals
        # How much later than the middle layers lie engines share: the host's waits before and behind them differ.
        begin = self.beginning(found, agreed_us, lead_us=float(np.median(layout.value[COMMON::OWN])))
        some = self.settled((begin.model, begin.pieces, begin.noise), self.some, NEAR, NOISE_BLOCKS)
        blocks = EVERY if found.normal.rows <= MOST_BLOCKS * BLOCK else MOST_BLOCKS
        ends = self.compared([found, self.finish(some)], blocks)
        return ends[0], settled_maxima(ends)

    def finish(self, state: State) -> State:
        """The maximum on all rows; of long recordings on a part of them, and from there one step on all (`Estimate`)."""
        point = (state.model, state.pieces, state.noise)
        if sum(piece.number.size for piece in state.pieces) <= MOST_BLOCKS * BLOCK:
            return self.settled(point, EVERY, SETTLED, FINAL_NOISE_BLOCKS)
        if self.some is not None and self.some >= ENOUGH * MOST_BLOCKS and state.settled:
            return self.everywhere(state)
        return self.everywhere(self.settled(point, MOST_BLOCKS, SETTLED, FINAL_NOISE_BLOCKS))

    def everywhere(self, state: State, reread: bool = True) -> State:
        """The same point with the sums of all rows, of which few steps are gone where they are few enough; `reread`: numbered anew, which makes
        costs of other rows."""
        self.pace.begin(ALL)
        pieces = self.reread(state.model, state.pieces) if reread else state.pieces
        every = self.at((state.model, pieces, state.noise), EVERY)
        if every.whitening is not None and every.whitening.roots:
            every = self.climbed(every, EVERY, EVERY_ROUNDS, NEAR)
        return replace(every, settled=state.settled)

    def starts(self, begin: StartingPoint) -> Iterator[StartingPoint]:
        """Other delays and lags than those acquired, with the pieces that go with them, and shares of the room."""
        model, lag = begin.model, begin.model.kernel.lag_ns
        lags = {lag, *START_SHORTS_NS, *(share * lag for share in START_LAGS if lag >= START_SHORT_NS)}
        for other in sorted(lags):
            kernel = model.kernel.with_lags(other, model.kernel.second_ns)
            for shift in START_SHIFTS_NS:
                # With a longer lag all comes later, as with a longer delay: together they stay what they are.
                start = _later(replace(begin, model=replace(model, kernel=kernel)), other - lag + shift)
                for lead in START_LEADS:
                    yield start.with_values(LEAD_LESS, LEAD_MORE + 1, lead)

    def begun(self, start: StartingPoint, square: float, blocks: Blocks) -> State:
        """A start with its likeliest powers."""
        return self.at((*self.powered(start, square, blocks), Noise.even(square)), blocks)

    def scaled(self, state: State, square: float) -> State:
        """With the variance of rows that it leaves."""
        return replace(state, noise=Noise.even(square * state.profiled / state.normal.rows))

    def powered(self, start: StartingPoint, square: float, blocks: Blocks) -> tuple[Model, list[Piece]]:
        """The start with the powers that are likeliest there: those of another place would draw the sensor back to it."""
        model, pieces = start.model, start.pieces
        state = self.at((replace(model, sensor=False), pieces, Noise.even(square)), blocks)
        fitted, pieces = moved(state.model, state.pieces, state.newton()[0])
        return replace(fitted, sensor=model.sensor), pieces

    @property
    def gap_step_us(self) -> float:
        """By how much another gap moves the first and last layers of an inference of most kernels by GAP_STEP_NS."""
        return min(GAP_STEP_NS / US / self.most_gaps, GAP_CENTRE_US)

    def by_gap(self, start: StartingPoint) -> Iterator[StartingPoint]:
        """The start with every gap between kernels that is likely."""
        step, (least, most) = self.gap_step_us, start.model.layout.likely_gaps_us
        return (_with_gap(start, min(float(gap), most)) for gap in np.arange(least, most + step / 2, step))

    def apart(self, starts: Sequence[StartingPoint], apart_ns: float, most: int) -> list[StartingPoint]:
        """The first of some starts whose delays and lags together differ, or whose gaps do: they put the first layers elsewhere."""
        apart_us = min(0.9 * self.gap_step_us, APART_US)
        which = _unlike([start.model for start in starts], apart_ns, apart_us, most)
        return [starts[i] for i in which]

    def unlike(self, states: Sequence[State], most: int) -> list[State]:
        """The first of some states that have climbed and ended in different places."""
        which = _unlike([each.model for each in states], APART_NS / 2, self.gap_step_us / 3, most)
        return [states[i] for i in which]

    def nearby(self, begin: StartingPoint) -> Iterator[StartingPoint]:
        """Finer steps of the delay, with sharp edges, other short lags, and gaps."""
        model = begin.model
        lag = model.kernel.lag_ns
        sharp = replace(model, edge_ns=SHARP_NS, layout=replace(model.layout, still=True, apart=False))
        # The readings acquired were few, and short lags they tell least well.
        for other in sorted({lag, *NEAR_LAGS_NS}) if lag < NEAR_SHORT_NS else (lag,):
            kernel = model.kernel.with_lags(other, model.kernel.second_ns)
            for shift in NEAR_SHIFTS_NS:
                start = _later(replace(begin, model=replace(sharp, kernel=kernel)), other - lag + shift)
                yield from self.by_gap(start) if self.of_all else (start,)

    def ranked(self, starts: Iterator[StartingPoint], square: float, blocks: Blocks) -> list[StartingPoint]:
        """Starts by what the likeliest powers leave, the best first; those that are alike once."""
        alike = {
            (round(each.model.shift_us[0][0], 3), each.model.kernel.lag_ns, *each.model.layout.value[:COMMON]): each
            for each in starts
        }
        every, noise = list(alike.values()), Noise.even(square)
        states = (self.at((replace(each.model, sensor=False), each.pieces, noise), blocks) for each in every)
        left = [each.profiled + each.restricted for each in states]
        return [every[i] for i in np.argsort(left, kind="stable")]


def gap_agreed_on(gaps_us: Floats, kernels: Floats) -> float | None:
    """The gap that most engines (e,) have, where one of them is to be doubted for having another; `kernels` (e,): gaps before their middle."""
    many = np.sort(gaps_us[kernels >= FEW_GAPS])
    if many.size < 2:
        return None
    agreed_us = float(many[(many.size - 1) // 2])
    off_us = np.abs(gaps_us - agreed_us)
    doubted = (off_us > ALONE * OWN_GAP_US) & (off_us * kernels * US > AROUND_GAP_NS)
    return agreed_us if doubted.any() else None


def settled_maxima(found: Sequence[State]) -> tuple[State, ...]:
    """Those that settled, the best first and each once; none where the best has not."""
    if not found[0].settled:
        return ()
    settled = [replace(each, whitening=None) for each in found if each.settled]
    return tuple(settled[i] for i in _unlike([each.model for each in settled], SAME_NS, SAME_US, len(settled)))


def _worth(found: Sequence[State]) -> float:
    """The least cost for each row of those that have settled."""
    return min((each.cost / each.normal.rows for each in found if each.settled), default=np.inf)


def _common(pieces: Sequence[Piece]) -> list[Ints]:
    """Of pieces of one stretch, the rows of each that are conversions which all have, of one value."""
    numbers = pieces[0].number
    for piece in pieces[1:]:
        numbers = numbers[np.isin(numbers, piece.number)]
    rows = [np.searchsorted(piece.number, numbers) for piece in pieces]
    same = np.ptp(np.stack([piece.value_w[each] for piece, each in zip(pieces, rows, strict=True)]), axis=0) == 0
    return [each[same] for each in rows]


def _unlike(models: Sequence[Model], apart_ns: float, apart_us: float, most: int) -> list[int]:
    """Numbers of the first `most` of some models of which no two have delay and lag together, and gaps, as near as this."""
    found: list[int] = []
    place = [(-US * each.shift_us[0][0] + each.kernel.lag_ns, float(each.layout.value[GAP])) for each in models]
    for number, (together, gap) in enumerate(place):
        if len(found) < most and not any(
            abs(place[i][0] - together) < apart_ns and abs(place[i][1] - gap) < apart_us for i in found
        ):
            found.append(number)
    return found


def _with_gap(start: StartingPoint, gap_us: float) -> StartingPoint:
    """With another gap between kernels."""
    return start.with_values(GAP, GAP + 1, gap_us)


def _later(start: StartingPoint, by_ns: float) -> StartingPoint:
    """With all readings seen later."""
    shifted = tuple(each + by_ns / US for each in start.model.shift_us)
    return replace(start, model=replace(start.model, shift_us=shifted), by_ns=start.by_ns + by_ns)
