"""What Prometheus is told: counts of ticks, and everything as metric families.

Names of powers and energies are OpenTelemetry's conventions for hardware (hw.power, hw.energy, hw.host.power, hw.host.energy) as Prometheus
writes them, with the unit and, of counters, `_total`. These say that what a whole host draws is told under its own name alone, so that
nobody adds it to its parts; so a rail that is the total by itself is there and not among the rails.
"""

from __future__ import annotations

import errno
import math
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuralpower_wire import Epoch, ReadingState, Ticks
from neuralpower_wire.tick import Flag

from .energy import EnergyCounter, EnergyCounters

LATE_NS = (
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
)
"""Upper edges of the buckets of lateness: a quiet SCHED_FIFO loop is within the first three, a busy machine within the last."""
ESTIMATOR_STATES = ("off", "waiting", "acquiring", "running")
RAIL, GPU = "rail", "gpu"
"""hw.type: of a rail none of the well-known values holds, and others are allowed then; a GPU's is one of them."""


@dataclass
class TickCounts:
    """Ticks of this daemon: how many, how late, how many deadlines passed over, and which readings failed."""

    ticks: int = 0
    missed: int = 0
    late: list[int] = field(default_factory=lambda: [0] * (len(LATE_NS) + 1))
    late_s: float = 0.0
    errors: Counts[tuple[str, str, str]] = field(default_factory=Counts)
    """(rail, quantity, errno's name) → readings that failed so."""
    _epoch: Epoch | None = None
    _slot: int = -1

    def begin_epoch(self, epoch: Epoch) -> None:
        """The ticks that come are of this epoch."""
        self._epoch, self._slot = epoch, -1

    def see(self, ticks: Ticks) -> None:
        """Count these ticks, which follow the ones before."""
        epoch = self._epoch
        assert epoch is not None, "no ticks before an epoch"
        slots = ticks["slot"].astype(np.int64)
        self.ticks += len(ticks)
        first = self._slot if self._slot >= 0 else int(slots[0]) - 1
        self.missed += max(0, int(slots[-1]) - first - len(ticks))
        self._slot = int(slots[-1])
        late_ns = np.maximum(0, ticks["t_ns"] - (epoch.t0_ns + slots * epoch.period_ns))
        found = np.bincount(np.searchsorted(LATE_NS, late_ns), minlength=len(self.late))
        self.late = [before + int(more) for before, more in zip(self.late, found, strict=True)]
        self.late_s += float(np.sum(late_ns)) * 1e-9
        readings = ticks["readings"]
        failed = (readings["state"] == ReadingState.MISSING) & (readings["flags"] & Flag.HELD == 0)
        for at in np.flatnonzero(failed.any(axis=0)):
            channel = epoch.channels[at]
            for number, count in zip(*np.unique(readings["error"][failed[:, at], at], return_counts=True), strict=True):
                name = errno.errorcode.get(int(number), str(number))
                self.errors[channel.rail, channel.quantity, name] += int(count)


@dataclass(frozen=True)
class Snapshot:
    """One second's numbers: nothing in it changes any more, so another thread may read it. `parents`: rail → the rail that feeds it."""

    energies: EnergyCounters = field(default_factory=lambda: EnergyCounters({}))
    parents: Mapping[str, str] = field(default_factory=dict)
    ticks: int = 0
    missed: int = 0
    late: tuple[int, ...] = ()
    late_s: float = 0.0
    errors: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    started_s: float = 0.0


def page(snapshot: Callable[[], Snapshot]) -> Callable[[bool], tuple[bytes, str]]:
    """What makes the page of the newest snapshot: `page(openmetrics)` gives its bytes and its content type.

    ImportError where prometheus_client is not installed.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.openmetrics import exposition

    class Families:
        def collect(self) -> Iterator[Any]:
            return families(snapshot())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families())
    ProcessCollector(registry=registry)

    as_openmetrics: Any = exposition.generate_latest  # has no types

    def made(openmetrics: bool) -> tuple[bytes, str]:
        if openmetrics:
            return as_openmetrics(registry), exposition.CONTENT_TYPE_LATEST
        return generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8"

    return made


def families(told: Snapshot) -> Iterator[Any]:
    """The metric families of a snapshot, docs/operations.md lists them."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily

    def counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Any:
        made = CounterMetricFamily(name, text, labels=labels)
        for of, value in values.items():
            made.add_metric(list(of), value, created=told.started_s)
        return made

    def gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float | None]) -> Any:
        made = GaugeMetricFamily(name, text, labels=labels)
        for of, value in values.items():
            if value is not None and math.isfinite(value):
                made.add_metric(list(of), value)
        return made

    status = told.status
    if status:
        info = InfoMetricFamily("neuralpower", "What is measured here")
        words = {name: str(status[name]) for name in ("board", "source", "driver", "covers")}
        info.add_metric([], {**words, "simulated": _word(told.energies.simulated)})
        yield info
    yield from _energies(told.energies, told.parents)
    yield counter("neuralpower_ticks", "Ticks taken", (), {(): told.ticks})
    yield counter(
        "neuralpower_missed_deadlines", "Deadlines of the grid at which no tick was taken", (), {(): told.missed}
    )
    if told.late:
        late = HistogramMetricFamily("neuralpower_tick_lateness_seconds", "From a tick's deadline to its begin")
        edges = [*(repr(edge / 1e9) for edge in LATE_NS), "+Inf"]
        late.add_metric([], list(zip(edges, np.cumsum(told.late).tolist(), strict=True)), told.late_s)
        yield late
    errors = {of: float(count) for of, count in told.errors.items()}
    yield counter("neuralpower_reading_errors", "Readings that failed", ("rail", "quantity", "error"), errors)
    if not status:
        return
    lapped = {("ticks",): status["ticks"]["lost"], ("journal",): status["journal"]["lost"]}
    yield counter(
        "neuralpower_lapped", "Entries of a log that were overwritten before they were published", ("log",), lapped
    )
    rates = status["fresh_rates"]
    for name, key, text in (
        ("", "rate_hz", "New values a second of a chip, and how that is known"),
        ("_low", "low_hz", "Lower end of its interval"),
        ("_high", "high_hz", "Upper end of its interval"),
    ):
        values = {(chip, rate["kind"]): rate[key] for chip, rate in rates.items()}
        yield gauge(f"neuralpower_fresh_rate{name}_hertz", text, ("chip", "kind"), values)
    connections = status["connections"]
    opened = {(socket,): count for socket, count in connections["open"].items()}
    yield gauge("neuralpower_connections", "Connections of clients", ("socket",), opened)
    yield counter("neuralpower_connections_cut", "Connections refused or ended", (), {(): connections["cut"]})
    yield counter(
        "neuralpower_refused_keys", "Handshakes with a key that is not allowed", (), {(): connections["refused_keys"]}
    )
    yield counter("neuralpower_broken_messages", "Messages that broke the format", (), {(): status["broken_messages"]})
    inferences = {(outcome,): status["inferences"][outcome] for outcome in ("taken", "refused", "lost")}
    yield counter("neuralpower_inferences", "Inferences reported to the daemon", ("outcome",), inferences)
    now = status["estimates"]["state"]
    states = {(state,): float(state == now) for state in ESTIMATOR_STATES}
    yield gauge("neuralpower_estimator_state", "1 for the state that the running estimates are in", ("state",), states)


def _energies(told: EnergyCounters, parents: Mapping[str, str]) -> Iterator[Any]:
    """Of the rails, and of the total apart from them."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    simulated = _word(told.simulated)
    rail_labels = ("hw_id", "hw_name", "hw_type", "hw_parent", "simulated")
    host_labels = ("hw_id", "hw_name", "rails", "covers", "simulated")
    parts = {rail: each for rail, each in told.rails.items() if told.total_of != (rail,)}
    kind = GPU if told.gpus else RAIL
    rails = [((rail, rail, kind, parents.get(rail, ""), simulated), each) for rail, each in parts.items()]
    hosts = [(("total", told.board, "+".join(told.total_of), told.covers, simulated), told.total)] if told.total else []
    for name, labels, found in (("hw", rail_labels, rails), ("hw_host", host_labels, hosts)):
        power = GaugeMetricFamily(f"{name}_power_watts", "Mean power of the last second", labels=labels)
        energy = CounterMetricFamily(
            f"{name}_energy_joules", "Energy of the time in which it was measured", labels=labels
        )
        measured = CounterMetricFamily(
            f"neuralpower_{'host' if hosts and found is hosts else 'rail'}_measured_seconds",
            "Time in which the energy was measured",
            labels=labels,
        )
        for of, each in found:
            _add(power, energy, measured, of, each)
        yield from (power, energy, measured) if found else ()


def _add(power: Any, energy: Any, measured: Any, labels: tuple[str, ...], each: EnergyCounter) -> None:
    if math.isfinite(each.mean_w):
        power.add_metric(list(labels), each.mean_w)
    energy.add_metric(list(labels), each.joules, created=each.created_s)
    measured.add_metric(list(labels), each.seconds, created=each.created_s)


def _word(flag: bool) -> str:
    return str(flag).lower()
