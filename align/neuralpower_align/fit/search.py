"""From a sensor that is nearly right to the best maximum of the objective: coarse to fine, from several starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import (
    COMMON,
    GAP,
    GAP_CENTRE_US,
    OWN,
    OWN_GAP_US,
    US,
)
from neuralpower_align.fit.pace import ALL, END, MAXIMA, STARTS
from neuralpower_align.fit.starts import SHARP_NS, Maximum, StartingPoint, Starts, later, unlike_models, with_gap
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
)
from neuralpower_align.model.nuisance import Model
from neuralpower_align.model.piece import Piece
from neuralpower_align.model.rows import BLOCK

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EVERY_ROUNDS, ENOUGH = 3, 0.5
"""Tuning: steps on all rows from where a part of them has its maximum; a part that is so much of MOST_BLOCKS need not grow."""
NOISE_BLOCKS, FINAL_NOISE_BLOCKS = 64, 200
"""Tuning: for variances on the way and at the end."""
WORTH_A_POLE = 8.0
"""Rule: a second pole is kept if the likelihood grows by more than this (natural logarithm)."""
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
SAME_NS, SAME_US = 1e3, 0.02
"""Tuning: maxima whose delays and lags together, and gaps, are nearer than this are one that was ended at twice."""


@dataclass(frozen=True)
class FoundAt:
    """Maxima of other readings of the same engines that a search sets out from too; `alone`: from nothing else."""

    maxima: tuple[Maximum, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class Search(Starts):
    """How the best maximum is approached."""

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
        start = with_gap(later(StartingPoint(sharp, best.pieces), shift_ns), gap_us)
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
    return tuple(settled[i] for i in unlike_models([each.model for each in settled], SAME_NS, SAME_US, len(settled)))


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
