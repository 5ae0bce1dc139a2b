"""The sensor from scratch: delay, lag and the scan clock of every stretch of readings, from the readings and what ran when.

1. The clock where something certain marks the ends of conversions: changes of the register, or scan numbers (acquire/edges.py).
2. A first delay and lag on a grid, with layers in coarse groups; where no clock is known its place in the scan is left open.
3. The clock from the fit where it is not known yet: a sawtooth tracked along the time (acquire/phase.py), made exact by
   Gauss-Newton on its knots; then the reads near the ends of conversions tell where on the host's clock these lie.
4. Delay and lag. Powers can make up for a wrong delay to a great part, so that the likelihood has side minima and flat valleys:
   delays are gone through in small steps with layers in fine groups, the lag following, from a short and from a long lag; the
   minima are compared with each layer for itself, and the best is settled by Gauss-Newton.

All of an inference's layers shift together against their windows, by a normal deviate whose deviation is found from the residuals:
its mean effect blurs the answer to edges, and the rest is noise that an inference's rows share (acquire/fit.py). A second pole is
tried at the end; the lag is that of both together. Long recordings are thinned to blocks of neighbours, spread at random.
Of many engines the clock is tracked over all, in coarse groups; delay and lag are compared on those measured best (acquire/choice.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.choice import MOST_CLASSES, SearchRange, best_measured, thinned
from neuralpower_align.acquire.delay import profile
from neuralpower_align.acquire.edges import Bounded, bounded_clock
from neuralpower_align.acquire.fit import FittedGuess, evaluated, settle
from neuralpower_align.acquire.groups import FINE_GROUPS, FINE_NS, grouped
from neuralpower_align.acquire.guess import Guess, Held, RowVariance
from neuralpower_align.acquire.phase import Phase, find_clock
from neuralpower_align.acquire.rows import Series
from neuralpower_align.acquire.start import (
    START_ROWS,
    Start,
    check_readings,
    first_read_ns,
    outcome,
    polished,
    seen,
    start,
)
from neuralpower_align.acquire.trace import Course
from neuralpower_align.activity.activity import Activity
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock, Sensor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GRID_ROWS, LIKELY_ROWS, FINAL_ROWS, JUMP_READS = 2000, 3000, 6000, 8000
"""Tuning: rows on which delays are gone through on the grid, on which their minima are compared with each layer for itself, of a sensor that settles, and
readings near jumps. More cost time in proportion."""
MORE_ROWS = 10 * FINAL_ROWS
"""Tuning: where no phase of the scan stands out, it is looked for once more with powers told from so many."""
MARKED_ROWS = 16000
"""Tuning: the same as the final rows where the clock is known from what is certain: these are scans apart and no two tell the same."""
ROWS_A_CLASS = 60
"""Tuning: powers are not worse than this where all engines' are fitted together, of which there may be hundreds."""
TRACK_ROWS, ROWS_A_SECOND = 16000, 80
"""Tuning: so many where the clock itself is fitted, or so many a second if that is more."""
FIRST_NOISE = RowVariance(0.02, 30e3)
"""Prior: (140 mW)^2 and 30 us rms, until residuals tell it."""
WIDE_MARGIN, NARROW_MARGIN = 0.15, 0.03
"""Tuning: how far off the end of a conversion may still be, as a share of a scan."""
GRID_NS, GRID_REACH_NS, BEYOND_NS = 80e3, 720e3, 200e3
"""Tuning: delays are gone through in such steps, which are half a window of the shortest conversion, so far about the best one, and so far beyond what is
allowed: a minimum at the bound is then seen to be one."""
LAG_FACTOR = 1.6
"""Tuning: from one delay to the next the lag changes by no larger factor, and a step of the grid: it is followed, not jumped."""
OTHER_LAGS = (0.1, 0.75)
"""Tuning: of the longest lag: where a second search begins."""
CLOSE_COST, CLOSE_ROWS = 0.08, 8000
"""Tuning: the best two are looked at with more rows if they are nearer than this share of the rows."""
AFTER_JUMPS_NS = 10e3
"""Tuning: how well the fit and the jumps together tell the ends of conversions."""
CLEAR_GAIN = 12.0
"""Rule: standard errors by which a phase from the fit must beat others."""
CERTAIN = 16.0
"""Rule: a delay is excluded if its -2 log likelihood is worse by so much (four standard errors: noise is not quite what is taken)."""
UNSURE_NS = 250e3
"""Rule: if delays or lags further apart than this are not excluded, the delay is not known."""
SECOND, SECOND_STARTS = 0.3, (0.15, 0.35)
"""Prior: share of the lag that a second pole has, if there is one; and by which shares of the lag delays with two poles are earlier than with one."""
MOST_MINIMA, NEAR_COST = 5, 0.25
"""Tuning: so many minima of the likelihood are looked at with each layer for itself, if they are worse by no more than this share of the rows."""
MOST_BLUR_NS = 150e3
"""Prior: windows of layers are off by no more, rms: rooms between anchors are hardly larger."""
STAYS_NS = 15e3
"""Tuning: clocks that are placed so well need no fit."""
WIDEN = 1.6
"""Tuning: noise is not white, since an inference shifts as one: standard errors of the fit are so much wider."""
FEWEST_GAPS = 20
"""Rule: percentiles are told of so many gaps, not of fewer."""
LEAST_SPREAD_NS, UNVARIED_NS = 500e3, 300e3
"""Rule: gaps that vary by less (90 less 10 percent) leave side minima of the likelihood that no statistics of the noise excludes: hundreds of
microseconds off, and whole scans. The standard error is at least the second then."""


def acquire(activity: Activity, pieces: Sequence[ChannelReadings], search: SearchRange | None = None) -> Sensor:
    """Find the sensor of one channel; `activity` in all its classes.

    Raises Unattributable with too few readings while anything changed, and where they never change.
    """
    search = search or SearchRange()
    origin = first_read_ns(pieces)
    every = Course.of(activity, origin, search.alone)
    coarse = every.regrouped(grouped(activity, search.alone, together=activity.count > MOST_CLASSES))
    bounded = [bounded_clock(piece, search.scan_tolerance) for piece in pieces]
    clocks = [None if each is None else each.clock.moved(-float(origin)) for each in bounded]
    series = [search.informative(coarse, Series.of(piece, origin)) for piece in pieces]
    check_readings(series)
    measured = best_measured(activity, every, series, search)
    full = Course.of(measured.activity, origin, measured.alone)
    problem = _Problem(
        coarse,
        full,
        grouped(measured.activity, measured.alone, FINE_NS, FINE_GROUPS),
        search,
        np.random.default_rng(search.seed),
    )
    few = problem.thinned(measured.series, clocks, START_ROWS)
    groups, rows = full.regrouped(grouped(measured.activity, measured.alone)), seen(few, clocks, 0.0)
    begin = start(groups, rows, search.earliest_delay_ns, search.latest_delay_ns, search.longest_lag_ns)
    begin = polished(groups, rows, begin)
    clocks, delay, weak = problem.with_fitted(series, clocks, begin)
    known = [i for i, clock in enumerate(clocks) if clock is not None]
    placed = [clock for clock in clocks if clock is not None]
    found = tuple(
        "" if clock is None else ("fit" if each is None else each.source)
        for clock, each in zip(clocks, bounded, strict=True)
    )
    if not known:
        return Sensor(begin.delay_ns, begin.lag_ns, tuple(clocks), found=found, ambiguous=weak)
    held = [_held(clock, each) for clock, each in zip(placed, [bounded[i] for i in known], strict=True)]
    guess = Guess(delay, begin.lag_ns, tuple(placed), tuple(held))
    best, se, unsure = problem.refined([series[i] for i in known], [measured.series[i] for i in known], guess)
    final: list[ScanClock | None] = [None] * len(pieces)
    for i, clock in zip(known, best.guess.clocks, strict=True):
        final[i] = None if unsure and found[i] == "fit" else clock.moved(float(origin))
    alike = "" if gaps_vary(activity, search.alone) else "gaps hardly vary: another delay and lag may fit as well"
    loose = any(each is not None and each.se_ns > UNSURE_NS for each in bounded)
    step = "scans keep step with the driver's sleeps: when they end is not known" if loose else ""
    reasons = "; ".join(each for each in (weak, unsure, alike, step) if each)
    return Sensor(
        best.guess.delay_ns, best.guess.lag_ns, tuple(final), max(se, UNVARIED_NS if alike else 0.0), found, reasons
    )


def gaps_vary(activity: Activity, alone: Sequence[int]) -> bool:
    """Whether the stretches of one of the classes `alone`, the gaps, are of different lengths; True if it is not said which these are."""
    which = np.flatnonzero(np.isin(activity.classes[:-1], list(alone)))
    width, of = np.diff(activity.edges_ns)[which].astype(np.float64), activity.classes[which]
    widths = [width[of == each] for each in np.unique(of)]
    spread = [float(np.ptp(np.percentile(each, [10, 90]))) for each in widths if each.size >= FEWEST_GAPS]
    return max(spread, default=np.inf) >= LEAST_SPREAD_NS


def _held(clock: ScanClock, bounded: Bounded | None) -> Held:
    return Held.bending(clock) if bounded is None else Held(bounded.stiffness, clock.end_ns, bounded.se_ns)


@dataclass(frozen=True)
class _Problem:
    """What ran, in coarse groups and in all classes, ns from a common origin, to which fine group each class belongs, and where to look."""

    coarse: Course
    full: Course
    fine: Ints
    search: SearchRange
    random: np.random.Generator

    def thinned(self, series: Sequence[Series], clocks: Sequence[ScanClock | None], most: int) -> list[Series]:
        """About `most` of the readings."""
        return thinned(series, clocks, most, self.random)

    def enough(self, rows: int) -> int:
        """So many rows, or as many as all coarse groups need."""
        return max(rows, ROWS_A_CLASS * self.coarse.count)

    def with_fitted(
        self, series: Sequence[Series], clocks: Sequence[ScanClock | None], begin: Start
    ) -> tuple[list[ScanClock | None], float, str]:
        """The clocks, those not known from bounds searched by the fit; the delay, of the longest such stretch; why any is missing."""
        clocks, delay, reason = list(clocks), begin.delay_ns, ""
        blind = [i for i, clock in enumerate(clocks) if clock is None]
        if not blind:
            return clocks, delay, reason
        rough = self.roughly(series, clocks, begin, FINAL_ROWS)
        searched = False
        for i in sorted(blind, key=lambda i: -series[i].t_ns.size):
            phase = self.phase_of(rough, series[i])
            if phase is not None and phase.gain < CLEAR_GAIN:
                # Powers of many layers from few readings blur what tells phases apart.
                phase = self.phase_of(self.roughly(series, clocks, begin, MORE_ROWS), series[i])
            if phase is None or phase.gain < CLEAR_GAIN:
                gain = (
                    "too little is known" if phase is None else f"it leads others by {phase.gain:.1f} standard errors"
                )
                reason = f"no phase of the scan stands out: {gain}"
                continue
            if not searched and len(blind) == len(clocks):
                delay = phase.delay_ns
            searched = True
            clocks[i] = phase.clock.moved(delay - phase.delay_ns)
        return clocks, delay, reason

    def roughly(self, series: Sequence[Series], clocks: Sequence[ScanClock | None], begin: Start, rows: int) -> Start:
        """Powers of the coarse groups from about so many readings, under the delay and lag of the start."""
        many = self.thinned(series, clocks, self.enough(rows))
        return outcome(self.coarse, seen(many, clocks, 0.0), begin.delay_ns, begin.lag_ns)

    def phase_of(self, rough: Start, series: Series) -> Phase | None:
        """Where a stretch is in the scan under these powers."""
        return find_clock(self.coarse, rough.power_w, rough.lag_ns, series, rough.delay_ns, self.search.scan_tolerance)

    def refined(
        self, series: Sequence[Series], measured: Sequence[Series], guess: Guess
    ) -> tuple[FittedGuess, float, str]:
        """The guess made exact: clocks from all of `series`, delay and lag from `measured`, those of the classes of `full`.

        Returns the standard error of the delay, too, and why it is not sure, "" if it is.
        """
        blind = [i for i, held in enumerate(guess.held) if not held.tight_ns]
        many = self.thinned(series, guess.clocks, self.enough(self.track_rows(series) if blind else MARKED_ROWS))
        coarse = self.search.around(self.coarse, many)
        still = all(0 < held.tight_ns < STAYS_NS for held in guess.held)
        best = evaluated(coarse, many, guess, WIDE_MARGIN, None, FIRST_NOISE)
        for rounds in (2, 5):
            best = settle(coarse, many, best, WIDE_MARGIN, rounds, still)
        guess = self.jumped(coarse, many, best, blind)
        many = self.thinned(measured, guess.clocks, FINAL_ROWS if blind else MARKED_ROWS)
        few = self.thinned(many, guess.clocks, GRID_ROWS)
        full = self.search.around(self.full, many)
        near = self.search.around(full.regrouped(self.fine), few)
        # One noise for all, so that their likelihoods compare.
        here = evaluated(near, few, guess, WIDE_MARGIN, None, FIRST_NOISE, True)
        for _ in range(2):
            here = self.at_delay(near, few, here, guess.delay_ns)
        here = evaluated(near, few, here.guess, WIDE_MARGIN, here.power_w, here.noise, True)
        here = blurred(here)
        other = replace(here, guess=self.elsewhere(here.guess))
        trials = [*self.delays(near, few, here), *self.delays(near, few, other)]
        minima = _minima(trials, NEAR_COST * sum(each.t_ns.size for each in few))
        found = self.likeliest(full, self.thinned(many, guess.clocks, LIKELY_ROWS), minima)
        if len(found) > 1 and found[1].cost - found[0].cost < CLOSE_COST * LIKELY_ROWS:
            found = self.likeliest(full, self.thinned(many, guess.clocks, CLOSE_ROWS), found[:2])
        guess = self.split(full.regrouped(self.fine), self.thinned(many, guess.clocks, LIKELY_ROWS), found[0])
        best = evaluated(full, many, guess, WIDE_MARGIN, None, found[0].noise, True)
        best = settle(full, many, blurred(best), WIDE_MARGIN, 5, True)
        if blind:
            best = replace(best, guess=self.jumped(full, many, best, blind))
            best = settle(full, many, blurred(best), NARROW_MARGIN, 1, still=True)
        placed = float(max([AFTER_JUMPS_NS / 2 if blind else 0.0, *(each.tight_ns for each in guess.held)]))
        own = float(np.hypot(WIDEN * best.delay_se_ns, placed))
        return best, float(np.hypot(own, _scatter(found))), _unsure(found)

    def likeliest(self, course: Course, series: Sequence[Series], trials: Sequence[FittedGuess]) -> list[FittedGuess]:
        """The trials' minima with each layer for itself, all under the noise that the first of them leaves; the best first."""
        noise = None
        found = []
        for trial in trials[:MOST_MINIMA]:
            begin = evaluated(course, series, trial.guess, WIDE_MARGIN, None, noise or trial.noise, True)
            if noise is None:
                noise = evaluated(course, series, trial.guess, WIDE_MARGIN, begin.power_w, begin.noise, True).noise
            found.append(settle(course, series, replace(begin, noise=noise), WIDE_MARGIN, 3, True))
        return sorted(found, key=lambda each: each.cost)

    def split(self, course: Course, series: Sequence[Series], best: FittedGuess) -> Guess:
        """The guess, with a second pole where that fits clearly better."""
        noise = best.noise
        begin = evaluated(course, series, blurred(best).guess, WIDE_MARGIN, None, noise, True)
        one = settle(course, series, replace(begin, noise=noise), WIDE_MARGIN, 2, True)
        best_two = best
        for share in SECOND_STARTS:
            apart = share * one.guess.lag_ns
            guess = replace(
                one.guess, delay_ns=one.guess.delay_ns - apart, lag_ns=one.guess.lag_ns + apart, second=SECOND
            )
            two = settle(course, series, replace(one, guess=guess, noise=noise), WIDE_MARGIN, 4, True)
            if two.cost > min(one.cost - CERTAIN, best_two.cost if best_two is not best else np.inf):
                break
            best_two = two
        return best_two.guess

    def track_rows(self, series: Sequence[Series]) -> int:
        """How many rows tell a clock's path."""
        seconds = sum(float(each.t_ns[-1] - each.t_ns[0]) * 1e-9 for each in series if each.t_ns.size)
        return max(TRACK_ROWS, round(ROWS_A_SECOND * seconds))

    def jumped(self, course: Course, series: Sequence[Series], at: FittedGuess, blind: Sequence[int]) -> Guess:
        """Clocks and delay moved together to where the reads near the ends of conversions want them; one shift for each `blind` stretch."""
        guess = at.guess
        delay = guess.delay_ns
        clocks = list(guess.clocks)
        shifts = np.zeros(len(clocks))
        for i in blind:
            near = series[i].take(self.random.random(series[i].t_ns.size) * series[i].t_ns.size < JUMP_READS)
            reach = 0.6 * series[i].scan_ns
            for width, step in ((reach, reach / 30), (reach / 8, reach / 160)):
                delays = delay + shifts[i] + np.arange(-width, width + step, step)
                shifts[i] = profile(course, at.power_w, guess.lag_ns, near, clocks[i], delay, delays).best() - delay
        if len(blind) == len(clocks) and blind:
            delay += float(shifts[max(blind, key=lambda i: series[i].t_ns.size)])
        moved = tuple(clock.moved(float(shift)) for clock, shift in zip(clocks, shifts, strict=True))
        held = tuple(
            Held.near(clock, AFTER_JUMPS_NS) if i in blind else each
            for i, (clock, each) in enumerate(zip(moved, guess.held, strict=True))
        )
        return replace(guess, delay_ns=delay, clocks=moved, held=held)

    def delays(self, course: Course, series: Sequence[Series], around: FittedGuess) -> list[FittedGuess]:
        """The best lag at delays around a guess, under its noise; rising delays, further on a side while it gets better there."""
        trials = [self.at_delay(course, series, around, around.guess.delay_ns)]
        for step in (GRID_NS, -GRID_NS):
            best, last = trials[0], trials[0]
            while True:
                delay = last.guess.delay_ns + step
                near = abs(delay - best.guess.delay_ns) < GRID_REACH_NS
                beyond = max(self.search.earliest_delay_ns - delay, delay - self.search.latest_delay_ns)
                if not near or beyond > BEYOND_NS:
                    break
                last = self.at_delay(course, series, last, delay)
                best = min(best, last, key=lambda each: each.lag_cost)
                trials.append(last)
        return sorted(trials, key=lambda each: each.guess.delay_ns)

    def elsewhere(self, guess: Guess) -> Guess:
        """A second start: as late in all, but with a short lag where it was long, and the other way round."""
        longest = self.search.longest_lag_ns
        lag = OTHER_LAGS[0] * longest if guess.lag_ns > OTHER_LAGS[1] * longest / 2 else OTHER_LAGS[1] * longest
        delay = guess.delay_ns + guess.lag_ns - lag
        delay = float(np.clip(delay, self.search.earliest_delay_ns, self.search.latest_delay_ns))
        return replace(guess, delay_ns=delay, lag_ns=lag)

    def at_delay(self, course: Course, series: Sequence[Series], before: FittedGuess, delay_ns: float) -> FittedGuess:
        """The outcome at a delay, with the lag that suits it, starting with the lag of a delay nearby."""
        lag = before.guess.lag_ns
        lag = float(np.clip(lag + before.lag_step_ns, lag / LAG_FACTOR, lag * LAG_FACTOR + GRID_NS))
        guess = replace(before.guess, delay_ns=delay_ns, lag_ns=min(lag, 2 * self.search.longest_lag_ns))
        noise = before.noise
        return replace(evaluated(course, series, guess, WIDE_MARGIN, before.power_w, noise, True), noise=noise)


def _minima(trials: Sequence[FittedGuess], near: float) -> list[FittedGuess]:
    """Trials that are better than their neighbours in delay, and not worse than the best by `near`; the best first, each place once."""
    found: list[FittedGuess] = []
    for before, here, after in zip([None, *trials[:-1]], trials, [*trials[1:], None], strict=True):
        if all(here.lag_cost <= other.lag_cost for other in (before, after) if other is not None):
            found.append(here)
    found.sort(key=lambda each: each.lag_cost)
    apart: list[FittedGuess] = []
    for each in found:
        if each.lag_cost < found[0].lag_cost + near and all(
            abs(each.guess.delay_ns - other.guess.delay_ns) > 1.5 * GRID_NS for other in apart
        ):
            apart.append(each)
    return apart


def blurred(at: FittedGuess) -> FittedGuess:
    """With windows as far off, rms, as the noise says: what is not known of an inference's shift makes edges look smooth."""
    return replace(at, guess=replace(at.guess, blur_ns=min(at.noise.slack_ns, MOST_BLUR_NS)))


def _scatter(found: Sequence[FittedGuess]) -> float:
    """Standard deviation of the delay about the best, ns, over outcomes that are nearly as likely."""
    worse = np.array([each.cost for each in found]) - found[0].cost
    off = np.array([each.guess.delay_ns for each in found]) - found[0].guess.delay_ns
    likely = np.exp(-np.minimum(worse / WIDEN**2, 700.0) / 2)
    return float(np.sqrt(likely @ off**2 / likely.sum()))


def _unsure(found: Sequence[FittedGuess]) -> str:
    """A reason if far apart outcomes, the best first, are not excluded."""
    left = [each.guess for each in found if each.cost - found[0].cost < CERTAIN]
    far = max(left, key=lambda each: abs(each.delay_ns - left[0].delay_ns))
    if max(abs(far.delay_ns - left[0].delay_ns), abs(far.lag_ns - left[0].lag_ns)) < UNSURE_NS:
        return ""
    low, high = (f"{each.delay_ns / 1e6:.2f} ms with a lag of {each.lag_ns / 1e6:.2f}" for each in (left[0], far))
    return f"a delay of {high} fits as well as {low}"
