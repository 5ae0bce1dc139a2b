"""The state of a live view: what a client's messages of the last seconds amount to. No drawing, no clock, no socket."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuralpower.recordings.statistics import MissedSlots, lateness_ns
from neuralpower.subscriber.messages import Energies, Estimates, Found, Message, Records, Status, Ticks
from neuralpower_wire import Kind, Record
from neuralpower_wire.estimates import EngineEstimate

POINT_NS = 500_000_000
"""One point of a rail's curve: the mean of half a second, so that the 40 points drawn are 20 s."""
POINTS = 40
RECENT_NS = 2_000_000_000
"""Rate and lateness are of the last two seconds: long enough for a p99 at 1 kHz, short enough to be called live."""
SHOWN = 8
"""Last inferences kept with their energy."""
MAX_ENGINES = 1024


@dataclass
class LiveInference:
    """An inference as far as it is known: the energy comes a moment after the record."""

    index: int
    engine: str
    begin_ns: int
    end_ns: int
    energy_j: float = float("nan")

    @property
    def duration_ms(self) -> float:
        """Between the host anchors, in ms."""
        return (self.end_ns - self.begin_ns) / 1e6


@dataclass
class Curve:
    """A rail's power over the last 20 s: finished points, and the one in the making."""

    points: deque[float] = field(default_factory=lambda: deque(maxlen=POINTS))
    _at: int = 0
    _sum: float = 0.0
    _count: int = 0

    def add(self, t_ns: int, watts: Any) -> None:
        """Add the power at the ticks of a batch that began at `t_ns`."""
        if t_ns // POINT_NS != self._at and self._count:
            self.points.append(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        known = watts[~np.isnan(watts)]
        self._at, self._sum, self._count = t_ns // POINT_NS, self._sum + float(known.sum()), self._count + len(known)

    @property
    def now(self) -> float:
        """The newest point in watts, nan before the first reading."""
        if self._count:
            return self._sum / self._count
        return self.points[-1] if self.points else float("nan")


class Live:
    """Takes messages, offers what a view shows."""

    def __init__(self) -> None:
        self.rails: dict[str, Curve] = {}
        self.total = Curve()
        self.totals: tuple[str, ...] = ()
        self.covers = ""
        self.status: dict[str, Any] = {}
        self.engines: OrderedDict[str, str] = OrderedDict()
        """Hash -> name."""
        self.inferences: OrderedDict[int, LiveInference] = OrderedDict()
        self.estimates: list[EngineEstimate] = []
        """The newest of each engine."""
        self.inference_count = self.tick_count = 0
        self.simulated = False
        self.fresh = "unknown"
        self._recent: deque[Ticks] = deque()
        self._missed = MissedSlots()

    @property
    def missed_slots(self) -> int:
        """Deadlines without a tick since the view began."""
        return self._missed.count

    @property
    def doubted(self) -> list[str]:
        """Rails, and "total", of which the daemon says that some of their readings cannot be."""
        told = self.status.get("doubted")
        return [name for name in (*self.rails, "total") if isinstance(told, dict) and name in told]

    def take(self, messages: list[Message]) -> None:
        """Take what a client's poll returned."""
        for message in messages:
            if isinstance(message, Ticks):
                self._ticks(message)
            elif isinstance(message, Records):
                for offset, record in enumerate(message.records):
                    self._record(message.first + offset, record)
            elif isinstance(message, Found):
                self._record(-1, message.record)
            elif isinstance(message, Energies):
                self._energies(message)
            elif isinstance(message, Estimates):
                self.estimates = message.engines
            elif isinstance(message, Status):
                self.status = message.status

    def _ticks(self, message: Ticks) -> None:
        ticks, epoch = message.ticks, message.epoch
        self.tick_count += len(ticks)
        self._recent.append(message)
        newest = int(ticks["t_ns"][-1])
        while len(self._recent) > 1 and int(self._recent[0].ticks["t_ns"][-1]) < newest - RECENT_NS:
            self._recent.popleft()
        if epoch is None:
            return
        self._missed.take_message(message)
        self.simulated = self.simulated or epoch.simulated
        rate = "" if epoch.fresh_rate_hz is None else f"{epoch.fresh_rate_hz:.4g} Hz "
        self.fresh = f"{rate}({epoch.freshness})" if rate else epoch.freshness
        self.totals, self.covers = epoch.totals, epoch.covers
        began = int(ticks["t_ns"][0])
        for rail, watts in message.rail_power_w().items():
            self.rails.setdefault(rail, Curve()).add(began, watts)
        self.total.add(began, message.total_power_w())

    def _record(self, index: int, record: Record) -> None:
        body = record.body
        if record.kind is Kind.ENGINE:
            self.engines[body["hash"]] = body["name"]
            while len(self.engines) > MAX_ENGINES:
                self.engines.popitem(last=False)
            self.simulated = self.simulated or body["simulated"]
        elif record.kind is Kind.INFERENCE:
            self.inference_count += 1
            self.inferences[index] = LiveInference(index, body["engine"], body["begin_ns"], body["end_ns"])
            while len(self.inferences) > SHOWN:
                self.inferences.popitem(last=False)

    def _energies(self, message: Energies) -> None:
        for index, energy in zip(message.index.tolist(), message.energy_j.tolist(), strict=True):
            if index in self.inferences:
                self.inferences[index].energy_j = energy

    def rate_hz(self) -> float:
        """Ticks per second over the last two seconds; nan with fewer than two ticks."""
        count = sum(len(message) for message in self._recent)
        if count < 2:
            return float("nan")
        span = int(self._recent[-1].ticks["t_ns"][-1]) - int(self._recent[0].ticks["t_ns"][0])
        return (count - 1) / (span * 1e-9) if span > 0 else float("nan")

    def lateness_us(self) -> tuple[float, float]:
        """Median and 99th percentile of the lateness over the last two seconds, in µs; nan without ticks."""
        late = [lateness_ns(message.ticks, [message.epoch]) for message in self._recent if message.epoch]
        if not late:
            return float("nan"), float("nan")
        p50, p99 = np.quantile(np.concatenate(late), [0.5, 0.99]) / 1e3
        return float(p50), float(p99)
