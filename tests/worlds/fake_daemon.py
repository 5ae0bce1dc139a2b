"""A daemon reduced to its two sockets, in this process: it publishes what it is told to and answers from memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from neuralpower_wire import (
    STATUS,
    Batch,
    Channel,
    Epoch,
    Kind,
    ReadingState,
    Record,
    encode,
    records_to_batch,
    tick_dtype,
    ticks_to_batch,
)
from neuralpower_wire.address import HISTORY, LIVE, Address, endpoint
from neuralpower_wire.history import MAX_RECORDS, MAX_TICKS, Reply, Request

PERIOD_NS = 1_000_000
T0_NS = 1_000_000_000
STREAM, JOURNAL_STREAM = b"T" * 16, b"J" * 16
CHANNELS = (
    Channel("VDD_IN", "bus_uv", "ina", 1, lsb=8000),
    Channel("VDD_IN", "shunt_uv", "ina", 1, shunt_uohm=5000, lsb=40),
)


def epoch(number: int = 1, first_index: int = 0, t0_ns: int = T0_NS) -> Epoch:
    """An epoch of one rail at 1 kHz."""
    return Epoch(
        number,
        first_index,
        PERIOD_NS,
        t0_ns,
        "sim",
        True,
        "virtual",
        CHANNELS,
        totals=("VDD_IN",),
        freshness="known",
        fresh_rate_hz=800.0,
    )


def ticks(first: int, count: int, slot: int | None = None, number: int = 1) -> Any:
    """Ticks of 5 V and 1 A, each 50 µs late; `slot` is that of the first, by default its index."""
    made = np.zeros(count, tick_dtype(2))
    made["index"] = first + np.arange(count)
    made["commit"] = made["index"] + 1
    made["slot"] = (first if slot is None else slot) + np.arange(count)
    made["t_ns"] = T0_NS + made["slot"].astype(np.int64) * PERIOD_NS + 50_000
    made["epoch"], made["n"] = number, 2
    made["readings"]["value"] = [5_000_000, 5_000]
    made["readings"]["end_ns"] = 1000
    made["readings"]["state"] = ReadingState.FRESH
    return made


def inference(seq: int, engine: str = "abc", t_ns: int = T0_NS) -> Record:
    """An inference of two layers."""
    body = {"session": b"S" * 16, "seq": seq, "engine": engine, "begin_ns": t_ns, "end_ns": t_ns + 10_000}
    return Record(Kind.INFERENCE, t_ns + 20_000, {**body, "durations_ns": np.array([3072, 4096])})


def engine(hash: str = "abc") -> Record:
    """The description of that engine."""
    body = {"hash": hash, "name": "net", "inspector": {"Layers": []}, "layers": ["a", "b"], "simulated": True}
    return Record(Kind.ENGINE, T0_NS, body)


@dataclass
class FakeDaemon:
    """Holds both logs; `stop` and a new one with the same logs is a restart. Use as a context manager.

    `publish` says whether entries added also go out live, `delay_s` how long an answer takes;
    `asked` is what it was asked.
    """

    run: Path
    stream: bytes = STREAM
    ticks: list[Any] = field(default_factory=list)
    journal: list[Record] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=lambda: [epoch()])
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    oldest_tick: int = 0
    marks: list[tuple[str, str]] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    delay_s: float = 0.0
    clock: Callable[[], int] | None = None
    """The device's CLOCK_MONOTONIC, simulated; without one it knows no such question."""

    def __enter__(self) -> FakeDaemon:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub, self._router = self._context.socket(zmq.PUB), self._context.socket(zmq.ROUTER)
        address = Address.parse(self.run)
        for socket, name in ((self._pub, LIVE), (self._router, HISTORY)):
            socket.setsockopt(zmq.LINGER, 0)
            address.file(name).unlink(missing_ok=True)
            socket.bind(endpoint(address.file(name)))
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._pub.close()
        self._router.close()
        self._context.term()

    def add_ticks(self, made: Any, publish: bool = True) -> None:
        """Append ticks to the ring, and publish them."""
        with self._lock:
            self.ticks.extend(made[i : i + 1] for i in range(len(made)))
            if publish:
                self._send(ticks_to_batch(self.stream, made))

    def add_records(self, records: list[Record], publish: bool = True) -> None:
        """Append records to the journal, and publish them."""
        with self._lock:
            first = len(self.journal)
            self.journal.extend(records)
            if publish:
                self._send(records_to_batch(JOURNAL_STREAM, first, records))

    def beat(self) -> None:
        """Publish a status."""
        with self._lock:
            self._send(Batch(STATUS, {"status": {"ok": True}}, {}))

    def publish(self, frames: list[bytes]) -> None:
        """Publish what need not be a message."""
        self._pub.send_multipart(frames)

    def _send(self, batch: Batch) -> None:
        self.publish(encode(batch))

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if self._router.poll(20):
                peer, frame = self._router.recv_multipart()
                self._stopping.wait(self.delay_s)
                with self._lock:
                    self.asked.append(Request.decode(frame))
                    reply = self._answer(self.asked[-1])
                self._router.send_multipart([peer, *reply.encode()])

    def _answer(self, request: Request) -> Reply:
        if request.do == "ticks":
            return self._log(request, self.stream, self.oldest_tick, len(self.ticks), MAX_TICKS)
        if request.do == "journal":
            return self._log(request, JOURNAL_STREAM, 0, len(self.journal), MAX_RECORDS)
        if request.do == "epochs":
            return Reply(request.id, stream=self.stream, body={"epochs": [each.to_dict() for each in self.epochs]})
        if request.do == "engine":
            found = self.engines.get(request.hash)
            return Reply(request.id, body=found) if found else Reply(request.id, error="no such engine")
        if request.do == "clock":
            if self.clock is None:
                return Reply(request.id, error="no question 'clock'")
            return Reply(request.id, stream=self.stream, body={"monotonic_ns": self.clock()})
        if request.do == "mark":
            self.marks.append((request.name, request.text))
        return Reply(request.id, body={"ok": True})

    def _log(self, request: Request, stream: bytes, oldest: int, end: int, most: int) -> Reply:
        if request.stream not in (None, stream):
            return Reply(request.id, error="no such stream", stream=stream)
        first = max(request.first, oldest)
        last = min(request.first + min(request.count, most), end)
        batch = None
        if last > first and request.do == "ticks":
            run = np.concatenate(self.ticks[first:last])
            run = run[: int(np.argmax(run["epoch"] != run["epoch"][0])) or len(run)]  # a batch is of one epoch
            batch = ticks_to_batch(stream, run)
        elif last > first:
            batch = records_to_batch(stream, first, self.journal[first:last])
        return Reply(request.id, stream=stream, oldest=oldest, next=end, batch=batch)
