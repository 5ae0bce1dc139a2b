"""The second floor: C calls with Python types, every error an exception. No cdata leaves this file, except inside a Handle."""

from __future__ import annotations

import errno as errnos
import os
from collections.abc import Callable, Sequence
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
        """For this file only."""
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
    """The C library, for this file only.

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


# ---- Sources -----------------------------------------------------------------------------------------------------


class ChipOptions(NamedTuple):
    config: int
    rail: Sequence[int]
    bus_uv: Sequence[int]
    shunt_uohm: Sequence[int]


class SimOptions(NamedTuple):
    """The fields of struct np_sim_options, in its order."""

    delay_ns: int
    lag_ns: int
    noise_uv: float
    offset_uv: float
    gain_ppm: float
    droop_uohm: int
    clock_ppm: float
    spread_ppm: float
    swing_ppm: float
    swing_s: float
    walk_ppm: float
    seed: int
    driver: int
    bus_hz: int
    narrow: int
    averaged_ready: int
    second_lag_ns: int


QUANTITIES = {"shunt_uv": 0, "bus_uv": 1, "current_ua": 2, "power_uw": 3}
"""enum np_quantity"""


def source_hwmon(paths: Sequence[str], scales: Sequence[int], waits: bool, scan_ns: int) -> Handle:
    out = _new("struct np_source **")
    names = [_ffi.new("char[]", _path(path)) for path in paths]
    code = _lib.np_source_hwmon(_ffi.new("char *[]", names), list(scales), len(names), waits, scan_ns, out)
    _check(code, f"a source of {len(names)} files")
    return Handle(out[0], _lib.np_source_close, "the source")


def source_iio(paths: Sequence[str], quantities: Sequence[int]) -> Handle:
    out = _new("struct np_source **")
    names = [_ffi.new("char[]", _path(path)) for path in paths]
    code = _lib.np_source_iio(_ffi.new("char *[]", names), list(quantities), len(names), out)
    _check(code, f"a source of {len(names)} readings")
    return Handle(out[0], _lib.np_source_close, "the source")


def source_replay(rows: npt.NDArray[np.void], count: int, readings: int, repeat: bool) -> Handle:
    out = _new("struct np_source **")
    pointer = _ffi.cast("struct np_reading *", _ffi.from_buffer(rows))
    _check(_lib.np_source_replay(pointer, count, readings, repeat, out), f"a replay of {count} ticks")
    return Handle(out[0], _lib.np_source_close, "the source")


def source_decimate(source: Handle, every: Sequence[int]) -> None:
    _check(_lib.np_source_decimate(source.pointer, bytes(every)), "leaving out readings")


def timeline_open(path: str | os.PathLike[str]) -> Handle:
    out = _new("struct np_timeline **")
    _check(_lib.np_timeline_open(_path(path), out), os.fspath(path))
    return Handle(out[0], _lib.np_timeline_close, "the timeline")


def timeline_memory(records: npt.NDArray[np.void], idle_uw: Sequence[int]) -> Handle:
    out = _new("struct np_timeline **")
    pointer = _ffi.cast("struct np_timeline_record *", _ffi.from_buffer(records))
    _check(_lib.np_timeline_memory(pointer, len(records), list(idle_uw), out), "a timeline in memory")
    return Handle(out[0], _lib.np_timeline_close, "the timeline", keep=records)


def timeline_rail(line: Handle, name: str) -> int | None:
    column: int = _lib.np_timeline_rail(line.pointer, name.encode())
    return column if column >= 0 else None


def source_sim(
    line: Handle,
    chips: Sequence[ChipOptions],
    channels: Sequence[tuple[int, int, int]],
    options: SimOptions,
    errors: Sequence[tuple[int, int, int, int, int]],
) -> Handle:
    out = _ffi.new("struct np_source **")
    code = _lib.np_source_sim(
        line.pointer,
        _ffi.new("struct np_chip_options[]", [tuple(chip) for chip in chips]),
        len(chips),
        _ffi.new("struct np_sim_channel[]", list(channels)),
        len(channels),
        _ffi.new("struct np_sim_options *", tuple(options)),
        _ffi.new("struct np_sim_error[]", [tuple(error) for error in errors]),
        len(errors),
        out,
    )
    _check(code, "the simulated chips")
    keep = line._keep
    line.release()
    return Handle(out[0], _lib.np_source_close, "the source", keep=keep)


class I2cChipOptions(NamedTuple):
    """The fields of struct np_i2c_chip, in its order."""

    address: int
    config: int
    offset_uv: Sequence[int]


def i2c_open(device: str) -> Handle:
    out = _new("struct np_i2c **")
    _check(_lib.np_i2c_open(_path(device), out), device)
    return Handle(out[0], _lib.np_i2c_close, "the I2C bus")


def i2c_claim(bus: Handle, address: int) -> None:
    _check(_lib.np_i2c_claim(bus.pointer, address), f"the chip at {address:#04x}")


def i2c_read(bus: Handle, address: int, register: int) -> int:
    value = _ffi.new("uint16_t *")
    _check(_lib.np_i2c_read(bus.pointer, address, register, value), f"register {register:#04x} of {address:#04x}")
    return int(value[0])


def i2c_write(bus: Handle, address: int, register: int, value: int) -> None:
    _check(_lib.np_i2c_write(bus.pointer, address, register, value), f"register {register:#04x} of {address:#04x}")


def source_i2c(
    bus: Handle, chips: Sequence[I2cChipOptions], channels: Sequence[tuple[int, int, int]], wait_ns: int
) -> Handle:
    out = _ffi.new("struct np_source **")
    code = _lib.np_source_i2c(
        bus.pointer,
        _ffi.new("struct np_i2c_chip[]", [tuple(chip) for chip in chips]),
        len(chips),
        _ffi.new("struct np_sim_channel[]", list(channels)),
        len(channels),
        wait_ns,
        out,
    )
    _check(code, "the chips on the I2C bus")
    bus.release()
    return Handle(out[0], _lib.np_source_close, "the source")


# ---- NVML --------------------------------------------------------------------------------------------------------


def nvml_open(library: str) -> Handle:
    out = _new("struct np_nvml **")
    _check(_lib.np_nvml_open(_path(library), out), library)
    return Handle(out[0], _lib.np_nvml_close, "NVML")


def nvml_describe(nvml: Handle) -> tuple[int, bool, str]:
    """GPUs, whether it is simulated, the driver's version."""
    pointer = nvml.pointer
    driver = _ffi.string(_lib.np_nvml_driver(pointer)).decode(errors="replace")
    return int(_lib.np_nvml_count(pointer)), bool(_lib.np_nvml_simulated(pointer)), driver


def nvml_gpu(nvml: Handle, gpu: int) -> tuple[str, str, bool, bool]:
    out = _ffi.new("struct np_nvml_gpu *")
    _check(_lib.np_nvml_gpu(nvml.pointer, gpu, out), f"GPU {gpu}")
    name, uuid = (_ffi.string(text).decode(errors="replace") for text in (out.name, out.uuid))
    return name, uuid, bool(out.mig), bool(out.slice)


def nvml_read(nvml: Handle, gpu: int, kind: int) -> tuple[int, int, int, int]:
    out = _ffi.new("struct np_nvml_value *")
    _check(_lib.np_nvml_read(nvml.pointer, gpu, kind, out), f"GPU {gpu}")
    return out.value, out.stamp_us, out.begin_ns, out.end_ns


def nvml_samples(nvml: Handle, gpu: int, since_us: int) -> list[tuple[int, int, int, int]]:
    out = _ffi.new("struct np_nvml_value[]", _lib.NP_NVML_DEPTH)
    count = _check(_lib.np_nvml_samples(nvml.pointer, gpu, since_us, out), f"GPU {gpu}")
    return [(each.value, each.stamp_us, each.begin_ns, each.end_ns) for each in out[0:count]]


def nvml_conditions(nvml: Handle, gpu: int) -> tuple[int, int, int, int, int]:
    out = _ffi.new("struct np_nvml_conditions *")
    _lib.np_nvml_conditions(nvml.pointer, gpu, out)
    return out.sm_mhz, out.memory_mhz, out.temperature_c, out.limit_mw, out.reasons


def nvml_xids(nvml: Handle) -> list[tuple[int, int]]:
    gpu, xid = _ffi.new("uint32_t *"), _ffi.new("uint64_t *")
    found: list[tuple[int, int]] = []
    while len(found) < 64 and _lib.np_nvml_xid(nvml.pointer, gpu, xid):
        found.append((int(gpu[0]), int(xid[0])))
    return found


def source_nvml(nvml: Handle, channels: Sequence[tuple[int, int, int, int, bool]], clock: int) -> Handle:
    out = _ffi.new("struct np_source **")
    rows = _ffi.new("struct np_nvml_channel[]", channels)
    _check(_lib.np_source_nvml(nvml.pointer, rows, len(channels), clock, out), "a source of GPUs")
    return Handle(out[0], _lib.np_source_close, "the source")


def source_revive(source: Handle) -> int:
    return int(_lib.np_source_revive(source.pointer))


def source_underruns(source: Handle) -> int:
    return int(_lib.np_source_underruns(source.pointer))


def simulate(source: Handle, t_ns: npt.NDArray[np.int64], readings: int, epoch: int) -> Ticks:
    ticks = np.empty(len(t_ns), tick_dtype(readings))
    times = _ffi.from_buffer("int64_t[]", t_ns)
    taken = _check(_lib.np_simulate(source.pointer, times, len(t_ns), epoch, _words_of(ticks)), "the simulation")
    return ticks[:taken]


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
