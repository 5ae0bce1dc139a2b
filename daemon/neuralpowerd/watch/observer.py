"""The observer measures himself: the daemon's own processor time, wake-ups, and time on the bus."""

from __future__ import annotations

import os
import re
import resource
import time

import numpy as np

from neuralpower_wire import Ticks

_STATUS = re.compile(rb"\AName:\tnp-sampler\n.*^voluntary_ctxt_switches:\t(\d+)", re.MULTILINE | re.DOTALL)
"""Of the sampling thread."""


class Observer:
    """Rates since the look before; `bus_occupancy` is the share of time that the loop spent in reads."""

    def __init__(self) -> None:
        self.wakeups_per_s: dict[str, float | None] = {"process": None, "loop": None}
        self.cpu: dict[str, float | None] = {"process": None, "loop": None}
        self.bus_occupancy: float | None = None
        self._before: tuple[int, ...] | None = None
        self._loop: str | None = None
        self._reading_ns = self._seen_ns = 0

    def see(self, ticks: Ticks, period_ns: int) -> None:
        """Add up how long the reads of these ticks took. What a driver waits for the chip counts as well."""
        readings = ticks["readings"]
        took = readings["end_ns"].astype(np.int64) - readings["begin_ns"]
        # Readings that share a read have the same begin and end: count each read once.
        again = (np.diff(readings["begin_ns"], axis=1) == 0) & (np.diff(readings["end_ns"], axis=1) == 0)
        self._reading_ns += int(took.sum()) - int(took[:, 1:][again].sum())
        self._seen_ns += len(ticks) * period_ns

    def look(self, loop_cpu_ns: int) -> None:
        """Make the rates; call it about once a second."""
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        now = (time.monotonic_ns(), switches, self._loop_switches(), time.process_time_ns(), loop_cpu_ns)
        before, self._before = self._before, now
        if before is not None and now[0] > before[0]:
            span_s = (now[0] - before[0]) / 1e9
            process, loop, process_ns, loop_ns = (
                max(0, new - old) for new, old in zip(now[1:], before[1:], strict=True)
            )
            self.wakeups_per_s = {"process": process / span_s, "loop": loop / span_s if now[2] else None}
            self.cpu = {"process": process_ns / 1e9 / span_s, "loop": loop_ns / 1e9 / span_s}
        if self._seen_ns:
            self.bus_occupancy = self._reading_ns / self._seen_ns
            self._reading_ns = self._seen_ns = 0

    def _loop_switches(self) -> int:
        """Voluntary context switches of the sampling thread, found by its name; 0 where there is none."""
        found = _voluntary_switches(self._loop) if self._loop is not None else None
        if found is None:
            counts = {task: _voluntary_switches(task) for task in os.listdir("/proc/self/task")}
            self._loop = next((task for task, count in counts.items() if count is not None), None)
            found = counts[self._loop] if self._loop is not None else None
        return found or 0


def _voluntary_switches(task: str) -> int | None:
    """Voluntary context switches of a thread of this process; None where it is not the sampling thread."""
    try:
        with open(f"/proc/self/task/{task}/status", "rb") as file:
            found = _STATUS.search(file.read())
    except OSError:
        return None
    return int(found[1]) if found else None
