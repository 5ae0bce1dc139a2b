"""Mutated messages at each socket of a running daemon: it answers, samples and grows no further, whatever comes.

    python -m tests.fuzz.sockets --messages 1000000 [--seed N]

Sound messages are cut, mixed, lengthened and their bytes changed, some within sound frames and some with the frames themselves; a
connection that the daemon ends is made anew. Prints, for each socket, how many went out and how fast, how many ticks a second were
taken meanwhile beside those of a quiet second before, what the daemon and its process before the sockets hold, and ends with status 1
where the daemon ended, does not answer, took less than `LEAST` of the ticks, or holds more than `MOST_BYTES` more than before.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zmq
from tests.worlds.bare_zmtp import greeted, message

from neuralpower_wire import encode
from neuralpower_wire.history import QUESTIONS, Reply, Request
from neuralpower_wire.link import Engine, Hello, Inference

LEAST = 0.9
"""Of the ticks of the quiet second."""
MOST_BYTES = 100 << 20
AT_ONCE = 25
"""Messages between two looks at what came back."""
PATIENCE_S = 60.0
CONFIG = "history_seconds = 30\n[journal]\nmebibytes = 8\n"


def sound(name: str) -> list[list[bytes]]:
    """Messages of this socket as they ought to be."""
    if name == "live":
        return [[b"\x01" + topic] for topic in (b"", b"rails", b"status", b"inferences")] + [[b"\x00rails"]]
    if name == "history":
        return [
            [Request(n, do, first=n, count=9, hash="e", name="m", text="t").encode()] for n, do in enumerate(QUESTIONS)
        ]
    session, now = bytes(16), time.monotonic_ns()
    run = Inference(session, 1, "e", now - 2000, now - 1000, np.array([400, 500]))
    engine = Engine("e", "net", {"Layers": [{"Name": "a"}]}, ["a", "b"], True)
    return [encode(each.batch()) for each in (Hello(session, 1, "p"), run, engine)]


def mutated(draw: random.Random, all_sound: list[list[bytes]]) -> bytes:
    """One message as it may come, framed."""
    frames = list(draw.choice(all_sound))
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(len(frames))
        body, choice = bytearray(frames[at]), draw.randrange(8)
        if choice < 4 and body:
            body[draw.randrange(len(body))] = draw.randrange(256)
        elif choice == 4:
            del body[draw.randrange(len(body) + 1) :]
        elif choice == 5:
            body += draw.randbytes(draw.randint(1, 200))
        elif choice == 6 and len(frames) < 40:
            frames.insert(at, draw.choice(draw.choice(all_sound)))
            continue
        elif len(frames) > 1:
            del frames[at]
            continue
        frames[at] = bytes(body)
    whole = message(frames)
    if draw.random() < 0.02:  # the framing itself
        broken = bytearray(whole)
        broken[draw.randrange(len(broken))] = draw.randrange(256)
        return bytes(broken)
    return whole


def besiege(folder: Path, name: str, count: int, draw: random.Random) -> int:
    """Send `count` messages; returns how often the connection was ended."""
    all_sound, kind = sound(name), b"SUB" if name == "live" else b"DEALER"
    end: socket.socket | None = None
    sent, cut, since = 0, 0, 0.0
    while sent < count:
        if end is None:
            try:
                end = greeted(folder, name, kind)
            except OSError:  # refused for a moment; for longer the daemon is gone
                since = since or time.monotonic()
                assert time.monotonic() - since < PATIENCE_S, "no connection: the daemon is gone"
                time.sleep(0.01)
                continue
            since = 0.0
        part = min(AT_ONCE, count - sent)
        try:
            end.sendall(b"".join(mutated(draw, all_sound) for _ in range(part)))
            sent += part
            end.setblocking(False)
            while end.recv(1 << 16):
                pass
            raise ConnectionError
        except BlockingIOError:
            end.settimeout(2.0)
        except OSError:  # what was under way counts: it was sent
            cut += 1
            sent += part
            end.close()
            end = None
    if end is not None:
        end.close()
    return cut


class Besieged:
    """A daemon on the simulated chip, in its own folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="np"))
        (self.folder / "d.toml").write_text(f'source = "sim"\nruntime_dir = "{self.folder}"\n{CONFIG}')
        command = [sys.executable, "-m", "neuralpowerd", "run", "--config", str(self.folder / "d.toml")]
        self.log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(command, stderr=self.log)
        self.context = zmq.Context()

    def next_index(self) -> int:
        """The index of the next tick. AssertionError where the daemon does not answer."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with self.context.socket(zmq.DEALER) as end:
                end.linger = 0
                end.connect(f"ipc://{self.folder}/history.ipc")
                end.send(Request(1, "ticks").encode())
                if end.poll(2000):
                    return Reply.decode(end.recv_multipart()).next
        raise AssertionError(f"no answer; the daemon's status is {self.process.poll()}")

    def rate(self, meanwhile: Callable[[], object]) -> float:
        """Ticks a second while something is done."""
        first, begin = self.next_index(), time.monotonic()
        meanwhile()
        return (self.next_index() - first) / (time.monotonic() - begin)

    def held_bytes(self) -> int:
        """Memory of the daemon and of the process before its sockets, without ring and libraries."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sum(_anonymous(Path(f"/proc/{each}/status")) for each in [self.process.pid, *children])

    def close(self) -> str:
        """End it; what it logged."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        self.log.close()
        self.context.destroy(linger=0)
        logged = (self.folder / "log").read_text(errors="replace")
        shutil.rmtree(self.folder)
        return logged


def _anonymous(status: Path) -> int:
    lines = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def main() -> int:
    """Besiege each socket in turn; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="to each socket (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}; source sim, 1 kHz, 3 rails")
    besieged, draw, failed = Besieged(), random.Random(seed), False
    try:
        besieged.next_index()
        quiet = besieged.rate(lambda: time.sleep(3.0))
        print(f"quiet: {quiet:.1f} ticks/s, {besieged.held_bytes() / 2**20:.0f} MiB")
        for name in ("live", "history", "inferences"):
            before, begin, cut = besieged.held_bytes(), time.monotonic(), 0

            def attack(name: str = name) -> None:
                nonlocal cut
                cut = besiege(besieged.folder, name, args.messages, draw)

            rate, seconds = besieged.rate(attack), time.monotonic() - begin
            grown = besieged.held_bytes() - before
            bad = rate < LEAST * quiet or grown > MOST_BYTES
            failed |= bad
            print(
                f"{name}: {args.messages} messages in {seconds:.0f} s, {cut} times cut; {rate:.1f} ticks/s; "
                f"{grown / 2**20:+.0f} MiB{'  <- not well' if bad else ''}",
                flush=True,
            )
    except AssertionError as error:
        print(error)
        failed = True
    finally:
        logged = besieged.close()
    if besieged.process.returncode or "Traceback" in logged:
        print(f"the daemon ended with {besieged.process.returncode}: {logged[-2000:]}")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
