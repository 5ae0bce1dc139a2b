"""Inferences as they come to the stream: which engines are told apart, and when something ran that is not known.

Bounded: the engine unseen for longest makes room, and readings of its time are left out like those of anything unknown. Of an inference
without the profiler it is not known either what ran within, and such inferences are kept apart.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import EngineRuns
from neuralpower_align.activity.unnamed import BEHIND_NS
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.stream.window import RecentInferences

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Span = tuple[int, int]

MAX_ENGINES, MAX_LAYERS, MAX_LAYERS_TOGETHER = 4, 160, 240
"""Bound: engines told apart at a time (as many again that ran without the profiler), layers of one, and of all of them."""
MAX_INFERENCES = 65536
"""Bound: of each engine, kept in the window."""
BEFORE_NS = 3_000_000
"""Chip: readings from so long before something unknown ran until BEHIND_NS after it are left out."""
MAX_SPANS = 4096
"""Bound: stretches of unknown things that are remembered, 64 kB; older ones have left the window."""


class Arrivals:
    """What ran, as far as it was told. Counts what came too `late`, what was `overlapping` another, what was `left_out`: too wide."""

    def __init__(self) -> None:
        self.engines: OrderedDict[str, RecentInferences] = OrderedDict()
        self.whole: OrderedDict[str, RecentInferences] = OrderedDict()
        """Those without the profiler."""
        self.late = self.overlapping = self.left_out = 0
        self._unknown: deque[Span] = deque(maxlen=MAX_SPANS)
        self._elsewhere: deque[Span] = deque(maxlen=MAX_SPANS)
        self._crossing: set[Span] = set()

    def add(
        self, engine: str, begin_ns: int, end_ns: int, durations_ns: Ints, done_ns: float, profiled: bool = True
    ) -> None:
        """An inference; those of an engine come in order. `done_ns`: readings until then are used already."""
        if begin_ns < done_ns:
            self.late += 1
            return
        layers = int(durations_ns.size)
        kept = self.engines if profiled else self.whole
        known = kept.get(engine)
        fits = 0 < layers <= MAX_LAYERS and (known is None or known.layers == layers)
        if not fits or (known is not None and begin_ns < known.last_ns):
            self.overlapping += fits
            self.left_out += not fits
            self.spoil(begin_ns, end_ns)
            return
        if known is None:
            known = kept[engine] = RecentInferences(layers, MAX_INFERENCES)
        known.add(begin_ns, end_ns, durations_ns)
        kept.move_to_end(engine)
        if not profiled:
            self.spoil(begin_ns, end_ns)
        self._make_room(done_ns)

    def spoil(self, begin_ns: int, end_ns: int) -> None:
        """Something unknown ran then: the readings of that time tell nothing of layers."""
        if self._unknown:
            first, last = self._unknown[-1]
            if first <= begin_ns <= last + BEFORE_NS + BEHIND_NS:
                self._unknown[-1] = (first, max(last, end_ns))
                return
        self._unknown.append((begin_ns, end_ns))

    def leave_out(self, begin_ns: int, end_ns: int) -> None:
        """The board ran at other clocks then: inferences of that time count no more, and its readings tell nothing of what ran."""
        self._elsewhere.append((begin_ns, end_ns))
        for each in (*self.engines.values(), *self.whole.values()):
            each.leave_out(begin_ns, end_ns)

    def count_anew(self) -> None:
        """What came so far counts in no mean of engines any more: the board runs at other clocks for good."""
        for each in (*self.engines.values(), *self.whole.values()):
            each.count_anew()

    def at_one_clock(self, readings: ChannelReadings) -> Bools:
        """Which readings (k,) saw nothing that ran at other clocks."""
        return _outside(readings, [*self._elsewhere])

    def _make_room(self, done_ns: float) -> None:
        while len(self.engines) > MAX_ENGINES or (
            len(self.engines) > 1 and sum(each.layers for each in self.engines.values()) > MAX_LAYERS_TOGETHER
        ):
            _, gone = self.engines.popitem(last=False)
            for begin, end in zip(gone.begin_ns[: gone.held].tolist(), gone.end_ns[: gone.held].tolist(), strict=True):
                if end > done_ns:
                    self.spoil(begin, end)
        while len(self.whole) > MAX_ENGINES:
            self.whole.popitem(last=False)

    @property
    def unknown(self) -> list[Span]:
        """When something unknown ran, neighbours joined."""
        return list(self._unknown)

    def known(self, readings: ChannelReadings, names: Sequence[str], at_any_clocks: bool = False) -> Bools:
        """Which readings (k,) saw nothing but the engines `names` and idling, at the usual clocks."""
        first, last = int(readings.read_ns[0]), int(readings.read_ns[-1])
        spans = [*self._unknown, *(() if at_any_clocks else self._elsewhere)]
        for name, each in self.engines.items():
            if name not in names:
                some = each.between(first - BEHIND_NS, last + BEFORE_NS)
                spans += zip(some.begin_ns.tolist(), some.end_ns.tolist(), strict=True)
        return _outside(readings, spans)

    def apart(self, engines: Sequence[EngineRuns]) -> list[EngineRuns]:
        """Without inferences that overlap one of another engine that began before; these are counted, and spoil their time."""
        if len(engines) < 2:
            return list(engines)
        begin = np.concatenate([each.begin_ns for each in engines])
        end = np.concatenate([each.end_ns for each in engines])
        order = np.argsort(begin, kind="stable")
        free = np.append(-(2**62), np.maximum.accumulate(end[order])[:-1])
        good = np.empty(order.size, bool)
        good[order] = begin[order] >= free
        for span in zip(begin[~good].tolist(), end[~good].tolist(), strict=True):
            if span not in self._crossing:  # seen with two chunks
                self._crossing.add(span)
                self.spoil(*span)
                self.overlapping += 1
        kept, at = [], 0
        for each in engines:
            mine = good[at : at + each.begin_ns.size]
            kept.append(replace(each, begin_ns=each.begin_ns[mine], end_ns=each.end_ns[mine], durations_ns=each.durations_ns[mine]))  # fmt: skip
            at += each.begin_ns.size
        return kept

    def forget_before(self, t_ns: float) -> None:
        """Let go of what ended before."""
        for each in (*self.engines.values(), *self.whole.values()):
            each.forget_before(t_ns)
        while self._unknown and self._unknown[0][1] < t_ns - BEHIND_NS:
            self._unknown.popleft()
        while self._elsewhere and self._elsewhere[0][1] < t_ns - BEHIND_NS:
            self._elsewhere.popleft()
        self._crossing = {span for span in self._crossing if span[1] >= t_ns}

    @property
    def nbytes(self) -> int:
        """What it takes, bytes."""
        return sum(each.nbytes for each in (*self.engines.values(), *self.whole.values())) + 64 * len(self._unknown)


def _outside(readings: ChannelReadings, spans: Sequence[Span]) -> Bools:
    """Which readings (k,) saw nothing of some spans."""
    if not spans:
        return np.ones(readings.read_ns.size, bool)
    found = np.array(spans, np.int64) + np.array([-BEFORE_NS, BEHIND_NS])
    found = found[np.argsort(found[:, 0])]
    until = np.maximum.accumulate(found[:, 1])
    which = np.searchsorted(found[:, 0], readings.read_ns, side="right") - 1
    return np.asarray((which < 0) | (readings.read_ns > until[np.maximum(which, 0)]), np.bool_)
