"""What the machine is like, and how deeply its processors may sleep."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from neuralpower_wire import Epoch

from ..config import Config
from ..part import DaemonPart
from ..system.conditions import Machine
from ..system.latency import LatencyHold

log = logging.getLogger(__name__)


class MachinePart(DaemonPart):
    """Its files are looked for anew with each epoch."""

    def __init__(self) -> None:
        self._latency = LatencyHold()

    def configure(self, config: Config) -> None:
        self._config = config
        self._latency.want(config.realtime.hold_latency)
        if self._latency.refused:
            log.warning("cpu_dma_latency %s", self._latency.state)

    def begin_epoch(self, epoch: Epoch) -> None:
        self._machine = Machine(Path(self._config.sysfs_root), self._config.conditions.power_mode)

    def conditions(self) -> dict[str, Any]:
        return {**self._machine.read(), "kernel": os.uname().release, "cpu_dma_latency": self._latency.state}

    def close(self) -> None:
        self._latency.release()
