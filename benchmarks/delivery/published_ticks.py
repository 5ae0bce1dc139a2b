"""The process that publishes for part (w): the daemon's own sockets, front process included, over a ring that is read again and again.

    python -m benchmarks.delivery.published_ticks FOLDER [PORT]

Each line of standard input is a form, a number of ticks, and ticks of a message; each is answered by what it took. Where there is a
port, clients whose keys are allowed in `FOLDER/keys` come over TCP with CURVE. How far the client is stands in the file `FOLDER/taken`,
so that no more is under way than the sockets keep: the rate is what the slowest on the way keeps up with, and nothing is dropped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from neuralpower_sampler import Ring, RingReader
from neuralpower_wire import RAILS, Channel, Epoch, Ticks, tick_dtype, ticks_to_batch, ticks_to_frames
from neuralpower_wire.batch import pack, unpack
from neuralpower_wire.history import Reply, Request
from neuralpowerd.config import Config, PublishTable, TcpTable
from neuralpowerd.live.endpoints import Endpoints, send

from ..machine import PERIOD_NS, process_cpu_ns

RAILS_READ = ("VDD_IN", "VDD_CPU", "VDD_GPU")
WIDTH = 2 * len(RAILS_READ)
HELD = 32_768
"""Ticks of the ring, read in turns: 6 MB, which no cache of a core holds."""
UNDER_WAY, UNDER_WAY_BYTES, LEAST_UNDER_WAY = 500, 8 << 20, 4
"""Messages that the client has not taken yet: half of what a socket keeps, and no more of large ones than a socket's buffers like."""
AT_A_TIME = 100
"""Ticks read from the ring at a time, at least."""
LOOK_EVERY = 32
"""Messages between two looks at what the client has taken, and at who asks."""
TAKEN = np.dtype([("next", "<i8"), ("end", "<i8")])
"""What the file `taken` holds: the index that the client wants next, 0 before it has any, and the one that this run ends before, 0 until it is known."""
PATIENCE_S = 30.0


def epoch() -> Epoch:
    """Bus and shunt voltage of three rails."""
    channels = tuple(
        Channel(rail, quantity, "ina", 1, shunt_uohm=5000, lsb=lsb)
        for rail in RAILS_READ
        for quantity, lsb in (("bus_uv", 8000), ("shunt_uv", 40))
    )
    return Epoch(1, 0, PERIOD_NS, 0, "sim", True, "made for a benchmark", channels, totals=("VDD_IN",))


def filled(path: Path) -> RingReader:
    """A ring as the sampler leaves it, with values that change, and a reader of it."""
    draw = np.random.default_rng(16)
    with Ring.create(path, WIDTH, PERIOD_NS, 2 * HELD * PERIOD_NS * 1e-9) as ring:
        number = ring.begin_epoch(pack(epoch().to_dict()))
        readings = np.zeros((HELD, WIDTH), tick_dtype(WIDTH)["readings"].base)
        readings["value"] = draw.integers(0, 20_000, (HELD, WIDTH)) * 40
        readings["begin_ns"] = np.arange(WIDTH) * 105_000 + draw.integers(0, 5000, (HELD, WIDTH))
        readings["end_ns"] = readings["begin_ns"] + draw.integers(100_000, 105_000, (HELD, WIDTH)).astype(np.uint32)
        for slot in range(HELD):
            ring.append(slot, slot * PERIOD_NS, number, readings[slot])
    return RingReader(path)


class Publisher:
    """The sockets, the ring, and who reads. `next` is the index that the next tick gets; the ring's own go on behind its end."""

    def __init__(self, folder: Path, port: int) -> None:
        keys = TcpTable(bind=f"127.0.0.1:{port}" if port else "", keys_dir=str(folder / "keys"))
        self._endpoints = Endpoints(Config(runtime_dir=str(folder), publish=PublishTable(), tcp=keys))
        self._live = self._endpoints.live[-1]
        self._history = self._endpoints.history[-1]
        self._front = int(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()[0])
        self._reader = filled(folder / "ticks.ring")
        self._taken = np.memmap(folder / "taken", TAKEN, "r+", shape=1)
        self._next, self._sent = 1, 0

    def portion(self, first: int, most: int) -> Ticks:
        """Up to `most` ticks from index `first` on, all from one place of the ring."""
        lap, at = divmod(first, HELD)
        ticks = self._reader.read(at, min(most, HELD - at)).ticks
        ticks["index"] += np.uint64(lap * HELD)
        return ticks

    def run(self, form: str, count: int, per_message: int) -> dict[str, float]:
        """Publish `count` ticks, once the client has taken a first one."""
        messages, front = FORMS[form], self._front
        deadline_s = time.monotonic() + PATIENCE_S
        self._taken["next"] = self._taken["end"] = 0
        while not self._taken["next"][0]:
            if time.monotonic() > deadline_s:
                raise SystemExit("no client came")
            self._put(messages(self.portion(self._next, 1), 1))
            for _ in range(20):
                self._attend()
                time.sleep(0.001)
        self._taken["end"] = end = self._next + count
        begin_ns, cpu_ns, front_ns = time.monotonic_ns(), time.process_time_ns(), process_cpu_ns(front)
        first = self._next
        while self._next < end:
            # Maps of one tick each are read and taken apart a hundred at a time, too.
            self._put(
                messages(self.portion(self._next, min(max(per_message, AT_A_TIME), end - self._next)), per_message)
            )
        while self._taken["next"][0] < end and time.monotonic() < deadline_s + PATIENCE_S:
            self._attend()
            time.sleep(0.0005)
        if self._taken["next"][0] < end:
            raise SystemExit(f"the client has {self._taken['next'][0] - first} of {count} ticks")
        wall_ns, cpu_ns = time.monotonic_ns() - begin_ns, time.process_time_ns() - cpu_ns
        return {"wall": wall_ns * 1e-9, "cpu": cpu_ns * 1e-9, "front": (process_cpu_ns(front) - front_ns) * 1e-9}

    def _put(self, messages: Iterator[tuple[list[bytes], int]]) -> None:
        for frames, ticks in messages:
            send(self._live, frames)
            self._next += ticks
            self._sent += 1
            if self._sent % LOOK_EVERY == 0 or ticks > AT_A_TIME:
                self._attend()
                self._wait(sum(map(len, frames)), ticks)

    def _wait(self, size: int, ticks: int) -> None:
        """Until the client has taken enough."""
        most = min(UNDER_WAY, max(LEAST_UNDER_WAY, UNDER_WAY_BYTES // size)) * ticks
        deadline_s = time.monotonic() + PATIENCE_S
        while self._taken["end"][0] and self._next - self._taken["next"][0] > most:
            if time.monotonic() > deadline_s:
                raise SystemExit(f"the client wants tick {self._taken['next'][0]}, and {self._next} comes next")
            self._attend()  # it may be asking for what it missed
            time.sleep(0.0002)

    def _attend(self) -> None:
        """Let clients in, and answer what they ask."""
        self._endpoints.attend()
        for peer, frames, _ in self._endpoints.questions(self._history, 8):
            send(self._history, [peer, *self._answer(Request.decode(frames[0])).encode()])

    def _answer(self, asked: Request) -> Reply:
        stream = self._reader.stream
        if asked.do == "epochs":
            epochs = [unpack(document) for _, _, document in self._reader.epochs()]
            return Reply(asked.id, stream=stream, body={"stream": stream, "epochs": epochs})
        if asked.do != "ticks":
            return Reply(asked.id, error="not here")
        most = min(asked.count, self._next - asked.first, 4096)
        batch = ticks_to_batch(stream, self.portion(asked.first, most)) if most > 0 else None
        return Reply(asked.id, stream=stream, next=self._next, batch=batch)

    def close(self) -> None:
        """Let the sockets go."""
        self._endpoints.close()

    def columns(self, ticks: Ticks, per_message: int) -> Iterator[tuple[list[bytes], int]]:
        """As the daemon sends them."""
        for at in range(0, len(ticks), per_message):
            part = ticks[at : at + per_message]
            yield ticks_to_frames(self._reader.stream, part), len(part)


def maps_of(ticks: Ticks) -> list[dict[str, Any]]:
    """A map for each tick, of plain numbers: what columns say, and as little more as maps can."""
    readings = ticks["readings"]
    names = ("value", "begin_ns", "end_ns", "state", "error")
    words = zip(*(ticks[name].tolist() for name in ("index", "slot", "t_ns", "epoch")), strict=True)
    values = zip(*(readings[name].tolist() for name in names), strict=True)
    return [
        {
            "index": index,
            "slot": slot,
            "t_ns": t_ns,
            "epoch": epoch,
            "value": value,
            "begin_ns": begin_ns,
            "end_ns": end_ns,
            "state": state,
            "error": error,
        }
        for (index, slot, t_ns, epoch), (value, begin_ns, end_ns, state, error) in zip(words, values, strict=True)
    ]


def maps(ticks: Ticks, per_message: int) -> Iterator[tuple[list[bytes], int]]:
    """msgpack, a map for a message or a list of them."""
    for at in range(0, len(ticks), per_message):
        found = maps_of(ticks[at : at + per_message])
        yield [RAILS, msgpack.packb(found if per_message > 1 else found[0])], len(found)


FORMS: dict[str, Callable[[Ticks, int], Iterator[tuple[list[bytes], int]]]] = {"maps": maps}


def main() -> None:
    """Serve until standard input ends."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    publisher = Publisher(folder, port)
    FORMS["columns"] = publisher.columns
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        form, count, per_message = json.loads(line)
        print(json.dumps(publisher.run(form, count, per_message)), flush=True)
    publisher.close()


if __name__ == "__main__":
    main()
