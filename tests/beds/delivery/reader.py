"""A client as a process: everything that it is given, and told lost, goes into a file at once, whatever then happens to it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower.errors import Failure
from neuralpower.subscriber.client import Client
from neuralpower.subscriber.messages import Ended, Lost, Message, Records, Ticks
from neuralpower_wire import PackedRecords

from .account import Entries, record_prints, summed, tick_prints

CATCH_UP_S, STATUS_S = 60.0, 1.5


def read(address: str, account: str, past: float | bool | None, pace_hz: float | None, network: str) -> None:
    """Be a client until SIGTERM; then take what is missing up to that moment, and end.

    pace_hz: ticks a second that it takes, for one that cannot keep up. network: a namespace to live in, or nothing.
    """
    if network:
        _enter(network)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.open(account, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with Client(address, past=past) as client:
        while not stopping:
            messages = client.poll(0.2)
            _write(out, client, messages)
            if pace_hz:
                _wait(sum(len(each) for each in messages if isinstance(each, Ticks)) / pace_hz, stopping)
        try:
            for messages in client.catch_up(CATCH_UP_S):
                _write(out, client, messages)
        except Failure as failure:
            _say(out, {"what": "failed", "why": str(failure)})
    _say(out, {"what": "end"})


def _wait(seconds: float, stopping: list[int]) -> None:
    until = time.monotonic() + seconds
    while not stopping and time.monotonic() < until:
        time.sleep(min(0.1, max(0.0, until - time.monotonic())))


def _write(out: int, client: Client, messages: Iterable[Message]) -> None:
    for message in messages:
        if isinstance(message, Ticks):
            ticks = message.ticks
            index = ticks["index"].astype(np.int64)
            assert np.array_equal(index, message.first + np.arange(len(index))), "ticks that are not consecutive"
            _deliver(out, "ticks", message.stream, message.first, len(ticks), summed(tick_prints(ticks)))
        elif isinstance(message, Records):
            packed = PackedRecords.of(message.records)
            rows = [packed.packed(at) for at in range(len(packed))]
            prints = record_prints(message.first, [each.kind for each in rows], [each.body for each in rows])
            _deliver(out, "journal", message.stream, message.first, len(rows), summed(prints))
        elif isinstance(message, Lost):
            held = _held(client, message.log)
            told = {"log": message.log, "stream": message.stream.hex(), "first": message.first, "count": message.count}
            _say(out, {"what": "lost", **told, "why": message.why, **held})
        elif isinstance(message, Ended):
            _say(out, {"what": "ended", "why": str(message)})


def _held(client: Client, log: str) -> dict[str, Any]:
    """What the daemon holds of this log a moment after the loss, where it answers: a status is up to a second old."""
    time.sleep(STATUS_S)
    try:
        told = client.status()[log]
    except (Failure, KeyError):
        return {}
    return {"oldest": told["oldest"], "next": told["next"]}


def _deliver(out: int, log: str, stream: bytes, first: int, count: int, prints: int) -> None:
    _say(out, {"what": "got", "log": log, "stream": stream.hex(), "first": first, "count": count, "prints": prints})


def _say(out: int, line: dict[str, Any]) -> None:
    os.write(out, json.dumps(line).encode() + b"\n")


def _enter(network: str) -> None:
    """Live in a network namespace from now on."""
    descriptor = os.open(f"/run/netns/{network}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {network}")
    os.close(descriptor)


class Said:
    """What a reader wrote."""

    def __init__(self, path: Path) -> None:
        self.entries: dict[tuple[str, str], Entries] = {}
        """By log and stream."""
        self.within_retention = 0
        """Entries that were reported lost although the daemon still held them."""
        self.ended = False
        self.failures: list[str] = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                self._take(json.loads(line))
            except json.JSONDecodeError:  # killed in the middle of a line, the last one
                continue

    def _take(self, said: dict[str, Any]) -> None:
        what = said["what"]
        if what == "end":
            self.ended = True
        elif what in ("failed", "ended"):
            self.failures.append(said["why"])
        else:
            entries = self.entries.setdefault((said["log"], said["stream"]), Entries())
            stop = said["first"] + said["count"]
            if what == "got":
                entries.delivered.append((said["first"], stop, said["prints"]))
            else:
                entries.lost.append((said["first"], stop))
                self.within_retention += max(0, stop - max(said["first"], said.get("oldest", stop)))
