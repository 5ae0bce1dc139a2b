"""What the daemon says of itself once a second: a bounded dict of plain values. docs/operations.md explains each key."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuralpower_sampler import Stats
from neuralpower_wire import Epoch

from .live.endpoints import Endpoints
from .live.estimates import EstimatesProcess
from .live.inferences import Ingest
from .live.join import Join
from .live.refusals import Refusals
from .logs.feeds import JournalFeed, TickFeed
from .sampling import Sampling
from .watch.doubts import DoubtWatch
from .watch.fresh import FreshWatch
from .watch.observer import Observer
from .watch.rails import RailWatch, error_name

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Parts:
    """What a status is made of."""

    sampling: Sampling
    ticks: TickFeed
    journal: JournalFeed
    ingest: Ingest
    join: Join
    rails: RailWatch
    doubts: DoubtWatch
    last_w: dict[str, float]
    total_w: float
    refusals: Refusals
    fresh: FreshWatch
    observer: Observer
    estimates: EstimatesProcess
    endpoints: Endpoints


@dataclass(frozen=True)
class _Counts:
    """Counters of one moment; rates come from two."""

    at_ns: int
    ticks: int
    inferences: int


class Status:
    """Makes statuses; keeps what the rates need."""

    def __init__(self) -> None:
        self._started_ns = time.monotonic_ns()
        self._before: _Counts | None = None

    def make(self, parts: Parts) -> dict[str, Any]:
        """The status now; rates are over the time since the last one."""
        stats, epoch = parts.sampling.stats(), parts.sampling.epoch
        assert epoch is not None, "no status before the first epoch"
        now = _Counts(
            time.monotonic_ns(),
            parts.sampling.reader.next_index,
            parts.ingest.taken,
        )
        before = self._before or now
        self._before = now
        span_ns = now.at_ns - before.at_ns
        return {
            "stream": parts.sampling.stream,
            "epoch": epoch.number,
            "board": epoch.board,
            "source": epoch.source,
            "simulated": epoch.simulated,
            "driver": epoch.driver,
            "note": epoch.note,
            "period_ns": epoch.period_ns,
            "voltage_every": parts.sampling.plan.voltage_every,
            "rails": {rail: _known(power) for rail, power in parts.last_w.items()},
            "total_w": _known(parts.total_w),
            "totals": list(epoch.totals),
            "covers": epoch.covers,
            "failing": parts.rails.failing,
            "doubted": parts.doubts.status,
            "tick_rate_hz": (now.ticks - before.ticks) * 1e9 / span_ns if span_ns else None,
            **freshness(parts.fresh),
            "fresh_rates": {
                name: {"rate_hz": rate.rate_hz, "low_hz": rate.low_hz, "high_hz": rate.high_hz, "kind": rate.kind}
                for name, rate in parts.fresh.chips.items()
            },
            "cvrf": _ready_flags(parts),
            "behaviour": {
                name: {"kind": each.kind, "read_ns": each.read_ns, "why": each.why}
                for name, each in parts.sampling.plan.behaviours.items()
            },
            "bus_hz": dict(parts.sampling.plan.bus_hz),
            "bus_occupancy": parts.observer.bus_occupancy,
            "wakeups_per_s": parts.observer.wakeups_per_s,
            **_loop(stats, epoch),
            "ticks": {"oldest": parts.sampling.reader.oldest, "next": now.ticks, "lost": parts.ticks.lost},
            "journal": {
                "stream": parts.journal.journal.stream,
                "oldest": parts.journal.journal.oldest,
                "next": parts.journal.journal.next_index,
                "lost": parts.journal.lost,
            },
            "inferences": {
                "taken": now.inferences,
                "per_s": (now.inferences - before.inferences) * 1e9 / span_ns if span_ns else None,
                "refused": parts.ingest.refused,
                "lost": parts.ingest.lost,
                "unjoined": parts.join.given_up,
                "sessions": parts.ingest.sessions,
            },
            "estimates": parts.estimates.status,
            "connections": parts.endpoints.status,
            "broken_messages": parts.refusals.count,
            "last_broken_message": parts.refusals.last,
            "cpu": parts.observer.cpu,
            "rss_bytes": resident_bytes(),
            "uptime_s": (now.at_ns - self._started_ns) / 1e9,
            "pid": os.getpid(),
        }


def freshness(watch: FreshWatch) -> dict[str, Any]:
    """The fresh rate with its kind and interval, and the time constant of the chips' filter."""
    rate = watch.rate
    return {
        "freshness": rate.kind,
        "fresh_rate_hz": rate.rate_hz,
        "fresh_rate_low_hz": rate.low_hz,
        "fresh_rate_high_hz": rate.high_hz,
        "filter_s": watch.filter_s,
    }


def _ready_flags(parts: Parts) -> dict[str, str]:
    """Only a source that reads the flag can tell."""
    epoch = parts.sampling.epoch
    chips = [] if epoch is None else [chip for chip in epoch.chips if chip.behaviour == "registers"]
    return {chip.name: parts.fresh.ready_flag(chip) for chip in chips}


def _loop(stats: Stats, epoch: Epoch) -> dict[str, Any]:
    errors = {
        f"{channel.rail} {channel.quantity}": {error_name(number): count for number, count in counts.items()}
        for channel, counts in zip(epoch.channels, stats.errors, strict=True)
        if counts
    }
    return {
        "sampled": stats.ticks,
        "missed_slots": stats.missed_slots,
        "lateness_ns": {"p50": stats.lateness_ns(0.5), "p99": stats.lateness_ns(0.99), "max": stats.lateness_max_ns},
        "realtime": stats.policy,
        "locked_bytes": stats.locked_bytes,
        "lock_note": stats.lock_note,
        "underruns": stats.underruns,
        "errors": errors,
    }


def _known(power_w: float) -> float | None:
    return float(power_w) if np.isfinite(power_w) else None


def resident_bytes() -> int:
    """Resident memory of this process, the shared and locked ring included."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE
