"""The process beside the daemon that estimates: a reader of both logs, which nobody waits for.

Its standard input is a pipe whose other end the daemon holds: it ends when that does. What it finds goes to standard output,
each message as its length (u32, little-endian) and a msgpack map of `frames` (an `estimates` message) and `status`. A full pipe loses a message.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from neuralpower_sampler import RingReader
from neuralpower_wire import Epoch, Kind, Record
from neuralpower_wire.batch import unpack

from ..logs.journal import JournalReader
from .estimates_stream import EstimateCounts, EstimatesStream

LOOK_S, LONGEST_LOOK_S = 0.25, 2.0
"""Between two looks at the logs, and how long one may work on before it is heard what was found."""
BEHIND = 0.9
"""Of what the ring holds; ticks that are older are passed over. Acquiring a sensor takes minutes, and what came meanwhile is worked on
after it; a hole would lose the clock."""
AHEAD_NS = 10_000_000_000
"""Records are read no further ahead of the ticks: what is not worked on would have to be held."""
RECORDS, TICKS = 4096, 4096
PIPE_BYTES = 1 << 20
NICE, SLICE_S = 19, 0.05
"""The lowest priority; and after so much of processor time it pauses for as long as its share asks for. Linux counts this time in ticks of up to 10 ms."""


class Worker:
    """Follows the logs in a folder and holds the estimate of the newest epoch."""

    def __init__(self, folder: Path, window_s: float) -> None:
        self._folder = folder
        self._ring = RingReader(folder / "ticks.ring")
        self._journal = JournalReader(folder / "journal.ring")
        self.stream = EstimatesStream(window_s, self._epoch)
        self._at = 0
        """The next tick's index."""
        self._tick_ns = 0
        """When the last one was taken."""
        self._record = self._journal.oldest
        self._until_ns = 0

    @property
    def counts(self) -> EstimateCounts:
        """What the status says of it."""
        return self.stream.counts

    def look(self) -> None:
        """Take what is new in both logs, and do the work that there is."""
        if self._ring.replaced:
            self._ring.close()
            self._ring, self._at = RingReader(self._folder / "ticks.ring"), 0
            self.stream.forget_epoch()
        self._records()
        self._ticks()

    def _records(self) -> None:
        """The inferences of the time up to a little beyond the last tick taken."""
        self._journal.refresh()
        while (online := self.stream.online) is not None and self._record < self._journal.next_index:
            got = self._journal.read_packed(self._record, RECORDS)
            if got.lost:
                # What ran meanwhile is not known.
                online.spoil(self._until_ns, got.records[0].t_ns if got.records else self._tick_ns)
                self.counts.lost_records += got.lost
            self._record = got.first
            for record in got.records:
                if record.t_ns > self._tick_ns + AHEAD_NS:
                    return
                self._record += 1
                self._until_ns = record.t_ns
                if (
                    record.kind == Kind.INFERENCE
                ):  # an engine's description may take seconds to open, and says nothing here
                    self.stream.take_record(Record.unpack(record.kind, record.t_ns, record.body))
            if not got.records:
                return

    def _ticks(self) -> None:
        ring, until_s = self._ring, time.monotonic() + LONGEST_LOOK_S
        behind = int(BEHIND * ring.capacity)
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
            self.stream.take_ticks(got.ticks, self._anew)

    def _anew(self) -> None:
        """In a new epoch: the inferences that the journal has of it."""
        if self.stream.online is not None:
            self._record = self._journal.oldest
            self._records()

    def _epoch(self, number: int) -> Epoch | None:
        found = [document for each, _, document in self._ring.epochs() if each == number]
        return Epoch.from_dict(unpack(found[0])) if found else None

    def message(self, first: int) -> dict[str, Any] | None:
        """What is known now, as it goes to the daemon; None where nothing has changed."""
        return self.stream.message(first, time.process_time())


@contextlib.contextmanager
def bounded(share: float) -> Iterator[None]:
    """Take no more than a share of one processor: pauses in whatever runs, since acquiring a sensor is one call of minutes."""
    if share >= 1:
        yield
        return
    pause_s = SLICE_S * (1 / share - 1)
    signal.signal(signal.SIGPROF, lambda *_: time.sleep(pause_s))
    signal.setitimer(signal.ITIMER_PROF, SLICE_S, SLICE_S)
    try:
        yield
    finally:  # Python lets go of its handlers before it ends, and the signal would end it first
        signal.setitimer(signal.ITIMER_PROF, 0)


def run(folder: Path, window_s: float, every_s: float, most_cpu: float, first: int) -> int:
    """Until the daemon ends."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # meant for the daemon, where all processes of a unit get it
    os.nice(NICE)
    with bounded(most_cpu):
        return _followed(folder, window_s, every_s, first)


def _followed(folder: Path, window_s: float, every_s: float, first: int) -> int:
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
    where, window, every, share, number = sys.argv[1:]
    sys.exit(run(Path(where), float(window), float(every), float(share), int(number)))
