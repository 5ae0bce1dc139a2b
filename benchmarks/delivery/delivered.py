"""(w) Ticks delivered to one client: how many a second, what a million cost, and how late they are, locally and over TCP with CURVE.

Beside msgpack maps over the same sockets, the process before them included: one in a message, and a hundred in one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import zmq

from neuralpower.console import progress
from neuralpower_wire.address import Address
from neuralpower_wire.history import MAX_TICKS
from neuralpowerd.live.keys import allow, make_keys

from ..daemon.board import Daemon
from ..machine import MEMORY, ROOT, Missing
from ..report import Result
from ..statistics import Bar, Form, Metrics, Row, compare, interleave
from .published_ticks import TAKEN

MINUTES = 5.0
TIMES, MILLION_TICKS = Bar(5.0, at_least=True), Bar(1.0, at_least=True)
CLIENT_S = 180.0
HOST = "127.0.0.1"
WAYS = {"local": False, "CURVE": True}
"""How a client comes: by a local socket, or by TCP, which the daemon has with CURVE only."""
SIDES = {
    "columns": ("columns", MAX_TICKS, 6_000_000),
    "columns of 100": ("columns", 100, 1_000_000),
    "columns of 50": ("columns", 50, 500_000),
    "maps of 100": ("maps", 100, 400_000),
    "maps of 100 again": ("maps", 100, 400_000),
    "maps": ("maps", 1, 200_000),
}
"""Form, ticks of a message, and how many are sent. 4096 are what the daemon's feed reads at a time where so many are new; 50 are its
default batch at 1 kHz."""
LATE = ("all_p50", "all_p99", "newest_p50", "newest_p99")
BATCHES_MS = (50, 5)


def run(form: Form) -> Result:
    """Each round publishes in every form to a client of its own, both ways; then a daemon at work says how late ticks are."""
    fronts: list[str] = []
    rounds, share, seconds = form.count(2, 7), form.pick(0.1, 1.0), form.pick(4, 30)
    rows: list[Row] = []
    for way, encrypted in WAYS.items():
        with Published(encrypted) as published, progress(f"w: {way}", rounds) as advance:
            sides: dict[str, Callable[[], Metrics]] = {
                name: partial(published.delivered, side, per_message, round(share * count))
                for name, (side, per_message, count) in SIDES.items()
            }
            measured = interleave(sides, rounds, advance)
        fronts += [
            f"{way} {name} {np.median(measured.values[name]['front']):.2f}" for name in ("columns", "maps of 100")
        ]
        rows += _rows(way, measured.values, rounds)
        rows += measured.row(f"{way}: columns / maps of 100", "rate", "kHz", ours="columns", reference="maps of 100", control="maps of 100 again", bar=TIMES)  # fmt: skip
        for ours, reference in (("columns of 100", "maps of 100"), ("columns", "maps")):
            rows += measured.row(
                f"{way}: {ours} / {reference}", "rate", "kHz", ours=ours, reference=reference, control=""
            )
        for ours, reference in (("columns", "maps of 100"), ("columns of 50", "maps of 100"), ("columns", "maps")):
            title = f"{way}: CPU of a million ticks, {ours} / {reference}"
            rows += measured.row(title, "cpu", "s", ours=ours, reference=reference, control="")
    for batch_ms in BATCHES_MS:
        rows += _late(batch_ms, seconds)
    notes = [
        "simulated readings, three rails of two each; columns by neuralpower.Client with its checks, maps by msgpack and a check of the index; "
        "over the daemon's own sockets, so that both pass through the process before them",
        f"CPU is that of all three processes; of it the process before the sockets takes: {', '.join(fronts)} s",
        "a million ticks a second is the bar of the rows that say so",
        f"late: from a tick of a daemon at 1 kHz, over {seconds:.0f} s, until the client has it; a tick waits for its batch, which has 12 ticks at least, and the newest of a batch does not",
    ]
    return Result(rows, notes)


def _rows(way: str, values: dict[str, dict[str, list[float]]], rounds: int) -> list[Row]:
    """Beside a million a second."""
    whole = [1000.0] * rounds
    return [
        compare(f"{way}: columns / a million a second", values["columns"]["rate"], whole, "kHz", MILLION_TICKS),
        *(
            compare(f"{way}: {name} / a million a second", values[name]["rate"], whole, "kHz")
            for name in ("columns of 100", "columns of 50")
        ),
    ]


class Published:
    """A process with a daemon's sockets that publishes ticks in any form; a context."""

    def __init__(self, encrypted: bool) -> None:
        self._encrypted = encrypted

    def __enter__(self) -> Published:
        self._folder = folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="npbench"))
        np.zeros(1, TAKEN).tofile(folder / "taken")
        words = [sys.executable, "-m", "benchmarks.delivery.published_ticks", str(folder)]
        self._address, self._environment = str(Address(str(folder))), dict(os.environ)
        if self._encrypted:
            port = two_ports()
            self._environment |= client_keys(folder)
            self._address = str(Address(host=HOST, port=port))
            words.append(str(port))
        self._process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._heard()
        return self

    def _heard(self) -> dict[str, float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Missing("the publisher ended: its reason is above")
        answer: dict[str, float] = json.loads(line)
        return answer

    def delivered(self, side: str, per_message: int, count: int) -> Metrics:
        """Thousands of ticks a second, and seconds of processor time of a million, by a client that comes for it."""
        assert self._process.stdin
        print(json.dumps([side, count, per_message]), file=self._process.stdin, flush=True)
        client = _client([self._address, side, str(self._folder / "taken")], self._environment)
        took = self._heard()
        cpu = took["cpu"] + took["front"] + client["cpu"]
        front = took["front"] / count * 1e6
        return {"rate": count / took["wall"] / 1e3, "cpu": cpu / count * 1e6, "front": front}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder)


def _client(words: list[str], environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.delivery.received_ticks", *words]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=CLIENT_S)
    except subprocess.TimeoutExpired:
        raise Missing(f"the client did not end within {CLIENT_S:.0f} s: the machine is too busy") from None
    if done.returncode:
        raise Missing(f"the client ended: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def two_ports() -> int:
    """A free port whose next one is free, too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind((HOST, 0))
            port: int = first.getsockname()[1]
            try:
                second.bind((HOST, port + 1))
                return port
            except OSError:
                continue


def client_keys(folder: Path) -> dict[str, str]:
    """Keys of a server in `folder/keys` and of a client that it lets in; what the client's environment needs."""
    mine, (public, secret) = folder / "client", zmq.curve_keypair()
    mine.mkdir()
    (mine / "client.secret").write_bytes(secret)
    (mine / f"{HOST}.public").write_text(make_keys(folder / "keys"))
    allow(folder / "keys", public.decode(), "bench")
    return {"NEURALPOWER_KEYS": str(mine)}


def _late(batch_ms: int, seconds: float) -> list[Row]:
    """Milliseconds from tick to client, with CURVE beside without."""
    port = two_ports()
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="npbench") as name:
        environment = {**os.environ, **client_keys(Path(name))}
        tcp = f'[tcp]\nbind = "{HOST}:{port}"\nkeys_dir = "{name}/keys"'
        with Daemon(batch_ms=batch_ms, more=tcp) as daemon:
            local = _client([daemon.address, "latency", str(seconds)], environment)
            far = _client([str(Address(host=HOST, port=port)), "latency", str(seconds)], environment)
    return [
        compare(
            f"late, batch_ms = {batch_ms}, {each.replace('_', ' ticks, ' if each[0] == 'a' else ' of a batch, ')}: CURVE / local",
            [far[each]],
            [local[each]],
            "ms",
        )
        for each in LATE
    ]
