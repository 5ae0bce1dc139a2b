"""(p) What the profiler adds to an inference of 60 layers in the process that runs it: CPU time, and instructions by callgrind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import zmq

from neuralpower.console import progress
from neuralpower_wire import decode, encode
from neuralpower_wire.address import Address
from neuralpower_wire.link import HELLO, INFERENCE, INITIAL_CREDIT, Credit, Inference

from ..machine import OUT, ROOT, Missing, tool
from ..report import Result
from ..statistics import Form, Metrics, Row, compare, interleave
from .profiled_loop import SIDES, WARM_UP

MINUTES = 3.0
PACES = {"back to back": (3000, 0.0), "400 a second": (800, 0.0025)}
"""Inferences and the pause between them. Back to back the daemon's credit is used up and the profiler also keeps what waits."""
FEW, MANY = 100, 400
"""Inferences of the two runs under callgrind whose difference is counted: what starting Python takes is in both."""


class StandInDaemon(threading.Thread):
    """Takes every inference and acknowledges it, a round of messages at a time, as neuralpowerd does."""

    def __init__(self, folder: str) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.bind(Address.parse(folder).inferences)

    def run(self) -> None:
        """Until told to stop."""
        while not self._done.is_set():
            if self._socket.poll(50):
                self._round()
        self._socket.close(0)

    def _round(self) -> None:
        owed: dict[bytes, tuple[int, int]] = {}
        while self._socket.poll(0):
            peer, *frames = self._socket.recv_multipart()
            batch = decode(frames)
            if batch.topic == HELLO:
                self._socket.send_multipart([peer, *encode(Credit(INITIAL_CREDIT, -1).batch())])
            elif batch.topic == INFERENCE:
                owed[peer] = owed.get(peer, (0, 0))[0] + 1, Inference.of(batch).seq
        for peer, (grant, upto) in owed.items():
            self._socket.send_multipart([peer, *encode(Credit(grant, upto).batch())])

    def stop(self) -> None:
        """End it."""
        self._done.set()
        self.join()


@contextmanager
def daemon() -> Iterator[str]:
    """A folder with a daemon's inference socket in it."""
    with tempfile.TemporaryDirectory(prefix="np") as folder:
        thread = StandInDaemon(folder)
        thread.start()
        try:
            yield folder
        finally:
            thread.stop()


def run(form: Form) -> Result:
    """CPU time of an inference with the profiler, and of one without, beside a burst of callbacks that do nothing."""
    result, rounds = Result(), form.count(2, 15)
    with daemon() as folder, progress("p: the profiler's cost", rounds * len(PACES)) as advance:
        for number, (pace, (count, pause_s)) in enumerate(PACES.items()):

            def side(name: str, count: int = count, pause_s: float = pause_s) -> Metrics:
                return _run(name, count, pause_s, folder)

            def tell(done: float, note: str, before: int = number * rounds) -> None:
                advance(before + done, note)

            found = interleave({name: partial(side, name) for name in SIDES}, rounds, tell)
            for name in SIDES[:2]:
                for what, metric in (("CPU of the process", "cpu_us"), ("of its own thread", "thread_us")):
                    title = f"{name}, {pace}: {what}"
                    result.rows += found.row(title, metric, "µs", ours=name, reference="bare", control="")
        result.notes.append(
            "reference: the same burst of 60 calls into a callback that does nothing; a thread of another process takes and acknowledges them"
        )
        try:
            result.rows += _instructions(folder)
        except Missing as reason:
            result.notes.append(f"instructions not counted: {reason}")
    return result


def _run(side: str, count: int, pause_s: float, folder: str) -> Metrics:
    done = subprocess.run(_command(side, count, pause_s, folder), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"the loop ended with status {done.returncode}: {done.stderr.strip()[-400:]}")
    told = json.loads(done.stdout)
    if side != "bare" and pause_s and told["acknowledged"] != count + WARM_UP:
        raise Missing(f"the daemon took {told['acknowledged']} of {count + WARM_UP} inferences")
    return {"cpu_us": told["cpu_ns"] / 1e3, "thread_us": told["thread_ns"] / 1e3}


def _command(side: str, count: int, pause_s: float, folder: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.profiler.profiled_loop", side, str(count), str(pause_s), folder]


def _instructions(folder: str) -> list[Row]:
    counted = {side: _count(side, folder) for side in SIDES}
    title = "instructions, all threads"
    return [compare(f"{name}: {title}", [counted[name]], [counted["bare"]], "instructions") for name in SIDES[:2]]


def _count(side: str, folder: str) -> float:
    """Instructions of an inference, all threads of the process: the difference of two runs under callgrind."""
    valgrind, found = tool("valgrind", "valgrind"), []
    OUT.mkdir(parents=True, exist_ok=True)
    for count in (FEW, MANY):
        options = ["--tool=callgrind", f"--callgrind-out-file={OUT}/profiler-{side}.callgrind"]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        command = [valgrind, *options, *_command(side, count, 0.0, folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
        told = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not told:
            raise Missing(f"callgrind failed with status {done.returncode}: {done.stderr.strip()[-400:]}")
        found.append(int(told[1]))
    return (found[1] - found[0]) / (MANY - FEW)
