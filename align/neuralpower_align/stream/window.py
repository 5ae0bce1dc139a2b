"""The bounded window of what came last: readings of each rail, and the inferences of each engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import EngineRuns
from neuralpower_align.clock.scan_clock import ChannelReadings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COLUMNS = ("begin_ns", "end_ns", "durations_ns", "counts")
"""Of inferences."""


def joined(parts: Sequence[ChannelReadings]) -> ChannelReadings:
    """Neighbouring stretches of one channel as one; at least one part."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def column(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if any(each is None for each in columns) else np.concatenate(columns)

    return replace(
        first,
        read_ns=np.concatenate([part.read_ns for part in parts]),
        power_w=np.concatenate([part.power_w for part in parts]),
        scan=column("scan"),
        span=column("span"),
        register=column("register"),
        waits_ns=column("waits_ns"),
    )


def nbytes_of(readings: ChannelReadings) -> int:
    """What readings take, bytes."""
    columns = (getattr(readings, name) for name in ("read_ns", "power_w", "scan", "span", "register", "waits_ns"))
    return sum(each.nbytes for each in columns if each is not None)


@dataclass
class RecentReadings:
    """Readings of one channel, the last `span_ns` of them."""

    span_ns: float
    parts: deque[ChannelReadings] = field(default_factory=deque)

    def add(self, part: ChannelReadings) -> None:
        """Those that follow."""
        if not part.read_ns.size:
            return
        self.parts.append(part)
        while self.parts[0].read_ns[-1] < part.read_ns[-1] - self.span_ns:
            self.parts.popleft()

    @property
    def newest_ns(self) -> int:
        """When the last was read; -1 without any."""
        return int(self.parts[-1].read_ns[-1]) if self.parts else -1

    @property
    def slowest_ns(self) -> float:
        """From one reading, or one conversion, to the next, whichever takes longer."""
        if not self.parts:
            return 1e6
        part = self.parts[-1]
        tick = float(np.median(np.diff(part.read_ns))) if part.read_ns.size > 1 else 1e6
        return max(part.scan_ns, tick)

    def between(self, begin_ns: float, end_ns: float) -> ChannelReadings | None:
        """Those read after begin and until end; None without any."""
        some = [part for part in self.parts if part.read_ns[-1] > begin_ns and part.read_ns[0] <= end_ns]
        if not some:
            return None
        whole = joined(some)
        found = whole.take((whole.read_ns > begin_ns) & (whole.read_ns <= end_ns))
        if found.waits_ns is not None:
            inside = (found.waits_ns[:, 1] > begin_ns) & (found.waits_ns[:, 0] <= end_ns)
            found = replace(found, waits_ns=found.waits_ns[inside])
        return found if found.read_ns.size else None

    @property
    def nbytes(self) -> int:
        """What it takes, bytes."""
        return sum(nbytes_of(part) for part in self.parts)


@dataclass
class RecentInferences:
    """Of one engine of n layers: the last ones, at most `most`, in blocks of equal size that are used again and again.

    Beside them what is known of all that ever came, but what was left out: how many, sum of their durations (n,), of whether a layer took time (n,), and of
    their spans from the first layer to the last, ns.
    """

    layers: int
    most: int
    begin_ns: Ints = field(init=False)
    end_ns: Ints = field(init=False)
    durations_ns: npt.NDArray[np.int32] = field(init=False)
    counts: Bools = field(init=False)
    """Which of them were not left out."""
    count: int = 0
    held: int = 0
    last_ns: int = 0
    total_ns: Floats = field(init=False)
    span_ns: float = 0.0

    def __post_init__(self) -> None:
        self.begin_ns, self.end_ns = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self.durations_ns = np.zeros((256, self.layers), np.int32)
        self.counts = np.zeros(256, np.bool_)
        self.total_ns = np.zeros(self.layers)

    def add(self, begin_ns: int, end_ns: int, durations_ns: Ints) -> None:
        """The next one; begins rise."""
        if self.held == self.begin_ns.size:
            self._make_room()
        self.begin_ns[self.held], self.end_ns[self.held] = begin_ns, end_ns
        self.durations_ns[self.held] = durations_ns
        self.counts[self.held] = True
        self.held += 1
        self.count += 1
        self.last_ns = end_ns
        self.total_ns += durations_ns
        self.span_ns += end_ns - begin_ns

    def _make_room(self) -> None:
        """Twice the place, or where that is too much, without the older half."""
        if 2 * self.held <= self.most:
            grown = 2 * self.held
            for name in COLUMNS:
                old = getattr(self, name)
                new = np.zeros((grown, *old.shape[1:]), old.dtype)
                new[: self.held] = old
                setattr(self, name, new)
            return
        half = self.held // 2
        for name in COLUMNS:
            old = getattr(self, name)
            old[: self.held - half] = old[half : self.held].copy()
        self.held -= half

    def forget_before(self, t_ns: float) -> None:
        """Let go those that ended before, once they are half of what is held."""
        old = int(np.searchsorted(self.end_ns[: self.held], t_ns))
        if old < 64 or old < self.held // 2:
            return
        for name in COLUMNS:
            column = getattr(self, name)
            column[: self.held - old] = column[old : self.held].copy()
        self.held -= old

    def leave_out(self, begin_ns: int, end_ns: int) -> None:
        """Those that touch this time count no more in the sums of all."""
        low = int(np.searchsorted(self.end_ns[: self.held], begin_ns))
        high = max(int(np.searchsorted(self.begin_ns[: self.held], end_ns, side="right")), low)
        gone = low + np.flatnonzero(self.counts[low:high])
        self.counts[gone] = False
        self.count -= gone.size
        self.total_ns -= self.durations_ns[gone].sum(axis=0)
        self.span_ns -= float((self.end_ns[gone] - self.begin_ns[gone]).sum())

    def count_anew(self) -> None:
        """As if none had come so far, in the sums of all."""
        self.counts[: self.held] = False
        self.count, self.span_ns, self.total_ns = 0, 0.0, np.zeros(self.layers)

    def between(self, begin_ns: float, end_ns: float, every: bool = True) -> EngineRuns:
        """Those that ran within, as the batch takes them; `every`: those left out too."""
        low = int(np.searchsorted(self.end_ns[: self.held], begin_ns))
        high = int(np.searchsorted(self.begin_ns[: self.held], end_ns))
        part = np.arange(low, max(high, low))
        part = part if every else part[self.counts[part]]
        alike = np.arange(self.layers)
        return EngineRuns(self.begin_ns[part], self.end_ns[part], self.durations_ns[part].astype(np.int64), alike)

    def mean(self) -> EngineRuns:
        """All that ever came as one inference of mean durations."""
        count = max(self.count, 1)
        durations = np.rint(self.total_ns / count).astype(np.int64)[None]
        begin = np.zeros(1, np.int64)
        return EngineRuns(begin, begin + round(self.span_ns / count), durations, np.arange(self.layers))

    @property
    def nbytes(self) -> int:
        """What it takes, bytes."""
        return self.begin_ns.nbytes + self.end_ns.nbytes + self.durations_ns.nbytes + self.total_ns.nbytes
