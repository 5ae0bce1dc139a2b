"""Where a search sets out: sensors and layouts that may be the right ones, by what the likeliest powers leave of some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import (
    COMMON,
    GAP,
    GAP_CENTRE_US,
    LEAD_LESS,
    LEAD_MORE,
    US,
    Layout,
)
from neuralpower_align.clock.scan_clock import Sensor
from neuralpower_align.fit.state import State
from neuralpower_align.fit.surface import (
    START_BLOCKS,
    Blocks,
    Point,
    Surface,
)
from neuralpower_align.model.drifts import drift_means, drift_sums
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import DRIFTS, Model, Spline, moved
from neuralpower_align.model.piece import Piece
from neuralpower_align.sensor.kernel import SHORTEST_NS, Kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WIDE_NS, SHARP_NS = 60e3, 15e3
"""Tuning: edges are so wide at first, and then so sharp: of sharp ones the likelihood has many maxima, of wide ones one."""
FOLLOWED = 2
"""Tuning: so many starts that lie apart are followed with sharp edges, and from where that ends to their maxima; of many engines, which take long, one,
of the likeliest gap."""
GAP_STEP_NS, APART_US = 25e3, 0.4
"""Tuning: gaps between kernels that are tried move the first and last layers by so much."""
APART_NS = 15e3
"""Tuning: starts whose first layers lie nearer are one: sharp edges lead from either to the same maximum."""
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
class Starts(Surface):
    """From one sensor to the starts that are worth following."""

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
        return later(replace(begin, model=model), begin.base[0].delay_ns - there.delay_ns)

    def starts(self, begin: StartingPoint) -> Iterator[StartingPoint]:
        """Other delays and lags than those acquired, with the pieces that go with them, and shares of the room."""
        model, lag = begin.model, begin.model.kernel.lag_ns
        lags = {lag, *START_SHORTS_NS, *(share * lag for share in START_LAGS if lag >= START_SHORT_NS)}
        for other in sorted(lags):
            kernel = model.kernel.with_lags(other, model.kernel.second_ns)
            for shift in START_SHIFTS_NS:
                # With a longer lag all comes later, as with a longer delay: together they stay what they are.
                start = later(replace(begin, model=replace(model, kernel=kernel)), other - lag + shift)
                for lead in START_LEADS:
                    yield start.with_values(LEAD_LESS, LEAD_MORE + 1, lead)

    def nearby(self, begin: StartingPoint) -> Iterator[StartingPoint]:
        """Finer steps of the delay, with sharp edges, other short lags, and gaps."""
        model = begin.model
        lag = model.kernel.lag_ns
        sharp = replace(model, edge_ns=SHARP_NS, layout=replace(model.layout, still=True, apart=False))
        # The readings acquired were few, and short lags they tell least well.
        for other in sorted({lag, *NEAR_LAGS_NS}) if lag < NEAR_SHORT_NS else (lag,):
            kernel = model.kernel.with_lags(other, model.kernel.second_ns)
            for shift in NEAR_SHIFTS_NS:
                start = later(replace(begin, model=replace(sharp, kernel=kernel)), other - lag + shift)
                yield from self.by_gap(start) if self.of_all else (start,)

    def by_gap(self, start: StartingPoint) -> Iterator[StartingPoint]:
        """The start with every gap between kernels that is likely."""
        step, (least, most) = self.gap_step_us, start.model.layout.likely_gaps_us
        return (with_gap(start, min(float(gap), most)) for gap in np.arange(least, most + step / 2, step))

    @property
    def gap_step_us(self) -> float:
        """By how much another gap moves the first and last layers of an inference of most kernels by GAP_STEP_NS."""
        return min(GAP_STEP_NS / US / self.most_gaps, GAP_CENTRE_US)

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

    def loosened(self, state: State, apart: bool, blocks: Blocks) -> Point:
        """Where a start sets out with all parameters free: inferences may scatter by all that they might."""
        quiet = Noise(white=state.noise.white / 2, slack=SHARP_NS**2)
        layout = replace(state.model.layout, still=False, apart=apart)
        free = replace(state.model, edge_ns=0.0, blurs=True, layout=layout)
        quiet = self.likelier(free, state.pieces, quiet, blocks)
        shared = replace(quiet, slack=quiet.slack / 2, late=quiet.slack / 2, stretch=quiet.slack / 4, far=quiet.slack)
        return free, state.pieces, shared

    def apart(self, starts: Sequence[StartingPoint], apart_ns: float, most: int) -> list[StartingPoint]:
        """The first of some starts whose delays and lags together differ, or whose gaps do: they put the first layers elsewhere."""
        apart_us = min(0.9 * self.gap_step_us, APART_US)
        which = unlike_models([start.model for start in starts], apart_ns, apart_us, most)
        return [starts[i] for i in which]

    def unlike(self, states: Sequence[State], most: int) -> list[State]:
        """The first of some states that have climbed and ended in different places."""
        which = unlike_models([each.model for each in states], APART_NS / 2, self.gap_step_us / 3, most)
        return [states[i] for i in which]


def unlike_models(models: Sequence[Model], apart_ns: float, apart_us: float, most: int) -> list[int]:
    """Numbers of the first `most` of some models of which no two have delay and lag together, and gaps, as near as this."""
    found: list[int] = []
    place = [(-US * each.shift_us[0][0] + each.kernel.lag_ns, float(each.layout.value[GAP])) for each in models]
    for number, (together, gap) in enumerate(place):
        if len(found) < most and not any(
            abs(place[i][0] - together) < apart_ns and abs(place[i][1] - gap) < apart_us for i in found
        ):
            found.append(number)
    return found


def with_gap(start: StartingPoint, gap_us: float) -> StartingPoint:
    """With another gap between kernels."""
    return start.with_values(GAP, GAP + 1, gap_us)


def later(start: StartingPoint, by_ns: float) -> StartingPoint:
    """With all readings seen later."""
    shifted = tuple(each + by_ns / US for each in start.model.shift_us)
    return replace(start, model=replace(start.model, shift_us=shifted), by_ns=start.by_ns + by_ns)
