"""Readings as rows of a regression: repeats left out, the filter of averaging undone, slow noise taken away.

The recursive filter of averaging is undone as far as the reads allow: with a = 1 - 1 / N, and d scans between two reads,
reading - a^d (reading before) is a weighted sum of the last d conversions alone, with noise that is nearly white. Without averaging
a is 0, and this is the reading itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.trace import Rows
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MOST_SCANS_APART = 8
"""Tuning: under averaging what lies between two readings is made up for; of so many scans too little is left of the first."""
SLOW_NS = 40e6
"""Prior: power that wanders more slowly than this is taken out of rows: means over so long."""
FEWEST_TOGETHER = 8
"""Tuning: a mean of fewer rows would take out layers too."""
LONGEST_SLOW_NS = 200e6
"""Tuning: where such means were longer than this nothing is taken out."""


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
class Slow:
    """Blocks of neighbouring rows, whose means are taken away: noise slower than a block then does no harm."""

    starts: Ints
    block: Ints
    size: Floats

    @classmethod
    def of(cls, t_ns: Floats) -> Slow:
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
