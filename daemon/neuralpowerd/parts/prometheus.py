"""The page for Prometheus, where it is wanted."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neuralpower_wire import Epoch, Ticks

from ..config import Config
from ..errors import ConfigError
from ..live.scrape import PATH, Scrape
from ..logs.journal import boot_id
from ..part import DaemonPart
from ..sources.boards import boards
from ..watch.energy import EnergyWatch
from ..watch.metrics import Snapshot, TickCounts, page

log = logging.getLogger(__name__)

FILE = "energy.json"
"""The counters of joules, in the runtime directory: there for whoever goes on after this daemon."""


class PrometheusPart(DaemonPart):
    """Counts joules and ticks and makes a snapshot of them each second; a thread of its own serves it. Does nothing without a port.

    Raises:
        ConfigError: prometheus_client is not installed.
        DaemonError: the port cannot be had.
    """

    def __init__(self, config: Config, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status
        self._scrape: Scrape | None = None
        table = config.prometheus
        self._on = table.port > 0
        if not self._on:
            return
        self._snapshot = Snapshot()
        self._started_s = time.time()
        self._energy = EnergyWatch(Path(config.runtime_dir) / FILE, boot_id())
        self._counts = TickCounts()
        try:
            made = page(lambda: self._snapshot)
        except ImportError:
            raise ConfigError(
                "the package prometheus_client is not installed",
                "pip install 'neuralpower[prometheus]', or set it to 0",
                key="prometheus.port",
            ) from None
        self._scrape = Scrape(table.host, table.port, made, lambda: self._snapshot)
        where = f"[{table.host}]" if ":" in table.host else table.host
        log.info("metrics for Prometheus at http://%s:%d%s", where, table.port, PATH)
        if not ipaddress.ip_address(table.host).is_loopback:
            log.warning("prometheus.host: whoever reaches %s reads the power, without a key", table.host)

    def begin_epoch(self, epoch: Epoch) -> None:
        if self._on:
            self._parents = fed_by(epoch)
            self._energy.begin_epoch(epoch)
            self._counts.begin_epoch(epoch)

    def learn(self, ticks: Ticks) -> None:
        if self._on:
            self._energy.see(ticks)
            self._counts.see(ticks)

    def second(self) -> None:
        if not self._on:
            return
        self._energy.tell()
        counts = self._counts
        self._snapshot = Snapshot(
            self._energy.told,
            self._parents,
            counts.ticks,
            counts.missed,
            tuple(counts.late),
            counts.late_s,
            dict(counts.errors),
            self._status(),
            self._started_s,
        )

    def close(self) -> None:
        if self._scrape is not None:
            self._energy.tell()
            self._scrape.close()


def fed_by(epoch: Epoch) -> dict[str, str]:
    """Rail → the measured rail that feeds it, by the table of boards; nothing on a board that is not in it."""
    rails = set(epoch.rails())
    entries = (board.rails for board in boards() if board.name == epoch.board)
    return {
        each.label: each.parent for found in entries for each in found if each.parent in rails and each.label in rails
    }
