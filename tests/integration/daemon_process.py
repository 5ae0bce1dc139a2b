"""A real daemon as a process for a test, and the clients' ends of its sockets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from tests.patience import PATIENCE_S, until

from neuralpower_wire import Batch, Kind, Record, batch_to_records, batch_to_ticks, decode, encode
from neuralpower_wire.history import Reply, Request
from neuralpower_wire.link import Credit, Hello, Inference

SMALL = "history_seconds = 30\n[realtime]\npriority = 0\n[journal]\nmebibytes = 2\n"
SESSION = bytes(range(16))


class Daemon:
    """A daemon in its own folder, and the clients' ends of its sockets."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="np"))
        self.file = self.folder / "d.toml"
        self.configure("")
        self.process: subprocess.Popen[str] | None = None
        self.environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        self.context = zmq.Context()
        self.ends: list[zmq.Socket[bytes]] = []
        self.identity = 0

    def configure(self, text: str, *, tables: str = SMALL) -> None:
        """Write the configuration: `text` before the tables that keep the daemon small."""
        self.file.write_text(f'source = "sim"\nruntime_dir = "{self.folder}"\n{text}\n{tables}')

    def start(self) -> Daemon:
        """Start it and wait until its history answers."""
        self.spawn()
        self.until(lambda: (self.folder / "history.ipc").exists() and self.ask("ticks").next > 0)
        return self

    def spawn(self) -> subprocess.Popen[str]:
        """Start it and wait for nothing."""
        command = [sys.executable, "-m", "neuralpowerd", "run", "--config", str(self.file)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self.environment)
        return self.process

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; returns exit status and what was logged."""
        assert self.process is not None
        self.process.send_signal(number)
        _, logged = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, logged

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)
        if self.process is not None and self.process.stderr is not None:
            self.process.stderr.close()
        for end in self.ends:
            end.close(0)
        self.context.destroy(linger=0)
        shutil.rmtree(self.folder)

    def connect(self, kind: int, name: str) -> zmq.Socket[bytes]:
        """A client's socket, closed with the daemon at the latest."""
        end: zmq.Socket[bytes] = self.context.socket(kind)
        self.ends = [*(each for each in self.ends if not each.closed), end]
        end.linger = 0
        if kind == zmq.SUB:
            end.subscribe(b"")
        end.connect(f"ipc://{self.folder}/{name}.ipc")
        return end

    def ask(self, do: str, **more: Any) -> Reply:
        """One question to the history; a daemon that does not answer is asked again."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with self.connect(zmq.DEALER, "history") as end:
                self.identity += 1
                end.send(Request(self.identity, do, **more).encode())
                if end.poll(500):
                    reply = Reply.decode(end.recv_multipart())
                    assert reply.id == self.identity
                    return reply
        raise AssertionError("no answer")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that must come while the daemon lives."""

        def came() -> bool:
            if condition():
                return True
            assert self.process is not None and self.process.poll() is None, self.process.communicate()[1]
            return False

        until(came, every_s=0.025)

    def records(self, kind: Kind) -> list[Record]:
        """What the journal holds of a kind."""
        found, first = [], 0
        while True:
            reply = self.ask("journal", first=first, count=1000)
            if reply.batch is None:
                return [record for record in found if record.kind is kind]
            _, start, records = batch_to_records(reply.batch)
            first = start + len(records)
            found += records

    def events(self) -> list[str]:
        """The names of the events."""
        return [record.body["name"] for record in self.records(Kind.EVENT)]

    def ticks(self, first: int, count: int) -> Any:
        """Ticks of the newest stream, all of them."""
        parts = []
        while count > 0:
            reply = self.ask("ticks", first=first, count=count)
            assert reply.lost == 0 and not reply.error
            if reply.batch is None:
                break
            parts.append(batch_to_ticks(reply.batch)[1])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)


def receive(end: zmq.Socket[bytes], seconds: float) -> Iterator[Batch]:
    """What arrives in this time."""
    last = time.monotonic() + seconds
    while (left := last - time.monotonic()) > 0:
        if end.poll(left * 1000):
            yield decode(end.recv_multipart())


class Process:
    """An inference process, by hand."""

    def __init__(self, daemon: Daemon, session: bytes = SESSION) -> None:
        self.session = session
        self.end = daemon.connect(zmq.DEALER, "inferences")

    def say(self, batch: Batch) -> None:
        self.end.send_multipart(encode(batch))

    def hear(self, topic: bytes) -> Batch:
        """The next message of the topic."""
        for batch in receive(self.end, PATIENCE_S):
            if batch.topic == topic:
                return batch
        raise AssertionError(f"no {topic!r}")

    def hello(self) -> Credit:
        self.say(Hello(self.session, os.getpid(), "a test").batch())
        return Credit.of(self.hear(b"credit"))

    def infer_many(self, count: int) -> None:
        """So many inferences of 20 ms, one after the other, the last one until now."""
        length_ns = 20_000_000
        begin_ns = time.monotonic_ns() - count * length_ns
        for seq in range(count):
            self.infer(seq, begin_ns + seq * length_ns, begin_ns + (seq + 1) * length_ns)

    def infer(self, seq: int, begin_ns: int, end_ns: int, layers: tuple[int, ...] = (10_000_000, 5_000_000)) -> None:
        self.say(Inference(self.session, seq, "e1", begin_ns, end_ns, np.array(layers)).batch())
