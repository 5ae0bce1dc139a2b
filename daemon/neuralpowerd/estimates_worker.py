"""The process beside the daemon that estimates: a reader of both logs, which nobody waits for.

Its standard input is a pipe whose other end the daemon holds: it ends when that does. What it finds goes to standard output,
each message as its length (u32, little-endian) and a msgpack map of `frames` (an `estimates` message) and `status`. A full pipe loses a message.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from neuralpower_align import online_told as streaming
from neuralpower_align.channel_readings import RailReadings
from neuralpower_align.online import Online
from neuralpower_sampler import RingReader
from neuralpower_wire import Epoch, Kind, Ticks, encode
from neuralpower_wire.batch import unpack
from neuralpower_wire.estimates import EngineEstimate, estimates_to_batch

from .feeds import one_epoch_each
from .journal import JournalReader

LOOK_S, LONGEST_LOOK_S = 0.25, 2.0
"""Between two looks at the logs, and how long one may work on before it is heard what was found."""
BEHIND_S = 150
"""Ticks that are older are passed over: the worker gets less of the processor than it needs."""
AHEAD_NS = 10_000_000_000
"""Records are read no further ahead of the ticks: what is not worked on would have to be held."""
RECORDS, TICKS = 4096, 4096
PIPE_BYTES = 1 << 20
NICE = 19


@dataclass
class Counts:
    """What the status says of the worker."""

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


class Worker:
    """Follows the logs in a folder and holds the estimate of the newest epoch."""

    def __init__(self, folder: Path, window_s: float) -> None:
        self._folder, self._window_s = folder, window_s
        self._ring = RingReader(folder / "ticks.ring")
        self._journal = JournalReader(folder / "journal.ring")
        self._epoch: Epoch | None = None
        self._online: Online | None = None
        self._rails: list[RailReadings] = []
        self._at = 0
        """The next tick's index."""
        self._tick_ns = 0
        """When the last one was taken."""
        self._record = self._journal.oldest
        self._until_ns = 0
        self._begun_ns = 0
        self._said: list[bytes] = []
        self.counts = Counts()

    def look(self) -> None:
        """Take what is new in both logs, and do the work that there is."""
        if self._ring.replaced:
            self._ring.close()
            self._ring, self._at, self._epoch = RingReader(self._folder / "ticks.ring"), 0, None
        self._records()
        self._ticks()

    def _records(self) -> None:
        """The inferences of the time up to a little beyond the last tick taken."""
        self._journal.refresh()
        while self._online is not None and self._record < self._journal.next_index:
            got = self._journal.read(self._record, RECORDS)
            if got.lost:
                # What ran meanwhile is not known.
                self._online.spoil(self._until_ns, got.records[0].t_ns if got.records else self._tick_ns)
                self.counts.lost_records += got.lost
            self._record = got.first
            for record in got.records:
                if record.t_ns > self._tick_ns + AHEAD_NS:
                    return
                self._record += 1
                self._until_ns = record.t_ns
                if record.kind is Kind.INFERENCE and record.body["begin_ns"] > self._begun_ns:
                    self._inference(self._online, record.body)
            if not got.records:
                return

    def _inference(self, online: Online, body: dict[str, Any]) -> None:
        durations = np.frombuffer(body["durations_ns"], "<i8")
        online.add_inference(body["engine"], body["begin_ns"], body["end_ns"], durations)

    def _ticks(self) -> None:
        ring, until_s = self._ring, time.monotonic() + LONGEST_LOOK_S
        period_ns = self._epoch.period_ns if self._epoch else 1_000_000
        behind = int(BEHIND_S * 1e9 / period_ns)
        if ring.next_index - self._at > behind:
            first = ring.next_index - behind
            self.counts.skipped_ticks += first - self._at if self._at else 0
            self._at = first
        while self._at < ring.next_index and time.monotonic() < until_s:
            got = ring.read(self._at, TICKS)
            if not len(got.ticks):
                return
            self.counts.skipped_ticks += got.lost
            self._at = got.first + len(got.ticks)
            self._tick_ns = int(got.ticks["t_ns"][-1])
            # Before the ticks, and again with each portion: acquiring takes long, and whatever came meanwhile is in both logs.
            self._records()
            for ticks in one_epoch_each(got.ticks):
                self._of_epoch(ticks)
                # Some seconds at a time, also when catching up: what is not worked on would leave the window.
                while self._online is not None and self._online.step():
                    pass

    def _of_epoch(self, ticks: Ticks) -> None:
        number = int(ticks["epoch"][0])
        if self._epoch is None or self._epoch.number != number:
            self._begin(number, int(ticks["t_ns"][0]))
        if self._online is None:
            return
        for i, rail in enumerate(self._rails):
            readings = rail.take(ticks)
            if readings is not None:
                self._online.add_readings(i, readings)

    def _begin(self, number: int, begin_ns: int) -> None:
        """A new epoch: everything anew, with the inferences that the journal has of it."""
        if self._online is not None:
            self.counts.restarts += 1 + self._online.restarts
        self._online, self._rails = None, []
        found = [document for each, _, document in self._ring.epochs() if each == number]
        if not found:
            return
        self._epoch = epoch = Epoch.from_dict(unpack(found[0]))
        try:
            self._rails = [RailReadings(epoch, rail) for rail in epoch.totals]
        except ValueError as reason:
            self.counts.why = str(reason)
            return
        if self._rails:
            self._online = Online(len(self._rails), self._window_s * 1e9)
            self._begun_ns = begin_ns
            self._record = self._journal.oldest
            self._records()
        else:
            self.counts.why = "no total of the board is known"

    def message(self, first: int) -> dict[str, Any] | None:
        """What is known now, as it goes to the daemon; None where nothing has changed."""
        online, counts = self._online, self.counts
        engines: list[EngineEstimate] = []
        if online is not None:
            arrived = online.arrived
            counts.state, counts.why = online.state, online.why
            counts.engines = len(arrived.engines) + len(arrived.whole)
            counts.late, counts.overlapping, counts.state_bytes = arrived.late, arrived.overlapping, online.nbytes
            engines = [_told(each) for each in online.estimates()]
        status = asdict(counts)
        if online is not None:
            status["restarts"] += online.restarts
        status["cpu_s"] = time.process_time()
        same = encode(estimates_to_batch(0, engines))
        if same == self._said:
            return None
        self._said = same
        return {"frames": encode(estimates_to_batch(first, engines)), "status": status}


def _told(each: streaming.EngineEstimate) -> EngineEstimate:
    """As it goes over the wire; units that are not told are nan. Of inferences without the profiler the whole is the one layer."""
    nothing, power = np.zeros(0), each.power
    if power is None:
        return EngineEstimate(
            each.engine, each.state, each.why, each.inferences, nothing.astype(np.uint32), nothing, nothing
        )
    withheld = bool(power.withheld)
    if each.whole:
        joules = np.array([np.nan, np.nan] if withheld else [power.window_j, power.window_se_j])
        watts = joules / each.seconds
        return EngineEstimate(
            each.engine, each.state, each.why, each.inferences, np.zeros(1, np.uint32), watts[:1], watts[1:],
            float(joules[0]), float(joules[1]),
        )  # fmt: skip
    told = power.units.told[power.unit]
    return EngineEstimate(
        each.engine, each.state, each.why, each.inferences, power.unit.astype(np.uint32),
        np.where(told, power.power_w, np.nan), np.where(told, power.power_se_w, np.nan),
        float("nan") if withheld else power.energy_j, float("nan") if withheld else power.energy_se_j,
    )  # fmt: skip


def run(folder: Path, window_s: float, every_s: float, first: int) -> int:
    """Until the daemon ends."""
    os.nice(NICE)
    out = sys.stdout.fileno()
    os.set_blocking(out, False)
    fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    worker, next_s = Worker(folder, window_s), time.monotonic()
    while True:
        # Nothing ever comes; the end of the pipe does.
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            return 0
        worker.look()
        if time.monotonic() < next_s:
            continue
        next_s = time.monotonic() + every_s
        message = worker.message(first)
        if message is None:
            continue
        body = msgpack.packb(message)
        if len(body) > PIPE_BYTES // 2:
            worker.counts.unsent += 1
            continue
        try:
            sent = os.write(out, struct.pack("<I", len(body)) + body)
        except BlockingIOError:
            worker.counts.unsent += 1
            continue
        except BrokenPipeError:
            return 0
        if sent != len(body) + 4:  # a part of a message cannot be taken back
            return 1
        first += 1


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
