"""The second floor: C calls with Python types, every error an exception. No cdata leaves this file and `_source_calls.py`, except inside a Handle."""

from __future__ import annotations

import errno as errnos
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._reinstall import reinstall_command
from .errors import SamplerError
from .tick import Ticks, tick_dtype

REINSTALL = reinstall_command()
AVAILABLE = True
_ffi: Any = None
_lib: Any = None
try:
    from ._sampler import ffi as _ffi
    from ._sampler import lib as _lib
except ImportError as _error:
    AVAILABLE = False
    _why = "is not installed" if isinstance(_error, ModuleNotFoundError) else f"cannot be loaded ({_error})"

DOCUMENT_BYTES = 8192


class Handle:
    """An instance on the C side and the one call that gives it back. `keep` lives as long as it does."""

    __slots__ = ("_close", "_keep", "_pointer", "_what")

    def __init__(self, pointer: Any, close: Callable[[Any], object], what: str, keep: object = None) -> None:
        self._pointer, self._close, self._what, self._keep = pointer, close, what, keep

    @property
    def pointer(self) -> Any:
        """For the two files of calls only."""
        if self._pointer is None:
            raise SamplerError(f"{self._what} is closed")
        return self._pointer

    @property
    def closed(self) -> bool:
        """Whether it has been given back."""
        return self._pointer is None

    def release(self) -> Any:
        """Take the pointer out: another instance owns it now."""
        pointer, self._pointer = self.pointer, None
        return pointer

    def close(self) -> None:
        """Give it back; a second time does nothing.

        Raises:
            SamplerError: a running sampler still needs it.
        """
        if self._pointer is None:
            return
        if self._close(self._pointer) == -errnos.EBUSY:
            raise SamplerError(f"{self._what} is in use by a running sampler: stop that first", errnos.EBUSY)
        self._pointer = self._keep = None

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None:
            self._close(self._pointer)


def lib() -> Any:
    """The C library, for the two files of calls only.

    Raises:
        SamplerError: the extension is missing; the line has the command that adds it.
    """
    if not AVAILABLE:
        raise SamplerError(f"the C sampler {_why}; install it with: {REINSTALL}")
    return _lib


def _new(kind: str) -> Any:
    lib()
    return _ffi.new(kind)


def words(code: int) -> str:
    """What a negative return value means."""
    text: bytes = _ffi.string(lib().np_strerror(code))
    return text.decode()


def _check(code: int, where: str) -> int:
    if code < 0:
        raise SamplerError(f"{where}: {words(code)}", -code)
    return code


def _path(path: str | os.PathLike[str]) -> bytes:
    return os.fsencode(path)


def _words_of(array: npt.NDArray[Any]) -> Any:
    return _ffi.from_buffer("uint64_t[]", array, require_writable=True)


# ---- Clocks ------------------------------------------------------------------------------------------------------


def clocks() -> tuple[int, int, int, int]:
    out = _new("struct np_clocks *")
    _check(_lib.np_clocks(out), "clocks")
    return out.monotonic_ns, out.boottime_ns, out.realtime_ns, out.bracket_ns


# ---- Ring --------------------------------------------------------------------------------------------------------


class RingInfo(NamedTuple):
    stream: bytes
    previous: bytes | None
    capacity: int
    next_index: int
    oldest: int
    period_ns: int
    t0_ns: int
    readings: int
    next_epoch: int
    resumed: bool


def ring_create(path: str | os.PathLike[str], readings: int, period_ns: int, capacity: int) -> Handle:
    out = _new("struct np_ring **")
    _check(_lib.np_ring_create(_path(path), readings, period_ns, capacity, out), os.fspath(path))
    return Handle(out[0], _lib.np_ring_close, "the ring")


def ring_open(path: str | os.PathLike[str]) -> Handle:
    out = _new("struct np_ring **")
    _check(_lib.np_ring_open(_path(path), out), os.fspath(path))
    return Handle(out[0], _lib.np_ring_close, "the ring")


def ring_info(ring: Handle) -> RingInfo:
    info = _ffi.new("struct np_ring_info *")
    _lib.np_ring_info(ring.pointer, info)
    previous = bytes(info.previous)
    return RingInfo(
        stream=bytes(info.stream),
        previous=previous if any(previous) else None,
        capacity=info.capacity,
        next_index=info.next_index,
        oldest=info.oldest,
        period_ns=info.period_ns,
        t0_ns=info.t0_ns,
        readings=info.readings,
        next_epoch=info.next_epoch,
        resumed=bool(info.resumed),
    )


def ring_set_period(ring: Handle, period_ns: int) -> None:
    _check(_lib.np_ring_set_period(ring.pointer, period_ns), "the ring's period")


def ring_begin_epoch(ring: Handle, document: bytes) -> int:
    number = _ffi.new("uint32_t *")
    _check(_lib.np_ring_begin_epoch(ring.pointer, document, len(document), number), "the ring's epoch table")
    return int(number[0])


def ring_epoch(ring: Handle, number: int) -> tuple[int, bytes] | None:
    first, length = _ffi.new("uint64_t *"), _ffi.new("uint32_t *")
    document = _ffi.new("uint8_t[]", DOCUMENT_BYTES)
    if _lib.np_ring_epoch(ring.pointer, number, first, document, length) < 0:
        return None
    return first[0], _ffi.buffer(document, length[0])[:]


def ring_next_index(ring: Handle) -> int:
    info = _ffi.new("struct np_ring_info *")
    _lib.np_ring_info(ring.pointer, info)
    return int(info.next_index)


def ring_append(ring: Handle, slot: int, t_ns: int, epoch: int, readings: npt.NDArray[np.void]) -> None:
    rows = _ffi.cast("struct np_reading *", _ffi.from_buffer(readings))
    _check(_lib.np_ring_append(ring.pointer, slot, t_ns, epoch, rows), "the ring")


def ring_read(ring: Handle, first: int, max_ticks: int, readings: int) -> tuple[int, Ticks, int]:
    ticks = np.empty(max_ticks, tick_dtype(readings))
    got, lost = _ffi.new("uint64_t *"), _ffi.new("uint64_t *")
    count = _check(_lib.np_ring_read(ring.pointer, first, max_ticks, _words_of(ticks), got, lost), "the ring")
    return got[0], ticks[:count], lost[0]


# ---- Sampler -----------------------------------------------------------------------------------------------------


class RawStats(NamedTuple):
    """The fields of struct np_stats, in its order."""

    ticks: int
    missed_slots: int
    last_slot: int
    last_t_ns: int
    lateness_max_ns: int
    thread_cpu_ns: int
    underruns: int
    locked_bytes: int
    policy: int
    cpu: int
    lock_error: int
    running: int
    error: int


def sampler_create(
    ring: Handle, source: Handle, epoch: int, priority: int, cpu: int, lock_memory: bool, spin_ns: int
) -> Handle:
    options = _ffi.new("struct np_sampler_options *", (epoch, priority, cpu, lock_memory, spin_ns))
    out = _ffi.new("struct np_sampler **")
    _check(_lib.np_sampler_create(ring.pointer, source.pointer, options, out), "the sampler")
    return Handle(out[0], _lib.np_sampler_destroy, "the sampler", keep=(ring, source))


def sampler_start(sampler: Handle) -> None:
    _check(_lib.np_sampler_start(sampler.pointer), "the sampler")


def sampler_stop(sampler: Handle) -> None:
    _check(_lib.np_sampler_stop(sampler.pointer), "the sampler")


def sampler_stats(sampler: Handle) -> RawStats:
    raw = _ffi.new("struct np_stats *")
    _lib.np_sampler_stats(sampler.pointer, raw)
    return RawStats(*(int(getattr(raw, name)) for name in RawStats._fields))


def sampler_lateness(sampler: Handle) -> npt.NDArray[np.uint64]:
    counts = np.zeros(_lib.NP_LATENESS_BINS, "<u8")
    _lib.np_sampler_lateness(sampler.pointer, _words_of(counts))
    return counts


def sampler_errors(sampler: Handle, reading: int) -> dict[int, int]:
    counts = np.zeros(256, "<u8")
    _check(_lib.np_sampler_errors(sampler.pointer, reading, _words_of(counts)), "the sampler's errors")
    return {int(number): int(counts[number]) for number in np.flatnonzero(counts)} if counts.any() else {}


def lateness_edges() -> npt.NDArray[np.int64]:
    return np.array([lib().np_lateness_edge(position) for position in range(_lib.NP_LATENESS_BINS)], "<i8")
