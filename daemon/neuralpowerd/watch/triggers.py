"""When the flight recorder saves: what happened, by ticks and by the journal. Each is told when it begins, not while it lasts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuralpower_wire import Condition, Epoch, Event, Mark, Record, Ticks, total_power_w

from ..config import RecorderTable

MEAN_OF = 10
"""Ticks whose mean is held against `power_w`: one reading may be noise, and ten are 10 ms at 1 kHz."""
CONTRADICTIONS = ("rail-doubted",)
"""Events that say that readings cannot be."""
HELD_BACK = ("thermal", "slowdown", "brake")
"""Words of the reasons why a GPU's clocks are low that mean throttling; at its power cap, or idle, one is all day."""
GAP_NS = 1_000_000_000
"""Between readings farther apart there is no energy."""


@dataclass(frozen=True)
class Trigger:
    """Something happened at `at_ns`: one of `power`, `energy`, `throttling`, `mark`, `contradiction`, with a line of text."""

    at_ns: int
    what: str
    text: str


class Triggers:
    """Follows the ticks of one epoch after the other, and the journal."""

    def __init__(self, table: RecorderTable) -> None:
        self._table = table
        self._above = self._over = False
        self._throttled: set[str] | None = None
        """None before the first look: what was so already has not begun."""
        self._overcurrent: dict[str, float] = {}
        self._restarts = 0

    def begin_epoch(self, epoch: Epoch) -> None:
        """The ticks that come are of this epoch."""
        self._epoch = epoch
        self._tail = np.zeros(0)
        self._last: tuple[int, float] | None = None
        self._joules: deque[tuple[int, float]] = deque()

    def ticks(self, ticks: Ticks) -> Iterator[Trigger]:
        """What these ticks, which follow the ones before, have begun."""
        if not self._epoch.totals or not (self._table.power_w or self._table.energy_j):
            return
        power_w = total_power_w(self._epoch, ticks)
        if self._table.power_w:
            yield from self._power(ticks["t_ns"], power_w)
        if self._table.energy_j:
            yield from self._energy(ticks["t_ns"], power_w)

    def _power(self, t_ns: np.ndarray, power_w: np.ndarray) -> Iterator[Trigger]:
        joined = np.concatenate([self._tail, power_w])
        self._tail = joined[-(MEAN_OF - 1) :]
        if len(joined) < MEAN_OF:
            return
        means = np.lib.stride_tricks.sliding_window_view(joined, MEAN_OF).mean(axis=1)
        at_ns = t_ns[-len(means) :]
        above = means > self._table.power_w  # one with a missing reading is no number, and is not
        begun = np.flatnonzero(above & ~np.concatenate([[self._above], above[:-1]]))
        if len(begun):
            first = int(begun[0])
            text = f"{means[first]:.3f} W, more than {self._table.power_w:g} W"
            yield Trigger(int(at_ns[first]), "power", text)
        self._above = bool(above[-1])

    def _energy(self, t_ns: np.ndarray, power_w: np.ndarray) -> Iterator[Trigger]:
        known = np.isfinite(power_w)
        at_ns, power_w = t_ns[known], power_w[known]
        if self._last is not None:
            at_ns = np.concatenate([[self._last[0]], at_ns])
            power_w = np.concatenate([[self._last[1]], power_w])
        if not len(at_ns):
            return
        self._last = int(at_ns[-1]), float(power_w[-1])
        step_ns = np.diff(at_ns)
        joules = float(np.sum((power_w[1:] + power_w[:-1]) / 2 * np.where(step_ns <= GAP_NS, step_ns, 0) * 1e-9))
        self._joules.append((int(at_ns[-1]), joules))
        while self._joules[0][0] <= at_ns[-1] - round(self._table.energy_s * 1e9):
            self._joules.popleft()
        total_j = math.fsum(each for _, each in self._joules)
        over = total_j > self._table.energy_j
        if over and not self._over:
            text = f"{total_j:.3f} J in {self._table.energy_s:g} s, more than {self._table.energy_j:g} J"
            yield Trigger(int(at_ns[-1]), "energy", text)
        self._over = over

    def record(self, record: Record) -> Iterator[Trigger]:
        """What this record of the journal tells of."""
        body = record.body
        if isinstance(body, Event):
            if self._table.contradiction and body.name in CONTRADICTIONS:
                yield Trigger(record.t_ns, "contradiction", body.text)
        elif isinstance(body, Mark):
            if self._table.mark and body.name == self._table.mark:
                yield Trigger(record.t_ns, "mark", body.text or body.name)
        elif isinstance(body, Condition) and self._table.throttling:
            yield from self._throttling(record.t_ns, body.more)

    def _throttling(self, t_ns: int, conditions: Mapping[str, Any]) -> Iterator[Trigger]:
        """A cooling device that slows something down, an overcurrent that was counted, or a GPU's driver that says so."""
        throttled = {name for name, value in conditions.items() if _throttles(name, value)}
        counts = {name: float(value) for name, value in conditions.items() if name.startswith("overcurrent.")}
        risen = [name for name, count in counts.items() if count > self._overcurrent.get(name, count)]
        begun = throttled - self._throttled if self._throttled is not None else set[str]()
        news = [*sorted(begun), *risen]
        self._throttled, self._overcurrent = throttled, counts
        if news:
            yield Trigger(t_ns, "throttling", ", ".join(news))

    def estimator(self, now_ns: int, restarts: int) -> Iterator[Trigger]:
        """How often the running estimates have acquired the sensor anew, since readings contradicted what was known of it."""
        if restarts > self._restarts and self._table.contradiction:
            yield Trigger(now_ns, "contradiction", "readings contradict what was known of the sensor")
        self._restarts = restarts


def _throttles(name: str, value: Any) -> bool:
    if name.startswith("throttling."):
        return isinstance(value, (int, float)) and value > 0
    if name.startswith("throttle_reasons."):
        return isinstance(value, str) and any(word in value for word in HELD_BACK)
    return False
