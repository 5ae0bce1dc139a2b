"""Power per class with its covariance, from an acquired sensor: everything that is unknown fitted in one regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.gls import Normal, Step, accumulate, inverted, solve
from neuralpower_align.kernel import Kernel
from neuralpower_align.noise import SLOW_NS, Noise, Sample, estimate_noise
from neuralpower_align.nuisance import Model, Spline, columns, moved, prior
from neuralpower_align.rows import BLOCK, Design, Piece, blocks_of, designs, piece_of
from neuralpower_align.scan_clock import ChannelReadings, Sensor
from neuralpower_align.schedule import Schedule

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MARGIN_NS = 40e3
"""Readings so near the end of a conversion may hold another one."""
NOISE_BLOCKS, FINAL_NOISE_BLOCKS = 32, 100
"""For variances on the way and at the end."""
SEARCH_BLOCKS, STALL_BLOCKS = 120, 60
ROWS_A_CLASS = 40
"""Fewer rows than this for each unknown power are too few to move the sensor by."""
ROUNDS, MOST_ROUNDS = 6, 6
"""On a part of the rows, and on all of them."""
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
REACH = 0.25
"""A quickened step goes further by no more than this share of how long the sensor takes to answer."""
SETTLED, NEAR = 0.5, 2.0
"""Steps of the sensor below so many of their standard errors need no further round, at the end and on the way: what is left of a step
shrinks like its square."""


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
    from_delay_ns: float
    split_z: float
    """By how many standard errors the readings contradict one pole; the residuals were asked whether it should be two."""

    @property
    def power_w(self) -> Floats:
        """Of each class (c,), W."""
        return self.model.power_w

    @property
    def delay_ns(self) -> float:
        """From the end of a conversion back to the end of what it saw, after all shifts."""
        weight = np.array([piece.number.size for piece in self.pieces], np.float64)
        shift = [
            float(np.mean(spline.value(piece.at_ns, shift)))
            for spline, piece, shift in zip(self.model.splines, self.pieces, self.model.shift_us, strict=True)
        ]
        return self.from_delay_ns - 1e3 * float(np.average(shift, weights=weight))

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
    plan: Schedule, readings: Sequence[ChannelReadings], sensor: Sensor, layer: Bools, *, stalls: bool = True
) -> Estimate:
    """Fit all from a sensor that is nearly right. `layer` (c,): which classes are layers, the others being gaps and idling."""
    pieces = [
        piece_of(each, clock, sensor.delay_ns, MARGIN_NS) for each, clock in zip(readings, sensor.clocks, strict=True)
    ]
    pieces = [piece for piece in pieces if piece.number.size]
    if not pieces:
        raise ValueError("estimate: no readings")
    fit = _Fit(plan, layer, _spread(pieces, SEARCH_BLOCKS), _widest_ns(plan))
    crowded = plan.count * ROWS_A_CLASS > sum(group.size for mine in fit.some for group in mine)
    near = fit.start(fit.first(pieces, sensor, stalls), pieces)
    near = fit.timed(near) if crowded else fit.approach(near)
    split = near.split
    if near.may_have_second:
        two = fit.approach(near.with_second())
        near = two if two.likelihood > near.likelihood + WORTH_A_POLE else near
    found = fit.finish(near)
    if not found.model.second:
        split = found.split
    if found.may_have_second:
        other = found.with_second()
        other = fit.finish(other if crowded else fit.approach(other))
        found = other if other.likelihood > found.likelihood + WORTH_A_POLE else found
    found = fit.with_stalls(found)
    assert found.normal is not None and found.step is not None
    return Estimate(
        found.model,
        tuple(found.pieces),
        found.noise,
        found.step.covariance,
        found.step.scattered,
        found.normal.rows,
        found.normal.square,
        len(found.normal.clusters),
        sensor.delay_ns,
        split,
    )


@dataclass(frozen=True)
class _State:
    """Where rounds have come to, with the sums before the last step and that step."""

    model: Model
    pieces: list[Piece]
    noise: Noise = field(default_factory=Noise)
    normal: Normal | None = None
    step: Step | None = None

    @property
    def likelihood(self) -> float:
        """Its logarithm, after the last step."""
        return -np.inf if self.step is None else self.step.likelihood

    @property
    def split(self) -> float:
        """Standard errors by which the column that looks for a second pole is not 0; 0 where the model has one."""
        if self.model.second or self.normal is None:
            return 0.0
        step = solve(self.normal, *prior(replace(self.model, tested=True)))
        where = self.model.index.second.start
        return float(step.change[where] / np.sqrt(step.covariance[where, where]))

    @property
    def may_have_second(self) -> bool:
        """Whether a second pole is worth a trial. A split of less than nothing contradicts one pole too, but two do not mend it."""
        return self.split > NOTICED and self.model.kernel.lag_ns > SHORTEST_SPLIT_NS

    def with_second(self) -> _State:
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
        return _State(two, later, self.noise)


class _Pace:
    """Rounds that go on in one direction, or to and fro, by ever the same share go to where that leads (Aitken's extrapolation)."""

    def __init__(self) -> None:
        self.last: float | None = None

    def quickened(self, model: Model, change: Floats) -> Floats:
        """The step with its shifts longer or shorter, if they shrink slowly from round to round."""
        shifts = np.concatenate([np.arange(where.start, where.stop) for where in model.index.shift])
        now = float(np.mean(change[shifts])) if shifts.size else 0.0
        share = now / self.last if self.last else 0.0
        self.last = now
        if not (0.2 < share < 1.2 or -1.2 < share < -0.6):
            return change
        self.last = None
        longer = np.array(change)
        # Beyond a part of the response's width its slopes say nothing, and what was settled would come loose.
        reach = REACH * (model.kernel.blur_ns + model.kernel.lag_ns) / 1e3
        longer[shifts] += np.clip(now * (min(1 / max(1 - share, 0.2), 5.0) - 1), -reach, reach)
        return longer


@dataclass(frozen=True)
class _Fit:
    """What stays the same through all rounds; `some`: the blocks on which the sensor is approached; `widest_ns`: edges are blurred by no more."""

    plan: Schedule
    layer: Bools
    some: Sequence[list[Ints]]
    widest_ns: float

    def first(self, pieces: list[Piece], sensor: Sensor, stalls: bool) -> Model:
        """Before anything is known but the sensor."""
        splines = tuple(Spline.over(float(piece.at_ns[0]), float(piece.at_ns[-1])) for piece in pieces)
        mean = float(np.mean(np.concatenate([piece.value_w for piece in pieces])))
        window = pieces[0].window_ns
        return Model(
            power_w=np.full(self.plan.count, mean),
            layer=self.layer,
            kernel=Kernel(sensor.lag_ns, window, smear_ns=pieces[0].unplaced_ns),
            splines=splines,
            begin_ns=min(float(piece.at_ns[0]) for piece in pieces),
            end_ns=max(float(piece.at_ns[-1]) for piece in pieces),
            stall_of=np.zeros(self.plan.count),
            shift_us=tuple(np.zeros(spline.columns) for spline in splines),
            lag_from_ns=sensor.lag_ns,
            stalls=stalls,
            each=False,
            level_w=mean,
        )

    def blurred(self, model: Model, noise: Noise) -> Model:
        """With edges as unsure as inferences scatter, as far as that can be: a fit that has lost its way may take it for anything."""
        return replace(model, kernel=replace(model.kernel, blur_ns=min(float(np.sqrt(noise.slack)), self.widest_ns)))

    def start(self, model: Model, pieces: list[Piece]) -> _State:
        """Powers, held near their mean, and variances with the sensor as it is."""
        model = replace(model, tamed=True, sensor=False)
        step = solve(self.normal(model, pieces, Noise(), self.some), *prior(model))
        model, pieces = moved(model, pieces, step.change)
        noise = self.noise(model, pieces, Noise(), _spread(pieces, NOISE_BLOCKS))
        return _State(replace(model, sensor=True), pieces, noise)

    def approach(self, state: _State) -> _State:
        """To about the right sensor and the right noise on a part of the rows, the powers held near their mean.

        Not where the rows are too few for the powers: held near their mean, these would bend the sensor.
        """
        model, pieces, noise = replace(state.model, tamed=True), state.pieces, state.noise
        sample, pace = _spread(pieces, NOISE_BLOCKS), _Pace()
        for number in range(ROUNDS):
            model = self.blurred(model, noise)
            normal = self.normal(model, pieces, noise, self.some)
            step = solve(normal, *prior(model))
            model, pieces = moved(model, pieces, pace.quickened(model, step.change))
            settled = _settled(model, step, NEAR)
            if settled:
                break
            if number < 3:
                noise = self.noise(model, pieces, noise, sample)
        return self.timed(_State(model, pieces, noise, normal, step))

    def timed(self, state: _State) -> _State:
        """With the likeliest time of the slow part, and the variances that go with it."""
        noise = self.noise(state.model, state.pieces, state.noise, _spread(state.pieces, NOISE_BLOCKS), SLOW_NS)
        return replace(state, noise=noise)

    def finish(self, state: _State) -> _State:
        """Rounds on all rows until nothing moves."""
        model = replace(state.model, tamed=False, likely_w=state.model.power_w)
        pieces, noise = state.pieces, state.noise
        every = [blocks_of(piece.number.size) for piece in pieces]
        sample, pace = _spread(pieces, FINAL_NOISE_BLOCKS), _Pace()
        for number in range(MOST_ROUNDS):
            model = self.blurred(model, noise)
            normal = self.normal(model, pieces, noise, every)
            step = solve(normal, *prior(model))
            last = _settled(model, step, SETTLED) or number == MOST_ROUNDS - 1
            likely = solve(normal, *prior(replace(model, tamed=True))).change[model.index.power]
            model = replace(model, likely_w=model.power_w + likely)
            model, pieces = moved(model, pieces, step.change if last else pace.quickened(model, step.change))
            if last:
                break
            noise = self.noise(model, pieces, noise, sample)
        return _State(model, pieces, noise, normal, step)

    def with_stalls(self, state: _State) -> _State:
        """With a stall share of each layer: fitted where that adds much to the variance of powers, and else what it adds."""
        if not state.model.stalls or state.step is None or state.normal is None:
            return state
        more, powers = self.by_stalls(state), state.model.index.power
        if np.median((np.diag(more) / np.diag(state.step.covariance)[powers])[self.layer]) < WORTH_STALLS:
            return replace(state, step=state.step.widened(powers, more))
        wide = replace(state.model, each=True)
        every = [blocks_of(piece.number.size) for piece in state.pieces]
        step = solve(self.normal(wide, state.pieces, state.noise, every), *prior(wide))
        model, pieces = moved(wide, state.pieces, step.change)
        return replace(state, model=model, pieces=pieces, step=step)

    def by_stalls(self, state: _State) -> Floats:
        """What it adds to the covariance of powers (c, c) that each layer has a stall share of its own.

        A column for each layer makes the regression twice as wide. Where it matters little, what it adds is taken from a part of the rows,
        whose sums are scaled up to all.
        """
        assert state.normal is not None
        wide = replace(state.model, each=True)
        part = self.normal(wide, state.pieces, state.noise, _spread(state.pieces, STALL_BLOCKS))
        gram = part.gram * (state.normal.rows / part.rows) + prior(wide)[0]
        kept = np.delete(np.arange(wide.index.size), wide.index.stall_of)
        powers = wide.index.power
        return np.asarray(
            inverted(gram)[powers, powers] - inverted(gram[np.ix_(kept, kept)])[powers, powers], np.float64
        )

    def _each(
        self, model: Model, pieces: Sequence[Piece], blocks: Sequence[list[Ints]]
    ) -> Iterator[tuple[int, Design]]:
        """Averaging and rows, some blocks at a time."""
        for number, (piece, mine) in enumerate(zip(pieces, blocks, strict=True)):
            kernel = replace(model.kernel, window_ns=piece.window_ns, smear_ns=piece.unplaced_ns)
            for design in designs(self.plan, number, piece, kernel, model.slope_w, mine, model.stall_shares):
                yield piece.averaging, design

    def normal(self, model: Model, pieces: Sequence[Piece], noise: Noise, blocks: Sequence[list[Ints]]) -> Normal:
        """Normal equations over some blocks."""
        normal = Normal.empty(model.index.size)
        for averaging, design in self._each(model, pieces, blocks):
            accumulate(normal, model, design, noise, averaging)
        return normal

    def noise(
        self,
        model: Model,
        pieces: Sequence[Piece],
        noise: Noise,
        blocks: Sequence[list[Ints]],
        times_ns: Sequence[float] = (),
    ) -> Noise:
        """The variances from residuals of some blocks."""
        samples = [
            Sample(design.value_w - columns(model, design)[2], design, averaging)
            for averaging, design in self._each(model, pieces, blocks)
        ]
        register = max(piece.step_w for piece in pieces) ** 2 / 12
        return estimate_noise(samples, noise, register, times_ns)


def _widest_ns(plan: Schedule) -> float:
    """A slack that no inference can have: several times the room from the begin anchor to the layers, and WIDEST_NS."""
    first = np.flatnonzero((plan.moves[1:] >= 0) & (plan.moves[1:] != plan.moves[:-1]))
    return WIDEST_ROOMS * float(np.median(np.diff(plan.edges_ns)[first])) + WIDEST_NS if first.size else WIDEST_NS


def _settled(model: Model, step: Step, share: float) -> bool:
    """Whether no parameter of the sensor moved by more than this share of its standard error."""
    index = model.index
    where = np.concatenate(
        [np.arange(index.lag.start, index.second.stop), *(np.arange(s.start, s.stop) for s in index.shift)]
    )
    error = np.sqrt(np.maximum(np.diag(step.covariance)[where], 1e-30))
    return bool(np.all(np.abs(step.change[where]) < np.maximum(share * error, 0.2)))


def _spread(pieces: Sequence[Piece], count: int) -> list[list[Ints]]:
    """About `count` full blocks spread evenly over all pieces."""
    total = sum(max(piece.number.size // BLOCK, 1) for piece in pieces)
    chosen = []
    for piece in pieces:
        group = blocks_of(piece.number.size)[0]
        share = max(round(count * len(group) / total), 1)
        chosen.append([group[np.unique(np.linspace(0, len(group) - 1, min(share, len(group))).astype(np.int64))]])
    return chosen
