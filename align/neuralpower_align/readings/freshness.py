"""How often a sensor gives a new value, and how that is known.

A reading that changed shows that a conversion ended between the read before and this one; a reading that did not change
shows nothing. All conversions of one register end on a lattice, phase + k · period, of the chip's own clock. The period is
found from when readings changed: a periodogram of the changes proposes, and of the proposals the longest period is taken for
which every change has a lattice point in its window. Its interval is the set of all periods that still fit every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ENOUGH_CHANGES = 500
"""Rule: fewer changes than this give no estimate."""
_USED = 600
"""Tuning: the newest changes, of all registers, that are used."""
WANDER_PPM = 50.0
"""Chip: how far the chip's clock may run from its mean while changes are collected."""
_EVIDENCE = 12.0
"""Rule: natural logarithm of how much less likely chance must be."""
_FITTING = 0.99
"""Board: share of a register's changes that must fit: a read that was held up may carry times that are a little off."""
_SLACKS_NS = (0.0, 50_000.0, 200_000.0)
"""Board: how much wider windows are made, in turn, where no period fits them all: the interval grows with them."""
_NEAR = 0.005
"""Rule: two periods that differ by less than this on either side need not be told apart."""
_ENDS = 200
"""Tuning: changes at either end of the time that bound the period: pairs further apart say more."""
_LINES = 8
"""Tuning: lines of the periodogram that are followed."""


@dataclass(frozen=True)
class FreshRate:
    """New values a second, in [low_hz, high_hz], and how they are known; all None where `kind` is "unknown"."""

    kind: str
    rate_hz: float | None = None
    low_hz: float | None = None
    high_hz: float | None = None


@dataclass(frozen=True)
class Period:
    """The period of a scan in ns, and the shortest and longest that the changes allow."""

    period_ns: float
    low_ns: float
    high_ns: float


@dataclass(frozen=True)
class Changes:
    """When one register changed: in tick `number`, at some time in (after_ns, until_ns]; arrays of one length."""

    number: Ints
    after_ns: Ints
    until_ns: Ints


UNKNOWN = FreshRate("unknown")


def nominal(scan_ns: float, tick_ns: float, tolerance: float = 0.1) -> FreshRate:
    """What the configuration promises: a value a scan, but no more than one a tick. The datasheet allows the clock ± 10 %."""
    if scan_ns <= 0:
        return UNKNOWN
    fastest = 1e9 / tick_ns
    rate, low, high = (min(1e9 / (scan_ns * factor), fastest) for factor in (1.0, 1 + tolerance, 1 - tolerance))
    return FreshRate("nominal", rate, low, high)


def estimated(found: Period | None) -> FreshRate:
    """The rate that goes with a scan's period; unknown where none was found."""
    if found is None:
        return UNKNOWN
    return FreshRate("estimated", 1e9 / found.period_ns, 1e9 / found.high_ns, 1e9 / found.low_ns)


def changes_of(number: Ints, value: Ints, valid: npt.NDArray[np.bool_], begin_ns: Ints, end_ns: Ints) -> Changes:
    """When a register's readings changed. (n,) each: number of the tick, value, whether there was one, when it was read.

    A change across more missed slots than usual is left out, since its window is wide.
    """
    number, value, begin_ns, end_ns = (each[valid] for each in (number, value, begin_ns, end_ns))
    at = np.flatnonzero(np.diff(value)) + 1
    gaps = np.diff(number)
    at = at[gaps[at - 1] <= (np.median(gaps) if len(gaps) else 1)]
    return Changes(number[at], begin_ns[at - 1], end_ns[at])


def filter_time_constant_s(scan_ns: float, averaging: int) -> float:
    """Time constant of the recursive filter out += (new - out) / averaging, once a scan: -scan / ln(1 - 1 / averaging).

    About averaging · scan; 0 without averaging, where a value is one conversion.
    """
    return 0.0 if averaging <= 1 else float(-scan_ns / 1e9 / np.log1p(-1.0 / averaging))


def scan_period(registers: Sequence[Changes], tick_ns: float, before: Period | None = None) -> Period | None:
    """The period of the lattice on which the registers change, or None where there are too few changes or no lattice.

    Args:
        registers: of one chip, which have the period in common and each a phase of its own.
        tick_ns: time between ticks; a period below it leaves no trace.
        before: what was found before; where it still fits it is only made more exact, which is quick.
    """
    used = [each for each in registers if len(each.number) > 1]
    if sum(len(each.number) for each in used) < ENOUGH_CHANGES:
        return None
    used = _newest(used)
    longest_ns = min(_mean_gap_ns(each) for each in used) * 1.02
    slack_ns = WANDER_PPM * 1e-6 * max(float(each.until_ns[-1] - each.after_ns[0]) for each in used) / 2
    again = _fit(used, 1e9 / before.period_ns, slack_ns) if before else None
    if again:
        return again
    proposals = [each for each in _proposals(used, tick_ns) if tick_ns < 1e9 / each <= longest_ns]
    for more_ns in _SLACKS_NS:
        fits = [found for each in proposals if (found := _fit(used, each, slack_ns + more_ns))]
        if fits:
            return _settle(fits, used, tick_ns)
    return None


def _newest(registers: list[Changes]) -> list[Changes]:
    """What is needed of the changes: the clock wanders, so that a longer time is not a better one."""
    ends = np.sort(np.concatenate([each.until_ns for each in registers]))
    first = ends[-min(len(ends), _USED)]
    kept = [each.until_ns >= first for each in registers]
    parts = zip(registers, kept, strict=True)
    newest = [Changes(each.number[now], each.after_ns[now], each.until_ns[now]) for each, now in parts]
    return sorted((each for each in newest if len(each.number) > 1), key=lambda each: -len(each.number))


def _settle(fits: list[Period], registers: Sequence[Changes], tick_ns: float) -> Period | None:
    """The longest of the periods that fit, unless a mirror image of it is as good; both together where that hardly matters.

    With a true period T, the mirror 1 / (1 / tick - 1 / T) fits as well where it is shorter. Where it is longer it fits only
    by chance: changes would have to keep clear of a part of each tick, and never come in two ticks running.
    """
    best = max(fits, key=lambda fit: fit.period_ns)
    wide = float(np.mean(registers[0].until_ns - registers[0].after_ns))
    for rival in fits:
        ratio = best.period_ns / rival.period_ns
        if rival.high_ns >= best.low_ns or abs(ratio - round(ratio)) < 1e-3:
            continue
        clear = sum(len(each.number) for each in registers) * np.log(max(1.0, ratio * tick_ns / wide))
        apart = max(0.0, 2 - rival.period_ns / tick_ns) * sum(
            int((np.diff(each.number) <= 2).sum()) for each in registers
        )
        if best.high_ns / rival.low_ns <= 1 + 2 * _NEAR:
            best = Period((rival.low_ns + best.high_ns) / 2, rival.low_ns, best.high_ns)
        elif clear + apart < _EVIDENCE:
            return None
    return best


def _mean_gap_ns(changes: Changes) -> float:
    return float(changes.until_ns[-1] - changes.until_ns[0]) / (len(changes.number) - 1)


def _proposals(registers: Sequence[Changes], tick_ns: float) -> list[float]:
    """Frequencies in Hz to try, lowest first.

    Ticks see a frequency f, its mirrors 1 / tick ± f and its harmonics alike, so a line stands for all of them.
    """
    first = min(int(each.number[0]) for each in registers)
    count = max(int(each.number[-1]) for each in registers) - first + 1
    size = 1 << (2 * count - 1).bit_length()
    power: Floats = np.zeros(size // 2)
    for each in registers:
        series = np.zeros(count)
        series[each.number - first] = 1.0
        power += np.abs(np.fft.rfft(series - series.mean(), size)[:-1]) ** 2
    power /= _background(power)
    reach = 2 * size // count
    power[:reach] = 0.0
    rate_hz = 1e9 / tick_ns
    proposals: list[float] = []
    for _ in range(_LINES):
        peak = int(np.argmax(power))
        seen = (peak + _vertex(power, peak)) * rate_hz / size
        for alias in (seen, rate_hz - seen, rate_hz + seen):
            proposals += [alias / harmonic for harmonic in (1, 2, 3)]
        power[max(0, peak - reach) : peak + reach] = 0.0
    return sorted(set(proposals))


def _background(power: Floats) -> Floats:
    """The level around each frequency: changes that come in bouts raise the low frequencies."""
    block = max(1, min(256, power.size // 8))
    levels = np.median(power[: power.size // block * block].reshape(-1, block), axis=1)
    at = (np.arange(levels.size) + 0.5) * block
    return np.maximum(np.interp(np.arange(power.size), at, levels), 1e-12)


def _vertex(power: Floats, peak: int) -> float:
    """Where between its neighbours a peak has its top, in steps from it."""
    if not 0 < peak < power.size - 1:
        return 0.0
    left, top, right = power[peak - 1 : peak + 2]
    return float(0.5 * (left - right) / max(2 * top - left - right, 1e-12))


def _fit(registers: Sequence[Changes], frequency: float, slack_ns: float) -> Period | None:
    """The periods near a proposal that fit every change, if there are any and chance would not give as good a fit."""
    origin = int(registers[0].after_ns[0])
    windows: list[tuple[Floats, Floats]] = [
        (_shifted(each.after_ns - origin, -slack_ns), _shifted(each.until_ns - origin, slack_ns)) for each in registers
    ]
    wide = float(np.mean(windows[0][1] - windows[0][0]))
    total = sum(len(each.number) for each in registers)
    free = 1e9 / frequency / wide
    if free <= 1 or total * np.log(free) < _EVIDENCE:
        return None
    line = 1e9 / float(windows[0][1][-1] - windows[0][0][0])
    steps = int(np.ceil(6 * free))
    trials = frequency + line * np.linspace(-0.6, 0.6, 2 * steps + 1)
    coverage = np.array([_best_phase(*windows[0], 1e9 / trial)[1] for trial in trials])
    if coverage.max() < 0.95 * len(registers[0].number):
        return None
    period_ns = 1e9 / float(np.mean(trials[coverage == coverage.max()]))
    bounds = [_bounds(after, until, period_ns) for after, until in windows]
    low, high = max(bound[0] for bound in bounds), min(bound[1] for bound in bounds)
    if low > high:
        return None
    spare = WANDER_PPM * 1e-6
    return Period((low + high) / 2, low * (1 - spare), high * (1 + spare))


def _shifted(times_ns: Ints, by_ns: float) -> Floats:
    return times_ns.astype(np.float64) + by_ns


def _best_phase(after: Floats, until: Floats, period_ns: float) -> tuple[float, int]:
    """The phase that lies in most of the windows (modulo the period), and in how many."""
    start = np.mod(after, period_ns)
    end = start + (until - after)
    starts = np.sort(np.concatenate([start, start + period_ns]))
    ends = np.sort(np.concatenate([end, end + period_ns]))
    # A window may reach into the next period: look there, where both copies are seen.
    second = starts[len(after) :]
    inside = np.arange(len(after) + 1, 2 * len(after) + 1) - np.searchsorted(ends, second, side="left")
    most = int(inside.max())
    at = np.flatnonzero(inside == most)
    return float(second[at[at.size // 2]]), min(most, len(after))


def _bounds(after: Floats, until: Floats, period_ns: float) -> tuple[float, float]:
    """The shortest and the longest period with which every window holds its own lattice point; (inf, 0) if none does."""
    phase, _ = _best_phase(after, until, period_ns)
    middle = (after + until) / 2
    number = np.rint((middle - phase) / period_ns)
    fits = np.abs(middle - phase - number * period_ns) <= until - after
    if np.mean(fits) < _FITTING:
        return np.inf, 0.0
    after, until, number = after[fits], until[fits], number[fits]
    if np.any(np.diff(number) < 1):
        return np.inf, 0.0
    head, tail = slice(None, _ENDS), slice(-_ENDS, None)
    steps = number[tail][None, :] - number[head][:, None]
    later = steps > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.where(later, (after[tail][None, :] - until[head][:, None]) / steps, 0.0)
        most = np.where(later, (until[tail][None, :] - after[head][:, None]) / steps, np.inf)
    return float(least.max()), float(most.min())
