"""What happens, when, to whom: drawn from a seed beforehand, then done."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from neuralpower.errors import Failure
from neuralpower.recordings.files import layout
from neuralpower.recordings.files.wal import HEADER
from neuralpower.subscriber.client import Client

from .held import Held, held_now
from .inferences import infer
from .network import Cable, Relay, end, free_port, network, until
from .reader import STATUS_S, read

PATIENCE_S = 120.0
"""A busy machine stands still for seconds; nothing waits so long where all is well."""
TICK_HZ, RATE_HZ, SLOW = 1000.0, 400.0, 0.01
LONG_S = 120.0
"""From this length on cuts and stops are as long as they are meant to be; of a shorter run the daemon holds all."""
CONFIG = """source = "sim"
period_us = 1000
runtime_dir = "{folder}"
history_seconds = {seconds}
[journal]
mebibytes = {mebibytes}
[estimates]
enabled = false
[tcp]
bind = "*:{port}"
keys_dir = "{keys}"
"""
CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Plan:
    """When what happens, in seconds from the beginning."""

    length_s: float
    history_s: int
    mebibytes: int
    steps: list[tuple[float, str, float]]
    """(when, what, how long): `kill`, `kill daemon`, `cut`, `stop`, `join`."""
    seed: int

    @classmethod
    def drawn(cls, length_s: float, seed: int, daemon_kills: int | None, cuts: bool = True) -> Plan:
        """Of this length: for ten minutes 100 kills of clients, 20 of the daemon, six cuts of 1 to 60 s, a stop of 30 s, 50 that join."""
        draw, scale, long = random.Random(seed), length_s / 600, length_s >= LONG_S
        most_cut_s, stop_s = (60.0, 30.0) if long else (length_s / 12, length_s / 8)
        steps = []
        last_s = length_s * 0.9
        for what, count in (
            ("kill", round(100 * scale)),
            ("kill daemon", round(20 * scale) if daemon_kills is None else daemon_kills),
            ("join", round(50 * scale)),
        ):
            steps += [(draw.uniform(0.05 * length_s, last_s), what, draw.uniform(1.0, 10.0)) for _ in range(count)]
        times = max(1, round(6 * scale)) if cuts else 0
        for number in range(times):
            cut_s = most_cut_s if number == 0 else draw.uniform(1.0, most_cut_s)
            steps.append((length_s * (0.1 + 0.75 * number / times), "cut", min(cut_s, 0.7 * length_s / times)))
        steps.append((draw.uniform(0.1, 0.5) * length_s, "stop", stop_s))
        # A journal that fills within minutes, where memory is to be watched with full logs; a cut of a minute takes 8 MiB of it.
        mebibytes = 32 if daemon_kills == 0 or not long else 96
        return cls(length_s, 300 if long else 120, mebibytes, sorted(steps), seed)

    def count(self, what: str) -> int:
        """How often it happens."""
        return sum(1 for _, each, _ in self.steps if each == what)

    @property
    def told(self) -> str:
        """In a line."""
        cuts = ", ".join(f"{each:.0f}" for _, what, each in self.steps if what == "cut")
        cut = f"the network cut for {cuts} s, " if cuts else ""
        return (
            f"seed {self.seed}, {self.length_s:.0f} s: {self.count('kill')} kills of clients, {self.count('kill daemon')} of the daemon, "
            f"{cut}a client stopped, one at {SLOW:.0%} speed, {self.count('join')} that join and leave"
        )


@dataclass
class Reader:
    """A client process, and the file of what it was given; killed, another one begins with another file."""

    name: str
    address: str
    past: float | bool | None
    network: str = ""
    pace_hz: float | None = None
    process: BaseProcess | None = None
    accounts: list[Path] = field(default_factory=list)
    killed: int = 0

    def start(self, folder: Path) -> None:
        """Begin a new session."""
        self.accounts.append(folder / f"{self.name}-{len(self.accounts)}.said")
        words = (self.address, str(self.accounts[-1]), self.past, self.pace_hz, self.network)
        self.process = CONTEXT.Process(target=read, args=words)
        self.process.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.is_alive()

    @property
    def ready(self) -> bool:
        """Whether it has met the daemon: it was given something, or told that it is lost."""
        return self.accounts[-1].exists() and self.accounts[-1].stat().st_size > 0

    def signal(self, number: int) -> None:
        """Send it one."""
        if self.process is not None and self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.join(PATIENCE_S)
            self.killed += 1

    def end(self) -> None:
        """Wait for its end, after a SIGTERM."""
        if self.process is not None:
            self.process.join(PATIENCE_S)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()


class Recorder:
    """`neuralpower record`, started again on its folder whenever it was killed."""

    def __init__(self, name: str, address: str, folder: Path, prefix: list[str]) -> None:
        self.name, self.folder, self.killed = name, folder / name, 0
        self._log = (folder / f"{name}.log").open("ab")
        self._read, self.within_retention = 0, 0
        """How far its log was read; entries that it reported lost although the daemon still held them."""
        self._command = [*prefix, sys.executable, "-m", "neuralpower.cli", "record", address, "-o", str(self.folder)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path) -> None:
        """Begin or go on. AssertionError where it had ended by itself."""
        assert self.process is None or self.process.poll() == -signal.SIGKILL, f"{self.name} ended by itself"
        self.process = subprocess.Popen([*self._command, "--past", "all"], stdout=self._log, stderr=self._log)

    def told_lost(self) -> list[tuple[str, int, int]]:
        """Log, first and last index of what it has told lost since the last call."""
        text = Path(self._log.name).read_bytes()
        new, self._read = text[self._read : text.rfind(b"\n") + 1], text.rfind(b"\n") + 1
        found = re.findall(rb"(ticks|journal): \d+ entries \((\d+) to (\d+)\) are lost", new)
        return [(log.decode(), int(first), int(last)) for log, first, last in found]

    def kill(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.killed += 1

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has met the daemon: it holds the lock of its folder, and something is in its log."""
        lock, logs = self.folder / layout.LOCK, layout.wals(self.folder)
        mine = self.process is not None and lock.exists() and lock.read_text().strip() == str(self.process.pid)
        return mine and len(logs) == 1 and logs[0][1].stat().st_size > HEADER.size

    def signal(self, number: int) -> None:
        """Send it one."""
        if self.process is not None:
            self.process.send_signal(number)

    def end(self) -> None:
        """Wait for its end, after a SIGTERM."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
        self._log.close()


class Daemon:
    """The one that the bed starts, or one that runs."""

    def __init__(self, folder: Path, plan: Plan, address: str | None) -> None:
        self.mine, self.kills = address is None, 0
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.address = address or f"ipc://{folder}/run"
        if address is None:
            self._log = (folder / "daemon.log").open("ab")
            self._file = folder / "d.toml"
            keys = folder / "keys"
            words = {"seconds": plan.history_s, "mebibytes": plan.mebibytes, "port": self.port, "keys": keys}
            self._file.write_text(CONFIG.format(folder=folder / "run", **words))
            self.command("keys")
            self.start()

    def command(self, *words: str) -> None:
        """A command of `neuralpowerd` with its configuration."""
        line = [sys.executable, "-m", "neuralpowerd", words[0], "--config", str(self._file), *words[1:]]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=self._log)

    def start(self) -> None:
        """Start it; waits for nothing."""
        command = [sys.executable, "-m", "neuralpowerd", "run", "--config", str(self._file)]
        self._process = subprocess.Popen(command, stderr=self._log)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        assert self._process.poll() is None, f"the daemon had ended by itself with {self._process.returncode}"
        self._process.kill()
        self._process.wait()
        self.kills += 1

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = {}

        def asked() -> bool:
            try:
                with Client(self.address) as client:
                    found.update(client.status())
            except Failure:
                return False
            return bool(found.get("ticks"))

        until(asked, PATIENCE_S, "a status of the daemon")
        return found

    def close(self) -> None:
        """End it, if it is ours."""
        if self._process is not None:
            end(self._process, PATIENCE_S)


class Bed:
    """Everybody, and the plan done to them."""

    def __init__(self, folder: Path, plan: Plan, address: str | None, relay: bool) -> None:
        self.folder, self.plan, self._relay = folder, plan, relay
        self._draw = random.Random(plan.seed + 1)
        CONTEXT.set_forkserver_preload(["tests.beds.delivery.reader", "tests.beds.delivery.inferences"])
        self.daemon = Daemon(folder, plan, address)
        self.net: Cable | Relay | None = None
        self.recorders: list[Recorder] = []
        self.readers: list[Reader] = []
        self.joined: list[Reader] = []
        self._infers: BaseProcess | None = None
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.held: list[Held] = []
        """What the daemon's processes hold, now and then."""
        self.ends: dict[str, tuple[str, int]] = {}
        """Log -> stream and index up to which everybody must have an account."""

    def run(self) -> None:
        """Begin, do the plan, and let everybody take what is missing and end."""
        first = self.daemon.status()
        self._people()
        begin = time.monotonic()
        every_s = max(min(30.0, self.plan.length_s / 10), self.plan.length_s / 240)
        hold_s = every_s
        for when, what, how_long in [*self.plan.steps, (self.plan.length_s, "", 0.0)]:
            while (now := time.monotonic() - begin) < when:
                self._do_later(now)
                self._hear_losses()
                if now > hold_s:
                    self._hold(now)
                    hold_s = now + every_s
                time.sleep(0.05)
            if what:
                self._do(what, how_long, time.monotonic() - begin)
        while self._later:
            self._do_later(float("inf"))
        self._end(first)

    def _people(self) -> None:
        local, far = self.daemon.address, ""
        prefix: list[str] = []
        if self.daemon.mine:
            os.environ["NEURALPOWER_KEYS"] = str(self.folder / "mine")
            self.net = network(self.daemon.port, self._relay)
            print(f"the network is {self.net.how}", flush=True)
            far = self.net.address(self.daemon.port)
            self._keys(far)
            prefix = ["ip", "netns", "exec", self.net.namespace] if self.net.namespace else []
            self._infers = CONTEXT.Process(target=infer, args=(local, RATE_HZ, str(self.folder / "inferences.json")))
            self._infers.start()
        self.recorders = [Recorder("recorder", local, self.folder, [])]
        self.readers = [
            Reader("reader", local, True),
            Reader("stopped", local, None),
            Reader("slow", local, True, pace_hz=TICK_HZ * SLOW),
        ]
        if self.net is not None:
            self.recorders.append(Recorder("far-recorder", far, self.folder, prefix))
            self.readers.append(Reader("far-reader", far, True, self.net.namespace))
        for each in [*self.recorders, *self.readers]:
            each.start(self.folder)

    def _keys(self, far: str) -> None:
        """Let the far clients in: the daemon's key for them, and theirs for it."""
        from neuralpower import address as addresses
        from neuralpower.errors import InputError
        from neuralpower.subscriber.keys import keys_for

        where = addresses.parse(far)
        try:
            keys_for(where)
        except InputError:  # which has made the pair
            mine = self.folder / "mine"
            (mine / f"{where.host}.public").write_text((self.folder / "keys" / "server.public").read_text())
            self.daemon.command("allow", (mine / "client.public").read_text().strip())

    # ---- what is done ----------------------------------------------------------------------------

    def _do(self, what: str, how_long: float, now: float) -> None:
        if what == "kill":
            alive = [
                each for each in [*self.recorders, *self.readers[:1], *self.readers[3:], *self.joined] if each.alive
            ]
            if not alive:  # the next ones are being started
                self._later.append((now + 0.2, lambda: self._do(what, how_long, now + 0.2)))
                return
            victim = self._draw.choice(alive)
            victim.kill()
            if victim not in self.joined:
                self._later.append((now + how_long / 5, lambda: victim.start(self.folder)))
        elif what == "kill daemon":
            self.daemon.kill()
            time.sleep(how_long / 20)
            self.daemon.start()
        elif what == "cut" and self.net is not None:
            self.net.cut()
            self._later.append((now + how_long, self.net.mend))
        elif what == "stop":
            self.readers[1].signal(signal.SIGSTOP)
            self._later.append((now + how_long, lambda: self.readers[1].signal(signal.SIGCONT)))
        elif what == "join":
            joining = Reader(f"joined-{len(self.joined)}", self.daemon.address, self._draw.choice([None, 5.0, True]))
            self.joined.append(joining)
            joining.start(self.folder)
            self._later.append((now + how_long, lambda: joining.signal(signal.SIGTERM)))

    def _do_later(self, now: float) -> None:
        due = [each for each in self._later if each[0] <= now]
        self._later = [each for each in self._later if each[0] > now]
        for _, action in sorted(due, key=lambda each: each[0]):
            action()

    def _hear_losses(self) -> None:
        """Hold what the recorders tell lost against what the daemon holds a moment later; a status is up to a second old."""
        for recorder in self.recorders:
            if told := recorder.told_lost():
                time.sleep(STATUS_S)
                status = self.daemon.status()
                for log, first, last in told:
                    recorder.within_retention += max(0, last + 1 - max(first, status[log]["oldest"]))

    def _hold(self, at_s: float) -> None:
        """Write down what the daemon holds."""
        held = held_now(at_s, self.daemon.status())
        if held is not None:
            self.held.append(held)

    def _end(self, first: dict[str, Any]) -> None:
        if self._infers is not None and self._infers.pid is not None:
            assert self._infers.is_alive(), f"the process that infers ended by itself with {self._infers.exitcode}"
            os.kill(self._infers.pid, signal.SIGTERM)
            self._infers.join(PATIENCE_S)
            assert self._infers.exitcode == 0, f"the process that infers ended with {self._infers.exitcode}"
        self._hold(self.plan.length_s)
        last = self.daemon.status()
        self.ends = {log: (_stream(last, log), last[log]["next"]) for log in ("ticks", "journal")}
        for each in [
            *self.recorders,
            *self.readers,
        ]:  # one that was just started again has not met the daemon yet, and would give up
            until(lambda each=each: each.ready, PATIENCE_S, f"{each.name} meets the daemon")  # type: ignore[misc]  # bound at once
        for each in [*self.recorders, *self.readers, *self.joined]:
            each.signal(signal.SIGTERM)
        for each in [*self.recorders, *self.readers, *self.joined]:
            each.end()
        self._hear_losses()
        self.began = {log: first[log]["next"] for log in ("ticks", "journal")}
        self.missed_slots = last.get("missed_slots")

    def inferences(self) -> dict[str, Any] | None:
        """What the process that infers counted."""
        path = self.folder / "inferences.json"
        return json.loads(path.read_text()) if path.exists() else None

    def close(self) -> None:
        """Leave nothing behind."""
        for each in [*self.recorders, *self.readers, *self.joined]:
            each.signal(signal.SIGKILL)
            each.signal(signal.SIGCONT)
        if self._infers is not None:
            self._infers.kill()
        self.daemon.close()
        if self.net is not None:
            self.net.close()


def _stream(status: dict[str, Any], log: str) -> str:
    return bytes(status["stream"] if log == "ticks" else status["journal"]["stream"]).hex()
