"""How long a client waits for its answer while others ask for the largest ones there are.

    python -m tests.beds.delivery.held_up [--greedy 4] [--seconds 10]

A simulated daemon whose journal is full of inferences of an engine of 8192 layers. One client asks for the status and listens, first alone and
then beside `--greedy` others that ask for all of the journal, four questions at a time each, and for nothing else. Prints, of both, how long
an answer took (p50, p99, max) and how far apart live batches of ticks came. Fails on nothing: the figures are for people.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zmq

from neuralpower.profiler.link import Link
from neuralpower_wire import decode
from neuralpower_wire.address import Address
from neuralpower_wire.history import Reply, Request
from neuralpower_wire.link import Engine, Hello, Inference

from .chaos import CONTEXT, Daemon, Plan
from .network import until

LAYERS, RECORDS, FULL_S = 8192, 900, 120.0
UNDER_WAY = 4


def greedy(folder: str) -> None:
    """Ask for all of the journal, again and again, until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    with zmq.Context() as context, context.socket(zmq.DEALER) as end:
        end.linger = 0
        end.connect(Address.parse(folder).history)
        first = 0
        for _ in range(UNDER_WAY):
            end.send(Request(1, "journal", first=first, count=1024).encode())
        while not stopping:
            if not end.poll(200):
                continue
            frames = end.recv_multipart()
            reply = Reply.decode(frames[:1])
            count = decode(frames[1:]).header["count"] if len(frames) > 1 else 0
            first = max(first, reply.oldest) + count if first + count < reply.next else 0
            end.send(Request(1, "journal", first=first, count=1024).encode())


def wait_and_hear(address: Address, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of each answer, and between live batches of ticks."""
    answers, between = [], []
    with zmq.Context() as context, context.socket(zmq.DEALER) as end, context.socket(zmq.SUB) as live:
        end.linger = live.linger = 0
        live.subscribe(b"rails")
        end.connect(address.history)
        live.connect(address.live)
        live.poll(10_000)
        until_s, heard_s, asked_s = time.monotonic() + seconds, 0.0, 0.0
        poller = zmq.Poller()
        poller.register(end, zmq.POLLIN)
        poller.register(live, zmq.POLLIN)
        while time.monotonic() < until_s:
            if not asked_s:
                asked_s = time.monotonic()
                end.send(Request(2, "status").encode())
            ready = dict(poller.poll(1000))
            now_s = time.monotonic()
            if live in ready:
                live.recv_multipart()
                if heard_s:
                    between.append(1e3 * (now_s - heard_s))
                heard_s = now_s
            if end in ready:
                end.recv_multipart()
                answers.append(1e3 * (now_s - asked_s))
                asked_s = 0.0
                time.sleep(0.002)
    return answers, between


def fill(address: str) -> None:
    """Journal as many inferences of the largest engine as there is room for."""
    names = [f"layer {number}" for number in range(LAYERS)]
    engine = Engine("e" * 64, "largest", {"Layers": []}, names, True)
    session, durations = os.urandom(16), np.full(LAYERS, 10, np.int64)
    link = Link(address, Hello(session, os.getpid(), "held up"))
    link.add_engine(engine)
    for seq in range(RECORDS):
        end_ns = time.monotonic_ns()
        link.offer(Inference(session, seq, engine.hash, end_ns - 90_000, end_ns, durations))
        until(lambda: link.poll() or link.pending < 128, FULL_S, "inferences are taken")
    until(lambda: link.poll() or not link.pending, FULL_S, "all inferences are taken")
    link.close()


def told(name: str, answers: list[float], between: list[float]) -> str:
    """A line of figures."""
    p50, p99 = np.quantile(answers, [0.5, 0.99])
    b50, b99 = np.quantile(between, [0.5, 0.99])
    return (
        f"{name}: {len(answers)} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(answers):.1f} ms; "
        f"live batches {b50:.0f} ms apart, p99 {b99:.0f} ms, max {max(between):.0f} ms"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--greedy", type=int, default=4, metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="N")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="npd"))
    daemon = Daemon(folder, Plan.drawn(60.0, 1, 0), None)
    crowd = []
    try:
        daemon.status()
        address = Address.parse(daemon.address)
        fill(daemon.address)
        print(told("alone", *wait_and_hear(address, args.seconds)), flush=True)
        crowd = [CONTEXT.Process(target=greedy, args=(daemon.address,)) for _ in range(args.greedy)]
        for each in crowd:
            each.start()
        time.sleep(2.0)
        print(told(f"beside {args.greedy} greedy ones", *wait_and_hear(address, args.seconds)), flush=True)
    finally:
        for each in crowd:
            each.kill()
            each.join()
        daemon.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    os.environ.pop("NOTIFY_SOCKET", None)
    sys.exit(main())
