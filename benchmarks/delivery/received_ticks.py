"""The client of part (w), in a process of its own: takes what is published in one form, and tells what it took.

    python -m benchmarks.delivery.received_ticks ADDRESS FORM TAKEN           until all of a run is there; or
    python -m benchmarks.delivery.received_ticks ADDRESS latency SECONDS      of a daemon at work

Columns come through the client that users have, `neuralpower.Client`, with its checks and its history. Maps are taken from the same
sockets, unpacked, and their indices checked. Prints a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq

from neuralpower import Client
from neuralpower.address import parse
from neuralpower.subscriber.asking import configure
from neuralpower.subscriber.client import RECEIVE_HIGH_WATER
from neuralpower.subscriber.keys import keys_for
from neuralpower_wire import RAILS

from .published_ticks import TAKEN

PATIENCE_S = 30.0
TELL_EVERY = 32
"""Messages of one tick between two words to the publisher."""


class Taken:
    """How far the client is, in a file that the publisher reads."""

    def __init__(self, path: Path) -> None:
        self._told = np.memmap(path, TAKEN, "r+", shape=1)

    def tell(self, following: int) -> int:
        """The client wants this index next; returns the one that the run ends before, 0 while it is not known."""
        self._told["next"] = following
        return int(self._told["end"][0])


def columns(address: str, taken: Taken) -> dict[str, Any]:
    """By the client that users have."""
    cpu, following = 0.0, 0
    with Client(address, topics=["rails"]) as client:
        for batch in client.rails():
            if batch.first != following and following:
                raise SystemExit(f"tick {batch.first} came after {following - 1}")
            cpu, following = cpu or time.process_time(), batch.first + len(batch)
            if 0 < taken.tell(following) <= following:
                break
    return {"cpu": time.process_time() - cpu}


def maps(address: str, taken: Taken) -> dict[str, Any]:
    """From the same socket, without a history: a gap ends the run."""
    cpu, following, messages, end, found = 0.0, 0, 0, 0, parse(address)
    with zmq.Context() as context, context.socket(zmq.SUB) as live:
        configure(live, keys_for(found))
        live.setsockopt(zmq.RCVHWM, RECEIVE_HIGH_WATER)
        live.setsockopt(zmq.SUBSCRIBE, RAILS)
        live.setsockopt(zmq.RCVTIMEO, round(PATIENCE_S * 1000))
        live.connect(found.live)
        while not 0 < end <= following:
            body = msgpack.unpackb(live.recv_multipart()[1])
            for each in body if isinstance(body, list) else (body,):
                if each["index"] != following and following:
                    raise SystemExit(f"tick {each['index']} came after {following - 1}")
                following = each["index"] + 1
            cpu, messages = cpu or time.process_time(), messages + 1
            if isinstance(body, list) or messages % TELL_EVERY == 0 or following >= end:
                end = taken.tell(following)
    return {"cpu": time.process_time() - cpu}


def latency(address: str, seconds: float) -> dict[str, Any]:
    """Milliseconds from a tick to its client, of all ticks and of the newest of each message, over so many seconds."""
    every, newest = [], []
    with Client(address, topics=["rails"]) as client:
        begin = None
        for batch in client.rails():
            now_ns = time.monotonic_ns()
            begin = begin or now_ns
            late = (now_ns - batch.ticks["t_ns"]) / 1e6
            if now_ns - begin > 1e9:  # what came while it joined is not the live way
                every.append(late)
                newest.append(late[-1])
            if now_ns - begin > (seconds + 1) * 1e9:
                break
    told = {"all": np.concatenate(every), "newest": np.array(newest)}
    return {f"{name}_p{share}": float(np.percentile(late, share)) for name, late in told.items() for share in (50, 99)}


def main() -> None:
    """Take it, and say what it took."""
    address, form, last = sys.argv[1:4]
    if form == "latency":
        told = latency(address, float(last))
    else:
        told = (columns if form == "columns" else maps)(address, Taken(Path(last)))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
