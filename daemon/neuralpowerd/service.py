"""The service: one loop over sockets, signals and the clock. The sampler's own thread never comes here."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq

from neuralpower_sampler import clocks
from neuralpower_wire import STATUS, Batch, Kind, Ticks, WireError, decode, encode, rail_power_w
from neuralpower_wire.link import Inference

from .config import Config
from .errors import ConfigError, DaemonError
from .live.endpoints import Endpoints, received, send
from .live.estimates import EstimatesProcess
from .live.inferences import Ingest
from .live.join import Join
from .live.keys import allowed_keys, answer_zap
from .live.refusals import Refusals
from .logs.feeds import JournalFeed, TickFeed, in_one
from .logs.history import History
from .logs.journal import Journal, boot_id
from .logs.ledger import Ledger
from .sampling import Sampling
from .status import Parts, Status, freshness
from .system.conditions import Machine
from .system.latency import LatencyHold
from .system.notify import Notifier
from .watch.clocks import Clocks, ClockWatch, glance
from .watch.doubts import DoubtWatch
from .watch.fresh import FreshWatch
from .watch.observer import Observer
from .watch.rails import RailWatch

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000
QUESTIONS_A_ROUND, INFERENCES_A_ROUND = 32, 512
"""Messages taken before the live feed has its turn again: nobody can keep the daemon from the others."""
INFERENCES_REST_NS, BUSY_REST_NS, BUSY_ROUND = 50_000_000, 10_000_000, 64
"""After a round of inferences their socket has a rest until the next batch, which could not publish them sooner, and no longer than
the first: at 400 a second a wake-up and an acknowledgement for each would double what they cost. A round of more than so many, or
of a quarter of a process's credit, rests for the second only: the credit of 256 lasts as long at 25,600 a second."""
FULL_BATCH, LONGEST_BATCH_NS = 12, 200_000_000
"""Ticks in a batch, unless they take longer than this: at 16 ms a tick, batches of three each 50 ms were half of what the daemon's Python
costs. Who watches hardly feels a fifth of a second."""
FIXED_KEYS = ("runtime_dir", "journal", "sockets", "tcp", "inferences", "estimates")
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
        self._clock = ClockWatch(read_clocks, glance if read_clocks is clocks else None)
        folder = Path(config.runtime_dir)
        self.sampling = Sampling(config)
        journal = Journal(folder / "journal.ring", config.journal.mebibytes << 20, boot_id())
        self.ledger = Ledger(journal, time.monotonic_ns, config.inferences.max_engines)
        self._endpoints = Endpoints(config)
        self._join = Join(journal.stream)
        self._ingest = Ingest(self.ledger, config.inferences, self._answer_profiler, self._joined)
        self._history = History(self.sampling.readers, self.ledger, lambda: self._latest)
        self._ticks = TickFeed(self.sampling.reader, self.sampling.reader.next_index)
        self._journal = JournalFeed(journal, journal.next_index)
        self._status = Status()
        self._observer = Observer()
        self._estimates = EstimatesProcess(config)
        self._latest: dict[str, Any] = {}
        self._latency = LatencyHold()
        self._new: list[Ticks] = []
        self._last_w: dict[str, float] = {}
        self._total_w = math.nan
        self._refusals = Refusals()
        self._stopping = self._stalled = self._ready = False
        self._fed_ns = self._tick_seen_ns = 0

    # ---- life ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads. DaemonError where the sampler ends by itself."""
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
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
        ends = self._endpoints
        every, others = zmq.Poller(), zmq.Poller()
        every.register(ends.inferences, zmq.POLLIN)
        for end in (*ends.history, woken, *([ends.zap] if ends.zap else [])):
            every.register(end, zmq.POLLIN)
            others.register(end, zmq.POLLIN)
        next_batch_ns = next_second_ns = next_status_ns = next_conditions_ns = time.monotonic_ns()
        next_inferences_ns = 0
        while not self._stopping:
            now = time.monotonic_ns()
            resting = now < next_inferences_ns
            wait_ns = (min(next_batch_ns, next_inferences_ns) if resting else next_batch_ns) - now
            poller = others if resting else every
            ready = {end for end, _ in poller.poll(math.ceil(max(0, wait_ns) / 1e6))}
            if woken.fileno() in ready:
                self._signals(woken.recv(64))
            if ends.zap and ends.zap in ready:
                self._admit(ends.zap)
            if ends.inferences in ready or (resting and time.monotonic_ns() >= next_inferences_ns):
                next_inferences_ns = self._rest_until(self._take_inferences(), next_batch_ns)
            for end in ends.history:
                if end in ready:
                    self._answer_questions(end)
            now = time.monotonic_ns()
            if now >= next_batch_ns:
                next_batch_ns = max(next_batch_ns + self._batch_ns(), now)
                self._batch()
            if now >= next_second_ns:
                next_second_ns = max(next_second_ns + SECOND_NS, now)
                self._second()
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
        try:
            self.sampling.stop()
            self.ledger.event("daemon-stopped", f"neuralpowerd {os.getpid()}", pid=os.getpid())
            self._publish_logs()
        finally:  # an open socket would keep the process from ending
            self._estimates.close()
            self._endpoints.close()
            self.sampling.close()
            self._latency.release()
            self.ledger.journal.close()

    def _signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stopping = True
        elif signal.SIGHUP in numbers:
            self._reload()

    # ---- epochs --------------------------------------------------------------------------------

    def _begin_epoch(self, reason: str) -> None:
        self._latency.want(self.config.realtime.hold_latency)
        if self._latency.refused:
            log.warning("cpu_dma_latency %s", self._latency.state)
        epoch = self.sampling.start()
        body = {**epoch.to_dict(), "stream": self.sampling.stream, "reason": reason}
        if self.sampling.previous:
            body["previous"] = self.sampling.previous
        self.ledger.write(Kind.EPOCH, body)
        self._granted = stats = self.sampling.stats()
        self._join.new_epoch(epoch)
        self._new = []
        self._rails, self._fresh = RailWatch(epoch), FreshWatch(epoch)
        self._doubts = DoubtWatch(epoch, self.sampling.plan.doubts, self.sampling.plan.limits)
        self._machine = Machine(Path(self.config.sysfs_root), self.config.conditions.power_mode)
        self._note_conditions()
        total = " + ".join(epoch.totals) or "unknown"
        marked = ", simulated" if epoch.simulated else ""
        rails = ", ".join(epoch.rails())
        log.info("epoch %d, %s: %s (%s%s)", epoch.number, reason, epoch.board, epoch.source, marked)
        log.info("rails: %s; total: %s", rails, total)
        if epoch.note:
            log.info("%s", epoch.note)
        for chip, seen in self.sampling.plan.behaviours.items():
            log.info("%s: driver %s; %s", chip, seen.kind, seen.why)
        if not stats.priority and self.config.realtime.priority:
            log.warning("the loop has no real-time priority: %s", stats.policy)

    def _note_conditions(self) -> None:
        """Write down what the machine is like and what this daemon costs it."""
        observer = self._observer
        own = {
            "realtime": self._granted.policy,
            "locked_bytes": self._granted.locked_bytes,
            "kernel": os.uname().release,
            "cpu_dma_latency": self._latency.state,
            "spin_us": self.config.realtime.spin_us,
            "daemon_cpu": observer.cpu["process"],
            "daemon_wakeups_per_s": observer.wakeups_per_s["process"],
            "loop_wakeups_per_s": observer.wakeups_per_s["loop"],
            "bus_occupancy": observer.bus_occupancy,
            **freshness(self._fresh),
        }
        known = {name: value for name, value in own.items() if value is not None}
        self.ledger.write(Kind.CONDITION, {**self._machine.read(), **self.sampling.plan.conditions(), **known})

    def _change_epoch(self, reason: str, config: Config) -> None:
        """Stop, publish what the epoch before still holds, and go on under `config`."""
        self.sampling.stop()
        self._publish_logs()
        try:
            if self.sampling.change(config):
                self._ticks.next = 0
        finally:
            self._ticks.reader = self.sampling.reader
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

    def _batch(self) -> None:
        sight = self._clock.look()
        if sight.map:
            self.ledger.write(Kind.CLOCK, sight.map)
        if sight.stepped_ns:
            log.info("the wall clock was stepped by %.3f s", sight.stepped_ns / 1e9)
            self.ledger.event(
                "clock-stepped", f"the wall clock was stepped by {sight.stepped_ns} ns", step_ns=sight.stepped_ns
            )
        if sight.suspended_ns:
            log.info("the machine was suspended for %.3f s", sight.suspended_ns / 1e9)
            self.ledger.event("suspended", f"suspended for {sight.suspended_ns} ns", suspended_ns=sight.suspended_ns)
            self._change_epoch("resume", self.config)
        self._publish_logs()
        self._watch()

    def _publish_logs(self) -> None:
        """The journal first, so that an epoch is known before its ticks."""
        for batch in self._journal.batches():
            self._endpoints.publish(encode(batch))
        for ticks in self._ticks.ticks():
            self._endpoints.publish(self._ticks.frames(ticks))
            self._look_at(ticks)
        joined = self._join.finished()
        while joined:
            self._endpoints.publish(encode(joined))
            joined = self._join.finished()

    def _look_at(self, ticks: Ticks) -> None:
        """Put ticks of the current epoch by; most of what they tell can wait for the second."""
        epoch = self.sampling.epoch
        if epoch is None or ticks["epoch"].item(0) != epoch.number:
            return
        self._tick_seen_ns = time.monotonic_ns()
        self._new.append(ticks)
        self._join.add_ticks(ticks)

    def _learn(self) -> None:
        """Now and then, what the new ticks say: last values, freshness, cost, rails that fail."""
        epoch = self.sampling.epoch
        if epoch is None or not self._new:
            return
        ticks, self._new = in_one(self._new), []
        self._last_w = {name: float(power[0]) for name, power in rail_power_w(epoch, ticks[-1:]).items()}
        self._total_w = sum(self._last_w[rail] for rail in epoch.totals) if epoch.totals else math.nan
        self._fresh.see(ticks)
        self._observer.see(ticks, epoch.period_ns)
        for doubt in self._doubts.see(ticks):
            log.warning("rail %s is doubted: %s; neuralpowerd check says what to do", doubt.rail, doubt.why)
            self.ledger.event("rail-doubted", f"{doubt.rail}: {doubt.why}", rail=doubt.rail)
        for change in self._rails.see(ticks):
            if change.error:
                log.warning("rail %s cannot be read: %s; going on without it", change.rail, change.error)
                self.ledger.event(
                    "rail-failing", f"{change.rail}: {change.error}", rail=change.rail, error=change.error
                )
            else:
                log.info("rail %s can be read again", change.rail)
                self.ledger.event("rail-recovered", change.rail, rail=change.rail)

    def _second(self) -> None:
        for path in self._endpoints.bind_again():
            log.warning("%s was deleted: made anew; whoever is connected stays so", path)
            self.ledger.event("socket-deleted", f"{path} was deleted and made anew")
        if self.sampling.housekeeping():
            log.warning("the virtual device ended without closing its timeline; its rails idle")
            self.ledger.event("timeline-abandoned", "the writer of the power timeline ended without closing it")
        for name, text, facts in self.sampling.plan.news():
            log.warning("%s", text)
            self.ledger.event(name, text, **facts)
        stats = self.sampling.stats()
        if self._ingest.taken:
            self._estimates.start()
        for frames in self._estimates.take():
            self._endpoints.publish(frames)
        self._learn()
        self._observer.look(stats.thread_cpu_ns)
        self._fresh.update()
        if stats.error:
            raise DaemonError(f"the sampling loop ended: {stats.error}; see the line before, then restart")

    def _watch(self) -> None:
        """Ready with the first tick; then feed the watchdog at half its time or sooner, while the ring advances."""
        now = time.monotonic_ns()
        if self._tick_seen_ns and not self._ready:
            self._ready = True
            self._notifier.send("READY=1")
        patience_ns = max(self._notifier.watchdog_ns // 2, 3 * self.sampling.plan.period_ns, SECOND_NS)
        stalled = self._ready and now - self._tick_seen_ns > patience_ns
        if stalled and not self._stalled:
            log.error("no tick for %.1f s", (now - self._tick_seen_ns) / 1e9)
            self.ledger.event("ring-stalled", f"no tick for {now - self._tick_seen_ns} ns")
        self._stalled = stalled
        due = self._notifier.watchdog_ns and now - self._fed_ns >= min(self._notifier.watchdog_ns // 2, SECOND_NS)
        if due and self._ready and not stalled:
            self._fed_ns = now
            self._notifier.send("WATCHDOG=1")

    def _tell_status(self) -> None:
        self._learn()
        parts = Parts(
            self.sampling,
            self._ticks,
            self._journal,
            self._ingest,
            self._join,
            self._rails,
            self._doubts,
            self._last_w,
            self._total_w,
            self._refusals,
            self._fresh,
            self._observer,
            self._estimates,
        )
        self._latest = status = self._status.make(parts)
        self._endpoints.publish(encode(Batch(STATUS, {"first": 0, "count": 0, "status": status}, {})))
        rate = status["tick_rate_hz"]
        if rate is not None:
            total = f"{self._total_w:.2f} W" if math.isfinite(self._total_w) else "total unknown"
            failing = f", failing: {', '.join(self._rails.failing)}" if self._rails.failing else ""
            simulated = " (simulated)" if status["simulated"] else ""
            self._notifier.send(
                f"STATUS={rate:.0f} ticks/s, {total}{simulated}, {status['missed_slots']} missed{failing}"
            )

    # ---- messages ------------------------------------------------------------------------------

    def _rest_until(self, taken: int, next_batch_ns: int) -> int:
        """When inferences are taken again; 0, which is when the next one comes, after a round without any."""
        now = time.monotonic_ns()
        if taken > min(BUSY_ROUND, self.config.inferences.credit // 4):
            return now + BUSY_REST_NS
        return min(next_batch_ns, now + INFERENCES_REST_NS) if taken else 0

    def _take_inferences(self) -> int:
        """Take what has come to their socket; returns how many messages that were."""
        taken = 0
        for peer, *frames in received(self._endpoints.inferences, INFERENCES_A_ROUND):
            taken += 1
            try:
                self._ingest.handle(peer, decode(frames))
            except WireError as error:
                self._refusals.note("inferences", peer, error)
        self._ingest.acknowledge()
        return taken

    def _answer_questions(self, end: zmq.Socket[bytes]) -> None:
        for peer, *frames in received(end, QUESTIONS_A_ROUND):
            if len(frames) == 1:
                send(end, [peer, *self._history.answer(frames[0]).encode()])
            else:
                self._refusals.note("history", peer, WireError(f"a question of {len(frames)} frames"))

    def _answer_profiler(self, peer: bytes, batch: Batch) -> None:
        send(self._endpoints.inferences, [peer, *encode(batch)])

    def _joined(self, index: int, inference: Inference) -> None:
        self._join.add_inference(index, inference)

    def _admit(self, zap: zmq.Socket[bytes]) -> None:
        folder = Path(self.config.tcp.keys_dir)
        for request in received(zap, QUESTIONS_A_ROUND):
            answer = answer_zap(request, lambda: allowed_keys(folder))
            send(zap, answer if answer else [b"1.0", b"", b"500", b"not a ZAP request", b"", b""])
