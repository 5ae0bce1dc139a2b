"""The clock of a channel's conversions, followed as readings come.

What is fixed already stays: the information was summed relative to it. It is laid on ahead of each chunk of readings from what
marks the ends of conversions in the last half minute (changes of the register, scan numbers, waits), or where nothing does by a parabola
through the last seconds of the estimated ends, and the fit corrects it: the sum of clock and fitted shift is what is followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire_edges import bounded_clock
from neuralpower_align.scan_clock import ChannelReadings, ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KNOT_NS = 1e9
KEEP_NS = 40e9
"""So much of the clock is kept."""
FOLLOW_NS = 8e9
"""A parabola through so much of it leads on: +-50 ppm in 60 s then leave it by 10 us in 2 s."""
OVERLAP_NS = 15e9
TOLERANCE = 0.04
LOST_NS = 300e3
"""Marks that lie so far from where the clock was followed to are of other conversions."""
LONGEST_LEAP_NS = 6e9
"""Without marks a clock is not led on over more than this without readings."""

Shift = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Track:
    """Ends of conversions on the host's clock, `clock.end(n) - delay_ns` being when they saw the power, but for the fitted shift.

    `marked`: whether something beside the fit marks the ends.
    """

    clock: ScanClock
    delay_ns: float
    marked: bool

    @classmethod
    def of(cls, clock: ScanClock, delay_ns: float, marked: bool, begin_ns: float, end_ns: float) -> Track:
        """From a clock found in a window, with knots about a second apart from begin to end."""
        first, last = int(clock.last_before(begin_ns)), int(clock.last_before(end_ns))
        step = max(round(KNOT_NS / clock.period_ns), 1)
        number = np.unique(np.append(np.arange(first, last, step), last))
        return cls(ScanClock(number, clock.end(number)), delay_ns, marked)

    @property
    def until_ns(self) -> float:
        """The host's time up to which it is laid."""
        return float(self.clock.end_ns[-1])

    def led_on(self, end_ns: float, shift_ns: Shift, recent: ChannelReadings) -> Track | None:
        """Laid up to `end_ns`; None where it is lost. `shift_ns`: the fitted shift at times that were seen; `recent`: readings."""
        if end_ns <= self.until_ns:
            return self
        period = (self.clock.end_ns[-1] - self.clock.end_ns[-2]) / (self.clock.number[-1] - self.clock.number[-2])
        step = max(round(KNOT_NS / period), 1)
        more = max(int(np.ceil((end_ns - self.until_ns) / period)) + 1, 2)
        number = self.clock.number[-1] + np.unique(np.append(np.arange(step, more, step), more))
        ahead = self._from_marks(number, shift_ns, recent) if self.marked else self._from_itself(number, shift_ns)
        if ahead is None:
            return None
        # What is laid is the clock without the shift, which goes on beyond what was seen.
        end = ahead - shift_ns(ahead - self.delay_ns)
        if end[0] <= self.until_ns or np.any(np.diff(end) <= 0):
            return None
        knots = ScanClock(np.append(self.clock.number, number), np.append(self.clock.end_ns, end))
        keep = knots.end_ns > end[-1] - KEEP_NS
        return replace(self, clock=ScanClock(knots.number[keep], knots.end_ns[keep]))

    def _seen(self, since_ns: float) -> tuple[Ints, float]:
        """Numbers of the knots of the last time, at least three, and the newest one's end."""
        keep = self.clock.end_ns >= self.until_ns - since_ns
        keep[-3:] = True
        return self.clock.number[keep], self.until_ns

    def _total(self, number: Ints, shift_ns: Shift) -> Floats:
        end = self.clock.end(number)
        return end + shift_ns(end - self.delay_ns)

    def _from_itself(self, number: Ints, shift_ns: Shift) -> Floats | None:
        seen, origin = self._seen(FOLLOW_NS)
        if self.clock.end(number[-1]) - origin > LONGEST_LEAP_NS:
            return None
        scale = float(seen[-1] - seen[0])
        total = self._total(seen, shift_ns) - origin
        bent = scale * self.clock.period_ns > FOLLOW_NS / 4
        curve = np.polynomial.Polynomial.fit((seen - seen[-1]) / scale, total, 2 if bent else 1)
        return np.asarray(curve((number - seen[-1]) / scale) + origin, np.float64)

    def _from_marks(self, number: Ints, shift_ns: Shift, recent: ChannelReadings) -> Floats | None:
        found = bounded_clock(recent, TOLERANCE)
        if found is None:
            return None
        seen, _ = self._seen(OVERLAP_NS)
        seen = seen[self.clock.end(seen) > recent.read_ns[0]]
        if seen.size < 3:
            return None
        total = self._total(seen, shift_ns)
        place = found.clock.place(total)
        off = np.round(np.median(place - seen))
        apart = total - found.clock.end(seen + off)
        if np.median(np.abs(apart)) > LOST_NS:
            return None
        return np.asarray(found.clock.end(number + off) + np.median(apart), np.float64)
