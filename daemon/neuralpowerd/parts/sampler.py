"""The sampling loop and its source: what they are, how they go, and whether they still do."""

from __future__ import annotations

import logging
from typing import Any

from neuralpower_wire import Epoch

from ..errors import DaemonError
from ..logs.ledger import Ledger
from ..part import DaemonPart
from ..sampling import Sampling
from ..watch.rails import error_name

log = logging.getLogger(__name__)


class SamplerPart(DaemonPart):
    """It stands behind those that learn from ticks: what they say comes before the loop's end is raised."""

    def __init__(self, sampling: Sampling, ledger: Ledger) -> None:
        self._sampling = sampling
        self._ledger = ledger

    def begin_epoch(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._granted = stats = self._sampling.stats()
        total = " + ".join(epoch.totals) or "unknown"
        log.info("rails: %s; total: %s", ", ".join(epoch.rails()), total)
        if epoch.note:
            log.info("%s", epoch.note)
        for chip, seen in self._sampling.plan.behaviours.items():
            log.info("%s: driver %s; %s", chip, seen.kind, seen.why)
        if not stats.priority and self._sampling.config.realtime.priority:
            log.warning("the loop has no real-time priority: %s", stats.policy)

    def second(self) -> None:
        if self._sampling.housekeeping():
            log.warning("the virtual device ended without closing its timeline; its rails idle")
            self._ledger.event("timeline-abandoned", "the writer of the power timeline ended without closing it")
        for name, text, facts in self._sampling.plan.news():
            log.warning("%s", text)
            self._ledger.event(name, text, **facts)
        error = self._sampling.stats().error
        if error:
            raise DaemonError(f"the sampling loop ended: {error}; see the line before, then restart")

    def conditions(self) -> dict[str, Any]:
        return {
            **self._sampling.plan.conditions(),
            "realtime": self._granted.policy,
            "locked_bytes": self._granted.locked_bytes,
            "spin_us": self._sampling.config.realtime.spin_us,
        }

    def status(self, span_ns: int) -> dict[str, Any]:
        epoch, plan, stats = self._epoch, self._sampling.plan, self._sampling.stats()
        return {
            "stream": self._sampling.stream,
            "epoch": epoch.number,
            "board": epoch.board,
            "source": epoch.source,
            "simulated": epoch.simulated,
            "driver": epoch.driver,
            "note": epoch.note,
            "period_ns": epoch.period_ns,
            "voltage_every": plan.voltage_every,
            "totals": list(epoch.totals),
            "covers": epoch.covers,
            "behaviour": {
                name: {"kind": each.kind, "read_ns": each.read_ns, "why": each.why}
                for name, each in plan.behaviours.items()
            },
            "bus_hz": dict(plan.bus_hz),
            "sampled": stats.ticks,
            "missed_slots": stats.missed_slots,
            "lateness_ns": {
                "p50": stats.lateness_ns(0.5),
                "p99": stats.lateness_ns(0.99),
                "max": stats.lateness_max_ns,
            },
            "realtime": stats.policy,
            "locked_bytes": stats.locked_bytes,
            "lock_note": stats.lock_note,
            "underruns": stats.underruns,
            "errors": {
                f"{channel.rail} {channel.quantity}": {error_name(number): count for number, count in counts.items()}
                for channel, counts in zip(epoch.channels, stats.errors, strict=True)
                if counts
            },
        }

    def close(self) -> None:
        self._sampling.close()
