"""The sensor from scratch: delay, lag and the scan clock of every stretch of readings, from the readings and what ran when.

1. The clock where something certain marks the ends of conversions: changes of the register, or scan numbers (acquire_edges.py).
2. A first delay and lag on a grid, with layers in coarse groups; where no clock is known its place in the scan is left open.
3. The clock from the fit where it is not known yet: a sawtooth tracked along the time (acquire_phase.py), made exact by
   Gauss-Newton on its knots; then the reads near the ends of conversions tell where on the host's clock these lie.
4. Delay and lag with each layer for itself. Powers can make up for a wrong delay to a great part, so that the likelihood has
   side minima and flat valleys: delays are gone through in small steps, the lag following, from a short and from a long lag;
   the best is settled by Gauss-Newton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire_delay import profile
from neuralpower_align.acquire_edges import Bounded, bounded_clock
from neuralpower_align.acquire_fit import Fitted, evaluated, settle
from neuralpower_align.acquire_groups import grouped
from neuralpower_align.acquire_guess import Guess, Held, Noise
from neuralpower_align.acquire_phase import find_clock
from neuralpower_align.acquire_rows import Series
from neuralpower_align.acquire_start import Start, outcome, seen, start
from neuralpower_align.acquire_trace import Course
from neuralpower_align.activity import Activity
from neuralpower_align.scan_clock import ChannelReadings, ScanClock, Sensor

Floats = npt.NDArray[np.float64]

FEWEST_READS = 300
START_ROWS, GRID_ROWS, REFINE_ROWS, JUMP_READS = 4000, 2000, 16000, 8000
BLOCK_NS = 200e6
"""Readings are thinned by blocks, so that slow noise can be told from the rest."""
FIRST_NOISE = Noise(0.02, 30e3)
WIDE_MARGIN, NARROW_MARGIN = 0.15, 0.03
"""How far off the end of a conversion may still be, as a share of a scan."""
GRID_NS, GRID_REACH_NS, BEYOND_NS = 40e3, 640e3, 200e3
LAG_FACTOR = 1.6
OTHER_LAGS = (0.1, 0.75)
"""Of the longest lag: where a second search begins."""
AFTER_JUMPS_NS = 10e3
"""How well the fit and the jumps together tell the ends of conversions."""
CLEAR_GAIN = 12.0
"""Standard errors by which a phase from the fit must beat others."""
CERTAIN = 25.0
"""A delay is excluded if its -2 log likelihood is worse by so much (five standard errors: noise is not quite what is taken)."""
UNSURE_NS = 500e3
"""If delays or lags further apart than this are not excluded, the delay is not known."""
MEMORY_LAGS = 8.0
LEAST_SPREAD_NS = 500e3
"""Gaps that vary by less (90 less 10 percent) leave side minima of the likelihood that no statistics of the noise excludes:"""
UNVARIED_NS = 300e3
"""hundreds of microseconds off, and whole scans. The standard error is at least this then."""


@dataclass(frozen=True)
class Search:
    """Where to look: delays and lags, ns, the scan within nominal +- scan_tolerance; `alone`: classes that are never joined to others."""

    earliest_delay_ns: float = -1.5e6
    latest_delay_ns: float = 1.5e6
    longest_lag_ns: float = 2.0e6
    scan_tolerance: float = 0.04
    alone: tuple[int, ...] = ()
    seed: int = 0


def acquire(activity: Activity, pieces: Sequence[ChannelReadings], search: Search | None = None) -> Sensor:
    """Find the sensor of one channel; `activity` in all its classes. Raises ValueError with too few readings while anything changed."""
    search = search or Search()
    origin = int(min(piece.read_ns[0] for piece in pieces if piece.read_ns.size))
    problem = _Problem(
        Course.of(activity.regroup(grouped(activity, search.alone)), origin),
        Course.of(activity, origin),
        search,
        np.random.default_rng(search.seed),
    )
    bounded = [bounded_clock(piece, search.scan_tolerance) for piece in pieces]
    clocks = [None if each is None else each.clock.moved(-float(origin)) for each in bounded]
    series = [problem.informative(Series.of(piece, origin)) for piece in pieces]
    if sum(each.t_ns.size for each in series) < FEWEST_READS:
        raise ValueError("acquire: too few readings while anything changed")
    few = problem.thinned(series, clocks, START_ROWS)
    begin = start(
        problem.coarse, seen(few, clocks, 0.0), search.earliest_delay_ns, search.latest_delay_ns, search.longest_lag_ns
    )
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
    best, se, unsure = problem.refined([series[i] for i in known], guess)
    final: list[ScanClock | None] = [None] * len(pieces)
    for i, clock in zip(known, best.guess.clocks, strict=True):
        final[i] = None if unsure and found[i] == "fit" else clock.moved(float(origin))
    alike = "" if gaps_vary(activity, search.alone) else "gaps hardly vary: another delay and lag may fit as well"
    reasons = "; ".join(each for each in (weak, unsure, alike) if each)
    return Sensor(
        best.guess.delay_ns, best.guess.lag_ns, tuple(final), max(se, UNVARIED_NS if alike else 0.0), found, reasons
    )


def gaps_vary(activity: Activity, alone: Sequence[int]) -> bool:
    """Whether the stretches of the classes `alone`, the gaps, are of different lengths; True if it is not said which these are."""
    width = np.diff(activity.edges_ns)[np.isin(activity.classes[:-1], list(alone))].astype(np.float64)
    return width.size < 2 or float(np.ptp(np.percentile(width, [10, 90]))) >= LEAST_SPREAD_NS


def _held(clock: ScanClock, bounded: Bounded | None) -> Held:
    return Held.bending(clock) if bounded is None else Held(bounded.stiffness, clock.end_ns, bounded.se_ns)


@dataclass(frozen=True)
class _Problem:
    """What ran, in coarse groups and in all classes, ns from a common origin, and where to look."""

    coarse: Course
    full: Course
    search: Search
    random: np.random.Generator

    def informative(self, series: Series) -> Series:
        """The readings that may hold a change of class: those of long steady stretches tell nothing of the sensor."""
        edges = self.coarse.edges_ns
        reach = series.window_ns + 2 * series.scan_ns + self.search.latest_delay_ns + 3 * self.search.longest_lag_ns
        low = np.searchsorted(edges, series.t_ns - reach)
        return series.take(np.searchsorted(edges, series.t_ns - self.search.earliest_delay_ns) > low)

    def thinned(self, series: Sequence[Series], clocks: Sequence[ScanClock | None], most: int) -> list[Series]:
        """A random part of the readings, about `most`, in blocks of neighbours; under a known clock, first reads of conversions alone."""
        kept = [
            each if clock is None or each.forget else each.take(each.rows(clock, 0.0, 0.0)[1])
            for each, clock in zip(series, clocks, strict=True)
        ]
        total = sum(each.t_ns.size for each in kept)
        if total <= most:
            return kept
        thin = []
        for each in kept:
            block = (each.t_ns // BLOCK_NS).astype(np.int64)
            chosen = self.random.random(int(block[-1]) + 1 if block.size else 0) * total < most
            thin.append(each.take(chosen[block]))
        return thin

    def around(self, course: Course, series: Sequence[Series]) -> Course:
        """The part of a course that these readings may have seen."""
        t = np.sort(np.concatenate([each.t_ns for each in series])) - self.search.earliest_delay_ns
        reach = MEMORY_LAGS * self.search.longest_lag_ns + self.search.latest_delay_ns - self.search.earliest_delay_ns
        return course.near(t, reach + 8 * max(each.scan_ns for each in series))

    def with_fitted(
        self, series: Sequence[Series], clocks: Sequence[ScanClock | None], begin: Start
    ) -> tuple[list[ScanClock | None], float, str]:
        """The clocks, those not known from bounds searched by the fit; the delay, of the longest such stretch; why any is missing."""
        clocks, delay, reason = list(clocks), begin.delay_ns, ""
        blind = [i for i, clock in enumerate(clocks) if clock is None]
        if not blind:
            return clocks, delay, reason
        many = self.thinned(series, clocks, REFINE_ROWS)
        rough = outcome(self.coarse, seen(many, clocks, 0.0), delay, begin.lag_ns)
        searched = False
        for i in sorted(blind, key=lambda i: -series[i].t_ns.size):
            phase = find_clock(
                self.coarse, rough.power_w, rough.lag_ns, series[i], rough.delay_ns, self.search.scan_tolerance
            )
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

    def refined(self, series: Sequence[Series], guess: Guess) -> tuple[Fitted, float, str]:
        """The guess made exact; the standard error of its delay, and why it is not sure, "" if it is."""
        many = self.thinned(series, guess.clocks, REFINE_ROWS)
        coarse, full = self.around(self.coarse, many), self.around(self.full, many)
        best = evaluated(coarse, many, guess, WIDE_MARGIN, None, FIRST_NOISE)
        for _ in range(2):
            best = settle(coarse, many, best, WIDE_MARGIN)
        blind = [i for i, held in enumerate(guess.held) if not held.tight_ns]
        guess = self.jumped(coarse, many, best, blind)
        few = self.thinned(many, guess.clocks, GRID_ROWS)
        near = self.around(self.full, few)
        trials = [*self.delays(near, few, guess), *self.delays(near, few, self.elsewhere(guess))]
        best = min(trials, key=lambda each: each.lag_cost)
        rows = sum(each.t_ns.size for each in many) / max(sum(each.t_ns.size for each in few), 1)
        se, unsure = _certainty(trials, rows)
        for _ in range(2):
            best = settle(full, many, best, WIDE_MARGIN, 3, still=True)
        if blind:
            best = evaluated(
                full, many, self.jumped(full, many, best, blind), NARROW_MARGIN, best.power_w, best.noise, True
            )
            best = settle(full, many, best, NARROW_MARGIN, 2, still=True)
        return best, se, unsure

    def jumped(self, course: Course, series: Sequence[Series], at: Fitted, blind: Sequence[int]) -> Guess:
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
        return Guess(delay, guess.lag_ns, moved, held)

    def delays(self, course: Course, series: Sequence[Series], guess: Guess) -> list[Fitted]:
        """The best lag, every layer for itself, at delays around the guess; rising delays, further on a side while it gets better there."""
        here = evaluated(course, series, guess, WIDE_MARGIN, None, FIRST_NOISE, True)
        noise = evaluated(course, series, guess, WIDE_MARGIN, here.power_w, here.noise, True).noise
        trials = [self.at_delay(course, series, replace(here, noise=noise), guess.delay_ns)]
        for step in (GRID_NS, -GRID_NS):
            best, last = trials[0], trials[0]
            while True:
                delay = last.guess.delay_ns + step
                near = abs(delay - best.guess.delay_ns) < GRID_REACH_NS
                beyond = max(self.search.earliest_delay_ns - delay, delay - self.search.latest_delay_ns)
                if not near or beyond > BEYOND_NS:
                    break
                last = self.at_delay(course, series, replace(last, noise=noise), delay)
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

    def at_delay(self, course: Course, series: Sequence[Series], before: Fitted, delay_ns: float) -> Fitted:
        """The outcome at a delay, with the lag that suits it, starting with the lag of a delay nearby."""
        lag, power = before.guess.lag_ns, before.power_w
        for _ in range(2):
            lag = float(np.clip(lag + before.lag_step_ns, lag / LAG_FACTOR, lag * LAG_FACTOR + GRID_NS))
            guess = replace(before.guess, delay_ns=delay_ns, lag_ns=min(lag, 2 * self.search.longest_lag_ns))
            noise = before.noise
            before = replace(evaluated(course, series, guess, WIDE_MARGIN, power, noise, True), noise=noise)
            power = before.power_w
        return before


def _certainty(trials: Sequence[Fitted], rows: float) -> tuple[float, str]:
    """Standard error of the delay, and a reason if far apart ones are not excluded by `rows` times the readings of the trials."""
    delay, lag = (np.array([getattr(each.guess, name) for each in trials]) for name in ("delay_ns", "lag_ns"))
    cost = np.array([each.lag_cost for each in trials])
    left = (cost - cost.min()) * rows < CERTAIN
    wide = float(np.ptp(delay[left]))
    se = max(wide, GRID_NS / 2) / (2 * float(np.sqrt(CERTAIN)))
    if wide <= UNSURE_NS and float(np.ptp(lag[left])) <= UNSURE_NS:
        return se, ""
    low, high = (
        f"{each(delay[left]) / 1e6:.2f} ms with a lag of {lag[left][at(delay[left])] / 1e6:.2f}"
        for each, at in ((np.min, np.argmin), (np.max, np.argmax))
    )
    return se, f"delays from {low} to {high} fit alike"
