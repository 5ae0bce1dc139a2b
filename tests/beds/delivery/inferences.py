"""A process that infers, as its profiler sees it: so many a second, through whatever happens to the daemon."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from neuralpower.profiler.link import Link
from neuralpower_wire.link import Engine, Hello, Inference

LAYERS = 20
LAST_S = 30.0
"""At the end what is under way is acknowledged within this, a restart of the daemon included."""


def infer(address: str, rate_hz: float, result: str) -> None:
    """Infer until SIGTERM, then write what became of all: the session, and the profiler's own counts."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    names = [f"layer {n}" for n in range(LAYERS)]
    engine = Engine("d" * 64, "delivery", {"Layers": [{"Name": name} for name in names]}, names, True)
    session = os.urandom(16)
    link = Link(address, Hello(session, os.getpid(), "delivery"))
    link.add_engine(engine)
    seq, begin = 0, time.monotonic()
    durations = np.full(LAYERS, 10_000, np.int64)
    while not stopping:
        due = int((time.monotonic() - begin) * rate_hz)
        while seq < due and not stopping:
            end_ns = time.monotonic_ns()
            link.offer(Inference(session, seq, engine.hash, end_ns - LAYERS * 10_000, end_ns, durations))
            seq += 1
            time.sleep(LAYERS * 11_000e-9)  # the next begins after this one's end
        link.poll()
        time.sleep(min(0.005, 1 / rate_hz))
    link.close(LAST_S)
    Path(result).write_text(json.dumps({"session": session.hex(), "last": link.last_refusal, **asdict(link.counts)}))
