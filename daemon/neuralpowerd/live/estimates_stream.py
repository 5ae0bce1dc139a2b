"""Estimates of the newest epoch from ticks and records as they are handed over: no logs and no clock in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neuralpower_align.errors import Unattributable
from neuralpower_align.readings.channel_readings import RailReadings
from neuralpower_align.stream import told as streaming
from neuralpower_align.stream.online import Online
from neuralpower_wire import Epoch, Inference, Record, Ticks, by_epoch, encode
from neuralpower_wire.estimates import EngineEstimate, estimates_to_batch


@dataclass
class EstimateCounts:
    """What the status says of the process."""

    state: str = "waiting"
    why: str = ""
    engines: int = 0
    restarts: int = 0
    late: int = 0
    overlapping: int = 0
    skipped_ticks: int = 0
    lost_records: int = 0
    unsent: int = 0
    state_bytes: int = 0
    cpu_s: float = 0.0


class EstimatesStream:
    """Ticks and inferences go in, in the order of time; inferences before the readings that saw them.

    Args:
        window_s: the window that a sensor is acquired from.
        epoch_of: a number's epoch, None where nobody knows it.
    """

    def __init__(self, window_s: float, epoch_of: Callable[[int], Epoch | None]) -> None:
        self._window_s, self._epoch_of = window_s, epoch_of
        self._number: int | None = None
        self._rails: list[RailReadings] = []
        self._begun_ns = 0
        self._ran_ns: int | None = None
        self._said: list[bytes] = []
        self.epoch: Epoch | None = None
        self.online: Online | None = None
        self.counts = EstimateCounts()

    def take_record(self, record: Record) -> None:
        """An inference of the epoch; other records say nothing here."""
        run = record.body
        if self.online is None or not isinstance(run, Inference) or run.begin_ns <= self._begun_ns:
            return
        self._ran_ns = run.begin_ns if self._ran_ns is None else self._ran_ns
        self.online.add_inference(run.engine, run.begin_ns, run.end_ns, run.durations_ns, run.profiled)

    def take_ticks(self, ticks: Ticks, begun: Callable[[], None] = lambda: None) -> None:
        """Ticks that follow those before, and the work that there is; `begun` is called where a new epoch has begun."""
        for part in by_epoch(ticks):
            self._of_epoch(part, begun)
            # Some seconds at a time, also when catching up: what is not worked on would leave the window.
            while self.online is not None and self.online.step():
                pass

    def _of_epoch(self, ticks: Ticks, begun: Callable[[], None]) -> None:
        number = int(ticks["epoch"][0])
        if number != self._number:
            self._begin(number, int(ticks["t_ns"][0]))
            begun()
        if self.online is None:
            return
        for i, rail in enumerate(self._rails):
            readings = rail.take(ticks, self._ran_ns)
            if readings is not None:
                self.online.add_readings(i, readings)

    def _begin(self, number: int, begin_ns: int) -> None:
        """A new epoch: everything anew."""
        if self.online is not None:
            self.counts.restarts += 1 + self.online.restarts
        self.online, self._rails, self._ran_ns = None, [], None
        epoch = self._epoch_of(number)
        if epoch is None:
            return
        self._number, self.epoch = number, epoch
        try:
            self._rails = [RailReadings(epoch, rail) for rail in epoch.totals]
        except Unattributable as reason:
            self.counts.why = str(reason)
            return
        if self._rails:
            self.online = Online(len(self._rails), self._window_s * 1e9)
            self._begun_ns = begin_ns
        else:
            self.counts.why = "no total of the board is known"

    def forget_epoch(self) -> None:
        """Begin anew with the next ticks, whatever their epoch's number."""
        self._number = None

    def message(self, first: int, cpu_s: float) -> dict[str, Any] | None:
        """What is known now, as it goes to the daemon; None where nothing has changed."""
        online, counts = self.online, self.counts
        engines: list[EngineEstimate] = []
        if online is not None:
            arrived = online.arrived
            kept = f"a full window tells no more: {online.kept_because}" if online.kept_because else ""
            counts.state, counts.why = online.state, online.why or kept
            counts.engines = len(arrived.engines) + len(arrived.whole)
            counts.late, counts.overlapping, counts.state_bytes = arrived.late, arrived.overlapping, online.nbytes
            engines = self.estimates()
        status = asdict(counts)
        if online is not None:
            status["restarts"] += online.restarts
        status["cpu_s"] = cpu_s
        same = encode(estimates_to_batch(0, engines))
        if same == self._said:
            return None
        self._said = same
        return {"frames": encode(estimates_to_batch(first, engines)), "status": status}

    def estimates(self) -> list[EngineEstimate]:
        """What is known now, as it goes over the wire."""
        return [] if self.online is None else [_told(each) for each in self.online.estimates()]


def _told(each: streaming.EngineEstimate) -> EngineEstimate:
    """As it goes over the wire; units that are not told are nan. Of inferences without the profiler the whole is the one layer."""
    nothing, power = np.zeros(0), each.power
    if power is None:
        return EngineEstimate(
            engine=each.engine,
            state=each.state,
            why=each.why,
            inferences=each.inferences,
            unit=nothing.astype(np.uint32),
            power_w=nothing,
            power_se_w=nothing,
        )
    withheld = bool(power.withheld)
    if each.whole:
        joules = np.array([np.nan, np.nan] if withheld else [power.window_j, power.window_se_j])
        watts = joules / each.seconds
        return EngineEstimate(
            engine=each.engine,
            state=each.state,
            why=each.why,
            inferences=each.inferences,
            unit=np.zeros(1, np.uint32),
            power_w=watts[:1],
            power_se_w=watts[1:],
            energy_j=float(joules[0]),
            energy_se_j=float(joules[1]),
        )
    told = power.units.told[power.unit]
    return EngineEstimate(
        engine=each.engine,
        state=each.state,
        why=each.why,
        inferences=each.inferences,
        unit=power.unit.astype(np.uint32),
        power_w=np.where(told, power.power_w, np.nan),
        power_se_w=np.where(told, power.power_se_w, np.nan),
        energy_j=float("nan") if withheld else power.energy_j,
        energy_se_j=float("nan") if withheld else power.energy_se_j,
    )
