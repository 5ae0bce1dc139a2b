"""Delay, lag and the ends of conversions fitted together with the powers, from a start that is nearly right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.guess import MOST_MOVE_NS, Guess, RowVariance
from neuralpower_align.acquire.rows import Series, Slow
from neuralpower_align.acquire.trace import Answers, Course, solved
from neuralpower_align.clock.scan_clock import ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SETTLED_NS = 2e3
"""Tuning: a step shorter than this ends the fit: far below what delays are known to."""
TOLERATED = 4.0
"""Tuning: costs compare no better: the slopes that weigh the rows are those of the powers before."""
SPREAD = 0.5
"""Prior: powers of layers scatter about their mean by this share of it, roughly."""


@dataclass(frozen=True)
class FittedGuess:
    """A guess with the powers (count,) W and the noise that go with it.

    `cost`: -2 log likelihood, but for a constant, over all powers that spread by SPREAD about their mean: those that a wrong
    delay asks for are wild. `lag_cost`: with the lag moved by `lag_step_ns` besides, as far as the readings are straight lines in
    it. `step`: what Gauss-Newton would change, ns: delay, lag, and each knot of each clock. `delay_se_ns`: of white noise alone.
    `noise`: found from the residuals.
    """

    guess: Guess
    power_w: Floats
    cost: float
    lag_cost: float
    lag_step_ns: float
    step: Floats
    delay_se_ns: float
    noise: RowVariance


@dataclass(frozen=True)
class _Part:
    """One stretch under a guess: its rows' answers, where those of each inference begin, and shares (k, count) and values without what is slow."""

    clock: ScanClock
    t_ns: Floats
    starts: Ints
    answers: Answers
    slow: Slow
    shares: Floats
    value_w: Floats
    mean_w: float


@dataclass
class _Normal:
    """Normal equations: powers first, then delay and lag, then knots."""

    gram: Floats
    moment: Floats

    @classmethod
    def of(cls, size: int) -> _Normal:
        return cls(np.zeros((size, size)), np.zeros(size))

    def add(self, rows: _Weighed, knots: _Knots | None) -> float:
        """Rows under their noise; returns what they would cost with all that is unknown at 0.

        An inference's shift adds s^2 g g' to the rows' covariance, g their slopes, which takes s^2 / (1 + s^2 g' W g) times the
        square of what its rows say along g.
        """
        # A product of an array with its own transpose is half the work of one with another.
        root, columns = np.asarray(rows.block * np.sqrt(rows.weight)[:, None], np.float64), rows.block.shape[1]
        along = rows.weight * rows.slope
        said = np.add.reduceat(rows.block * along[:, None], rows.starts, axis=0)
        told, own = (np.add.reduceat(along * each, rows.starts) for each in (rows.slope, rows.value_w))
        given = 1 / (1 + rows.slack_ns**2 * told)
        taken = rows.slack_ns**2 * given
        shared = said * np.sqrt(taken)[:, None]
        self.gram[:columns, :columns] += root.T @ root - shared.T @ shared
        self.moment[:columns] += rows.block.T @ (rows.weight * rows.value_w) - said.T @ (taken * own)
        if knots is not None:
            self._add_knots(said * given[:, None], told * given, own * given, knots)
        return float(np.sum(rows.value_w**2 * rows.weight) - np.sum(taken * own**2) - np.sum(np.log(given)))

    def _add_knots(self, said: Floats, told: Floats, own: Floats, knots: _Knots) -> None:
        """Columns of knots, which lie along the slopes: those of an inference belong to the two knots about it."""
        columns, at = said.shape[1], knots.first + knots.cell
        sides = (1 - knots.share, knots.share)
        begins = np.flatnonzero(np.diff(knots.cell, prepend=-1))
        for side, part in enumerate(sides):
            with_first = np.add.reduceat(said * part[:, None], begins, axis=0)
            self.gram[at[begins] + side, :columns] += with_first
            self.gram[:columns, at[begins] + side] += with_first.T
            np.add.at(self.moment, at + side, own * part)
            np.add.at(self.gram, (at + side, at + side), told * part**2)
        cross = told * sides[0] * sides[1]
        np.add.at(self.gram, (at, at + 1), cross)
        np.add.at(self.gram, (at + 1, at), cross)


@dataclass(frozen=True)
class _Weighed:
    """Rows (k,) with columns `block` (k, c), their weights and slopes, and where each inference's begin: all of it shifts by `slack_ns` rms."""

    block: Floats
    value_w: Floats
    weight: Floats
    slope: Floats
    starts: Ints
    slack_ns: float


@dataclass(frozen=True)
class _Knots:
    """Between which knots (cell, of a clock whose knots begin in column `first`) times lie, and how far along, within [0, 1]; (k,)."""

    first: int
    cell: Ints
    share: Floats

    @classmethod
    def of(cls, clock: ScanClock, t_ns: Floats, first: int) -> _Knots:
        """For times that rise."""
        cell = np.clip(np.searchsorted(clock.end_ns, t_ns, side="right") - 1, 0, clock.number.size - 2)
        share = (t_ns - clock.end_ns[cell]) / (clock.end_ns[cell + 1] - clock.end_ns[cell])
        return cls(first, cell, np.clip(share, 0.0, 1.0))


def settle(
    course: Course, series: Sequence[Series], begin: FittedGuess, margin: float, rounds: int = 6, still: bool = False
) -> FittedGuess:
    """Gauss-Newton on delay, lag and the knots of the clocks, from a guess that is right to a conversion or so.

    Where a clock is placed by what is certain, its knots stay near and the delay moves; elsewhere the clock moves alone, since
    only the readings near the end of a conversion tell the two apart. A step that makes it worse is cut to a third.
    """
    noise = begin.noise
    best = evaluated(course, series, begin.guess, margin, begin.power_w, noise, still)
    change = best.step
    for _ in range(rounds):
        trial = evaluated(course, series, best.guess.moved(change), margin, best.power_w, noise, still)
        if trial.cost < best.cost + TOLERATED:
            best, change = trial, trial.step
        else:
            change = change / 3
        if float(np.max(np.abs(change))) < SETTLED_NS:
            break
    return best


def evaluated(
    course: Course,
    series: Sequence[Series],
    guess: Guess,
    margin: float,
    power_w: Floats | None,
    noise: RowVariance,
    still: bool = False,
) -> FittedGuess:
    """The powers that go with a guess. `power_w`, of before, give slopes. `still`: the clocks' knots are not among the steps.

    Reads within `margin` (share of a scan) of the end of a conversion are left out, or nearer ones where ends are known.
    """
    parts = [
        _part(course, each, clock, guess, held.tight_ns, margin)
        for each, clock, held in zip(series, guess.clocks, guess.held, strict=True)
    ]
    if power_w is None:
        shares, values = np.vstack([each.shares for each in parts]), np.concatenate([each.value_w for each in parts])
        power_w = solved(shares, values)[0]
    power = np.clip(power_w, 0.0, None)
    free, first = course.count, course.count + 2
    normal = _Normal.of(first + (0 if still else sum(clock.number.size for clock in guess.clocks)))
    cost, slopes = 0.0, []
    for part, held in zip(parts, guess.held, strict=True):
        slope, by_lag = part.answers.slopes(power)
        weight = 1 / noise.variance(slope)
        moving = part.slow.removed(slope)
        placed = -moving if held.tight_ns > 0 else np.zeros(slope.size)
        block = np.column_stack([part.shares, placed, part.slow.removed(by_lag)])
        rows = _Weighed(block, part.value_w, weight, moving, part.starts, noise.slack_ns)
        cost += normal.add(rows, None if still else _Knots.of(part.clock, part.t_ns[part.starts], first))
        # A row that fits as well as most adds nothing, so that guesses with different rows compare.
        cost += held.cost(part.clock) - float(np.sum(np.log(weight * noise.base_w2) + 1))
        slopes.append(slope)
        if not still:
            own = slice(first, first + part.clock.number.size)
            normal.gram[own, own] += held.stiffness
            normal.moment[own] += held.pull(part.clock)
            first += part.clock.number.size
    count = sum(each.t_ns.size for each in parts)
    _spread(normal, free, sum(each.mean_w * each.t_ns.size for each in parts) / max(count, 1))
    cost += free / SPREAD**2
    return _solved(guess, normal, free, cost, parts, np.concatenate(slopes))


def _part(course: Course, series: Series, clock: ScanClock, guess: Guess, tight_ns: float, margin: float) -> _Part:
    rows, index = series.rows(clock, guess.delay_ns, 3 * tight_ns / clock.period_ns if tight_ns else margin)
    t_ns = series.t_ns[index]
    slow = Slow.of(t_ns)
    answers = Answers.of(course, rows, guess.kernel(series.window_ns), slopes=True)
    mean = float(rows.value_w.mean()) if index.size else 0.0
    starts = course.first_of_each(t_ns - guess.delay_ns)
    return _Part(clock, t_ns, starts, answers, slow, slow.removed(answers.shares()), slow.removed(rows.value_w), mean)


def _spread(normal: _Normal, free: int, usual_w: float) -> None:
    """Adds what is known of powers beforehand."""
    normal.gram[np.arange(free), np.arange(free)] += 1 / (SPREAD * usual_w) ** 2
    normal.moment[:free] += 1 / (SPREAD**2 * usual_w)


def _solved(
    guess: Guess, normal: _Normal, free: int, cost: float, parts: Sequence[_Part], slope: Floats
) -> FittedGuess:
    """The outcome from normal equations."""
    gram, moment = normal.gram, normal.moment
    found = np.linalg.solve(gram[:free, :free], moment[:free])
    with_lag = np.append(np.arange(free), free + 1)
    lagged = np.linalg.solve(gram[np.ix_(with_lag, with_lag)], moment[with_lag])
    cost += float(np.linalg.slogdet(gram[:free, :free])[1])
    moves = np.arange(free, len(moment))
    gram[moves, moves] += 1 / (10 * MOST_MOVE_NS) ** 2
    residual = np.concatenate([each.value_w - each.shares @ found for each in parts])
    sought = np.zeros((len(moment), 2))
    sought[:, 0], sought[free, 1] = moment, 1.0
    step = np.linalg.solve(gram, sought)
    return FittedGuess(
        guess=guess,
        power_w=np.asarray(found, np.float64),
        cost=cost - float(found @ moment[:free]),
        lag_cost=cost - float(lagged @ moment[with_lag]),
        lag_step_ns=float(lagged[-1]),
        step=np.asarray(step[free:, 0], np.float64),
        delay_se_ns=float(np.sqrt(step[free, 1])),
        noise=RowVariance.of(residual, slope),
    )
