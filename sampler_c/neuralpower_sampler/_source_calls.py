"""C calls with Python types that make sources and what these read: files, buses, GPUs, the chip in software. As in `_calls.py`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._calls import Handle, _check, _ffi, _lib, _new, _path, _words_of
from .tick import Ticks, tick_dtype

# ---- Files, recordings and the chip in software --------------------------------------------------------------------


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
