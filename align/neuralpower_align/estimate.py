"""Power per class with its covariance, from an acquired sensor: everything that is unknown fitted in one regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.gls import Normal, Step, accumulate, inverted, solve
from neuralpower_align.kernel import SHORTEST_NS, Kernel
from neuralpower_align.layout import GAP, Layout
from neuralpower_align.noise import SLOW_NS, Noise, Root, Sample, estimate_noise
from neuralpower_align.nuisance import DRIFTS, US, Model, Spline, columns, moved, prior, room_to_bounds
from neuralpower_align.rows import BLOCK, Design, Late, Piece, blocks_of, designs, piece_of
from neuralpower_align.scan_clock import ChannelReadings, Sensor
from neuralpower_align.schedule import Schedule

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MARGIN_NS = 40e3
"""Readings so near the end of a conversion may hold another one."""
NOISE_BLOCKS, FINAL_NOISE_BLOCKS = 64, 200
"""For variances on the way and at the end."""
SEARCH_BLOCKS, STALL_BLOCKS = 200, 120
ROWS_A_CLASS = 40
"""Fewer rows than this for each unknown power are too few to move the sensor by."""
NOTICED = 4.0
"""Standard errors by which readings contradict the response before another one is tried."""
SHORTEST_SPLIT_NS = 50e3
WIDEST_ROOMS, WIDEST_NS = 4.0, 200e3
"""Far beyond what is believed of a fit (`trust`): there it no longer matters how wide edges are, and wide ones cost time."""
FIRST_OF_TWO, SECOND_OF_TWO = 0.9, 0.4
"""Two poles that one is the best substitute for, as shares of it."""
WORTH_STALLS = 0.2
"""Each layer has a stall share fitted if that adds more than this share to the variance of most."""
WORTH_A_POLE = 8.0
"""A second pole is kept if the likelihood grows by more than this (natural logarithm)."""
WIDE_NS, SHARP_NS = 60e3, 15e3
"""Edges are so wide at first, and then so sharp: of sharp ones the likelihood has many maxima, of wide ones one."""
FARTHER_NS = 30e3
BESIDE_NS, BESIDE_ROUNDS = 100e3, 3
"""By so much inferences of which only begin and end are known scatter at first; steps of their fit on all rows."""
START_BLOCKS, START_CLASSES, FINER, BEST = 60, 120, 6, 3
"""Starts are compared on so many blocks, of engines that have together no more classes than this where there are more; so many, apart from each other, are followed with sharp edges, and so many of those to their maximum."""
START_GAPS_US, APART_US = (0.0, 0.6, 1.4, 2.6, 4.2), 0.7
APART_NS = 15e3
START_LAGS, START_SHORT_NS, START_SHORTS_NS = (0.5, 0.8, 1.0, 1.25), 150e3, (0.0, 40e3, 120e3)
START_SHIFTS_NS, NEAR_SHIFTS_NS = tuple(range(-240_000, 241_000, 30_000)), tuple(range(-80_000, 81_000, 10_000))
NEAR_LAGS_NS = (0.0, 25e3, 60e3)
"""Starts: gaps between kernels; lags as shares of the one acquired, or these beside it where it is short; and how much later or earlier than
acquired delay and lag are together."""
WIDE_ROUNDS, ROUNDS, SWEEPS = 8, 8, 10
REREAD, LEAST_TURN, FAR_WORSE = 3, 0.2, 40.0
"""In so many turns readings near the ends of conversions are numbered anew; no turn is shortened to less; no turn makes up for so
much of cost."""
SETTLED, NEAR = 0.1, 0.5
"""Steps below so many standard errors end a fit, at the end and on the way."""
TURNS, REWEIGHED = 5, 1.0
"""After so many turns the weights are good enough: a turn that ended has settled the fit where weights made anew would move nothing by more
standard errors than this. Any weights near the true ones make an estimate, with errors that differ little."""
SAME_NOISE = 0.01
"""Standard deviations of the noise that move by a smaller share have settled..."""
AS_NONE = np.array([1e-4, 1e-4, 1e-4, 50.0, 50.0, 50.0])
"""...or by less than this: 0.1 mW, and 50 ns."""
WORTH_A_STEP = 0.5
"""A step of all parameters that promises less than this in the cost is none (that is 0.7 standard errors of all together): the tables of the
response have steps of 1 us and edges lie at whole nanoseconds, so that the cost has steps of about this size."""
NO_BETTER = 4.0
"""Where no step lowers the cost, however short, and the step asked for is within two standard errors of all parameters together (of some
fifty), the cost cannot be told from its least."""
DAMPING, MOST_DAMPING = 1.0, 1e4
END_REACH, END_REACH_NS = 0.3, 250e3
"""Readings are looked at so far from the end of a conversion, as a share of the scan and at most."""
END_READS, FEWEST_ENDS, OUTLIER = 6000, 30, 4.0
END_NS, TELLING, MEDIAN_SQUARE = 5e9, 2.0, 0.455
"""For each so long; a reading tells by what its squares differ by; the median of the square of a normal number."""


@dataclass(frozen=True)
class Estimate:
    """What the readings say: powers of the classes and everything beside them, with the covariance of all."""

    model: Model
    pieces: tuple[Piece, ...]
    noise: Noise
    covariance: Floats
    scattered: Floats
    rows: int
    square: float
    clusters: int
    delays_ns: tuple[float, ...]
    """Of each piece."""
    split_z: float
    """By how many standard errors the readings contradict one pole; the residuals were asked whether it should be two."""
    settled: bool
    """Whether the search ended at a maximum of its objective. If not, nothing of it is to be believed."""
    held: Model
    """The same while layers' powers are held near their mean: where rows are expanded."""
    held_pieces: tuple[Piece, ...]

    @property
    def power_w(self) -> Floats:
        """Of each class (c,), W."""
        return self.model.power_w

    @property
    def delay_ns(self) -> float:
        """From the end of a conversion, as readings tell it, back to the end of what it saw."""
        weight = np.array([piece.number.size for piece in self.pieces], np.float64)
        return float(np.average(self.delays_ns, weights=weight))

    @property
    def sensor(self) -> Sensor:
        """As a sensor from which another fit may set out."""
        return Sensor(
            self.pieces[0].delay_ns,
            self.lag_ns,
            tuple(piece.clock for piece in self.pieces),
            found=("fit",) * len(self.pieces),
        )

    @property
    def lag_ns(self) -> float:
        """All poles together."""
        return self.model.kernel.lag_ns + self.model.kernel.second_ns

    @property
    def sensor_covariance(self) -> Floats:
        """Of delay and lag (2, 2), ns^2, without what the clocks' ends are unsure by."""
        index = self.model.index
        change = np.zeros((2, index.size))
        total = sum(piece.number.size for piece in self.pieces)
        for spline, piece, where in zip(self.model.splines, self.pieces, index.shift, strict=True):
            first, weights = spline.basis(piece.at_ns)
            for k in range(4):
                np.add.at(change[0], where.start + first + k, -weights[:, k] / total)
        change[1, index.lag] = 1.0
        if self.model.second:
            change[1, index.second] = 1.0
        return np.asarray(1e6 * change @ self.covariance @ change.T, np.float64)

    @property
    def residual_w(self) -> float:
        """What a conversion scatters by, W rms, beside all that is modelled."""
        return float(np.sqrt(self.noise.white + self.noise.register))

    @property
    def power_covariance(self) -> Floats:
        """(c, c) W^2, as the model has it."""
        where = self.model.index.power
        return self.covariance[where, where]


def estimate(
    plan: Schedule,
    readings: Sequence[ChannelReadings],
    sensor: Sensor,
    layer: Bools,
    layout: Layout,
    *,
    stalls: bool = True,
    near: Estimate | None = None,
) -> Estimate:
    """Fit all from a sensor that is nearly right. `layer` (c,): which classes are layers, the others being gaps and idling.

    `near`: an estimate of other classes from the same sensor, from which the search sets out instead of from several starts.
    """
    pieces = [
        piece_of(each, clock, sensor.delay_ns, MARGIN_NS) for each, clock in zip(readings, sensor.clocks, strict=True)
    ]
    pieces = [piece for piece in pieces if piece.number.size]
    kept = [
        each
        for each, clock in zip(readings, sensor.clocks, strict=True)
        if piece_of(each, clock, sensor.delay_ns, MARGIN_NS).number.size
    ]
    if near is not None:
        pieces = [
            piece_of(each, piece.clock, piece.delay_ns, MARGIN_NS, piece.late)
            for each, piece in zip(kept, near.pieces, strict=True)
        ]
    if not pieces:
        raise ValueError("estimate: no readings")
    some = max(SEARCH_BLOCKS, plan.count * ROWS_A_CLASS // BLOCK)
    best = tuple(_best_measured(plan, piece) for piece in pieces)
    fit = _Fit(plan, layer, kept, some, _widest_ns(plan), _farthest_ns(plan) if near is None else np.inf, best)
    begin = fit.start(fit.first(pieces, sensor, stalls, layout), pieces)
    if near is None:
        found, split = fit.searched(*begin)
    else:
        found, split = fit.beside(near, *begin), 0.0
    held = found
    found = fit.released(found)
    found = fit.with_stalls(found)
    assert found.step is not None
    return Estimate(
        found.model,
        tuple(found.pieces),
        found.noise,
        found.step.covariance,
        found.step.scattered,
        found.normal.rows,
        found.normal.square,
        len(found.normal.clusters),
        tuple(piece.delay_ns + piece.late_ns for piece in fit.reread(found.model, found.pieces)),
        split,
        found.settled,
        held.model,
        tuple(held.pieces),
    )


@dataclass(frozen=True)
class Whitening:
    """What whitens some blocks, portion by portion, and how far back the rows of these portions were taken to see."""

    roots: list[Root]
    reach_ns: float


@dataclass(frozen=True)
class _State:
    """A point of the search: all values, the sums of some blocks there, and whether it is a maximum."""

    model: Model
    pieces: list[Piece]
    noise: Noise
    normal: Normal
    settled: bool = False
    step: Step | None = None
    whitening: Whitening | None = None
    gone: Floats | None = None
    """All steps (q,) since where a turn began."""

    @property
    def cost(self) -> float:
        """The objective: -2 log of the likelihood of the blocks' readings times the prior of all parameters, but for a constant.

        The noise's variances are in it, and so is that slopes of the same powers make rows scatter (`noise.py`).
        """
        precision, away = prior(self.model)
        return self.normal.square + self.normal.determinant + float(away @ precision @ away)

    @property
    def profiled(self) -> float:
        """Squared whitened residuals, and what the prior says, with the likeliest values of what is linear and all else held."""
        precision, away = prior(self.model)
        linear = np.arange(self.model.index.power.stop)
        slope, total = (
            (self.normal.slope + precision @ away)[linear],
            (self.normal.gram + precision)[np.ix_(linear, linear)],
        )
        return self.normal.square + float(away @ precision @ away) - float(slope @ inverted(total) @ slope)

    def newton(self, damping: float = 0.0) -> tuple[Floats, float]:
        """The Gauss-Newton step (q,), damped in what is not linear, and its largest share of a standard error.

        A parameter that would leave what can be goes to the end of that, and the others to their best beside it.
        """
        precision, away = prior(self.model)
        slope, total = self.normal.slope + precision @ away, self.normal.gram + precision
        curved = np.arange(self.model.index.power.stop, slope.size)
        total[curved, curved] += damping * total[curved, curved]
        down, up = room_to_bounds(self.model)
        free, change = np.ones(slope.size, bool), np.zeros(slope.size)
        for _ in range(slope.size):
            inner = np.ix_(free, free)
            inverse = inverted(total[inner])
            change[free] = inverse @ (slope[free] - total[np.ix_(free, ~free)] @ change[~free])
            beyond = free & ((change < down) | (change > up))
            if not beyond.any():
                break
            change[beyond] = np.clip(change, down, up)[beyond]
            free &= ~beyond
        error = np.sqrt(np.maximum(np.diag(inverse), 1e-300))
        return change, float(np.max(np.abs(change[free] / error), initial=0.0))

    @property
    def promised(self) -> float:
        """What the Gauss-Newton step would take from the cost."""
        precision, away = prior(self.model)
        change = self.newton()[0]
        slope, total = self.normal.slope + precision @ away, self.normal.gram + precision
        return float(2 * slope @ change - change @ total @ change)

    @property
    def split(self) -> float:
        """Standard errors by which the column that looks for a second pole is not 0; 0 where the model has one."""
        if self.model.second:
            return 0.0
        step = solve(self.normal, *prior(replace(self.model, tested=True)))
        where = self.model.index.second.start
        return float(step.change[where] / np.sqrt(step.covariance[where, where]))

    @property
    def may_have_second(self) -> bool:
        """Whether a second pole is worth a trial. A split of less than nothing contradicts one pole too, but two do not mend it."""
        return self.split > NOTICED and self.model.kernel.lag_ns > SHORTEST_SPLIT_NS

    def with_second(self) -> tuple[Model, list[Piece], Noise]:
        """Where to set out with two poles, from the best with one: that one is a little shorter than both together, and later for it."""
        model, lag = self.model, self.model.kernel.lag_ns
        kernel = model.kernel.with_lags(FIRST_OF_TWO * lag, SECOND_OF_TWO * lag)
        shift_ns = (FIRST_OF_TWO + SECOND_OF_TWO - 1) * lag
        two = replace(
            model,
            kernel=kernel,
            second=True,
            second_from_ns=kernel.second_ns,
            lag_from_ns=kernel.lag_ns,
            shift_us=tuple(shift + shift_ns / 1e3 for shift in model.shift_us),
        )
        later = [piece.shifted(np.full(piece.number.size, shift_ns)) for piece in self.pieces]
        return two, later, self.noise


Blocks = int | None
"""So many blocks spread evenly over all pieces, or all."""
EVERY: Blocks = None
Point = tuple[Model, list[Piece], Noise]


@dataclass(frozen=True)
class _Fit:
    """What stays the same through all rounds; `some`: the blocks on which the maximum is approached, START of those by which starts are compared;
    `farthest_ns`: inferences scatter by no more; `widest_ns`: edges are blurred by no more."""

    plan: Schedule
    layer: Bools
    readings: Sequence[ChannelReadings]
    some: Blocks
    widest_ns: float
    farthest_ns: float
    best: tuple[Bools, ...]
    """Of each piece the rows by which starts are compared."""

    def first(self, pieces: list[Piece], sensor: Sensor, stalls: bool, layout: Layout) -> Model:
        """Before anything is known but the sensor."""
        splines = tuple(Spline.over(float(piece.at_ns[0]), float(piece.at_ns[-1])) for piece in pieces)
        mean = float(np.mean(np.concatenate([piece.value_w for piece in pieces])))
        window = pieces[0].window_ns
        return Model(
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

    def at(self, point: Point, blocks: Blocks, whitening: Whitening | None = None) -> _State:
        """The sums of some blocks at a point; `whitening`: how inferences scatter, if not as they do there."""
        model, pieces, noise = point
        widest = min(float(np.sqrt(noise.place * np.exp(model.wider))), self.widest_ns)
        blur_ns = model.edge_ns or widest
        model = replace(model, kernel=replace(model.kernel, blur_ns=blur_ns))
        normal, whitening = self.normal(model, pieces, noise, blocks, whitening)
        return _State(model, pieces, noise, normal, whitening=whitening)

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

    def approach(self, model: Model, pieces: list[Piece], square: float) -> _State:
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
        found: list[_State] = []
        for state in sorted(wide, key=lambda each: each.noise.white)[:BEST]:
            quiet = Noise(white=state.noise.white / 2, slack=SHARP_NS**2)
            free = replace(state.model, edge_ns=0.0, blurs=True)
            quiet = self.likelier(free, state.pieces, quiet, blocks)
            shared = replace(quiet, slack=quiet.slack / 2, late=quiet.slack / 2, stretch=quiet.slack / 4)
            worth = min((each.cost for each in found if each.settled), default=np.inf)
            found.append(self.settled((free, state.pieces, shared), self.some, NEAR, NOISE_BLOCKS, worth=worth))
        return min(found, key=lambda each: each.cost)

    def searched(self, model: Model, pieces: list[Piece], square: float) -> tuple[_State, float]:
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
            other = self.settled(found.with_second(), EVERY, SETTLED, FINAL_NOISE_BLOCKS, reread=False)
            found = other if other.cost < found.cost - 2 * WORTH_A_POLE else found
        return found, split

    def beside(self, near: Estimate, model: Model, pieces: list[Piece], square: float) -> _State:
        """With the lag and the layout found of other classes: powers, when conversions ended, and how inferences scatter."""
        known = near.model
        model = replace(
            model, kernel=known.kernel, second=known.second, lag_from_ns=known.lag_from_ns, second_from_ns=known.second_from_ns,
            wider=known.wider, edge_ns=0.0, known=True,
        )  # fmt: skip
        noise = replace(near.noise, slack=BESIDE_NS**2, late=0.0, stretch=0.0)
        noise = self.likelier(model, pieces, noise, NOISE_BLOCKS)
        state = self.settled((model, pieces, noise), self.some, NEAR, NOISE_BLOCKS)
        every = self.at((state.model, state.pieces, state.noise), EVERY)
        return replace(self.climbed(every, EVERY, BESIDE_ROUNDS, NEAR), settled=state.settled)

    def reread(self, model: Model, pieces: list[Piece]) -> list[Piece]:
        """The rows where conversions end as the readings themselves tell: which of two conversions a reading near an end holds.

        When conversions saw what they saw stays what it is.
        """
        plan = self.plan.placed(model.layout)
        found = []
        for number, (piece, readings) in enumerate(zip(pieces, self.readings, strict=True)):
            again = piece
            if piece.clock is not None and piece.averaging == 1:
                late = ends_late(plan, number, piece, readings, model)
                again = piece_of(readings, piece.clock, piece.delay_ns, MARGIN_NS, late)
            found.append(again if again.number.size >= piece.number.size / 2 else piece)
        return found

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

    def settled(
        self,
        point: Point,
        blocks: Blocks,
        near: float,
        noise_blocks: int,
        reread: bool = True,
        worth: float = np.inf,
    ) -> _State:
        """A maximum in all parameters and the noise's variances.

        In turn: steps that raise the likelihood under the weights of where the turn began, then the variances that are likeliest there. It
        has settled where, with weights made anew, the next step is short, and the variances move no more. Turns that swing about
        that place are shortened (Aitken's rule along the last one). `reread`: whether readings near the ends of conversions are numbered anew;
        `worth`: a search that is far above this cost after REREAD turns is given up.
        """
        state = self.at(point, blocks)
        share, last = 1.0, None
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
            loud = _loud(noise, state.noise)
            if loud:
                other = self.at((state.model, state.pieces, noise), blocks)
                loud, state = (True, other) if other.cost < state.cost else (False, state)
                share, last = (1.0, None) if loud else (share, last)
            promised = state.promised
            far = state.newton()[1]
            rests = far < near or promised < WORTH_A_STEP or (stuck and promised < NO_BETTER)
            if sweep + 1 >= REREAD and state.cost > worth + FAR_WORSE:
                return state
            if (
                (sweep + 1 >= REREAD or not reread)
                and not loud
                and (rests or (sweep >= TURNS and ended and far < REWEIGHED))
            ):
                return replace(state, settled=True)
        return state

    def climbed(self, state: _State, blocks: Blocks, rounds: int, near: float) -> _State:
        """Levenberg-Marquardt at fixed variances and weights: only steps that lower the cost are taken, else shorter ones are tried."""
        damping, whitening = 0.0, state.whitening
        for _ in range(rounds):
            change, far = state.newton()
            if far < near or state.promised < WORTH_A_STEP / 4:
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

    def finish(self, state: _State) -> _State:
        """The maximum on all rows."""
        return self.settled((state.model, state.pieces, state.noise), EVERY, SETTLED, FINAL_NOISE_BLOCKS)

    def released(self, state: _State) -> _State:
        """Powers no longer held near their mean, with the covariance: what layers have in common is told afterwards (`hierarchy.py`).

        Slopes stay those of the held powers: those of noisy ones would be too steep, and would agree with the noise that they came from.
        """
        free = replace(state.model, centre_w=0.0, likely_w=state.model.power_w)
        step = solve(state.normal, *prior(free))
        model, pieces = moved(free, state.pieces, step.change)
        return replace(state, model=model, pieces=pieces, step=step)

    def with_stalls(self, state: _State) -> _State:
        """With a stall share of each layer: fitted where that adds much to the variance of powers, and else what it adds."""
        if not state.model.stalls or state.step is None:
            return state
        more, powers = self.by_stalls(state), state.model.index.power
        if np.median((np.diag(more) / np.diag(state.step.covariance)[powers])[self.layer]) < WORTH_STALLS:
            return replace(state, step=state.step.widened(powers, more))
        wide = replace(state.model, each=True)
        step = solve(self.normal(wide, state.pieces, state.noise, EVERY)[0], *prior(wide))
        model, pieces = moved(wide, state.pieces, step.change)
        return replace(state, model=model, pieces=pieces, step=step)

    def by_stalls(self, state: _State) -> Floats:
        """What it adds to the covariance of powers (c, c) that each layer has a stall share of its own.

        A column for each layer makes the regression twice as wide. Where it matters little, what it adds is taken from a part of the rows,
        whose sums are scaled up to all.
        """
        wide = replace(state.model, each=True)
        part, _ = self.normal(wide, state.pieces, state.noise, STALL_BLOCKS)
        gram = part.gram * (state.normal.rows / part.rows) + prior(wide)[0]
        kept = np.delete(np.arange(wide.index.size), wide.index.stall_of)
        powers = wide.index.power
        return np.asarray(
            inverted(gram)[powers, powers] - inverted(gram[np.ix_(kept, kept)])[powers, powers], np.float64
        )

    def _each(
        self, model: Model, pieces: Sequence[Piece], blocks: Blocks, reach_ns: float = 0.0, scatter: bool = True
    ) -> Iterator[tuple[int, Design]]:
        """Averaging and rows, some blocks at a time."""
        plan = self.plan.placed(model.layout)
        if blocks is None:
            chosen = [blocks_of(piece.number.size) for piece in pieces]
        else:
            chosen = _spread(pieces, blocks, self.best if blocks == START_BLOCKS else ())
        for number, (piece, mine) in enumerate(zip(pieces, chosen, strict=True)):
            kernel = replace(model.kernel, window_ns=piece.window_ns, smear_ns=piece.unplaced_ns)
            every = designs(plan, number, piece, kernel, model.slope_w, mine, model.stall_shares, reach_ns, scatter)
            for design in every:
                yield piece.averaging, design

    def normal(
        self,
        model: Model,
        pieces: Sequence[Piece],
        noise: Noise,
        blocks: Blocks,
        whitening: Whitening | None = None,
    ) -> tuple[Normal, Whitening]:
        """Normal equations over some blocks, and what whitened their rows."""
        normal, reach_ns = Normal.empty(model.index.size), model.kernel.reach_ns
        if whitening is None:
            scatter = noise.place + noise.stretch > 0
            roots = [
                accumulate(normal, model, design, noise, averaging)
                for averaging, design in self._each(model, pieces, blocks, reach_ns, scatter)
            ]
            return normal, Whitening(roots, reach_ns)
        every = self._each(model, pieces, blocks, whitening.reach_ns, scatter=False)
        for (averaging, design), root in zip(every, whitening.roots, strict=True):
            accumulate(normal, model, design, noise, averaging, root)
        return normal, whitening

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
            Sample(design.value_w - columns(model, design)[2], design, averaging)
            for averaging, design in self._each(model, pieces, blocks)
        ]
        register = max(piece.step_w for piece in pieces) ** 2 / 12
        return estimate_noise(samples, noise, register, times_ns, self.farthest_ns)


def _widest_ns(plan: Schedule) -> float:
    """A slack that no inference can have: several times the room from the begin anchor to the layers, and WIDEST_NS."""
    first = np.flatnonzero((plan.moves[1:] >= 0) & (plan.moves[1:] != plan.moves[:-1]))
    return WIDEST_ROOMS * float(np.median(np.diff(plan.edges_ns)[first])) + WIDEST_NS if first.size else WIDEST_NS


def _farthest_ns(plan: Schedule) -> float:
    """A scatter that no inference can have, if layers lie between their anchors: half of what is around them, and FARTHER_NS."""
    told = plan.room[5] > 0
    if not told.any():
        return float(np.inf)
    first = np.flatnonzero((plan.moves[1:] >= 0) & (plan.moves[1:] != plan.moves[:-1]))
    whose, before = plan.moves[first + 1], np.diff(plan.edges_ns)[first]
    rooms = [np.median(before[told[whose] & (plan.engine[whose] == each)]) for each in np.unique(plan.engine[told])]
    return float(max(rooms)) + FARTHER_NS


def ends_late(plan: Schedule, number: int, piece: Piece, readings: ChannelReadings, model: Model) -> Late | None:
    """By how much later than the clock has it the conversions end by which readings change over; None where readings do not tell.

    Of a reading near the end of a conversion it is told from what either conversion would have given (`model`). The end is where most readings
    lie on the right side, each counted by how much better one conversion explains it than the other, at most OUTLIER deviations. Where
    readings of some seconds tell nothing the others' offset counts.
    """
    assert piece.clock is not None
    clock, reach = piece.clock, min(END_REACH * piece.clock.period_ns, END_REACH_NS)
    later = clock.last_before(readings.read_ns + reach)
    off = readings.read_ns - clock.end(later)
    near = np.flatnonzero(np.abs(off) < reach)
    if near.size > END_READS:
        near = near[np.unique(np.linspace(0, near.size - 1, END_READS).astype(np.int64))]
    if near.size < FEWEST_ENDS:
        return None
    kernel = replace(model.kernel, window_ns=piece.window_ns, smear_ns=piece.unplaced_ns)
    square = []
    for which in (later[near] - 1, later[near]):
        seen = replace(piece, number=which, at_ns=clock.end(which) - piece.delay_ns, value_w=readings.power_w[near])
        left = [
            (design.value_w - columns(model, design)[2]).ravel()
            for design in designs(
                plan, number, seen, kernel, model.slope_w, blocks_of(near.size), model.stall_shares, scatter=False
            )
        ]
        square.append(np.concatenate(left) ** 2)
    before, after = square
    usual = float(np.median(np.minimum(before, after))) / MEDIAN_SQUARE + 1e-12
    gain = np.clip((before - after) / usual, -(OUTLIER**2), OUTLIER**2)
    at = readings.read_ns[near].astype(np.float64)
    turn = ((at - at[0]) // END_NS).astype(np.int64)
    telling = [
        mine for mine in (np.flatnonzero(turn == each) for each in np.unique(turn))
        if np.count_nonzero(np.abs(gain[mine]) > TELLING) >= FEWEST_ENDS
    ]  # fmt: skip
    if not telling:
        return None
    return Late(
        np.array([at[mine].mean() for mine in telling]),
        np.array([_changeover(off[near][mine], gain[mine]) for mine in telling]),
    )


def _changeover(off: Floats, gain: Floats) -> float:
    """Where readings (k,) change over from one conversion to the next: those before hold the former, by which `gain` is below 0."""
    order = np.argsort(off, kind="stable")
    at, score = off[order], np.append(0.0, np.cumsum(-gain[order]))
    best = int(np.argmax(score))
    ends = np.concatenate([[at[0]], (at[1:] + at[:-1]) / 2, [at[-1]]])
    return float(ends[best])


def _loud(noise: Noise, before: Noise) -> bool:
    """Whether a standard deviation has moved by more than SAME_NOISE of itself, those that are as good as none aside."""
    new, old = np.sqrt(noise.variances), np.sqrt(before.variances)
    return bool(np.any(np.abs(new - old) > SAME_NOISE * new + AS_NONE)) or noise.slow_ns != before.slow_ns


def _shorter(share: float, last: Floats, gone: Floats, normal: Normal) -> float:
    """How much of a turn (q,) to go after another one, of which `share` was gone: where the line through both says that turns end."""
    size = np.maximum(np.diag(normal.gram), 0.0)
    along, square = float(last @ (size * gone)), float(last @ (size * last))
    bend = square - along
    return float(np.clip(share * square / bend, LEAST_TURN, 1.0)) if bend > 0 else 1.0


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


def _spread(pieces: Sequence[Piece], count: int, best: Sequence[Bools] = ()) -> list[list[Ints]]:
    """About `count` full blocks spread evenly over all pieces; of `best` rows where there are."""
    groups = [blocks_of(piece.number.size)[0] for piece in pieces]
    if best:
        kept = [
            group[good[np.minimum(group, good.size - 1)].all(axis=1)] for group, good in zip(groups, best, strict=True)
        ]
        groups = kept if sum(map(len, kept)) >= count / 2 else groups
    total = max(sum(map(len, groups)), 1)
    chosen = []
    for group in groups:
        share = max(round(count * len(group) / total), 1)
        which = np.unique(np.linspace(0, max(len(group) - 1, 0), min(share, len(group))).astype(np.int64))
        chosen.append([group[which]] if len(group) else [])
    return chosen


def _best_measured(plan: Schedule, piece: Piece) -> Bools:
    """Which rows saw engines that have most rows for each of their classes, of START_CLASSES classes together; all where there are no more."""
    named = plan.moves >= 0
    if plan.count <= START_CLASSES or not np.any(plan.engine >= 0):
        return np.ones(piece.number.size, bool)
    whose = plan.engine[plan.moves[named]]
    count = int(plan.engine.max()) + 1
    sizes = np.array([np.unique(plan.classes[named][whose == each]).size for each in range(count)])
    seen = plan.engine[np.clip(np.searchsorted(plan.begin_ns, piece.at_ns) - 1, 0, plan.begin_ns.size - 1)]
    rows = np.bincount(np.maximum(seen, 0), seen >= 0, count)
    order = np.argsort(-rows / np.maximum(sizes, 1), kind="stable")
    most = max(int(np.searchsorted(np.cumsum(sizes[order]), START_CLASSES, side="right")), 1)
    return np.asarray(np.isin(seen, order[:most]), np.bool_)
