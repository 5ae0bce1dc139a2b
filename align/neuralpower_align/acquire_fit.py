"""Delay, lag and the phase of the scan fitted together with rough powers, from a start that is nearly right.

The recursive filter of averaging is undone as far as the reads allow: with a = 1 - 1 / N, and d scans between two reads,
reading - a^d (reading before) is a weighted sum of the last d conversions alone, with noise that is nearly white. Without averaging
a is 0, and this is the reading itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire_trace import Course, Rows, Trace, design, solved
from neuralpower_align.response import Response
from neuralpower_align.scan_clock import ChannelReadings, ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MOST_SCANS_APART = 8
STEP_NS = 2e3
"""Change for which derivatives are taken."""
MOST_MOVE_NS = 60e3
SETTLED_NS = 1e3
NOISE_ROUNDS = 6
SPREAD = 0.5
"""Powers of layers scatter about their mean by this share of it, roughly."""
MOST_SLACK_NS = 300e3
SLOW_NS = 40e6
FEWEST_TOGETHER = 8
LONGEST_SLOW_NS = 200e6
SHORTEST_LAG_NS = 2e3


@dataclass(frozen=True)
class Series:
    """Readings with the one before each: (k,) ns from a common origin and W; `forget` is a, 0 without averaging."""

    t_ns: Floats
    value_w: Floats
    before_ns: Floats
    before_w: Floats
    window_ns: float
    scan_ns: float
    forget: float

    @classmethod
    def of(cls, piece: ChannelReadings, origin_ns: int) -> Series:
        """The readings of a stretch; with averaging those after a hole are left out."""
        t = (piece.read_ns - origin_ns).astype(np.float64)
        forget = 1 - 1 / max(piece.averaging, 1)
        before, value = np.concatenate([t[:1], t[:-1]]), np.concatenate([piece.power_w[:1], piece.power_w[:-1]])
        every = cls(t, piece.power_w, before, value, piece.window_ns, piece.scan_ns, forget)
        apart = t - before
        return every if not forget else every.take((apart > 0) & (apart < (MOST_SCANS_APART - 1) * piece.scan_ns))

    def take(self, keep: Bools | Ints) -> Series:
        """The readings chosen by a mask or by indices."""
        return replace(
            self,
            t_ns=self.t_ns[keep],
            value_w=self.value_w[keep],
            before_ns=self.before_ns[keep],
            before_w=self.before_w[keep],
        )

    def blind_rows(self) -> Rows:
        """Rows for conversions that may have ended any time in the last scan: the filter undone for the mean number of scans."""
        left = self.forget ** ((self.t_ns - self.before_ns) / self.scan_ns) if self.forget else np.zeros(self.t_ns.size)
        value = (self.value_w - left * self.before_w) / (1 - left)
        return Rows(np.arange(self.t_ns.size), self.t_ns, np.ones(self.t_ns.size), value)

    def rows(self, clock: ScanClock, delay_ns: float, margin: float) -> tuple[Rows, Ints]:
        """Rows under a clock, and which reading each is of.

        Reads within `margin` (share of a scan) of the end of a conversion are left out, and repeats of a conversion.
        """
        place, past = clock.place(self.t_ns), clock.place(self.before_ns)
        number, apart = np.floor(place), np.floor(place) - np.floor(past)
        clear = _clear(place, margin)
        if self.forget:
            clear &= _clear(past, margin) & (apart > 0) & (apart < MOST_SCANS_APART)
        else:
            clear &= (apart > 0) | ~_clear(past, margin) | (self.before_ns >= self.t_ns)
        index = np.flatnonzero(clear)
        if not self.forget:
            ends = clock.end(number[index]) - delay_ns
            return Rows(np.arange(index.size), ends, np.ones(index.size), self.value_w[index]), index
        apart = apart[index].astype(np.int64)
        usual = 1 - self.forget ** float(np.median(apart)) if index.size else 1.0
        row = np.repeat(np.arange(index.size), apart)
        older = np.arange(row.size) - np.repeat(np.cumsum(apart) - apart, apart)
        ends = clock.end(number[index][row] - older) - delay_ns
        weight = (1 - self.forget) * self.forget**older / usual
        value = (self.value_w[index] - self.forget**apart * self.before_w[index]) / usual
        return Rows(row, ends, weight, value), index


def _clear(place: Floats, margin: float) -> Bools:
    return np.asarray(np.abs(place - np.rint(place)) >= margin)


@dataclass(frozen=True)
class Guess:
    """A sensor in the making: `clocks` end on the host's clock; `tight_ns` is how well each is known from bounds, 0: not at all."""

    delay_ns: float
    lag_ns: float
    clocks: tuple[ScanClock, ...]
    tight_ns: tuple[float, ...]


@dataclass(frozen=True)
class Noise:
    """Variance of a row: `base_w2`, W^2, and what an unknown shift of rms `slack_ns` makes of the slope of its prediction."""

    base_w2: float
    slack_ns: float

    def variance(self, slope: Floats) -> Floats:
        """Of rows whose prediction changes by `slope` (k,) W a ns."""
        return self.base_w2 + (self.slack_ns * slope) ** 2

    @classmethod
    def of(cls, residual: Floats, slope: Floats) -> Noise:
        """From residuals: their squares on the squared slope, weighted by what they scatter themselves."""
        square, steep = residual**2, slope**2
        base, slack = float(np.median(square)) / 0.455 + 1e-12, 0.0
        for _ in range(NOISE_ROUNDS):
            weight = 1 / (base + slack * steep) ** 2
            sums = [float(weight @ each) for each in (np.ones(square.size), steep, steep**2, square, square * steep)]
            determinant = max(sums[0] * sums[2] - sums[1] ** 2, 1e-300)
            least = 0.05 * base
            base = max((sums[3] * sums[2] - sums[4] * sums[1]) / determinant, least)
            slack = max((sums[0] * sums[4] - sums[1] * sums[3]) / determinant, 0.0)
        return cls(base, min(float(np.sqrt(slack)), MOST_SLACK_NS))


@dataclass(frozen=True)
class Fitted:
    """A guess with the powers (count,) W and the noise that go with it.

    `cost`: -2 log likelihood of its rows, over all powers that spread by SPREAD about their mean (those that a wrong delay asks for are wild); `lag_cost`: with the lag at its best besides, as far as the readings are straight lines in it.
    `step`: what Gauss-Newton would change, ns: delay, lag, each knot of each clock. `noise`: found from the residuals.
    """

    guess: Guess
    power_w: Floats
    cost: float
    lag_cost: float
    lag_step_ns: float
    rows: int
    step: Floats
    noise: Noise


def _all_rows(series: Sequence[Series], guess: Guess, margin: float) -> list[tuple[Rows, Ints]]:
    """Rows of each stretch; where bounds give the clock, reads are clear of the ends of conversions by what it may be wrong."""
    found = []
    for each, clock, tight in zip(series, guess.clocks, guess.tight_ns, strict=True):
        share = 3 * tight / clock.period_ns if tight else margin
        found.append(each.rows(clock, guess.delay_ns, share))
    return found


def settle(
    course: Course, series: Sequence[Series], begin: Fitted, margin: float, rounds: int = 6, still: bool = False
) -> Fitted:
    """Gauss-Newton on delay, lag and the knots of the clocks, from a guess that is right to a conversion or so.

    Where a clock is known from bounds, its knots stay near and the delay moves; elsewhere the clock moves alone, since only
    the readings near the end of a conversion tell the two apart. A step that makes it worse is cut to a third.
    """
    noise = begin.noise
    best = evaluated(course, series, begin.guess, margin, begin.power_w, noise, still)
    change = best.step
    for _ in range(rounds):
        trial = evaluated(course, series, _moved(best.guess, change), margin, best.power_w, noise, still)
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
    """The powers that go with a guess. `power_w`, of before, give slopes. `still`: the clocks' knots are not among the steps."""
    seen = _all_rows(series, guess, margin)
    slows = [_Slow.of(each.t_ns[index]) for each, (_, index) in zip(series, seen, strict=True)]
    shares = [
        slow.removed(design(course, rows, Response(guess.lag_ns, each.window_ns)))
        for each, slow, (rows, _) in zip(series, slows, seen, strict=True)
    ]
    values = [slow.removed(rows.value_w) for slow, (rows, _) in zip(slows, seen, strict=True)]
    if power_w is None:
        power_w = solved(np.vstack(shares), np.concatenate(values))[0]
    power = np.clip(power_w, 0.0, None)
    trace, slower = Trace.of(course, power, guess.lag_ns), Trace.of(course, power, guess.lag_ns + STEP_NS)
    free, total = course.count, 2 + (0 if still else sum(clock.number.size for clock in guess.clocks))
    gram, moment = np.zeros((free + total, free + total)), np.zeros(free + total)
    square, logs, first, slopes = 0.0, 0.0, free + 2, []
    for i, (each, (rows, index)) in enumerate(zip(series, seen, strict=True)):
        clock, tight, slow = guess.clocks[i], guess.tight_ns[i], slows[i]
        here = rows.predicted(trace, each.window_ns)
        later = (rows.shifted(STEP_NS).predicted(trace, each.window_ns) - here) / STEP_NS
        slopes.append(later)
        block = np.zeros((index.size, total))
        block[:, 0] = -later if tight else 0.0
        block[:, 1] = (rows.predicted(slower, each.window_ns) - here) / STEP_NS
        if not still:
            cell, part = _cells(clock, each.t_ns[index])
            block[np.arange(index.size), first - free + cell] = later * (1 - part)
            block[np.arange(index.size), first - free + cell + 1] = later * part
        block = np.hstack([shares[i], slow.removed(block)])
        variance = noise.variance(later)
        weighted = block / variance[:, None]
        gram += weighted.T @ block
        moment += weighted.T @ values[i]
        square += float(values[i] @ (values[i] / variance))
        logs += float(np.log(variance).sum())
        if not still:
            own = slice(first, first + clock.number.size)
            gram[own, own] += _stiffness(clock, tight)
            first += clock.number.size
    usual = float(np.mean(np.concatenate([rows.value_w for rows, _ in seen])))
    gram[np.arange(free), np.arange(free)] += 1 / (SPREAD * usual) ** 2
    moment[:free] += usual / (SPREAD * usual) ** 2
    square += free / SPREAD**2
    found = np.linalg.solve(gram[:free, :free], moment[:free])
    with_lag = np.append(np.arange(free), free + 1)
    lagged = np.linalg.solve(gram[np.ix_(with_lag, with_lag)], moment[with_lag])
    spread = float(np.linalg.slogdet(gram[:free, :free])[1])
    moves = np.arange(free, free + total)
    gram[moves, moves] += 1 / (10 * MOST_MOVE_NS) ** 2
    residual = np.concatenate([value - part @ found for value, part in zip(values, shares, strict=True)])
    return Fitted(
        guess=guess,
        power_w=np.asarray(found, np.float64),
        cost=square - float(found @ moment[:free]) + logs + spread,
        lag_cost=square - float(lagged @ moment[with_lag]) + logs + spread,
        lag_step_ns=float(lagged[-1]),
        rows=residual.size,
        step=np.asarray(np.linalg.solve(gram, moment)[free:], np.float64),
        noise=Noise.of(residual, np.concatenate(slopes)),
    )


@dataclass(frozen=True)
class _Slow:
    """Blocks of neighbouring rows, whose means are taken away: noise slower than a block then does no harm."""

    starts: Ints
    block: Ints
    size: Floats

    @classmethod
    def of(cls, t_ns: Floats) -> _Slow:
        """Blocks of SLOW_NS, or longer if rows are scarce; a single one if they are scarcer than the noise is slow."""
        apart = float(np.median(np.diff(t_ns))) if t_ns.size > 1 else 0.0
        length = max(SLOW_NS, FEWEST_TOGETHER * apart)
        number = (t_ns // length).astype(np.int64) if length <= LONGEST_SLOW_NS else np.zeros(t_ns.size, np.int64)
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        block = np.cumsum(np.diff(number, prepend=-1) != 0) - 1
        return cls(starts, block, np.diff(np.append(starts, t_ns.size)).astype(np.float64))

    def removed(self, values: Floats) -> Floats:
        """Values (k,) or (k, c) less the means of their blocks; all that they are where there is one block."""
        if self.starts.size < 2:
            return values
        mean = np.add.reduceat(values, self.starts, axis=0)
        mean /= self.size if values.ndim == 1 else self.size[:, None]
        return np.asarray(values - mean[self.block], np.float64)


def _cells(clock: ScanClock, t_ns: Floats) -> tuple[Ints, Floats]:
    """Between which knots times lie, and how far along, within [0, 1]."""
    cell = np.clip(np.searchsorted(clock.end_ns, t_ns, side="right") - 1, 0, clock.number.size - 2)
    part = (t_ns - clock.end_ns[cell]) / (clock.end_ns[cell + 1] - clock.end_ns[cell])
    return cell, np.clip(part, 0.0, 1.0)


def _stiffness(clock: ScanClock, tight_ns: float) -> Floats:
    """Inverse variance of the knots' moves, 1 / ns^2: they stay where bounds put them, or bend together as an oscillator may."""
    size = clock.number.size
    matrix = np.eye(size) / tight_ns**2 if tight_ns else np.zeros((size, size))
    if not tight_ns and size > 2:
        bend = np.zeros((size - 2, size))
        row = np.arange(size - 2)
        gap = np.diff(clock.end_ns)
        usual = 10e-6 * (gap[:-1] + gap[1:]) / 2e9
        bend[row, row], bend[row, row + 2] = 1 / gap[:-1] / usual, 1 / gap[1:] / usual
        bend[row, row + 1] = -bend[row, row] - bend[row, row + 2]
        matrix += bend.T @ bend
    return matrix


def _moved(guess: Guess, change: Floats) -> Guess:
    """The guess after a step, bounded."""
    lag = float(np.clip(guess.lag_ns + change[1], guess.lag_ns / 3, guess.lag_ns * 2 + 50e3))
    if change.size == 2:
        moves = np.zeros(sum(clock.number.size for clock in guess.clocks))
    else:
        moves = np.clip(change[2:], -MOST_MOVE_NS, MOST_MOVE_NS)
    clocks, at = [], 0
    for clock in guess.clocks:
        clocks.append(clock.moved(moves[at : at + clock.number.size]))
        at += clock.number.size
    delay = guess.delay_ns + float(np.clip(change[0], -4 * MOST_MOVE_NS, 4 * MOST_MOVE_NS))
    return Guess(delay, max(lag, SHORTEST_LAG_NS), tuple(clocks), guess.tight_ns)
