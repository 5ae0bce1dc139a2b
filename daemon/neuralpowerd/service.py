"""The service: one loop over sockets, signals and the clock, and the list of its parts. The sampler's own thread never comes here."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from neuralpower_sampler import clocks
from neuralpower_wire import STATUS, Batch, Kind, Ticks, encode

from .config import Config
from .errors import ConfigError, DaemonError
from .live.endpoints import Endpoints
from .live.estimates import EstimatesProcess
from .live.refusals import Refusals
from .logs.feeds import JournalFeed, in_one
from .logs.history import History
from .logs.journal import Journal, boot_id
from .logs.ledger import Ledger
from .part import DaemonPart, Intake, Intakes
from .parts.clock import ClockPart
from .parts.estimates import EstimatesPart
from .parts.feeds import JournalPart, TicksPart
from .parts.freshness import FreshnessPart
from .parts.gaps import GapsPart
from .parts.inferences import InferencesPart
from .parts.machine import MachinePart
from .parts.observer import ObserverPart
from .parts.prometheus import PrometheusPart
from .parts.rails import RailsPart
from .parts.recorder import RecorderPart
from .parts.sampler import SamplerPart
from .parts.sockets import SocketsPart
from .parts.watchdog import WatchdogPart
from .sampling import Sampling
from .system.notify import Notifier
from .system.state import state_lines
from .watch.clocks import Clocks, ClockWatch, glance

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000
FULL_BATCH, LONGEST_BATCH_NS = 12, 200_000_000
"""Ticks in a batch, unless they take longer than this: at 16 ms a tick, batches of three each 50 ms were half of what the daemon's Python
costs. Who watches hardly feels a fifth of a second."""
FIXED_KEYS = ("runtime_dir", "journal", "sockets", "tcp", "inferences", "estimates", "prometheus", "recorder")
"""What a reload cannot change, because sockets and files stay as they are."""


class Service:
    """Everything that lives while the daemon runs. The ring is locked before any socket is bound.

    `load` gives the configuration, at the start and at each reload. `read_clocks` gives (monotonic, boottime, realtime,
    bracket) in ns; tests put their own in.
    """

    def __init__(
        self, load: Callable[[], Config], notifier: Notifier, read_clocks: Callable[[], Clocks] = clocks
    ) -> None:
        self._load = load
        self.config = config = load()
        self._notifier = notifier
        self.sampling = Sampling(config)
        journal = Journal(Path(config.runtime_dir) / "journal.ring", config.journal.mebibytes << 20, boot_id())
        self.ledger = Ledger(journal, time.monotonic_ns, config.inferences.max_engines)
        try:
            self.parts = self._make_parts(ClockWatch(read_clocks, glance if read_clocks is clocks else None))
        except BaseException:
            self._forget_new_logs()
            raise
        self._latest: dict[str, Any] = {}
        self._latest_ns = 0
        self._new: list[Ticks] = []
        self._reason = ""
        self._stopping = False

    def _make_parts(self, clock: ClockWatch) -> list[DaemonPart]:
        """All parts, in the order in which each has its turn. To add one: a class of the protocol in `parts`, and its line here."""
        config, sampling, ledger = self.config, self.sampling, self.ledger
        prometheus = PrometheusPart(config, lambda: self._latest)
        recorder = RecorderPart(config, ledger, lambda: self._latest)
        self._endpoints = endpoints = Endpoints(config)
        refusals = Refusals()
        history = History(
            sampling.readers, ledger, lambda: self._latest, partial(refusals.note, "history"), recorder.saved
        )
        inferences = InferencesPart(config, ledger, endpoints, refusals)
        return [
            ClockPart(clock, ledger, lambda: self._change_epoch("resume", self.config)),
            JournalPart(JournalFeed(ledger.journal, ledger.journal.next_index), endpoints),
            TicksPart(sampling, endpoints, self._see),
            GapsPart(sampling, ledger, lambda: self._reason),
            inferences,
            WatchdogPart(self._notifier, ledger, sampling),
            EstimatesPart(EstimatesProcess(config), endpoints, lambda: inferences.taken),
            RailsPart(sampling, ledger),
            FreshnessPart(),
            ObserverPart(sampling),
            MachinePart(),
            prometheus,
            recorder,
            SocketsPart(endpoints, ledger, history, refusals),
            SamplerPart(sampling, ledger),
        ]

    def _forget_new_logs(self) -> None:
        """A start that is refused leaves no logs that were not there, or the next one would seem to resume. Their locks are still held."""
        journal = self.ledger.journal
        for path, resumed in ((self.sampling.path, self.sampling.resumed), (journal.path, journal.resumed)):
            if not resumed:
                path.unlink(missing_ok=True)

    # ---- life ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 logs the state. DaemonError where the sampler ends by itself."""
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        self.ledger.event("daemon-started", f"neuralpowerd {os.getpid()}", pid=os.getpid())
        self._begin_epoch("resumed" if self.sampling.resumed else "a new stream")
        try:
            self._serve(woken)
        finally:
            self._notifier.send("STOPPING=1")
            signal.set_wakeup_fd(-1)
            wake.close()
            woken.close()
            self._finish()

    def _serve(self, woken: socket.socket) -> None:
        signals = Intake(woken.fileno(), lambda next_batch_ns: self._take_signals(woken.recv(64)))
        intakes = Intakes([signals, *(intake for part in self.parts for intake in part.intakes())])
        next_batch_ns = next_second_ns = next_status_ns = next_conditions_ns = time.monotonic_ns()
        while not self._stopping:
            intakes.serve(next_batch_ns)
            now = time.monotonic_ns()
            if now >= next_batch_ns:
                next_batch_ns = max(next_batch_ns + self._batch_ns(), now)
                for part in self.parts:
                    part.batch()
            if now >= next_second_ns:
                next_second_ns = max(next_second_ns + SECOND_NS, now)
                self._learn()
                for part in self.parts:
                    part.second()
            if now >= next_conditions_ns:
                next_conditions_ns = max(next_conditions_ns + round(1e9 / self.config.conditions.rate_hz), now)
                self._note_conditions()
            if now >= next_status_ns:
                next_status_ns = max(next_status_ns + round(self.config.publish.status_s * 1e9), now)
                self._tell_status()

    def _batch_ns(self) -> int:
        """Time between two batches: as configured, and longer where ticks are so few that a batch would cost more than it carries."""
        wished_ns = self.config.publish.batch_ms * 1_000_000
        return max(wished_ns, min(FULL_BATCH * self.sampling.plan.period_ns, LONGEST_BATCH_NS))

    def _finish(self) -> None:
        """Publish what is left, and let go. What the logs hold stays for the next daemon."""
        with ExitStack() as closing:  # an open socket would keep the process from ending
            for part in reversed(self.parts):
                closing.callback(part.close)
            self.sampling.stop()
            self.ledger.event("daemon-stopped", f"neuralpowerd {os.getpid()}", pid=os.getpid())
            self._publish()

    def _take_signals(self, numbers: bytes) -> int:
        if signal.SIGUSR1 in numbers:
            for line in state_lines(self.config, self._latest):
                log.info("%s", line)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stopping = True
        elif signal.SIGHUP in numbers:
            self._reload()
        return 0

    # ---- epochs --------------------------------------------------------------------------------

    def _begin_epoch(self, reason: str) -> None:
        for part in self.parts:
            part.configure(self.config)
        epoch = self.sampling.start()
        self._reason = reason
        body = {**epoch.to_dict(), "stream": self.sampling.stream, "reason": reason}
        if self.sampling.previous:
            body["previous"] = self.sampling.previous
        self.ledger.write(Kind.EPOCH, body)
        marked = ", simulated" if epoch.simulated else ""
        log.info("epoch %d, %s: %s (%s%s)", epoch.number, reason, epoch.board, epoch.source, marked)
        self._new = []
        for part in self.parts:
            part.begin_epoch(epoch)
        self._note_conditions()

    def _change_epoch(self, reason: str, config: Config) -> None:
        """Stop, publish what the epoch before still holds, and go on under `config`."""
        self.sampling.stop()
        self._publish()
        self.sampling.change(config)
        self._begin_epoch(reason)

    def _reload(self) -> None:
        log.info("reloading the configuration")
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        before = self.config
        try:
            wanted = self._load()
            kept = {name: getattr(before, name) for name in FIXED_KEYS}
            ignored = [name for name in FIXED_KEYS if getattr(wanted, name) != kept[name]]
            if ignored:
                log.warning("a reload cannot change %s; restart for that", ", ".join(ignored))
            self.config = replace(wanted, **kept)
            self._change_epoch("reload", self.config)
            self.ledger.event("reloaded", "the configuration was read again")
        except (ConfigError, DaemonError) as error:
            log.error("not reloaded, going on as before: %s", error)
            self.ledger.event("reload-refused", str(error))
            self.config = before
            if not self.sampling.running:
                self._change_epoch("reload refused", before)
        self._notifier.send("READY=1")

    # ---- now and then --------------------------------------------------------------------------

    def _publish(self) -> None:
        for part in self.parts:
            part.publish()

    def _see(self, ticks: Ticks) -> None:
        """Ticks that were published; of the current epoch they are put by for when they are learnt from."""
        epoch = self.sampling.epoch
        if epoch is None or ticks["epoch"].item(0) != epoch.number:
            return
        self._new.append(ticks)
        for part in self.parts:
            part.see(ticks)

    def _learn(self) -> None:
        if self._new:
            ticks, self._new = in_one(self._new), []
            for part in self.parts:
                part.learn(ticks)

    def _note_conditions(self) -> None:
        """Write down what the machine is like and what this daemon costs it."""
        told = {name: value for part in self.parts for name, value in part.conditions().items() if value is not None}
        self.ledger.write(Kind.CONDITION, told)

    def _tell_status(self) -> None:
        self._learn()
        before_ns, self._latest_ns = self._latest_ns, time.monotonic_ns()
        span_ns = self._latest_ns - before_ns if before_ns else 0
        self._latest = status = {name: value for part in self.parts for name, value in part.status(span_ns).items()}
        self._endpoints.publish(encode(Batch(STATUS, {"first": 0, "count": 0, "status": status}, {})))
        if status["tick_rate_hz"] is not None:
            self._notifier.send(f"STATUS={_line(status)}")


def _line(status: Mapping[str, Any]) -> str:
    """A status in a line, for the service manager."""
    total = "total unknown" if status["total_w"] is None else f"{status['total_w']:.2f} W"
    simulated = " (simulated)" if status["simulated"] else ""
    failing = f", failing: {', '.join(status['failing'])}" if status["failing"] else ""
    return f"{status['tick_rate_hz']:.0f} ticks/s, {total}{simulated}, {status['missed_slots']} missed{failing}"
