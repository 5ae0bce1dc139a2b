"""The clock of a channel's conversions, followed as readings come.

It is measured some seconds ahead of the readings that are summed: piece by piece, each first laid where a parabola through the last
pieces leads, then moved to where the piece's own readings fit best. What is summed is laid through the pieces before and behind it, so that a
piece's error hardly moves it. Where marks tell the ends of conversions (changes of the register, scan numbers, waits) these do.
What is fixed stays: the information was summed relative to it, and the fit corrects what is left by a slow shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.edges import bounded_clock
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KNOT_NS = 1e9
"""Chip: distance of knots of the clock's path, over which its rate hardly changes."""
KEEP_NS = 40e9
"""Bound: so much of the clock is kept."""
FOLLOW_NS = 8e9
"""Chip: a parabola through so much of it leads on: +-50 ppm in 60 s then leave it by 10 us in 2 s."""
SMOOTH_NS = 9e9
"""Chip: parabolas through so much before and behind are what is laid: such a swing then leaves them by a microsecond."""
OVERLAP_NS = 15e9
"""Tuning: a path from marks is laid on to the last one over so much of it: how far it is off there is taken from it."""
TOLERANCE = 0.04
"""Chip: by so much its clock may run otherwise than it did: the datasheet's 10 % are between chips."""
LOST_NS = 300e3
"""Rule: marks that lie so far from where the clock was followed to are of other conversions."""
LONGEST_LEAP_NS = 6e9
"""Rule: without marks a clock is not led on over more than this without readings."""


@dataclass(frozen=True)
class Track:
    """Ends of conversions on the host's clock, `clock.end(n) - delay_ns` being when they saw the power, but for the fitted shift.

    `marked`: whether something beside the fit marks the ends. `seen`: where pieces of readings were measured to be, which goes beyond
    the clock.
    """

    clock: ScanClock
    delay_ns: float
    marked: bool
    seen: ScanClock

    @classmethod
    def of(cls, clock: ScanClock, delay_ns: float, marked: bool, begin_ns: float, end_ns: float) -> Track:
        """From a clock found in a window, with knots about a second apart from begin to end."""
        first, last = int(clock.last_before(begin_ns)), int(clock.last_before(end_ns))
        step = max(round(KNOT_NS / clock.period_ns), 1)
        number = np.unique(np.append(np.arange(first, last, step), last))
        laid = ScanClock(number, clock.end(number))
        return cls(laid, delay_ns, marked, laid)

    @property
    def until_ns(self) -> float:
        """The host's time up to which it is laid."""
        return float(self.clock.end_ns[-1])

    def ahead(self, end_ns: float) -> ScanClock | None:
        """Where the clock is expected to run beyond what was seen, up to `end_ns`; None where that is too far to be known."""
        seen = self.seen
        since = float(seen.end_ns[-1])
        if end_ns - since > LONGEST_LEAP_NS:
            return None
        keep = seen.end_ns >= since - FOLLOW_NS
        keep[-3:] = True
        number, end = seen.number[keep], seen.end_ns[keep]
        scale = float(number[-1] - number[0])
        bent = scale * seen.period_ns > FOLLOW_NS / 4
        curve = np.polynomial.Polynomial.fit((number - number[-1]) / scale, end - since, 2 if bent else 1)
        period = (seen.end_ns[-1] - seen.end_ns[-2]) / (seen.number[-1] - seen.number[-2])
        step = max(round(KNOT_NS / period), 1)
        more = max(int(np.ceil((end_ns - since) / period)) + 1, 2)
        further = seen.number[-1] + np.unique(np.append(np.arange(0, more, step), more))
        return ScanClock(further, np.asarray(curve((further - number[-1]) / scale) + since, np.float64))

    def measured(self, number: int, end_ns: float) -> Track:
        """With a piece that was measured: conversion `number`, of its middle, ended at `end_ns`."""
        seen = self.seen
        if number <= seen.number[-1] or end_ns <= seen.end_ns[-1]:
            return self
        number_all, end_all = np.append(seen.number, number), np.append(seen.end_ns, end_ns)
        keep = end_all > end_ns - KEEP_NS
        keep[-3:] = True
        return replace(self, seen=ScanClock(number_all[keep], end_all[keep]))

    def led_on(self, end_ns: float, recent: ChannelReadings) -> Track | None:
        """Laid up to `end_ns`; None where it is lost. `recent`: readings around it."""
        if end_ns <= self.until_ns:
            return self
        period = (self.clock.end_ns[-1] - self.clock.end_ns[-2]) / (self.clock.number[-1] - self.clock.number[-2])
        step = max(round(KNOT_NS / period), 1)
        more = max(int(np.ceil((end_ns - self.until_ns) / period)) + 1, 2)
        number = self.clock.number[-1] + np.unique(np.append(np.arange(step, more, step), more))
        end = self._from_marks(number, recent) if self.marked else self._from_seen(number)
        if end is None or end[0] <= self.until_ns or np.any(np.diff(end) <= 0):
            return None
        knots = ScanClock(np.append(self.clock.number, number), np.append(self.clock.end_ns, end))
        keep = knots.end_ns > end[-1] - KEEP_NS
        return replace(self, clock=ScanClock(knots.number[keep], knots.end_ns[keep]))

    def _from_seen(self, number: Ints) -> Floats | None:
        """Through what was seen before and behind, by parabolas whose weights fade with the time from their middle."""
        seen = self.seen
        if seen.end(number[-1]) - seen.end_ns[-1] > LONGEST_LEAP_NS:
            return None
        ends = []
        for middle in number.tolist():
            about = seen.end(middle)
            apart = np.abs(seen.end_ns - about) / SMOOTH_NS
            near = np.argsort(apart)[:3]
            weight = np.maximum(1 - apart**3, 0.0) ** 1.5
            weight[near] = np.maximum(weight[near], 1e-3)
            some = weight > 0
            x = (seen.number[some] - middle) * (seen.period_ns / SMOOTH_NS)
            curve = np.polynomial.polynomial.polyfit(x, seen.end_ns[some] - about, 2, w=weight[some])
            ends.append(float(about + curve[0]))
        return np.array(ends)

    def _from_marks(self, number: Ints, recent: ChannelReadings) -> Floats | None:
        found = bounded_clock(recent, TOLERANCE)
        if found is None:
            return None
        keep = self.clock.end_ns >= self.until_ns - OVERLAP_NS
        keep[-3:] = True
        laid = self.clock.number[keep]
        laid = laid[self.clock.end(laid) > recent.read_ns[0]]
        if laid.size < 3:
            return None
        end = self.clock.end(laid)
        off = np.round(np.median(found.clock.place(end) - laid))
        apart = end - found.clock.end(laid + off)
        if np.median(np.abs(apart)) > LOST_NS:
            return None
        return np.asarray(found.clock.end(number + off) + np.median(apart), np.float64)
