"""Readiness and the watchdog: the service manager hears of this daemon only while ticks come."""

from __future__ import annotations

import logging
import time

from neuralpower_wire import Ticks

from ..logs.ledger import Ledger
from ..part import DaemonPart
from ..sampling import Sampling
from ..system.notify import Notifier

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000


class WatchdogPart(DaemonPart):
    """Ready with the first tick; then feeds the watchdog at half its time or sooner, while the ring advances."""

    def __init__(self, notifier: Notifier, ledger: Ledger, sampling: Sampling) -> None:
        self._notifier = notifier
        self._ledger = ledger
        self._sampling = sampling
        self._ready = self._stalled = False
        self._fed_ns = self._tick_seen_ns = 0

    def see(self, ticks: Ticks) -> None:
        self._tick_seen_ns = time.monotonic_ns()

    def batch(self) -> None:
        now, watchdog_ns = time.monotonic_ns(), self._notifier.watchdog_ns
        if self._tick_seen_ns and not self._ready:
            self._ready = True
            self._notifier.send("READY=1")
        patience_ns = max(watchdog_ns // 2, 3 * self._sampling.plan.period_ns, SECOND_NS)
        stalled = self._ready and now - self._tick_seen_ns > patience_ns
        if stalled and not self._stalled:
            log.error("no tick for %.1f s", (now - self._tick_seen_ns) / 1e9)
            self._ledger.event("ring-stalled", f"no tick for {now - self._tick_seen_ns} ns")
        self._stalled = stalled
        due = watchdog_ns and now - self._fed_ns >= min(watchdog_ns // 2, SECOND_NS)
        if due and self._ready and not stalled:
            self._fed_ns = now
            self._notifier.send("WATCHDOG=1")
