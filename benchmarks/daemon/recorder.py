"""(r) A minute of journal from the socket to Parquet, by the recorder and straight into columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import zmq

from neuralpower import parquet
from neuralpower.console import progress
from neuralpower.recordings.files.segments import ZSTD_LEVEL
from neuralpower.recordings.recorder import Summary, record
from neuralpower_wire import INFERENCES, decode
from neuralpower_wire.address import Address

from ..machine import MEMORY, ROOT, Missing
from ..report import Result
from ..statistics import Bar, Form, Metrics, interleave

MINUTES = 1.5
WITHIN = Bar(3.0)
PER_S, LAYERS, PER_MESSAGE = 400, 60, 20
"""The heaviest that is promised: 400 inferences a second of 60 layers, in batches of 50 ms."""
PATIENCE_S = 60.0


def run(form: Form) -> Result:
    """Each round records the same minute with the recorder, and takes its frames straight into columns, twice."""
    rounds, seconds = form.count(2, 10), round(form.pick(10, 60))
    with ExitStack() as stack:
        daemon = stack.enter_context(Published(seconds * PER_S))
        sides = {
            "ours": lambda: _recorded(daemon),
            "reference": lambda: _in_columns(daemon),
            "control": lambda: _in_columns(daemon),
        }
        advance = stack.enter_context(progress("r: the recorder", rounds))
        measured = interleave(sides, rounds, advance)
    title = f"{seconds * PER_S} inferences of {LAYERS} layers"
    note = "CPU time of the whole process from the socket to the Parquet file; the publisher is a process of its own"
    return Result(measured.row(title, "cpu", "s", bar=WITHIN), [note])


class Published:
    """A process with a daemon's two sockets, which holds a journal and publishes it to whoever subscribes; a context."""

    def __init__(self, inferences: int) -> None:
        self.inferences = inferences

    def __enter__(self) -> Published:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="npbench"))
        command = [sys.executable, "-m", "benchmarks.daemon.published_journal", str(self.folder), str(self.inferences)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.records = self._heard()
        return self

    def begin(self) -> None:
        """Publish the journal anew, once somebody subscribed and, if a history is asked for, was answered."""
        assert self._process.stdin
        print("again", file=self._process.stdin, flush=True)
        self._heard()

    def _heard(self) -> int:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Missing("the publisher ended: its reason is above")
        return int(json.loads(line))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()


def _recorded(daemon: Published) -> Metrics:
    """By the recorder as users run it, to the end of its files."""
    stop = threading.Event()

    def seen(summary: Summary) -> None:
        if summary.records >= daemon.records:
            stop.set()

    daemon.begin()
    patience = threading.Timer(PATIENCE_S, stop.set)
    patience.start()
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="npbench") as folder:
        begin = time.process_time()
        found = record(daemon.folder, os.path.join(folder, "rec"), on_progress=seen, stop=stop)
        took = time.process_time() - begin
    patience.cancel()
    if found.records != daemon.records or found.records_lost:
        raise Missing(f"the recorder took {found.records} of {daemon.records} records; the machine is too busy")
    return {"cpu": took}


def _in_columns(daemon: Published) -> Metrics:
    """The least that it takes: frames into columns as they come, and all of these into one Parquet file at the end."""
    parts: list[dict[str, np.ndarray]] = []
    records = 0
    daemon.begin()
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="npbench") as folder, zmq.Context() as context:
        begin = time.process_time()
        with context.socket(zmq.SUB) as live:
            live.setsockopt(zmq.RCVHWM, 0)
            live.connect(Address.parse(daemon.folder).live)
            live.subscribe(INFERENCES)
            while records < daemon.records:
                if not live.poll(round(PATIENCE_S * 1000)):
                    raise Missing(f"{records} of {daemon.records} records came in {PATIENCE_S:.0f} s")
                parts.append(decode(live.recv_multipart()).columns)
                records += len(parts[-1]["kind"])
        columns = {name: np.concatenate([part[name] for part in parts]) for name in ("kind", "t_ns", "length", "body")}
        ends = np.concatenate([[0], np.cumsum(columns["length"])]).astype(np.int32)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(columns["body"])]
        body = pa.BinaryArray.from_buffers(pa.binary(), records, buffers)
        index = np.arange(records, dtype="<u8")
        table = pa.table({"index": index, "t_ns": columns["t_ns"], "kind": columns["kind"], "body": body})
        packed = parquet.pack(table, compression_level=ZSTD_LEVEL, use_dictionary=False)
        Path(folder, "journal.parquet").write_bytes(packed)
        return {"cpu": time.process_time() - begin}
