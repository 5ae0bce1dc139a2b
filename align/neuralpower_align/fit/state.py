"""A point of the search for the likeliest parameters, and what can be told there of the objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from neuralpower_align.fit.gls import Normal
from neuralpower_align.fit.information import Information, Solved, inverted, within
from neuralpower_align.model.noise import Noise, Root
from neuralpower_align.model.nuisance import Model, prior, room_to_bounds
from neuralpower_align.model.piece import Piece

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NOTICED = 4.0
"""Rule: standard errors by which readings contradict the response before another one is tried."""
SHORTEST_SPLIT_NS = 50e3
"""Chip: shorter than this one pole answers as two do: no conversion takes less than 140 us."""
FIRST_OF_TWO, SECOND_OF_TWO = 0.9, 0.4
"""Number: two poles that one is the best substitute for, as shares of it."""


@dataclass(frozen=True)
class Whitening:
    """What whitens some blocks, portion by portion, and of each piece the rows (b, n) of these portions."""

    roots: list[Root]
    portions: list[list[Ints]]


@dataclass(frozen=True)
class State:
    """A point of the search: all values, the sums of some blocks there, and whether it is a maximum."""

    model: Model
    pieces: list[Piece]
    noise: Noise
    normal: Normal
    settled: bool = False
    step: Solved | None = None
    whitening: Whitening | None = None
    gone: Floats | None = None
    """All steps (q,) since where a turn began."""
    rivals: tuple[State, ...] = ()
    """The maxima that were followed, itself first."""
    level: float = 0.0
    """Its cost on readings that all of these have."""

    @cached_property
    def cost(self) -> float:
        """The objective: -2 log of the restricted likelihood of the blocks' readings times the prior of all parameters, but for a constant.

        The noise's variances are in it, and so is that slopes of the same powers make rows scatter (`noise.py`).
        """
        precision, away = prior(replace(self.model, pull=None))
        joint = self.normal.square + self.normal.determinant + float(away @ precision @ away)
        return joint + self.restricted

    @property
    def restricted(self) -> float:
        """Log det of the information on powers, their prior with it: by how much sharper sensors are likelier just because powers are fitted."""
        return float(np.linalg.slogdet(self.information())[1])

    def information(self, scale: float = 1.0) -> Floats:
        """On powers (c, c), W^-2, with their prior, where there were `scale` times as many rows."""
        powers = self.model.index.power
        return np.asarray(scale * self.normal.gram[powers, powers] + prior(self.model)[0][powers, powers], np.float64)

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
        return self._stepped(damping) if damping else self._full

    @cached_property
    def _full(self) -> tuple[Floats, float]:
        """Without damping, as it is asked for several times."""
        return self._stepped(0.0)

    def _stepped(self, damping: float) -> tuple[Floats, float]:
        precision, away = prior(self.model)
        slope, total = self.normal.slope + precision @ away, self.normal.gram + precision
        curved = np.arange(self.model.index.power.stop, slope.size)
        total[curved, curved] += damping * total[curved, curved]
        inverse = inverted(total)
        change, held = within(inverse @ slope, inverse, *room_to_bounds(self.model))
        variance = np.diag(inverse)
        if held.any():
            told = np.linalg.solve(inverse[np.ix_(held, held)], inverse[held])
            variance = variance - np.einsum("ij,ij->j", inverse[held], told)
        error = np.sqrt(np.maximum(variance[~held], 1e-300))
        return change, float(np.max(np.abs(change[~held] / error), initial=0.0))

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
        step = Information.of(self.normal).solve(*prior(replace(self.model, tested=True)))
        where = self.model.index.second.start
        return float(step.off[where] / np.sqrt(step.covariance[where, where]))

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
