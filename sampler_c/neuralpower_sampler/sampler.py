"""The loop: reads a source at absolute deadlines into a ring, in a C thread that never touches Python."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from . import _calls
from .errors import SamplerError
from .ring import Ring
from .sources import Source


@dataclass(frozen=True)
class Stats:
    """The loop's measure of itself, since the sampler was made."""

    ticks: int
    missed_slots: int
    """Grid points passed over after an overrun."""
    last_slot: int
    last_t_ns: int
    """When the last tick began; 0 before the first."""
    lateness_bins_ns: npt.NDArray[np.int64]
    """(bins,) lower edges; a bin is 64 ns or 6 % wide."""
    lateness_counts: npt.NDArray[np.uint64]
    """(bins,) ticks; the last bin is the overflow, from about 1 s on."""
    lateness_max_ns: int
    policy: str
    """"fifo 80", or "other: " and why."""
    priority: int
    """Of SCHED_FIFO as it was granted; 0 where it was not."""
    cpu: int | None
    locked_bytes: int
    lock_note: str
    """"" when stack, code and ring are locked as asked, otherwise why not."""
    thread_cpu_ns: int
    errors: list[dict[int, int]]
    """Per reading: errno → how often it was missing with it."""
    underruns: int
    running: bool
    error: str | None
    """What ended the loop, or None."""

    def lateness_ns(self, quantile: float) -> int:
        """Lateness that this share of the ticks did not exceed (a bin's upper edge, at most the maximum); 0 without ticks."""
        total = int(self.lateness_counts.sum())
        if not total:
            return 0
        bin_ = int(np.searchsorted(np.cumsum(self.lateness_counts), max(1.0, quantile * total)))
        if bin_ + 1 >= len(self.lateness_bins_ns):
            return self.lateness_max_ns
        return min(int(self.lateness_bins_ns[bin_ + 1]), self.lateness_max_ns)


class Sampler:
    """Reads `source` into `ring` every period, from start() to stop(). A fork's child must leave it alone.

    Args:
        ring, source: borrowed; they cannot be closed while it runs.
        period_ns: the ring's.
        epoch: the number that every tick carries.
        priority: of SCHED_FIFO, 1 to 99; None leaves the scheduling alone. A refusal is in Stats.policy.
        cpu: pin the thread to this CPU.
        lock_memory: keep the thread's stack, this library's code and the ring in memory, as far as limits allow.
        spin_ns: poll the clock for so long before each deadline instead of sleeping, at most half a period. It wakes
            sooner and draws power, which the rails show.

    Raises:
        SamplerError: ring and source do not fit, a bad number.
    """

    def __init__(
        self,
        ring: Ring,
        source: Source,
        period_ns: int,
        epoch: int,
        priority: int | None = 80,
        cpu: int | None = None,
        lock_memory: bool = True,
        spin_ns: int = 0,
    ) -> None:
        if ring.readings != source.readings:
            raise SamplerError(f"a source of {source.readings} readings does not fit a ring of {ring.readings}")
        if ring.period_ns != period_ns:
            raise SamplerError(f"{ring.path}: the ring's period is {ring.period_ns} ns, not {period_ns}")
        if priority is not None and not 1 <= priority <= 99:
            raise SamplerError(f"SCHED_FIFO has priorities 1 to 99, not {priority}")
        if cpu is not None and cpu < 0:
            raise SamplerError(f"there is no CPU {cpu}")
        if not 0 <= spin_ns <= period_ns // 2:
            raise SamplerError(f"a spin of {spin_ns} ns is not within half a period of {period_ns} ns")
        self._ring, self._source, self._cpu, self._priority = ring, source, cpu, priority
        self._lock_memory = lock_memory
        self._handle = _calls.sampler_create(
            ring._handle, source._handle, epoch, priority or 0, -1 if cpu is None else cpu, lock_memory, spin_ns
        )

    def start(self) -> None:
        """Start the thread; returns when it waits for its first deadline.

        Raises:
            SamplerError: the CPU asked for is not there, ring or source are in use, it runs already.
        """
        try:
            _calls.sampler_start(self._handle)
        except SamplerError as error:
            if self._cpu is None:
                raise
            raise SamplerError(f"{error} (CPU {self._cpu})", error.errno) from None

    def stop(self) -> None:
        """End the thread, within a period or 0.1 s plus one read of the source; a second time does nothing.

        Raises:
            SamplerError: the loop had ended by itself, with its reason.
        """
        _calls.sampler_stop(self._handle)

    def stats(self) -> Stats:
        """How it goes; from any thread, at any time."""
        raw = _calls.sampler_stats(self._handle)
        return Stats(
            ticks=raw.ticks,
            missed_slots=raw.missed_slots,
            last_slot=raw.last_slot,
            last_t_ns=raw.last_t_ns,
            lateness_bins_ns=_edges(),
            lateness_counts=_calls.sampler_lateness(self._handle),
            lateness_max_ns=raw.lateness_max_ns,
            policy=_policy(raw.policy),
            priority=max(raw.policy, 0),
            cpu=self._cpu,
            locked_bytes=raw.locked_bytes,
            lock_note=self._lock_note(raw.lock_error),
            thread_cpu_ns=raw.thread_cpu_ns,
            errors=[_calls.sampler_errors(self._handle, reading) for reading in range(self._ring.readings)],
            underruns=raw.underruns,
            running=bool(raw.running),
            error=_calls.words(raw.error) if raw.error else None,
        )

    def _lock_note(self, code: int) -> str:
        if not self._lock_memory:
            return "not asked for"
        if abs(code) in (errno.ENOMEM, errno.EPERM, errno.EAGAIN):
            return "not everything: the limit on locked memory (RLIMIT_MEMLOCK) is too low"
        return f"not everything: {_calls.words(code)}" if code else ""

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _policy(code: int) -> str:
    if code > 0:
        return f"fifo {code}"
    return f"other: {_calls.words(code)}" if code else "other: not asked for"


@cache
def _edges() -> npt.NDArray[np.int64]:
    edges = _calls.lateness_edges()
    edges.setflags(write=False)
    return edges
