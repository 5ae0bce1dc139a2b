"""The scan clock from what is certain of the readings: when a register changed, which scan it held, or how long a driver waited.

A reading that differs from the one before shows that a conversion ended between the two reads; a counted reading shows that its
scan had ended and the next one had not; a driver that waits for the end of a scan shows that one ended while it did. Each is a bound on the end of a conversion. The clock is a straight line between knots
some seconds apart that obeys the bounds and bends as little as an oscillator does, the most likely one under bounds that are
soft by `SOFT_NS`: a concave problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PIECE_S = 5.0
"""Chip: within so long the clock's rate is taken as constant while edges are counted."""
KNOT_S = 2.5
"""Chip: distance of knots of the clock, over which its rate hardly changes (BEND)."""
BEND = 6e-6
"""Chip: relative change of the rate in a second: +-50 ppm in a swing of 60 s, and some more."""
SOFT_NS = (200e3, 60e3, 20e3, 8e3)
"""Board: how soft bounds are, in turn: reads are stamped to some microseconds."""
STAMPED_NS = 2e3
"""Board: stamps are no better than this, however many."""
FEWEST_EDGES = 60
"""Rule: fewer changes of a register than this tell no clock."""
SLOW_ENOUGH = 1.3
"""Tuning: changes tell the clock if a scan lasts at least so many reads."""
COUNTED_SHARE = 0.3
"""Rule: a clock is told by scan numbers if so many of the readings are sure to be of the scan that they name."""
FEWEST_IN_PART = 20
"""Tuning: edges by which a part of the time tells its own rate and phase."""
MOST_PARTS = 8
"""Tuning: parts of the time whose periodograms are added up: the period stands out of a few."""
MOST_STEPS = 8
"""Tuning: Newton's steps at each softness; it ends before where they are short."""
SHORTEST_SLACK_NS = 1e6
"""Prior: waits end by this or more before their upper limits, in the mean, where few are seen."""
NARROW = 0.75
"""Tuning: a window must be shorter than this share of a scan, so that one end lies in it."""
SEEN_NS = (120e3, 60e3)
"""Board: where upper limits of waits are seen to pass the ends of scans so near, in turn, ends are drawn to them."""
STAYING, FEW_NEAR = 3.0, 5
"""Rule: more near limits than so many times what passing makes, and some, do not pass."""
UNSEEN_NS = 300e3
"""Prior: if these stretches are no fewer than those where limits pass, all ends may be off together by so much."""
HARDLY = 0.02
"""Tuning: so weakly that an even clock is not bent."""
FIT = 0.97
"""Rule: share of bounds that a believable clock obeys."""


@dataclass(frozen=True)
class Bounds:
    """Moment `number` of the clock (whole: the end of a conversion) is at or before `limit_ns` where `before`, after it
    elsewhere; (b,) each."""

    number: Floats
    limit_ns: Floats
    before: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bounded:
    """A clock, the standard error of its ends (mean over its knots), ns, the share of bounds that it obeys, and what gave them.

    `stiffness` (k, k) is the inverse covariance of the knots' ends, 1 / ns^2.
    """

    clock: ScanClock
    se_ns: float
    stiffness: Floats
    obeyed: float
    source: str


def bounded_clock(piece: ChannelReadings, tolerance: float) -> Bounded | None:
    """The clock from what is certain of a stretch, None where nothing is, or too little, or what is contradicts itself.

    The period is searched within nominal +- tolerance.
    """
    for found in (_edge_clock(piece, tolerance), _waited_clock(piece, tolerance), _counted_clock(piece)):
        if found is not None and found.obeyed > FIT:
            return _as_counted(found, piece)
    return None


def _counted_clock(piece: ChannelReadings) -> Bounded | None:
    """From scan numbers: a reading's own scan had ended by then, the next one had not."""
    sure = _certain(piece)
    if np.count_nonzero(sure) < max(FEWEST_EDGES, COUNTED_SHARE * sure.size):
        return None
    assert piece.scan is not None
    number, read = piece.scan[sure].astype(np.float64), piece.read_ns[sure].astype(np.float64)
    if np.any(np.diff(number) < 0) or number[-1] - number[0] < FEWEST_EDGES:
        return None
    period = (read[-1] - read[0]) / (number[-1] - number[0])
    ends = []
    for part in _parts(read, PIECE_S * 1e9):
        mean = float(number[part].mean())
        ends.append((round(mean), float(read[part].mean()) - period / 2 + (round(mean) - mean) * period))
    rough = _joined(ends)
    if rough is None:
        return None
    return _obeying(_both(number, read, number + 1, read), rough, "counted")


def _certain(piece: ChannelReadings) -> npt.NDArray[np.bool_]:
    """Which readings are of a scan that is known, (k,)."""
    if piece.scan is None or piece.span is None:
        return np.zeros(piece.read_ns.size, bool)
    return np.asarray(piece.span == 0)


def _as_counted(found: Bounded, piece: ChannelReadings) -> Bounded:
    """The same clock with the source's numbers where it counted."""
    sure = _certain(piece)
    if found.source == "counted" or not sure.any():
        return found
    assert piece.scan is not None
    off = int(np.median(piece.scan[sure] - found.clock.last_before(piece.read_ns[sure])))
    return replace(found, clock=ScanClock(found.clock.number + off, found.clock.end_ns))


def _edge_clock(piece: ChannelReadings, tolerance: float) -> Bounded | None:
    """From the changes of the register: a conversion ended between two reads that differ."""
    read, value = piece.read_ns.astype(np.float64), piece.power_w if piece.register is None else piece.register
    if read.size < FEWEST_EDGES or piece.scan_ns < SLOW_ENOUGH * float(np.median(np.diff(read))):
        return None
    changed = np.flatnonzero(np.diff(value) != 0)
    narrow = changed[read[changed + 1] - read[changed] < piece.scan_ns / SLOW_ENOUGH]
    return _between(read[narrow], read[narrow + 1], 0.0, piece.scan_ns, tolerance, "edges")


def _waited_clock(piece: ChannelReadings, tolerance: float) -> Bounded | None:
    """From a driver's waits for the end of a scan."""
    if piece.waits_ns is None:
        return None
    after, until = piece.waits_ns[:, 0].astype(np.float64), piece.waits_ns[:, 1].astype(np.float64)
    narrow = until - after < piece.scan_ns * (1 - tolerance) * NARROW
    return _between(after[narrow], until[narrow], 1.0 - piece.place, piece.scan_ns, tolerance, "waits")


def _between(
    after_ns: Floats, until_ns: Floats, later: float, nominal_ns: float, tolerance: float, source: str
) -> Bounded | None:
    """The clock from windows (w,) in each of which lies a moment of the scan that is `later` (share of a scan) than the end of the conversion."""
    if after_ns.size < FEWEST_EDGES:
        return None
    middle = (after_ns + until_ns) / 2
    rough = _lattice(middle, nominal_ns, tolerance)
    if rough is None:
        return None
    number = np.rint(rough.place(middle))
    rough = rough.moved(-later * rough.period_ns)
    return _obeying(_both(number + later, until_ns, number + later, after_ns), rough, source)


def _both(number: Floats, limit_ns: Floats, other: Floats, past_ns: Floats) -> Bounds:
    """Moments `number` are at or before their limits, moments `other` after theirs."""
    return Bounds(
        np.concatenate([number, other]), np.concatenate([limit_ns, past_ns]), np.arange(2 * number.size) < number.size
    )


def _parts(t_ns: Floats, length_ns: float) -> list[slice]:
    """Slices of rising times, each about so long, those with few times left out."""
    count = max(round(float(t_ns[-1] - t_ns[0]) / length_ns), 1)
    cuts = np.searchsorted(t_ns, t_ns[0] + np.arange(1, count) * (t_ns[-1] - t_ns[0]) / count)
    bounds = np.concatenate([[0], cuts, [t_ns.size]])
    return [slice(low, high) for low, high in pairwise(bounds) if high - low >= FEWEST_IN_PART]


def _lattice(at_ns: Floats, nominal_ns: float, tolerance: float) -> ScanClock | None:
    """A rough clock from the middles of edges: the period from a periodogram, then rate and phase part by part."""
    parts = _parts(at_ns, PIECE_S * 1e9)
    if not parts:
        return None
    line_hz = 1e9 / max(at_ns[part][-1] - at_ns[part][0] for part in parts)
    most = 1e9 / nominal_ns * tolerance * 1.05
    rates = 1e9 / nominal_ns + np.arange(-most, most, line_hz / 4)
    chosen = parts[:: max(len(parts) // MOST_PARTS, 1)]
    power = sum((np.abs(_line(at_ns[part], rates)) ** 2 for part in chosen), np.zeros(rates.size))
    rate = float(rates[np.argmax(power)])
    fine = rate + line_hz * np.arange(-0.6, 0.6, 1 / 50)
    ends = []
    for part in parts:
        middle = float(at_ns[part].mean())
        lines = _line(at_ns[part] - middle, fine)
        best = int(np.argmax(np.abs(lines)))
        ends.append((1e9 / fine[best], middle + float(np.angle(lines[best])) / (2 * np.pi) * 1e9 / fine[best]))
    number, numbered = 0, [(0, ends[0][1])]
    for (before, last), (after, end) in pairwise(ends):
        number += round((end - last) / ((before + after) / 2))
        numbered.append((number, end))
    if len(numbered) == 1:
        numbered.append((1, ends[0][1] + ends[0][0]))
    return _joined(numbered)


def _line(t_ns: Floats, rates_hz: Floats) -> npt.NDArray[np.complex128]:
    """Sum of unit vectors at the phases of times, for each rate."""
    return np.asarray(np.exp(2e-9j * np.pi * np.outer(rates_hz, t_ns)).sum(axis=1), np.complex128)


def _joined(ends: list[tuple[int, float]]) -> ScanClock | None:
    """A clock through these numbers and ends, None if they do not rise."""
    number, end = np.array([each[0] for each in ends], np.int64), np.array([each[1] for each in ends])
    if number.size < 2 or np.any(np.diff(number) < 1) or np.any(np.diff(end) <= 0):
        return None
    return ScanClock(number, end)


def _obeying(bounds: Bounds, rough: ScanClock, source: str) -> Bounded:
    """The most likely clock under the bounds, by Newton with ever harder bounds, and a weak wish to keep its rate.

    Waits bound from one side only: a driver that sleeps by the kernel's ticks looks for the end where it can just have been, so
    that the upper limits are near and the lower ones far. There ends are taken as late as the limits let them: the time from an
    end to its upper limit has the density 1 / (2 mean) down to 0. Where scans are nearly in step with the ticks that holds only now and
    then, when the two pass each other, and the clock's even rate tells the ends between: so first ends are drawn to their limits hardly,
    and then where limits were seen to come near.
    """
    low, high = int(bounds.number.min()), int(np.ceil(bounds.number.max()))
    count = max(round(float(rough.end(high) - rough.end(low)) / (KNOT_S * 1e9)), 1) + 1
    knots = np.unique(np.rint(np.linspace(low, high, max(count, 2))).astype(np.int64))
    limits = _Limits.of(bounds, knots, rough.period_ns)
    ends, in_step = rough.end(knots), False
    if source == "waits":
        ends = limits.obeyed(ends, SOFT_NS, np.full(knots.size - 1, HARDLY))[0]
        for near_ns in SEEN_NS:
            near, stays = limits.passed(ends, near_ns)
            in_step = in_step or bool(np.count_nonzero(stays) >= np.count_nonzero(near))
            drawn = near if near.any() else np.ones(near.size, bool)
            ends, hessian = limits.obeyed(ends, SOFT_NS[-2:], drawn.astype(np.float64))
    else:
        ends, hessian = limits.obeyed(ends, SOFT_NS, np.zeros(knots.size - 1))
    covariance = np.linalg.inv(hessian) + np.eye(knots.size) * STAMPED_NS**2
    if in_step:
        covariance += UNSEEN_NS**2
    se = float(np.sqrt(np.mean(np.diag(covariance))))
    stiffness = np.asarray(np.linalg.inv(covariance), np.float64)
    return Bounded(ScanClock(knots, ends), se, stiffness, float(np.mean(limits.short(ends) > -4 * SOFT_NS[-1])), source)


@dataclass(frozen=True)
class _Limits:
    """Bounds on a clock with knots: between which knots each lies (cell) and how far along (part), (b,), and the wish to keep the rate."""

    bounds: Bounds
    cell: Ints
    part: Floats
    bend: Floats

    @classmethod
    def of(cls, bounds: Bounds, knots: Ints, period_ns: float) -> _Limits:
        cell = np.clip(np.searchsorted(knots, bounds.number, side="right") - 1, 0, knots.size - 2)
        part = (bounds.number - knots[cell]) / (knots[cell + 1] - knots[cell])
        return cls(bounds, cell, part, _bends(knots, period_ns))

    def short(self, ends: Floats) -> Floats:
        """By how much each bound is obeyed (b,), ns."""
        off = self.bounds.limit_ns - (ends[self.cell] + self.part * (ends[self.cell + 1] - ends[self.cell]))
        return np.asarray(np.where(self.bounds.before, off, -off), np.float64)

    def passed(self, ends: Floats, near_ns: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """In which cells upper limits come near and go on (cells,), and in which many stay as near: there scans keep step with the ticks,
        perhaps further off than the ends were drawn."""
        before, size = self.bounds.before, self.bend.shape[1] - 1
        cell, short = self.cell[before], self.short(ends)[before]
        near = np.bincount(cell[short < near_ns], minlength=size)
        usual = np.bincount(cell, minlength=size) * near_ns / max(2 * float(short.mean()), SHORTEST_SLACK_NS)
        stays = near >= STAYING * usual + FEW_NEAR
        return np.asarray((near > 0) & ~stays), np.asarray(stays)

    def obeyed(self, ends: Floats, softness: Sequence[float], drawn: Floats) -> tuple[Floats, Floats]:
        """Newton from `ends`, the last steps as soft as the last of `softness`; `drawn`: how hard ends of each cell are drawn to upper limits,
        1 for what the density of waits asks. Returns the ends and the inverse covariance that the bounds give."""
        before, size = self.bounds.before, ends.size
        sign, hessian = np.where(before, 1.0, -1.0), self.bend.T @ self.bend
        for soft in softness:
            for _ in range(MOST_STEPS):
                short = self.short(ends) / soft
                miss = 1 / (1 + np.exp(np.clip(short, -40.0, 40.0)))
                pull, stiff = -sign * miss / soft, miss * (1 - miss) / soft**2
                mean = max(2 * float(short[before].mean()) * soft, SHORTEST_SLACK_NS)
                pull[before] += drawn[self.cell[before]] / mean
                gradient = np.bincount(self.cell, pull * (1 - self.part), size)
                gradient += np.bincount(self.cell + 1, pull * self.part, size)
                gradient -= self.bend.T @ (self.bend @ ends)
                hessian = self.bend.T @ self.bend + _tridiagonal(self.cell, self.part, stiff, size)
                hessian[np.diag_indices_from(hessian)] += 1e-6 / soft**2
                step = np.clip(np.linalg.solve(hessian, gradient), -3 * soft, 3 * soft)
                ends = ends + step
                if np.max(np.abs(step)) < soft / 50:
                    break
        if drawn.any():
            # Soft limits let ends be so late where each is drawn with the density's slope, or so early where it is drawn less.
            ends = ends - softness[-1] * np.log(np.exp(float(drawn.max())) - 1)
        return ends, hessian


def _bends(knots: Ints, period_ns: float) -> Floats:
    """Change of slope at each inner knot in units of what is usual, as rows (knots - 2, knots)."""
    bend = np.zeros((max(knots.size - 2, 0), knots.size))
    row = np.arange(bend.shape[0])
    before, after = np.diff(knots)[:-1] * period_ns, np.diff(knots)[1:] * period_ns
    usual = BEND * (before + after) / 2e9
    bend[row, row], bend[row, row + 2] = 1 / before / usual, 1 / after / usual
    bend[row, row + 1] = -(1 / before + 1 / after) / usual
    return bend


def _tridiagonal(cell: Ints, part: Floats, weight: Floats, size: int) -> Floats:
    """Sum of weight x the outer product of each bound's shares in its two knots, (size, size)."""
    matrix = np.zeros((size, size))
    row = np.arange(size - 1)
    cross = np.bincount(cell, weight * part * (1 - part), size)[:-1]
    matrix[row, row + 1] = matrix[row + 1, row] = cross
    own = np.bincount(cell, weight * (1 - part) ** 2, size) + np.bincount(cell + 1, weight * part**2, size)
    matrix[np.diag_indices(size)] = own
    return matrix
