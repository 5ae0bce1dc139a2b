"""The daemon as a user runs it, on a board of text files, with its clients: what parts (d), (l) and (m) measure."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zmq

from neuralpower_sampler import RingReader
from neuralpower_wire import Batch, Epoch, Ticks, decode, encode
from neuralpower_wire.address import HISTORY, INFERENCES, LIVE, Address, endpoint
from neuralpower_wire.batch import unpack
from neuralpower_wire.history import Reply, Request
from neuralpower_wire.link import CREDIT, DESCRIBE, REFUSED, Credit, Engine, Hello, Inference

from ..machine import MEMORY, ROOT, Missing, process_cpu_ns

FIXTURE = ROOT / "tests" / "fixtures" / "boards" / "orin_nx.txt"
"""Three rails, voltage and shunt voltage of each: six files a tick."""
LAYERS = 24
ASK_EVERY_S = 0.5
SERVED = 0.9
"""Share of a window's ticks that a subscriber has seen by its end: the rest is under way."""


class NotServed(Missing):
    """The daemon neglected its clients while it was measured: it would look cheaper than it is."""


def make_board(root: Path) -> None:
    """Lay the board's sysfs out under `root`: lines `path = content` and `path -> target`."""
    for line in FIXTURE.read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        path, sign, content = line.partition(" -> ") if " -> " in line else line.partition(" = ")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if sign == " -> ":
            (root / path).symlink_to(content)
        else:
            text = content.replace("\\0", "\0")
            (root / path).write_text(text if "\0" in text else text + "\n")


class Daemon:
    """A daemon with its defaults but for `batch_ms`, at 1 kHz on the board; a context in which it runs, with its clients connected.

    `source`: lines of configuration that name another source than the board. `more`: further tables of it.
    """

    def __init__(
        self,
        batch_ms: int | None = None,
        inferences_per_s: int = 0,
        layers: int = LAYERS,
        source: str = "",
        more: str = "",
    ) -> None:
        self._batch_ms, self._rate, self._layers, self._source = batch_ms, inferences_per_s, layers, source
        self._more = more

    def __enter__(self) -> Daemon:
        self._folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="npbench"))
        try:
            make_board(self._folder / "board")
            self._process = self._start()
            self.pid = self._process.pid
            self._ring = self._wait_for_ring()
            self.clients = Clients(self._folder, self._rate, self._layers)
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def _start(self) -> subprocess.Popen[str]:
        board = f'source = "hwmon"\nsysfs_root = "{self._folder}/board"'
        lines = [f'runtime_dir = "{self._folder}"', self._source or board]
        lines += ["[publish]", f"batch_ms = {self._batch_ms}"] if self._batch_ms else []
        lines.append(self._more)
        config = self._folder / "daemon.toml"
        config.write_text("\n".join(lines) + "\n")
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        command = [sys.executable, "-m", "neuralpowerd", "run", "--config", str(config)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    def _wait_for_ring(self) -> RingReader:
        path = self._folder / "ticks.ring"
        for _ in range(400):
            if self._process.poll() is not None:
                raise Missing(f"the daemon ended: {self._process.communicate()[1].strip()}")
            if path.exists() and Address(str(self._folder)).file(HISTORY).exists():
                reader = RingReader(path)
                if reader.next_index > 0:
                    return reader
                reader.close()
            time.sleep(0.025)
        self._process.kill()
        raise Missing("the daemon took no tick in 10 s")

    def ticks(self, first: int) -> tuple[Epoch, Ticks]:
        """All ticks from index `first` on, and their epoch."""
        got = self._ring.read(first, self._ring.next_index - first)
        return Epoch.from_dict(unpack(self._ring.epochs()[-1][2])), got.ticks

    @property
    def address(self) -> str:
        """Where its local sockets are."""
        return str(Address(str(self._folder)))

    @property
    def next_index(self) -> int:
        """Of the tick that comes next."""
        return self._ring.next_index

    def cpu_per_tick_us(self, seconds: float) -> float:
        """CPU time of the whole process over `seconds`, per tick; NotServed where its clients went short."""
        asked, seen, accepted = self.clients.answers, self.clients.ticks, self.clients.accepted
        ticks, cpu_ns = -self._ring.next_index, -process_cpu_ns(self.pid)
        time.sleep(seconds)
        ticks, cpu_ns = ticks + self._ring.next_index, cpu_ns + process_cpu_ns(self.pid)
        self._expect_service(self.clients.answers - asked, self.clients.ticks - seen, ticks)
        accepted, wanted = self.clients.accepted - accepted, self._rate * seconds
        if accepted < SERVED * wanted:
            raise NotServed(f"the daemon took {accepted} of {wanted:.0f} inferences")
        return cpu_ns / ticks / 1e3

    def _expect_service(self, answers: int, published: int, ticks: int) -> None:
        if answers and published >= SERVED * ticks:
            return
        raise NotServed(f"the daemon did not serve its clients: {answers} answers, {published} of {ticks} ticks")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clients.close()
        self._ring.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        shutil.rmtree(self._folder)


class Clients(threading.Thread):
    """A subscriber to everything, a question to the history each second and, if asked for, an inference process."""

    def __init__(self, folder: Path, inferences_per_s: int, layers: int) -> None:
        super().__init__(daemon=True)
        self.ticks = self.answers = self.inferences = self.refused = 0
        self._folder, self._rate, self._layers = folder, inferences_per_s, layers
        self._ending = threading.Event()
        self._session, self._credit, self._seq, self._ended_ns = os.urandom(16), 0, 0, 0
        self.start()

    def close(self) -> None:
        """End the thread."""
        self._ending.set()
        self.join()

    def run(self) -> None:
        """Serve the sockets until told to end."""
        with zmq.Context() as context:
            live, history, link = (
                self._connect(context, kind, name)
                for kind, name in ((zmq.SUB, LIVE), (zmq.DEALER, HISTORY), (zmq.DEALER, INFERENCES))
            )
            live.subscribe(b"")
            if self._rate:
                _say(link, Hello(self._session, os.getpid(), "bench").batch())
            self._serve(live, history, link)
            for end in (live, history, link):
                end.close(linger=0)

    def _connect(self, context: zmq.Context[zmq.Socket[bytes]], kind: int, name: str) -> zmq.Socket[bytes]:
        end = context.socket(kind)
        end.connect(endpoint(Address(str(self._folder)).file(name)))
        return end

    def _serve(self, live: zmq.Socket[bytes], history: zmq.Socket[bytes], link: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        for end in (live, history, link):
            poller.register(end, zmq.POLLIN)
        next_question = next_inference = time.monotonic()
        while not self._ending.is_set():
            due = min(next_question, next_inference) if self._rate else next_question
            ready = dict(poller.poll(max(0, min(100, int((due - time.monotonic()) * 1000)))))
            if live in ready:
                self._take_live(live.recv_multipart())
            if history in ready:
                self.answers += not Reply.decode(history.recv_multipart()).error
            if link in ready:
                self._take_link(link)
            now = time.monotonic()
            if now >= next_question:
                next_question += ASK_EVERY_S
                history.send(Request(1, "status").encode())
            if self._rate and now >= next_inference:
                next_inference = max(next_inference + 1 / self._rate, now - 0.1)
                self._infer(link)

    @property
    def accepted(self) -> int:
        """Inferences that were sent and not refused."""
        return self.inferences - self.refused

    def _take_live(self, frames: list[bytes]) -> None:
        if frames[0] == b"rails":
            self.ticks += int(decode(frames).header["count"])

    def _take_link(self, link: zmq.Socket[bytes]) -> None:
        batch = decode(link.recv_multipart())
        if batch.topic == CREDIT:
            self._credit += Credit.of(batch).grant
        elif batch.topic == REFUSED:
            self.refused += 1
        elif batch.topic == DESCRIBE:
            names = [f"layer {number}" for number in range(self._layers)]
            _say(link, Engine("bench", "bench", {"Layers": names}, names, True).batch())

    def _infer(self, link: zmq.Socket[bytes]) -> None:
        if not self._credit:
            return
        end_ns = time.monotonic_ns()
        begin_ns, self._ended_ns = (
            max(self._ended_ns, end_ns - 1_000_000),
            end_ns,
        )  # one at a time, when catching up too
        durations = np.full(self._layers, (end_ns - begin_ns) * 9 // 10 // self._layers)
        _say(link, Inference(self._session, self._seq, "bench", begin_ns, end_ns, durations).batch())
        self._seq, self._credit, self.inferences = self._seq + 1, self._credit - 1, self.inferences + 1


def _say(end: zmq.Socket[bytes], batch: Batch) -> None:
    end.send_multipart(encode(batch))


def memory_bytes(pid: int) -> dict[str, int]:
    """Where a process's resident memory lies: "anonymous", "logs" (ring and journal), "files" (code), by proportional share."""
    parts: dict[str, int] = {"anonymous": 0, "logs": 0, "files": 0}
    kind = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            kind = _kind_of(words)
        elif words[0] == "Pss:":
            parts[kind] += int(words[1]) * 1024
    return parts


def _kind_of(mapping: list[Any]) -> str:
    name = mapping[5] if len(mapping) > 5 else ""
    if name.endswith(".ring"):
        return "logs"
    return "files" if name.startswith("/") and mapping[1][1] == "-" else "anonymous"
