"""From a sensor that is nearly right to the best maximum of the objective: coarse to fine, from several starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.drifts import drift_means, drift_sums
from neuralpower_align.kernel import SHORTEST_NS, Kernel
from neuralpower_align.layout import GAP, Layout
from neuralpower_align.noise import Noise
from neuralpower_align.nuisance import DRIFTS, US, Model, Spline, moved
from neuralpower_align.rows import BLOCK, Piece
from neuralpower_align.scan_clock import Sensor
from neuralpower_align.search_state import State
from neuralpower_align.surface import EVERY, MOST_BLOCKS, NEAR, SETTLED, START_BLOCKS, WIDE_ROUNDS, Blocks, Surface

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EVERY_ROUNDS, ENOUGH = 3, 0.5
"""Steps on all rows from where a part of them has its maximum; a part that is so much of MOST_BLOCKS need not grow."""
NOISE_BLOCKS, FINAL_NOISE_BLOCKS = 64, 200
"""For variances on the way and at the end."""
WORTH_A_POLE = 8.0
"""A second pole is kept if the likelihood grows by more than this (natural logarithm)."""
WIDE_NS, SHARP_NS = 60e3, 15e3
"""Edges are so wide at first, and then so sharp: of sharp ones the likelihood has many maxima, of wide ones one."""
FINER, BEST = 6, 3
"""So many starts that lie apart are followed with sharp edges, and so many of those to their maximum."""
START_GAPS_US, APART_US = (0.0, 0.6, 1.4, 2.6, 4.2), 0.7
APART_NS = 15e3
START_LAGS, START_SHORT_NS, START_SHORTS_NS = (0.5, 0.8, 1.0, 1.25), 150e3, (0.0, 40e3, 120e3)
START_SHIFTS_NS, NEAR_SHIFTS_NS = tuple(range(-240_000, 241_000, 30_000)), tuple(range(-80_000, 81_000, 10_000))
NEAR_LAGS_NS = (0.0, 25e3, 60e3)
"""Starts: gaps between kernels; lags as shares of the one acquired, or these beside it where it is short; and how much later or earlier than
acquired delay and lag are together."""


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

    def approach(self, model: Model, pieces: list[Piece], square: float) -> State:
        """The best maximum on a part of the rows, from several starts, found with wide edges first.

        While edges are wide on purpose the scatter of rows is taken as even: were it made of the powers' own steps, powers without steps
        would seem likely.
        """
        blocks = START_BLOCKS
        rough = self.ranked(self.starts(model, pieces), square, blocks)[0]
        state = self.climbed(self.at((*rough, Noise.even(square)), blocks), blocks, WIDE_ROUNDS, NEAR)
        square *= state.profiled / state.normal.rows
        edges = replace(state.model, edge_ns=SHARP_NS)
        ranked = self.ranked(self.nearby(edges, state.pieces), square, blocks)
        wide = []
        for start in _apart(ranked):
            sharp = self.climbed(self.at((*start, Noise.even(square)), blocks), blocks, WIDE_ROUNDS, NEAR)
            wide.append(replace(sharp, noise=Noise.even(square * sharp.profiled / sharp.normal.rows)))
        found: list[State] = []
        # Many engines tell more than one, and take long: of these the best start alone is followed.
        for state in sorted(wide, key=lambda each: each.noise.white)[: BEST if self.of_all else 1]:
            quiet = Noise(white=state.noise.white / 2, slack=SHARP_NS**2)
            free = replace(state.model, edge_ns=0.0, blurs=True)
            quiet = self.likelier(free, state.pieces, quiet, blocks)
            shared = replace(quiet, slack=quiet.slack / 2, late=quiet.slack / 2, stretch=quiet.slack / 4)
            worth = min((each.cost for each in found if each.settled), default=np.inf)
            found.append(self.settled((free, state.pieces, shared), self.some, NEAR, NOISE_BLOCKS, worth=worth))
        return min(found, key=lambda each: each.cost)

    def searched(self, model: Model, pieces: list[Piece], square: float) -> tuple[State, float]:
        """The maximum on all rows, with one pole or two; and by how many standard errors one pole is contradicted."""
        state = self.approach(model, pieces, square)
        split = state.split
        if state.may_have_second:
            two = self.settled(state.with_second(), self.some, NEAR, NOISE_BLOCKS, reread=False)
            state = two if two.cost < state.cost - 2 * WORTH_A_POLE else state
        found = self.finish(state)
        if not found.model.second:
            split = found.split
        if found.may_have_second:
            # On the same rows, or their likelihoods would not compare.
            blocks = EVERY if found.normal.rows <= MOST_BLOCKS * BLOCK else MOST_BLOCKS
            other = self.settled(found.with_second(), blocks, SETTLED, FINAL_NOISE_BLOCKS, reread=False)
            other = other if blocks is EVERY else self.everywhere(other)
            found = other if other.cost < found.cost - 2 * WORTH_A_POLE else found
        return found, split

    def finish(self, state: State) -> State:
        """The maximum on all rows; of long recordings on a part of them, and from there one step on all (`Estimate`)."""
        point = (state.model, state.pieces, state.noise)
        if sum(piece.number.size for piece in state.pieces) <= MOST_BLOCKS * BLOCK:
            return self.settled(point, EVERY, SETTLED, FINAL_NOISE_BLOCKS)
        if self.some is not None and self.some >= ENOUGH * MOST_BLOCKS and state.settled:
            return self.everywhere(state)
        return self.everywhere(self.settled(point, MOST_BLOCKS, SETTLED, FINAL_NOISE_BLOCKS))

    def everywhere(self, state: State) -> State:
        """The same point with the sums of all rows, of which few steps are gone where they are few enough."""
        every = self.at((state.model, state.pieces, state.noise), EVERY)
        if every.whitening is not None and every.whitening.roots:
            every = self.climbed(every, EVERY, EVERY_ROUNDS, NEAR)
        return replace(every, settled=state.settled)

    def starts(self, model: Model, pieces: list[Piece]) -> Iterator[tuple[Model, list[Piece]]]:
        """Other delays and lags than those acquired, with the pieces that go with them."""
        lag = model.kernel.lag_ns
        lags = {lag, *START_SHORTS_NS} if lag < START_SHORT_NS else {share * lag for share in START_LAGS}
        for other in sorted(lags):
            kernel = model.kernel.with_lags(other, model.kernel.second_ns)
            for shift in START_SHIFTS_NS:
                # With a longer lag all comes later, as with a longer delay: together they stay what they are.
                yield _later(replace(model, kernel=kernel), pieces, lag - other + shift)

    def nearby(self, model: Model, pieces: list[Piece]) -> Iterator[tuple[Model, list[Piece]]]:
        """Finer steps of the delay, other short lags, other gaps between kernels."""
        lag = model.kernel.lag_ns
        for other in NEAR_LAGS_NS if lag < START_SHORT_NS else (lag,):
            kernel = model.kernel.with_lags(other, model.kernel.second_ns)
            for shift in NEAR_SHIFTS_NS:
                start = _later(replace(model, kernel=kernel), pieces, lag - other + shift)
                for gap in sorted({min(each, model.layout.most_gap_us) for each in START_GAPS_US}):
                    yield _with_gap(start, gap)

    def ranked(
        self, starts: Iterator[tuple[Model, list[Piece]]], square: float, blocks: Blocks
    ) -> list[tuple[Model, list[Piece]]]:
        """Starts by what the likeliest powers leave, the best first; those that are alike once."""
        alike = {
            (round(each[0].shift_us[0][0], 3), each[0].kernel.lag_ns, each[0].layout.value[GAP]): each
            for each in starts
        }
        every, noise = list(alike.values()), Noise.even(square)
        left = [self.at((replace(model, sensor=False), pieces, noise), blocks).profiled for model, pieces in every]
        return [every[i] for i in np.argsort(left, kind="stable")]


def _apart(starts: Sequence[tuple[Model, list[Piece]]]) -> list[tuple[Model, list[Piece]]]:
    """The first FINER of some starts whose delays and lags together differ."""
    found: list[tuple[Model, list[Piece]]] = []
    for model, pieces in starts:
        together, gap = -US * model.shift_us[0][0] + model.kernel.lag_ns, model.layout.value[GAP]
        alike = (
            abs(-US * other.shift_us[0][0] + other.kernel.lag_ns - together) < APART_NS
            and abs(other.layout.value[GAP] - gap) < APART_US
            for other, _ in found
        )
        if not any(alike):
            found.append((model, pieces))
        if len(found) == FINER:
            break
    return found


def _with_gap(start: tuple[Model, list[Piece]], gap_us: float) -> tuple[Model, list[Piece]]:
    """With another gap between kernels."""
    model, pieces = start
    value = np.array(model.layout.value)
    value[GAP] = gap_us
    return replace(model, layout=replace(model.layout, value=value)), pieces


def _later(model: Model, pieces: list[Piece], by_ns: float) -> tuple[Model, list[Piece]]:
    """With all readings seen later."""
    shifted = tuple(each + by_ns / US for each in model.shift_us)
    return replace(model, shift_us=shifted), [each.shifted(np.full(each.number.size, by_ns)) for each in pieces]
