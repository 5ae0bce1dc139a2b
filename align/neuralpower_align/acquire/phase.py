"""The chip's clock where every reading is new: nothing marks the end of a conversion, but the powers tell a reading's age.

A read at t holds the conversion that ended last before it, so its age is a sawtooth of the chip's period. Each reading is predicted
for all ages that it could have, from rough powers; the period and phase whose sawtooth runs along the small errors are the
clock's. First short pieces, each with a phase of its own, which forgive a wrong period; then longer ones, as long as the
clock may be taken as even. Then all pieces in turn, each with a rate and a phase, joined along the time by the likeliest
path (Viterbi), since the clock wanders. Last, the readings near the ends of conversions tell the delay: which of two conversions they hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.rows import Series
from neuralpower_align.acquire.trace import Course, Trace
from neuralpower_align.clock.scan_clock import ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEPS = 24
"""Tuning: ages within a scan that are told apart."""
FEWEST_READS, FIRST_READS = 300, 600
"""Tuning: readings of a stretch below which no clock is looked for; readings of the first pieces, which are short, so that few rates tell them apart."""
GROWTH, KEPT_RATES = 4.0, 6
"""Tuning: pieces grow by this; so many rates are followed, since short pieces tell rates apart badly where the sensor is slow."""
MOST_PIECES = 16
"""Tuning: pieces, evenly spread, on which rates are compared."""
MOST_READS = 400
"""Tuning: readings of a piece that are looked at: errors at all ages are worked out for each."""
FILTERED_READS = 1200
"""Tuning: of a piece, where averaging hides most of each conversion."""
TRACKED_READS = 100_000
"""Tuning: of all pieces along a clock, but no less than a quarter of a piece's usual."""
DELAYS_ABOUT = 3
"""Tuning: so many steps about the delay of the search are told apart along the clock."""
WANDER = 70e-6
"""Chip: how far the rate may be from its mean."""
EVEN_SCANS, LONGEST_S = 0.1, 2.4
"""Tuning: a piece may be so long that the wander moves its ends by this share of a scan, and no longer than the second: a clock that swings by +-50 ppm
in 60 s then bends by 20 us."""
RATES = np.arange(-2, 3)
"""Tuning: rates of a piece about that of the whole, in steps of what it tells apart."""
MOST_APART = 3
"""Tuning: under averaging a reading holds conversions of so many scans that count."""
MARGIN_NS, MARGIN_SCANS = 0.3e6, 0.05
"""Tuning: the delay that is begun with is known to this and so much of a scan: ages are gone through so far on either side."""


@dataclass(frozen=True)
class Tables:
    """Of one piece: when each reading was read from the piece's middle (k,) ns, and its squared error by number of scans since
    the read before (1 ..) and by total age: (d, k, ages), W^2."""

    middle_ns: float
    t_ns: Floats
    error: Floats
    apart_ns: float


@dataclass(frozen=True)
class Ages:
    """Total ages (delay and age in the scan) on a grid: from `first_ns`, in steps of a nominal scan / STEPS; delays are the first `delays`."""

    first_ns: float
    step_ns: float
    delays: int

    @property
    def all_ns(self) -> Floats:
        """(delays + STEPS - 1,)"""
        return np.asarray(self.first_ns + (np.arange(self.delays + STEPS - 1) + 0.5) * self.step_ns, np.float64)

    def delay_ns(self, index: int) -> float:
        """The delay of a place in the grid."""
        return self.first_ns + index * self.step_ns


@dataclass(frozen=True)
class Phase:
    """A clock from the fit, the delay it goes with, and how many standard errors (of noise) it beats the next best phase by."""

    clock: ScanClock
    delay_ns: float
    gain: float


def find_clock(
    course: Course, power_w: Floats, lag_ns: float, series: Series, delay_ns: float, tolerance: float
) -> Phase | None:
    """Search rate, phase and delay (near `delay_ns`) of one stretch from rough powers. None if readings are too few or the nominal scan is not known."""
    if series.t_ns.size < FEWEST_READS or series.scan_ns <= 0:
        return None
    trace = Trace.of(course, np.maximum(power_w, 0.0), lag_ns)
    tick = float(np.median(np.diff(series.t_ns)))
    width = tolerance * 1.05
    longest = min(2 * EVEN_SCANS * series.scan_ns / WANDER, LONGEST_S * 1e9, float(series.t_ns[-1] - series.t_ns[0]))
    length = min(FIRST_READS * tick, longest)
    most = FILTERED_READS if series.forget else MOST_READS
    rates = [1.0]
    while True:
        rate_step = series.scan_ns / 6 / length
        trials = [_near(trace, series, rate, width, rate_step, length, delay_ns, most) for rate in rates]
        found = sorted((each for some in trials for each in some), key=lambda each: each.cost)
        best: list[_Rate] = []
        for each in found:
            if len(best) < KEPT_RATES and all(abs(each.relative - other.relative) > 2 * rate_step for other in best):
                best.append(each)
        rates, width = [each.relative for each in best], 1.5 * rate_step
        if length >= longest:
            break
        length = min(length * GROWTH, longest)
    relative, ages, place = best[0].relative, best[0].ages, best[0].place
    around = Ages(ages.delay_ns(int(place) - DELAYS_ABOUT), ages.step_ns, 2 * DELAYS_ABOUT + 1)
    return _tracked(trace, series, relative, length, around)


@dataclass(frozen=True)
class _Rate:
    """A rate, as a share of the nominal one, its squared error at the best phases, W^2, and the place of the best delay in its `ages`."""

    relative: float
    cost: float
    ages: Ages
    place: int


def _near(
    trace: Trace, series: Series, rate: float, width: float, step: float, length: float, delay_ns: float, most: int
) -> list[_Rate]:
    """Rates within `width` of one, on pieces of some length."""
    ages = _ages(delay_ns, series.scan_ns * rate)
    tables = [_tables(trace, series, part, ages, most) for part in _pieces(series.t_ns, length, MOST_PIECES)]
    trials = rate + np.arange(-width, width + step / 2, step)
    costs = np.sum([_costs(each, series, ages, trials).min(axis=1) for each in tables], axis=0)
    place = costs.argmin(axis=1)
    return [
        _Rate(float(trial), float(cost[at]), ages, int(at))
        for trial, cost, at in zip(trials, costs, place, strict=True)
    ]


def _ages(delay_ns: float, scan_ns: float) -> Ages:
    """The grid for delays near one that is known to some tenths of a millisecond, the worse the longer a scan is."""
    step, margin = scan_ns / STEPS, MARGIN_NS + MARGIN_SCANS * scan_ns
    return Ages(delay_ns - margin, step, round(2 * margin / step) + 1)


def _pieces(t: Floats, length_ns: float, most: int) -> list[slice]:
    """Up to `most` stretches of time of this length, evenly spread."""
    count = max(int((t[-1] - t[0]) / length_ns), 1)
    chosen = np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
    starts = t[0] + chosen * (t[-1] - t[0]) / count
    lows, highs = np.searchsorted(t, starts), np.searchsorted(t, starts + (t[-1] - t[0]) / count)
    slices = [slice(int(low), int(high)) for low, high in zip(lows, highs, strict=True)]
    enough = 0.5 * float(np.median([each.stop - each.start for each in slices]))
    return [each for each in slices if each.stop - each.start >= max(enough, 8)]


def _tables(trace: Trace, series: Series, part: slice, ages: Ages, most: int) -> Tables:
    """The errors of a piece's readings, thinned to `most`, at all ages."""
    index = np.arange(part.start, part.stop)
    if index.size > most:
        index = index[np.linspace(0, index.size - 1, most).astype(np.int64)]
    some = series.take(index)
    apart = some.t_ns - some.before_ns
    usual = float(np.median(apart))
    if series.forget:
        some = some.take(np.abs(apart - usual) < series.scan_ns / STEPS * 2)
    middle = float(series.t_ns[part].mean())
    deep = MOST_APART if series.forget else 1
    oldest = ages.all_ns.size + (deep - 1) * STEPS
    back = ages.first_ns + (np.arange(oldest) + 0.5) * ages.step_ns
    converted = trace.converted(some.t_ns[:, None] - back[None, :], series.window_ns)
    errors = []
    width, mean = ages.all_ns.size, np.zeros((some.t_ns.size, ages.all_ns.size))
    for apart_scans in range(deep if series.forget else 1):
        weight = (1 - series.forget) * series.forget**apart_scans
        mean = mean + weight * converted[:, apart_scans * STEPS : apart_scans * STEPS + width]
        given = some.value_w - (series.forget ** (apart_scans + 1)) * some.before_w if series.forget else some.value_w
        errors.append((given[:, None] - mean) ** 2)
    return Tables(middle, some.t_ns - middle, np.array(errors), usual)


def _costs(tables: Tables, series: Series, ages: Ages, relative: Floats) -> Floats:
    """Sum of squared errors (r, STEPS, delays) by phase of the scan and delay, under periods of nominal x `relative` (r,).

    Errors are summed by where in the period a reading fell and by total age; a phase and a delay are then a diagonal of that
    small table, of the number of scans that goes with the age.
    """
    period = series.scan_ns * relative
    deep, size, width = tables.error.shape
    place = np.mod(tables.t_ns / period[:, None], 1.0) * STEPS
    bucket = np.minimum(place.astype(np.int64), STEPS - 1)
    within = np.zeros((relative.size * STEPS, size))
    within[np.arange(relative.size)[:, None] * STEPS + bucket, np.arange(size)] = 1.0
    summed = (within @ tables.error).reshape(deep, relative.size, STEPS, width)
    age = (np.arange(STEPS)[:, None] - np.arange(STEPS)[None, :]) % STEPS
    shifted = np.lib.stride_tricks.sliding_window_view(summed, ages.delays, axis=3)
    costs = np.empty((relative.size, STEPS, ages.delays))
    apart = np.zeros_like(age)
    for i in range(relative.size):
        if deep > 1:
            scans = np.ceil(tables.apart_ns / period[i] - (age + 0.5) / STEPS).astype(np.int64)
            apart = np.clip(scans - 1, 0, deep - 1)
        costs[i] = shifted[apart, i, np.arange(STEPS)[:, None], age].sum(axis=0)
    return costs


def _tracked(trace: Trace, series: Series, relative: float, length: float, ages: Ages) -> Phase | None:
    """The clock along all pieces: the likeliest path of phases and rates, the delay the best for all."""
    parts = _pieces(series.t_ns, length, 10**6)
    most = FILTERED_READS if series.forget else MOST_READS
    most = int(np.clip(TRACKED_READS / len(parts), most / 4, most))
    tables = [_tables(trace, series, part, ages, most) for part in parts]
    rate_step = series.scan_ns / 8 / length
    rates = np.asarray(relative + RATES * rate_step, np.float64)
    costs = np.array([_costs(each, series, ages, rates) for each in tables])
    delay = int(np.argmin(costs.min(axis=(1, 2)).sum(axis=0)))
    reads = sum(each.t_ns.size for each in tables)
    cost = costs[..., delay]
    noise = float(cost.min(axis=(1, 2)).sum()) / max(reads, 1)
    middles = np.array([each.middle_ns for each in tables])
    path = _path(cost / (2 * noise), middles, rates, series.scan_ns)
    rate, phase = RATES[path // STEPS], path % STEPS
    period = series.scan_ns * (relative + rate * rate_step)
    ends = middles + phase / STEPS * period
    if middles.size == 1:
        return Phase(
            ScanClock(np.array([0, 1000]), np.array([ends[0], ends[0] + 1000 * period[0]])),
            ages.delay_ns(delay),
            _gain(cost, noise),
        )
    between = np.diff(ends) / ((period[1:] + period[:-1]) / 2)
    number = np.concatenate([[0], np.cumsum(np.rint(between))]).astype(np.int64)
    if np.any(np.diff(number) < 1):
        return None
    return Phase(ScanClock(number, ends), ages.delay_ns(delay), _gain(cost, noise))


def _gain(cost: Floats, noise: float) -> float:
    """By how many standard errors the best phase beats those a quarter of a scan or more away, over all pieces."""
    by_phase = cost.min(axis=1)
    best = np.argmin(by_phase, axis=1)
    shifts = (best[:, None] + np.arange(STEPS // 4, STEPS - STEPS // 4 + 1)) % STEPS
    rival = np.take_along_axis(by_phase, shifts, axis=1)
    lead = (rival - by_phase.min(axis=1)[:, None]).sum(axis=0).min()
    return float(np.sqrt(max(lead, 0.0) / noise))


def _path(cost: Floats, middles_ns: Floats, rates: Floats, scan_ns: float) -> Ints:
    """State (rate x STEPS + phase) of each piece along the likeliest path. cost: (pieces, rates, STEPS), minus log likelihood."""
    pieces = cost.shape[0]
    flat = cost.reshape(pieces, -1)
    rate = np.repeat(rates, STEPS)
    phase = np.tile(np.arange(STEPS), rates.size)
    total, back = flat[0], np.zeros((pieces, flat.shape[1]), np.int64)
    step = float(rates[1] - rates[0])
    for i in range(1, pieces):
        period = scan_ns * (rate[:, None] + rate[None, :]) / 2
        apart = (
            middles_ns[i]
            - middles_ns[i - 1]
            + scan_ns * (phase[None, :] * rate[None, :] - phase[:, None] * rate[:, None]) / STEPS
        )
        scans = apart / period
        off = (scans - np.rint(scans)) * STEPS
        bend = (rate[None, :] - rate[:, None]) / step
        reached = total[:, None] + 0.5 * (off / 1.5) ** 2 + 0.5 * bend**2
        back[i] = np.argmin(reached, axis=0)
        total = reached[back[i], np.arange(flat.shape[1])] + flat[i]
    path = np.zeros(pieces, np.int64)
    path[-1] = int(np.argmin(total))
    for i in range(pieces - 1, 0, -1):
        path[i - 1] = back[i][path[i]]
    return path
