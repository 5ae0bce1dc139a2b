"""The tick ring: one writer, any number of readers by index. docs/ring.md has its bytes and what it promises."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _calls
from .errors import SamplerError
from .tick import MAX_READINGS, Ticks

DEFAULT_SECONDS = 120.0
"""History in a ring: a client that comes 20 s late, and a service that restarts, five times over, in 22 MB at 1 kHz."""
KEPT_EPOCHS = 64
MAX_PERIOD_NS = 86_400 * 10**9
_MIN_CAPACITY = 16


class Slice(NamedTuple):
    """What a read gave: contiguous `ticks` from index `first` on, after `lost` ticks that were overwritten unread."""

    first: int
    ticks: Ticks
    lost: int


class _Mapped:
    """What writer and reader have in common."""

    def __init__(self, handle: _calls.Handle, path: str | os.PathLike[str]) -> None:
        self._handle = handle
        self.path = os.fspath(path)
        info = _calls.ring_info(handle)
        self.stream = info.stream
        """The stream's random id, 16 bytes."""
        self.previous = info.previous
        """The stream that this file's place held before, or None."""
        self.capacity = info.capacity
        """Ticks in the ring."""
        self.readings = info.readings
        """Readings in a tick."""

    @property
    def next_index(self) -> int:
        """The index that the next tick will have."""
        return _calls.ring_next_index(self._handle)

    @property
    def oldest(self) -> int:
        """The oldest index that can still be read."""
        return _calls.ring_info(self._handle).oldest

    def epochs(self) -> list[tuple[int, int, bytes]]:
        """(number, first index, document) of the newest 64 epochs, oldest first."""
        end = _calls.ring_info(self._handle).next_epoch
        numbers = range(max(1, end - KEPT_EPOCHS), end)
        found = ((number, _calls.ring_epoch(self._handle, number)) for number in numbers)
        return [(number, entry[0], entry[1]) for number, entry in found if entry is not None]

    def read(self, first: int, max_ticks: int = 4096) -> Slice:
        """Up to `max_ticks` whole ticks from index `first` on; none if `first` has not been written yet.

        Raises:
            SamplerError: a negative index or number.
        """
        if first < 0 or max_ticks < 0:
            raise SamplerError(f"{self.path}: cannot read {max_ticks} ticks from index {first}")
        room = min(max_ticks, max(0, self.next_index - first), self.capacity)
        return Slice(*_calls.ring_read(self._handle, first, room, self.readings))

    def close(self) -> None:
        """Unmap the file; a second time does nothing."""
        self._handle.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Ring(_Mapped):
    """The writer's side. Make one with :meth:`create`; it holds the file lock until it is closed."""

    def __init__(self, handle: _calls.Handle, path: str | os.PathLike[str]) -> None:
        super().__init__(handle, path)
        self.resumed = _calls.ring_info(handle).resumed
        """Whether it goes on in a stream that was there."""

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], readings: int, period_ns: int, seconds: float = DEFAULT_SECONDS
    ) -> Ring:
        """Become the one writer of the ring at `path`, with room for at least `seconds` of ticks.

        A ring of this boot with as many readings and enough room is resumed: same stream, next index, and the same
        grid when the period is the same. Otherwise a new stream begins, in a file allocated in full.

        Raises:
            SamplerError: another process samples into it, the file is something else, no space, a bad number.
        """
        if not 1 <= readings <= MAX_READINGS:
            raise SamplerError(f"{os.fspath(path)}: a tick holds 1 to {MAX_READINGS} readings, not {readings}")
        if not 1 <= period_ns <= MAX_PERIOD_NS or not 0 < seconds < 1e9:
            raise SamplerError(f"{os.fspath(path)}: no ring of {seconds} s with a period of {period_ns} ns")
        capacity = max(_MIN_CAPACITY, -int(-seconds * 1e9 // period_ns))
        return cls(_calls.ring_create(path, readings, period_ns, capacity), path)

    @property
    def period_ns(self) -> int:
        """Distance of the grid's slots."""
        return _calls.ring_info(self._handle).period_ns

    @property
    def t0_ns(self) -> int:
        """Origin of the grid: slot n is due at t0 + n · period."""
        return _calls.ring_info(self._handle).t0_ns

    @property
    def next_epoch(self) -> int:
        """The number that the next epoch will get; the first is 1."""
        return _calls.ring_info(self._handle).next_epoch

    def set_period(self, period_ns: int) -> None:
        """Change the period, with a new grid from now on; the same period keeps the grid.

        Raises:
            SamplerError: a sampler is writing.
        """
        _calls.ring_set_period(self._handle, period_ns)

    def begin_epoch(self, document: bytes) -> int:
        """Enter an epoch that explains the ticks from the next index on; returns its number.

        Raises:
            SamplerError: more than 8192 bytes, or a sampler is writing.
        """
        return _calls.ring_begin_epoch(self._handle, document)

    def append(self, slot: int, t_ns: int, epoch: int, readings: npt.NDArray[np.void]) -> None:
        """Write one tick by hand: `readings` is (n,) of READING. For tests and importers.

        Raises:
            SamplerError: a sampler is writing, or the number of readings is wrong.
        """
        if len(readings) != self.readings:
            raise SamplerError(f"{self.path}: {len(readings)} readings in a ring of {self.readings}")
        _calls.ring_append(self._handle, slot, t_ns, epoch, np.ascontiguousarray(readings))


class RingReader(_Mapped):
    """A reader's side: mapped read-only, beside a writer that never waits.

    Raises:
        SamplerError: no such file, not a ring, another version, truncated.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(_calls.ring_open(path), path)
        self._file = _identity(path)

    @property
    def replaced(self) -> bool:
        """Whether a new stream has taken this file's place: read this one to its end, then open the path again."""
        return _identity(self.path) not in (None, self._file)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
