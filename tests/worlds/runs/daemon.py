"""The daemon and its links in virtual time: the daemon's own checks of inferences and its own journal, without sockets.

Ticks are read in bulk when the run is over: nothing in a run of `--seconds` depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower.experiment.shown import Floats, Ints, Shown
from neuralpower.profiler.link import Counts
from neuralpower.profiler.marks import Marks
from neuralpower.virtual.device.clock import VirtualClock
from neuralpower_wire import Batch, Epoch, Kind, Record
from neuralpower_wire.link import CREDIT, DESCRIBE, REFUSED, Describe, Engine, Hello, Inference, RefusedInference
from neuralpowerd.config import Config
from neuralpowerd.live.inferences import Ingest
from neuralpowerd.logs.journal import Journal
from neuralpowerd.logs.ledger import Ledger
from neuralpowerd.sources.sim import sim_plan

FIRST_EPOCH = 1
PEER = b"profiler"
SECOND_NS = 1_000_000_000
BATCH_NS = 50_000_000
"""Ticks reach a subscriber at the end of the batch that holds them."""
WALL_NS = 1_700_000_000_000_000_000
READ = 4096


class DaemonClock(VirtualClock):
    """The time of a run, in which the daemon does what it does each second."""

    def __init__(self, now_ns: int) -> None:
        super().__init__(now_ns)
        self.each_second: Callable[[int], None] = lambda t_ns: None
        self._next_ns = now_ns + SECOND_NS

    def sleep(self, seconds: float) -> None:
        """Let time pass, with the seconds that come due."""
        until = self.now_ns + max(1, math.ceil(seconds * 1e9))
        while self._next_ns <= until:
            self.now_ns = self._next_ns
            self._next_ns += SECOND_NS
            self.each_second(self.now_ns)
        self.now_ns = until


class HeldDaemon:
    """A daemon of source sim from `clock`'s present on; `records` grows as a recorder would fetch them.

    folder: where the journal's file lies while it runs.
    """

    def __init__(self, config: Config, clock: DaemonClock, stream: bytes, folder: Path) -> None:
        self.clock, self.stream = clock, stream
        self._journal = Journal(folder / "journal.ring", config.journal.mebibytes << 20, bytes(16))
        self._ledger = Ledger(self._journal, clock, config.inferences.max_engines)
        self._carriers: list[DirectCarrier] = []
        self._ingest = Ingest(self._ledger, config.inferences, self._answer, lambda index, inference: None)
        self.plan = sim_plan(config)
        self.epoch = self.plan.epoch(FIRST_EPOCH, 0, self.plan.period_ns, clock.now_ns)
        self.records: list[Record] = []
        body = {**self.epoch.to_dict(), "stream": stream, "reason": "a new stream"}
        self._ledger.write(Kind.EPOCH, body)
        clock.each_second = self._second

    def _second(self, t_ns: int) -> None:
        glance = {"monotonic_ns": t_ns, "boottime_ns": t_ns, "realtime_ns": WALL_NS + t_ns, "bracket_ns": 50}
        self._ledger.write(Kind.CLOCK, glance)
        self._ledger.write(
            Kind.CONDITION, {"freshness": self.epoch.freshness, "fresh_rate_hz": 1e9 / self.epoch.period_ns}
        )
        self._fetch()

    def _fetch(self) -> None:
        while len(self.records) < self._journal.next_index:
            got = self._journal.read(len(self.records), READ)
            if got.lost or not got.records:
                raise RuntimeError(f"{got.lost} records of the journal were lost in virtual time")
            self.records += got.records

    def mark(self, name: str, text: str) -> None:
        """Journal a mark."""
        self._ledger.write(Kind.MARK, {"name": name, "text": text})

    def carrier(self, hello: Hello) -> DirectCarrier:
        """What a session's inferences go by."""
        self._carriers.append(DirectCarrier(self, hello))
        self._ingest.handle(self._carriers[-1].peer, hello.batch())
        return self._carriers[-1]

    @property
    def sessions(self) -> int:
        """Sessions so far."""
        return len(self._carriers)

    def take(self, peer: bytes, batch: Batch) -> None:
        """A message of a profiler."""
        self._ingest.handle(peer, batch)
        self._ingest.acknowledge()

    def _answer(self, peer: bytes, batch: Batch) -> None:
        next(each for each in self._carriers if each.peer == peer).answered(batch)

    def close(self) -> None:
        """Fetch the last records, and let the journal go."""
        self._fetch()
        self._journal.close()


class DirectCarrier:
    """As a link to the daemon, which answers at once."""

    def __init__(self, daemon: HeldDaemon, hello: Hello) -> None:
        self.counts, self.last_refusal, self.pending = Counts(), "", 0
        self.peer = PEER + str(daemon.sessions).encode()
        self._daemon = daemon
        self._engines: dict[str, Engine] = {}

    def add_engine(self, engine: Engine) -> None:
        """Be ready to describe it."""
        self._engines[engine.hash] = engine

    def offer(self, inference: Inference) -> None:
        """Send it."""
        self.counts.offered += 1
        self._daemon.take(self.peer, inference.batch())

    def answered(self, batch: Batch) -> None:
        """What the daemon said."""
        if batch.topic == DESCRIBE:
            self._daemon.take(self.peer, self._engines[Describe.of(batch).engine].batch())
        elif batch.topic == REFUSED:
            self.counts.refused += 1
            self.last_refusal = RefusedInference.of(batch).reason
        elif batch.topic == CREDIT:
            self.counts.acknowledged = self.counts.offered - self.counts.refused

    def poll(self) -> None:
        """Nothing waits."""

    def close(self, timeout_s: float = 0.0) -> None:
        """Nothing is under way."""


class DirectMarks(Marks):
    """As marks sent to the daemon, which journals them at once."""

    def __init__(self, daemon: HeldDaemon) -> None:
        self._daemon = daemon

    @property
    def pending(self) -> int:
        """None."""
        return 0

    def mark(self, name: str, text: str = "") -> None:
        """Put a mark into the journal."""
        self._daemon.mark(name, text)

    def poll(self) -> None:
        """Nothing waits."""

    def close(self, timeout_s: float = 0.0) -> None:
        """Nothing is under way."""


class UnreadPower:
    """As the board's power from the daemon, in time but without a value: readings come after the run."""

    def __init__(self, daemon: HeldDaemon) -> None:
        self.epoch: Epoch | None = daemon.epoch
        self._clock = daemon.clock

    def status(self) -> dict[str, object]:
        """What the experiment asks of it: no filter."""
        return {"filter_s": 0.0}

    def reach(self, t_ns: int) -> bool:
        """Wait for the batch that holds `t_ns`."""
        behind = -(-(t_ns + 1) // BATCH_NS) * BATCH_NS - self._clock()
        if behind > 0:
            self._clock.sleep(behind * 1e-9)
        return True

    def energy_j(self, begin_ns: int, end_ns: int, shown: Shown | None = None) -> float:
        """Not known."""
        return math.nan

    def readings(self, begin_ns: int, end_ns: int) -> tuple[Ints, Floats]:
        """None."""
        return np.zeros(0, np.int64), np.zeros(0)

    def mean_w(self, begin_ns: int, end_ns: int) -> float:
        """Not known."""
        return math.nan

    def close(self) -> None:
        """Nothing to leave."""


def sim_channels(epoch: Epoch, config: Config) -> tuple[Any, ...]:
    """The chips of the configuration, and what of them each reading of a tick is, as :func:`neuralpower_sampler.simulate` takes them."""
    from neuralpower_sampler import SimChip

    sim, count = config.sim, len(config.sim.rails)
    bus, shunts = (list(each) * count if len(each) == 1 else list(each) for each in (sim.bus_uv, sim.shunts_uohm))
    places = [slice(first, first + 3) for first in range(0, count, 3)]
    chips = [
        SimChip(chip.name, sim.rails[at], bus[at], shunts[at], sim.config)
        for chip, at in zip(epoch.chips, places, strict=True)
    ]
    names = [chip.name for chip in epoch.chips]
    return chips, [(names.index(each.chip), each.input, each.quantity) for each in epoch.channels]
