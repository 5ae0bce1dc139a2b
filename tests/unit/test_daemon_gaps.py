"""A pause of sampling is told with its deadlines and its reason, by the next daemon where the one that should have was killed too soon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from neuralpower_sampler import AVAILABLE, READING, Ring, RingReader
from neuralpower_wire import Epoch, Kind
from neuralpower_wire.batch import pack
from neuralpowerd.logs.journal import Journal
from neuralpowerd.logs.ledger import Ledger
from neuralpowerd.parts.gaps import KILLED, STOPPED, GapsPart
from neuralpowerd.sampling import Sampling

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
MS = 1_000_000


class World:
    """A ring and a journal that outlive their daemons, and the clock."""

    def __init__(self, folder: Path) -> None:
        self.ring = Ring.create(folder / "ticks.ring", 1, MS, 60)
        self.reader = RingReader(folder / "ticks.ring")
        self.ledger = Ledger(Journal(folder / "journal.ring", 1 << 20, os.urandom(16)), lambda: self.slot * MS, 4)
        self.slot, self.reason = 0, "resumed"
        self.sampling = cast(Sampling, SimpleNamespace(reader=self.reader, stream=self.reader.stream))

    def start(self) -> None:
        """A daemon begins: what its service does."""
        self.part = GapsPart(self.sampling, self.ledger, lambda: self.reason)
        self.ledger.event("daemon-started", "")
        self.begin("resumed")

    def begin(self, reason: str, period_ns: int = MS) -> None:
        """An epoch."""
        self.reason = reason
        epoch = Epoch(self.ring.next_epoch, self.ring.next_index, period_ns, 0, "sim", True, "b", ())
        self.number = self.ring.begin_epoch(pack(epoch.to_dict()))
        self.ledger.write(Kind.EPOCH, {**epoch.to_dict(), "stream": self.reader.stream, "reason": reason})
        self.part.begin_epoch(epoch)

    def ticks(self, count: int, seen: bool = True) -> None:
        """Some are taken, and published or not."""
        first = self.ring.next_index
        for _ in range(count):
            self.ring.append(self.slot, self.slot * MS, self.number, np.zeros(1, READING))
            self.slot += 1
        if seen:
            self.part.see(self.reader.read(first).ticks)

    def told(self) -> list[tuple[int, int | None, str]]:
        """Next tick, deadlines and reason of each pause."""
        records = self.ledger.journal.read(0, 10_000).records
        events = [each.body for each in records if each.kind is Kind.EVENT]
        return [(e["next"], e["slots"], e["why"]) for e in events if e["name"] == "sampling-paused"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.reader.close()
    made.ring.close()
    made.ledger.journal.close()


def test_how_the_daemon_before_ended(world: World) -> None:
    """Killed, stopped, reloaded on another grid; the first daemon of all tells no pause."""
    world.start()
    world.ticks(10)
    world.slot += 5
    world.start()
    world.ticks(10)
    world.ticks(10)
    world.ledger.event("daemon-stopped", "")
    world.slot += 7
    world.start()
    world.ticks(1)
    world.begin("reload", 2 * MS)
    world.ticks(1)
    assert world.told() == [(10, 5, KILLED), (30, 7, STOPPED), (31, None, "reload")]


def test_without_a_missed_deadline_there_was_no_pause(world: World) -> None:
    """A daemon that is back within a period."""
    world.start()
    world.ticks(3)
    world.start()
    world.ticks(3)
    assert world.told() == []


def test_who_is_killed_before_it_could_tell_is_spoken_for(world: World) -> None:
    """Twice in a row, with ticks and without: each pause is told once, with its own reason."""
    world.start()
    world.ticks(10)
    world.ledger.event("daemon-stopped", "")
    world.slot += 5
    world.start()
    world.ticks(4, seen=False)
    world.slot += 3
    world.start()
    world.slot += 2
    world.start()
    world.ticks(1)
    assert sorted(world.told()) == [(10, 5, STOPPED), (14, 5, KILLED)]
    world.slot += 1
    world.start()
    world.ticks(1)
    assert sorted(world.told())[2:] == [(15, 1, KILLED)]


def test_a_pause_that_the_ring_no_longer_holds_is_not_made_up(world: World) -> None:
    """Nor one at the ring's beginning."""
    world.start()
    world.ticks(1)
    world.slot += 5
    world.part.begin_epoch(cast(Any, SimpleNamespace(first_index=0)))
    world.ticks(1)
    assert world.told() == []
