"""Delay, lag and the ends of conversions fitted together with the powers, from a start that is nearly right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire_guess import MOST_MOVE_NS, Guess, Noise
from neuralpower_align.acquire_rows import Series, Slow
from neuralpower_align.acquire_trace import Course, Rows, Trace, design, solved
from neuralpower_align.response import Response
from neuralpower_align.scan_clock import ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEP_NS = 2e3
"""Change for which derivatives are taken."""
SETTLED_NS = 1e3
SPREAD = 0.5
"""Powers of layers scatter about their mean by this share of it, roughly."""


@dataclass(frozen=True)
class Fitted:
    """A guess with the powers (count,) W and the noise that go with it.

    `cost`: -2 log likelihood, but for a constant, over all powers that spread by SPREAD about their mean: those that a wrong
    delay asks for are wild. `lag_cost`: with the lag moved by `lag_step_ns` besides, as far as the readings are straight lines in
    it. `step`: what Gauss-Newton would change, ns: delay, lag, and each knot of each clock. `noise`: found from the residuals.
    """

    guess: Guess
    power_w: Floats
    cost: float
    lag_cost: float
    lag_step_ns: float
    step: Floats
    noise: Noise


@dataclass(frozen=True)
class _Part:
    """One stretch under a guess: rows, which reading each is of, shares (k, count) and values without what is slow."""

    series: Series
    clock: ScanClock
    rows: Rows
    index: Ints
    slow: Slow
    shares: Floats
    value_w: Floats


def settle(
    course: Course, series: Sequence[Series], begin: Fitted, margin: float, rounds: int = 6, still: bool = False
) -> Fitted:
    """Gauss-Newton on delay, lag and the knots of the clocks, from a guess that is right to a conversion or so.

    Where a clock is placed by what is certain, its knots stay near and the delay moves; elsewhere the clock moves alone, since
    only the readings near the end of a conversion tell the two apart. A step that makes it worse is cut to a third.
    """
    noise = begin.noise
    best = evaluated(course, series, begin.guess, margin, begin.power_w, noise, still)
    change = best.step
    for _ in range(rounds):
        trial = evaluated(course, series, best.guess.moved(change), margin, best.power_w, noise, still)
        if trial.cost < best.cost:
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
    noise: Noise,
    still: bool = False,
) -> Fitted:
    """The powers that go with a guess. `power_w`, of before, give slopes. `still`: the clocks' knots are not among the steps.

    Reads within `margin` (share of a scan) of the end of a conversion are left out, or nearer ones where ends are known.
    """
    parts = [
        _part(course, each, clock, guess, held.tight_ns, margin)
        for each, clock, held in zip(series, guess.clocks, guess.held, strict=True)
    ]
    if power_w is None:
        power_w = solved(np.vstack([each.shares for each in parts]), np.concatenate([each.value_w for each in parts]))[
            0
        ]
    power = np.clip(power_w, 0.0, None)
    traces = Trace.of(course, power, guess.lag_ns), Trace.of(course, power, guess.lag_ns + STEP_NS)
    free, total = course.count, 2 + (0 if still else sum(clock.number.size for clock in guess.clocks))
    gram, moment = np.zeros((free + total, free + total)), np.zeros(free + total)
    cost, first, slopes = 0.0, 2, []
    for part, held in zip(parts, guess.held, strict=True):
        columns, slope = _columns(part, traces, total, None if still else first, held.tight_ns > 0)
        variance = noise.variance(slope)
        block = np.hstack([part.shares, columns])
        weighted = block / variance[:, None]
        gram += weighted.T @ block
        moment += weighted.T @ part.value_w
        # A row that fits as well as most adds nothing, so that guesses with different rows compare.
        cost += float(np.sum(part.value_w**2 / variance + np.log(variance / noise.base_w2) - 1)) + held.cost(part.clock)
        slopes.append(slope)
        if not still:
            own = slice(free + first, free + first + part.clock.number.size)
            gram[own, own] += held.stiffness
            moment[own] += held.pull(part.clock)
            first += part.clock.number.size
    _spread(gram, moment, free, float(np.mean(np.concatenate([each.rows.value_w for each in parts]))))
    cost += free / SPREAD**2
    return _solved(guess, gram, moment, free, cost, parts, np.concatenate(slopes))


def _part(course: Course, series: Series, clock: ScanClock, guess: Guess, tight_ns: float, margin: float) -> _Part:
    rows, index = series.rows(clock, guess.delay_ns, 3 * tight_ns / clock.period_ns if tight_ns else margin)
    slow = Slow.of(series.t_ns[index])
    shares = slow.removed(design(course, rows, Response(guess.lag_ns, series.window_ns)))
    return _Part(series, clock, rows, index, slow, shares, slow.removed(rows.value_w))


def _columns(
    part: _Part, traces: tuple[Trace, Trace], total: int, first: int | None, placed: bool
) -> tuple[Floats, Floats]:
    """Derivatives (k, total) by delay, lag, and the knots of the clock from column `first` on; and that by a shift in time (k,)."""
    window, size = part.series.window_ns, part.index.size
    here = part.rows.predicted(traces[0], window)
    slope = (part.rows.shifted(STEP_NS).predicted(traces[0], window) - here) / STEP_NS
    columns = np.zeros((size, total))
    columns[:, 0] = -slope if placed else 0.0
    columns[:, 1] = (part.rows.predicted(traces[1], window) - here) / STEP_NS
    if first is not None:
        cell, share = _cells(part.clock, part.series.t_ns[part.index])
        columns[np.arange(size), first + cell] = slope * (1 - share)
        columns[np.arange(size), first + cell + 1] = slope * share
    return part.slow.removed(columns), slope


def _cells(clock: ScanClock, t_ns: Floats) -> tuple[Ints, Floats]:
    """Between which knots times lie, and how far along, within [0, 1]."""
    cell = np.clip(np.searchsorted(clock.end_ns, t_ns, side="right") - 1, 0, clock.number.size - 2)
    part = (t_ns - clock.end_ns[cell]) / (clock.end_ns[cell + 1] - clock.end_ns[cell])
    return cell, np.clip(part, 0.0, 1.0)


def _spread(gram: Floats, moment: Floats, free: int, usual_w: float) -> None:
    """Adds what is known of powers beforehand."""
    gram[np.arange(free), np.arange(free)] += 1 / (SPREAD * usual_w) ** 2
    moment[:free] += 1 / (SPREAD**2 * usual_w)


def _solved(
    guess: Guess, gram: Floats, moment: Floats, free: int, cost: float, parts: Sequence[_Part], slope: Floats
) -> Fitted:
    """The outcome from normal equations, powers first, then delay, lag and knots."""
    found = np.linalg.solve(gram[:free, :free], moment[:free])
    with_lag = np.append(np.arange(free), free + 1)
    lagged = np.linalg.solve(gram[np.ix_(with_lag, with_lag)], moment[with_lag])
    cost += float(np.linalg.slogdet(gram[:free, :free])[1])
    moves = np.arange(free, len(moment))
    gram[moves, moves] += 1 / (10 * MOST_MOVE_NS) ** 2
    residual = np.concatenate([each.value_w - each.shares @ found for each in parts])
    return Fitted(
        guess=guess,
        power_w=np.asarray(found, np.float64),
        cost=cost - float(found @ moment[:free]),
        lag_cost=cost - float(lagged @ moment[with_lag]),
        lag_step_ns=float(lagged[-1]),
        step=np.asarray(np.linalg.solve(gram, moment)[free:], np.float64),
        noise=Noise.of(residual, slope),
    )
