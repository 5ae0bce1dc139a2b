"""Power per class with its covariance, from an acquired sensor: everything that is unknown fitted in one regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import Layout
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings, Sensor
from neuralpower_align.errors import Unattributable
from neuralpower_align.fit.gls import Normal
from neuralpower_align.fit.information import Information, Solved, inverted
from neuralpower_align.fit.pace import Pace
from neuralpower_align.fit.search import NOISE_BLOCKS, FoundAt, Search
from neuralpower_align.fit.starts import Maximum
from neuralpower_align.fit.state import State
from neuralpower_align.fit.surface import EVERY, MARGIN_NS, NEAR, best_measured, farthest_ns, widest_ns
from neuralpower_align.model.conversion_ends import evened
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import Model, between, moved, prior
from neuralpower_align.model.piece import Piece, piece_of
from neuralpower_align.model.rows import BLOCK
from neuralpower_align.sensor.kernel import lag_rate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SEARCH_BLOCKS, STALL_BLOCKS = 200, 120
"""Tuning: blocks on which a maximum is sought at least, and by which stall shares are told: 13 s and 8 s of readings at 1 kHz."""
ROWS_A_CLASS = 40
"""Tuning: fewer rows than this for each unknown power are too few to move the sensor by."""
WORTH_STALLS = 0.2
"""Rule: each layer has a stall share fitted if that adds more than this share to the variance of most."""
UNSURE = 4.0
"""Tuning: costs of maxima are compared as if they were so many times less exact than they are: which readings near ends of conversions count differs."""
BESIDE_NS = 100e3
"""Prior: by so much inferences of which only begin and end are known scatter at first."""


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
    rivals: Floats
    """By how much other maxima that are nearly as likely differ (k, q), each times the root of how likely it is: their squares are in both covariances."""
    held: Model
    """The same while layers' powers are held near their mean: where rows are expanded."""
    held_pieces: tuple[Piece, ...]
    maxima: tuple[Maximum, ...] = ()
    """Where it and its rivals lie, the best first."""

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
        change[1, index.lag] = lag_rate(self.model.kernel.lag_ns)
        if self.model.second:
            change[1, index.second] = 1.0
        change[0] -= change[1]  # shifts are those at the same mean answer
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
    found_at: FoundAt | None = None,
    pace: Pace | None = None,
) -> Estimate:
    """Fit all from a sensor that is nearly right. `layer` (c,): which classes are layers, the others being gaps and idling.

    `near`: an estimate of other classes from the same sensor, from which the search sets out instead of from several starts; `found_at`: maxima of
    other readings, from which it does too. `pace`: is told how far it is.
    """
    fitted = sensor.found or ("",) * len(readings)
    every = [
        (each, piece_of(each, evened(clock, each) if clock and how == "fit" else clock, sensor.delay_ns, MARGIN_NS))
        for each, clock, how in zip(readings, sensor.clocks, fitted, strict=True)
    ]
    kept = [each for each, piece in every if piece.number.size]
    pieces = [piece for _, piece in every if piece.number.size]
    if near is not None and len(near.pieces) != len(pieces):
        near = None  # stretches in which the other classes never ran: nothing was found for them
    if near is not None:
        pieces = [
            piece_of(each, piece.clock, piece.delay_ns, MARGIN_NS, piece.late)
            for each, piece in zip(kept, near.pieces, strict=True)
        ]
    if not pieces:
        raise Unattributable("no readings whose place among the chip's conversions is known")
    some = max(SEARCH_BLOCKS, plan.count * ROWS_A_CLASS // BLOCK)
    fit = _Fit(
        plan,
        layer,
        kept,
        some,
        widest_ns(plan),
        farthest_ns(plan) if near is None else np.inf,
        best_measured(plan, pieces),
        pace=pace or Pace(),
    )
    begin = fit.start(fit.first(pieces, sensor, stalls, layout), pieces)
    if near is None:
        found, split = fit.searched(*begin, found_at or FoundAt())
    else:
        found, split = fit.beside(near, *begin), 0.0
    held = found
    found = fit.released(found)
    found = fit.with_stalls(found)
    assert found.step is not None
    rivals = fit.rivals(held.rivals, found.model)
    step = found.step.widened(rivals.T @ rivals)
    return Estimate(
        found.model,
        tuple(found.pieces),
        found.noise,
        step.covariance,
        step.scattered,
        found.normal.rows,
        found.normal.square,
        len(found.normal.clusters),
        tuple(piece.delay_ns + piece.late_ns for piece in fit.reread(found.model, found.pieces)),
        split,
        found.settled,
        rivals,
        held.model,
        tuple(held.pieces),
        tuple(Maximum.of(replace(each, pieces=fit.reread(each.model, each.pieces))) for each in held.rivals),
    )


@dataclass(frozen=True)
class _Fit(Search):
    """Of one rail."""

    def beside(self, near: Estimate, model: Model, pieces: list[Piece], square: float) -> State:
        """With the lag and the layout found of other classes: powers, when conversions ended, and how inferences scatter."""
        known = near.model
        model = replace(
            model, kernel=known.kernel, second=known.second, lag_from_ns=known.lag_from_ns, second_from_ns=known.second_from_ns,
            wider=known.wider, edge_ns=0.0, known=True,
        )  # fmt: skip
        noise = replace(near.noise, slack=BESIDE_NS**2, late=0.0, stretch=0.0, far=0.0)
        noise = self.likelier(model, pieces, noise, NOISE_BLOCKS)
        state = self.settled((model, pieces, noise), self.some, NEAR, NOISE_BLOCKS)
        return self.everywhere(state)

    def released(self, state: State) -> State:
        """Powers no longer held near their mean, with the covariance: what layers have in common is told afterwards (`hierarchy.py`).

        Slopes stay those of the held powers: those of noisy ones would be too steep, and would agree with the noise that they came from.
        """
        free = replace(state.model, centre_w=0.0, likely_w=state.model.power_w)
        step, change = _let_go(free, state.normal)
        model, pieces = moved(free, state.pieces, change)
        return replace(state, model=model, pieces=pieces, step=step)

    def rivals(self, states: Sequence[State], model: Model) -> Floats:
        """How other maxima differ from the best, `states[0]`, as `model` numbers parameters, (k, q); see :class:`Estimate`.

        Of two that are as likely either may be the truth, and no error about one knows of the other.
        """
        found = np.zeros((max(len(states) - 1, 0), model.index.size))
        if not len(found):
            return found
        best = states[0]
        worse = [each.level - best.level for each in states[1:]]
        likely = np.exp(-np.maximum(worse, 0.0) / (2 * UNSURE))
        base = self.released(best).model
        for row, state, chance in zip(found, states[1:], likely / (1 + likely.sum()), strict=True):
            row[:] = np.sqrt(chance) * between(base, self.released(state).model, model)
        return found

    def with_stalls(self, state: State) -> State:
        """With a stall share of each layer: fitted where that adds much to the variance of powers, and else what it adds."""
        if not state.model.stalls or state.step is None:
            return state
        more, powers = self.by_stalls(state), state.model.index.power
        if np.median((np.diag(more) / np.diag(state.step.covariance)[powers])[self.layer]) < WORTH_STALLS:
            return replace(state, step=state.step.widened(more, powers))
        wide = replace(state.model, each=True)
        step, change = _let_go(wide, self.normal(wide, state.pieces, state.noise, EVERY)[0])
        model, pieces = moved(wide, state.pieces, change)
        return replace(state, model=model, pieces=pieces, step=step)

    def by_stalls(self, state: State) -> Floats:
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


def _let_go(model: Model, normal: Normal) -> tuple[Solved, Floats]:
    """The step of all parameters with its covariance; and that (q,) of those that are no sensor's, which is gone.

    What the sensor is was told while powers were held. Let go, they would draw it to where they fit noise.
    """
    precision, away = prior(model)
    step, index = Information.of(normal).solve(precision, away, scattered=True), model.index
    loose = np.delete(np.arange(index.size), index.of_sensor)
    slope, total = normal.slope + precision @ away, normal.gram + precision
    change = np.zeros(index.size)
    change[loose] = inverted(total[np.ix_(loose, loose)]) @ slope[loose]
    return step, change
