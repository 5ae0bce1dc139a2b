"""The service's loop knows its parts by one protocol: a part is added in one place, and asked for everything."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Epoch, Kind, Ticks
from neuralpowerd.config import Config, parse
from neuralpowerd.logs.journal import JournalReader
from neuralpowerd.part import DaemonPart, Intake, Intakes
from neuralpowerd.system.notify import Notifier

TABLES = "[realtime]\npriority = 0\nlock_memory = false\n[journal]\nmebibytes = 1\n[publish]\nstatus_s = 0.1\n"
needs_sampler = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")


class Stranger(DaemonPart):
    """Writes down what it is asked, and ends the daemon once it was asked for everything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.mine, self.other = socket.socketpair()
        self.taken = b""
        self.seen = self.learnt = 0

    def intakes(self) -> Sequence[Intake]:
        return (Intake(self.mine.fileno(), self.take),)

    def take(self, next_batch_ns: int) -> int:
        self.taken += self.mine.recv(16)
        return 0

    def configure(self, config: Config) -> None:
        self.asked.append("configure")

    def begin_epoch(self, epoch: Epoch) -> None:
        self.asked.append(f"epoch {epoch.number}")
        self.other.send(b"a message")

    def publish(self) -> None:
        self.asked.append("publish")

    def see(self, ticks: Ticks) -> None:
        self.seen += len(ticks)

    def learn(self, ticks: Ticks) -> None:
        self.learnt += len(ticks)

    def second(self) -> None:
        self.asked.append("second")

    def conditions(self) -> dict[str, Any]:
        return {"strange": 1.5, "unknown": None}

    def status(self, span_ns: int) -> dict[str, Any]:
        self.asked.append("status")
        if self.asked.count("second") >= 2 and self.learnt and self.taken:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"stranger": span_ns}

    def close(self) -> None:
        self.asked.append("close")
        self.mine.close()
        self.other.close()


@needs_sampler
def test_a_part_that_is_added_to_the_list_is_asked_for_everything(tmp_path: Path, signals: None) -> None:
    """A stranger's part needs no change of the loop: it hears messages, ticks and time, and tells conditions and status."""
    from neuralpowerd.service import Service

    config = parse(f'source = "sim"\nruntime_dir = "{tmp_path}"\nhistory_seconds = 10\n{TABLES}', "f")
    service, stranger = Service(lambda: config, Notifier("", 0)), Stranger()
    service.parts.append(stranger)
    service.run()
    assert stranger.asked[:2] == ["configure", "epoch 1"] and stranger.asked[-2:] == ["publish", "close"]
    assert stranger.taken == b"a message" and 0 < stranger.learnt <= stranger.seen
    records = JournalReader(tmp_path / "journal.ring").read(0, 1000).records
    conditions = [record.body for record in records if record.kind is Kind.CONDITION]
    assert all(body.more["strange"] == 1.5 for body in conditions) and "unknown" not in conditions[0].more


@needs_sampler
def test_no_two_parts_tell_the_same_key_and_all_are_documented(tmp_path: Path, signals: None) -> None:
    """What a part says in the status or the conditions, no other part overwrites; docs/operations.md names each key of the status."""
    from neuralpowerd.service import Service

    config = parse(f'source = "sim"\nruntime_dir = "{tmp_path}"\nhistory_seconds = 10\n{TABLES}', "f")
    service, told = Service(lambda: config, Notifier("", 0)), []

    class Listens(DaemonPart):
        def status(self, span_ns: int) -> dict[str, Any]:
            if not told:
                told.append([list(part.status(0)) for part in service.parts[:-1]])
                told.append([list(part.conditions()) for part in service.parts[:-1]])
                os.kill(os.getpid(), signal.SIGTERM)
            return {}

    service.parts.append(Listens())
    service.run()
    for parts in told:
        keys = [key for part in parts for key in part]
        assert keys and sorted(keys) == sorted(set(keys))
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    assert [key for part in told[0] for key in part if f"`{key}`" not in page] == []


@needs_sampler
def test_a_part_that_fails_to_close_keeps_no_other_open(tmp_path: Path, signals: None) -> None:
    """An open socket would keep the process from ending, so every part is closed, and what went wrong is told."""
    from neuralpowerd.service import Service

    class Broken(DaemonPart):
        def begin_epoch(self, epoch: Epoch) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def close(self) -> None:
            raise ValueError("cannot close")

    config = parse(f'source = "sim"\nruntime_dir = "{tmp_path}"\nhistory_seconds = 10\n{TABLES}', "f")
    service = Service(lambda: config, Notifier("", 0))
    service.parts.insert(0, Broken())
    with pytest.raises(ValueError, match="cannot close"):
        service.run()
    assert not list(tmp_path.glob("*.ipc"))
    for part in Service(lambda: config, Notifier("", 0)).parts:  # the ring is free
        part.close()


def test_an_intake_that_rests_is_taken_when_its_rest_is_over() -> None:
    """What comes meanwhile wakes nobody; another intake is served at once."""
    one, to_one = socket.socketpair()
    two, to_two = socket.socketpair()
    took: list[tuple[str, int]] = []
    rest_ns = 30_000_000

    def take(name: str, end: socket.socket, rest_ns: int) -> int:
        end.recv(1)
        took.append((name, time.monotonic_ns()))
        return time.monotonic_ns() + rest_ns if rest_ns else 0

    intakes = Intakes(
        [Intake(one.fileno(), lambda _: take("one", one, rest_ns)), Intake(two.fileno(), lambda _: take("two", two, 0))]
    )
    with one, two, to_one, to_two:
        to_one.send(b"11")
        intakes.serve(time.monotonic_ns() + 10**9)
        to_two.send(b"2")
        intakes.serve(time.monotonic_ns() + 10**9)
        intakes.serve(time.monotonic_ns() + 10**9)
    assert [name for name, _ in took] == ["one", "two", "one"]
    assert took[2][1] - took[0][1] >= rest_ns
