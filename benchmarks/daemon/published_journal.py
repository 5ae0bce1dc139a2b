"""The process that part (r) records: a daemon's two sockets over a journal that it made up. Told `again`, it publishes it anew."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import zmq

from neuralpower_wire import Engine, Inference, PackedRecord, encode, records_to_batch
from neuralpower_wire.address import Address
from neuralpower_wire.history import MAX_RECORDS, Reply, Request

from .recorder import LAYERS, PER_MESSAGE, PER_S

TICKS, JOURNAL = b"T" * 16, b"J" * 16
SETTLE_S = 0.3
"""After a subscription, and after the last answer of the history, until the journal goes out: who asked has then heard."""

AGAIN_MS = 500
"""The last message is repeated, as a daemon goes on publishing: who missed the end finds out."""
PORTION, PORTION_S = 10, 0.005
"""A minute's messages go out in about a second: faster than a recorder has to be, slow enough that none is dropped."""


def made(inferences: int) -> list[PackedRecord]:
    """An engine, and inferences of it whose durations differ as measured ones do."""
    names = [f"layer {number}" for number in range(LAYERS)]
    engine = Engine("e" * 64, "bench", {"Layers": names}, names, True)
    records = [PackedRecord(engine.kind, 1, engine.packed)]
    draw, period_ns = np.random.default_rng(1), 1_000_000_000 // PER_S
    usual_ns = draw.integers(5_000, 60_000, LAYERS)
    for seq in range(inferences):
        begin = 1_000_000_000 + seq * period_ns
        durations = np.rint(usual_ns * draw.normal(1, 0.02, LAYERS)).astype("<i8")
        body = Inference(bytes(16), seq, engine.hash, begin, begin + period_ns - 1000, durations)
        records.append(PackedRecord(body.kind, begin + period_ns, body.packed))
    return records


def serve(folder: Path, records: list[PackedRecord]) -> None:
    """Until standard input ends."""
    cuts = range(0, len(records), PER_MESSAGE)
    messages = [encode(records_to_batch(JOURNAL, first, records[first : first + PER_MESSAGE])) for first in cuts]
    with zmq.Context() as context:
        live, history = context.socket(zmq.XPUB), context.socket(zmq.ROUTER)
        live.setsockopt(zmq.SNDHWM, 0)
        live.setsockopt(zmq.XPUB_VERBOSE, 1)  # the subscriber before may not have been missed yet
        address = Address.parse(folder)
        live.bind(address.live)
        history.bind(address.history)
        poller = zmq.Poller()
        for end in (live, history, sys.stdin.fileno()):
            poller.register(end, zmq.POLLIN)
        print(json.dumps(len(records)), flush=True)
        wanted, due, published = False, float("inf"), False
        while True:
            ready = dict(poller.poll(AGAIN_MS if published else 50))
            if published and not ready:
                live.send_multipart(messages[-1])
            if sys.stdin.fileno() in ready:
                if not sys.stdin.readline():
                    break
                wanted, due, published = True, float("inf"), False
                print(json.dumps(len(records)), flush=True)
            if live in ready and live.recv()[:1] == b"\1":
                due = time.monotonic() + SETTLE_S
            if history in ready:
                peer, frame = history.recv_multipart()
                history.send_multipart([peer, *_answer(Request.decode(frame), records).encode()])
                due = time.monotonic() + SETTLE_S
            if wanted and time.monotonic() >= due:
                wanted, due, published = False, float("inf"), True
                for number, frames in enumerate(messages):
                    live.send_multipart(frames)
                    if number % PORTION == PORTION - 1:
                        time.sleep(PORTION_S)
        live.close(0)
        history.close(0)


def _answer(request: Request, records: list[PackedRecord]) -> Reply:
    if request.do == "ticks":
        return Reply(request.id, stream=TICKS)
    if request.do != "journal":
        return Reply(request.id, error="not here")
    # To who joins, the journal is empty: all of it comes live. What was missed on the way is asked for, and is there.
    found = records[request.first : request.first + min(request.count, MAX_RECORDS)]
    batch = records_to_batch(JOURNAL, request.first, found) if found else None
    return Reply(request.id, stream=JOURNAL, next=request.first + len(found), batch=batch)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), made(int(sys.argv[2])))
