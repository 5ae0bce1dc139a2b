"""What the daemon itself costs; memory that it needs no more goes back."""

from __future__ import annotations

import os
import time
from typing import Any

from neuralpower_wire import Epoch, Ticks

from ..part import DaemonPart
from ..sampling import Sampling
from ..system.memory import GiveBack
from ..watch.observer import Observer

_PAGE = os.sysconf("SC_PAGE_SIZE")


class ObserverPart(DaemonPart):
    """Processor time, wake-ups, time on the bus and memory, of the process and of the sampling thread."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._observer = Observer()
        self._give_back = GiveBack()
        self._started_ns = time.monotonic_ns()

    def begin_epoch(self, epoch: Epoch) -> None:
        self._period_ns = epoch.period_ns

    def learn(self, ticks: Ticks) -> None:
        self._observer.see(ticks, self._period_ns)

    def second(self) -> None:
        self._observer.look(self._sampling.stats().thread_cpu_ns)
        self._give_back.look(time.monotonic())

    def conditions(self) -> dict[str, Any]:
        observer = self._observer
        return {
            "daemon_cpu": observer.cpu["process"],
            "daemon_wakeups_per_s": observer.wakeups_per_s["process"],
            "loop_wakeups_per_s": observer.wakeups_per_s["loop"],
            "bus_occupancy": observer.bus_occupancy,
        }

    def status(self, span_ns: int) -> dict[str, Any]:
        return {
            "bus_occupancy": self._observer.bus_occupancy,
            "wakeups_per_s": self._observer.wakeups_per_s,
            "cpu": self._observer.cpu,
            "rss_bytes": resident_bytes(),
            "uptime_s": (time.monotonic_ns() - self._started_ns) / 1e9,
            "pid": os.getpid(),
        }


def resident_bytes() -> int:
    """Resident memory of this process, the shared and locked ring included."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE
