"""Clock maps, steps of the wall clock, and suspends, after each of which an epoch begins."""

from __future__ import annotations

import logging
from collections.abc import Callable

from neuralpower_wire import Kind

from ..logs.ledger import Ledger
from ..part import DaemonPart
from ..watch.clocks import ClockWatch

log = logging.getLogger(__name__)


class ClockPart(DaemonPart):
    """Looks before each batch, so that what it tells is published with it; `on_resume` begins an epoch."""

    def __init__(self, watch: ClockWatch, ledger: Ledger, on_resume: Callable[[], None]) -> None:
        self._watch = watch
        self._ledger = ledger
        self._on_resume = on_resume

    def batch(self) -> None:
        sight = self._watch.look()
        if sight.map:
            self._ledger.write(Kind.CLOCK, sight.map)
        if sight.stepped_ns:
            log.info("the wall clock was stepped by %.3f s", sight.stepped_ns / 1e9)
            self._ledger.event(
                "clock-stepped", f"the wall clock was stepped by {sight.stepped_ns} ns", step_ns=sight.stepped_ns
            )
        if sight.suspended_ns:
            log.info("the machine was suspended for %.3f s", sight.suspended_ns / 1e9)
            self._ledger.event("suspended", f"suspended for {sight.suspended_ns} ns", suspended_ns=sight.suspended_ns)
            self._on_resume()
