"""The daemon's answers about the past: bounded in size and time, so that who asks for much holds nobody up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import zmq

from neuralpower_sampler import AVAILABLE, READING, Ring, RingReader
from neuralpower_wire import Kind, WireError, batch_to_records, batch_to_ticks
from neuralpower_wire.history import MAX_REPLY, Request
from neuralpowerd.live.endpoints import Endpoints
from neuralpowerd.live.refusals import Refusals
from neuralpowerd.logs.history import History
from neuralpowerd.logs.journal import Journal
from neuralpowerd.logs.ledger import Ledger
from neuralpowerd.logs.roles import Role
from neuralpowerd.parts import sockets
from neuralpowerd.parts.sockets import SocketsPart

HEAD = 4096
"""Bytes of a reply's head and of its batch's header, with room."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Of a journal of 16 MiB."""
    journal = Journal(tmp_path / "journal.ring", 16 << 20, os.urandom(16))
    yield Ledger(journal, time.monotonic_ns, 16)
    journal.close()


def many_layers(ledger: Ledger, count: int) -> None:
    """Journal inferences of the largest engine that is taken."""
    for seq in range(count):
        body = {"session": bytes(16), "seq": seq, "engine": "e", "begin_ns": seq, "end_ns": seq + 1, "profiled": True}
        ledger.write(Kind.INFERENCE, {**body, "durations_ns": bytes(8 * 8192)})


def test_an_answer_of_the_largest_engine_is_a_mebibyte_and_the_next_goes_on(ledger: Ledger) -> None:
    """All records come, in answers of which none is larger than the bound."""
    many_layers(ledger, 64)
    history, first, seen = History(lambda: [], ledger, dict), 0, 0
    while first < ledger.journal.next_index:
        reply = history.answer(Request(1, "journal", first=first, count=1024).encode())
        assert sum(map(len, reply.encode())) <= MAX_REPLY + HEAD
        assert reply.batch is not None and not reply.lost
        _, start, records = batch_to_records(reply.batch)
        assert start == first and len(records)
        first, seen = first + len(records), seen + 1
    assert seen > 1


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
def test_an_answer_of_the_widest_ticks_is_a_mebibyte(tmp_path: Path, ledger: Ledger) -> None:
    """4096 ticks of 64 readings would be six."""
    path = tmp_path / "ticks.ring"
    with Ring.create(path, 64, 1_000_000, 2) as ring:
        number = ring.begin_epoch(b"")
        readings = np.zeros(64, READING)
        for slot in range(1500):
            ring.append(slot, slot * 1_000_000, number, readings)
        with RingReader(path) as reader:
            reply = History(lambda: [reader], ledger, dict).answer(Request(1, "ticks", first=0, count=1500).encode())
    assert reply.batch is not None
    assert MAX_REPLY / 2 < sum(map(len, reply.encode())) <= MAX_REPLY + HEAD
    assert batch_to_ticks(reply.batch)[1]["index"][0] == 0


class Asked:
    """Endpoints, and the one end of them, at which `waiting` questions wait; each takes `cost_ns` to answer."""

    def __init__(self, waiting: int, cost_ns: int) -> None:
        self.waiting, self.cost_ns, self.now_ns, self.sent = waiting, cost_ns, 0, 0

    def questions(self, end: Any, most: int) -> Iterator[tuple[bytes, list[bytes], Role]]:
        """Those that are there."""
        for _ in range(min(most, self.waiting)):
            self.waiting -= 1
            yield b"peer", [Request(1, "epochs").encode()], Role.SUBSCRIBE

    def readers(self) -> list[Any]:
        """What the history looks into, which takes its time."""
        self.now_ns += self.cost_ns
        raise WireError("no reader")

    def send(self, frame: bytes, flags: int) -> None:
        """An answer's frame."""
        self.sent += flags == zmq.NOBLOCK


@pytest.mark.parametrize(
    ("cost_ns", "taken"),
    [(0, sockets.QUESTIONS_A_ROUND), (sockets.ANSWERING_NS // 5, 5), (20 * sockets.ANSWERING_NS, 1)],
)
def test_a_round_of_answers_ends_after_its_time(ledger: Ledger, cost_ns: int, taken: int) -> None:
    """The live feed has its turn after some milliseconds, however many questions wait and however long each takes."""
    asked = Asked(100, cost_ns)
    history = History(asked.readers, ledger, dict)
    part = SocketsPart(cast(Endpoints, asked), ledger, history, Refusals(), lambda: asked.now_ns)
    part._answer_questions(cast(Any, asked), 0)
    assert (100 - asked.waiting, asked.sent) == (taken, taken)
