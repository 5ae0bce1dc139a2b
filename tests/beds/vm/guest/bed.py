"""Inside the virtual machine: the chip's files, the driver's files, and taking ticks from a source."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower_sampler import HwmonInput, HwmonSource, Ring, RingReader, Sampler, Source

FILES = Path("/sys/kernel/debug/bed_chip")
SHUNT_UOHM = 5000
BUS_UV = (19_000_000, 5_000_000, 5_000_000)
"""Of the chip at 0x40; multiples of the register's 8 mV."""
PIECE_NS, PIECES = 250_000, 40_960
"""A waveform is levels of 250 µs, which begin again after 10.24 s."""


def command(name: str, value: object) -> None:
    """Write one of the chip's files."""
    (FILES / name).write_text(f"{value}\n")


def state(address: int) -> dict[str, int]:
    """The chip's registers and counters."""
    for line in (FILES / "state").read_text().splitlines():
        words = line.split()
        if int(words[0], 16) == address:
            return {name: int(value, 0) for name, value in zip(words[1::2], words[2::2], strict=True)}
    raise LookupError(f"no chip at {address:#x}")


def hwmon(address: int) -> Path:
    """The driver's folder for the chip; its number differs from one attach to the next."""
    return next(Path("/sys/bus/i2c/devices").glob(f"*-00{address:02x}/hwmon/hwmon*"))


def random_levels(seed: int) -> Any:
    """(PIECES, 3) µV: every conversion sees something else."""
    return np.random.default_rng(seed).integers(400, 40_000, (PIECES, 3))


def steps() -> Any:
    """(PIECES, 3) µV: from 4 to 36 mV and back, each for 1.28 s."""
    levels = np.where(np.arange(PIECES) // 5120 % 2 == 0, 4_000, 36_000)
    return np.repeat(levels[:, None], 3, axis=1)


def ramp() -> tuple[Any, Any]:
    """Shunt and bus voltage, (8000, 3) µV: rising for 2 s and again, so that a value tells its time."""
    number = np.arange(8000)
    return np.repeat((-160_000 + number * 40)[:, None], 3, axis=1), np.repeat((number // 2 * 8_000)[:, None], 3, axis=1)


def load(module: Path) -> None:
    """Put a module into the kernel."""
    with module.open("rb") as file:
        _system_call(313, file.fileno(), b"", 0)  # finit_module


def unload(name: str) -> None:
    """Take a module out of the kernel."""
    _system_call(176, name.encode(), os.O_NONBLOCK)  # delete_module


def _system_call(number: int, *words: object) -> None:
    """One of x86-64."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *words) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def set_waveform(levels_uv: Any, bus_uv: Any = BUS_UV) -> int:
    """Levels at the three shunts and buses, one a piece; returns when it began."""
    pieces = np.zeros(len(levels_uv), [("start_ns", "<u8"), ("shunt_uv", "<i4", 3), ("bus_uv", "<i4", 3)])
    pieces["start_ns"] = np.arange(len(levels_uv)) * PIECE_NS
    pieces["shunt_uv"], pieces["bus_uv"] = levels_uv, bus_uv
    origin_ns = time.monotonic_ns()
    head = np.array([origin_ns, len(levels_uv) * PIECE_NS], "<u8")
    with open(FILES / "waveform", "wb", buffering=0) as file:
        file.write(head.tobytes() + pieces.tobytes())
    return origin_ns


def inputs(folder: Path, channels: tuple[int, ...] = (1, 2, 3)) -> list[HwmonInput]:
    """Bus voltage and shunt voltage of each channel, as the daemon reads them."""
    found = []
    for channel in channels:
        found += [
            HwmonInput(str(folder / f"in{channel}_input"), 1000),
            HwmonInput(str(folder / f"in{channel + 3}_input"), 1),
        ]
    return found


class Taking:
    """A sampler over a source, with a ring in memory; the ticks of the whole run fit in it."""

    def __init__(self, source: Source, period_ns: int, seconds: float) -> None:
        self.path = Path("/dev/shm/ticks.ring")
        self.path.unlink(missing_ok=True)
        self.source = source
        self.ring = Ring.create(self.path, source.readings, period_ns, seconds + 1)
        epoch = self.ring.begin_epoch(b"{}")
        self.sampler = Sampler(self.ring, source, period_ns, epoch, priority=80)

    def __enter__(self) -> Taking:
        self.sampler.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.sampler.stop()
        self.stats = self.sampler.stats()
        self.ring.close()

    def ticks(self) -> Any:
        """All of them, after the run."""
        reader = RingReader(self.path)
        parts, first = [], 0
        while first < reader.next_index:
            part = reader.read(first)
            if part.lost:
                raise AssertionError(f"{part.lost} ticks were overwritten")
            parts.append(part.ticks)
            first += len(part.ticks)
        return np.concatenate(parts)

    def cpu(self) -> tuple[int, int]:
        """CPU nanoseconds of the loop's thread so far, and its ticks."""
        stats = self.sampler.stats()
        return stats.thread_cpu_ns, stats.ticks

    def facts(self) -> dict[str, Any]:
        """What the loop says of itself."""
        stats = self.stats
        kept = {
            field.name: getattr(stats, field.name)
            for field in dataclasses.fields(stats)
            if "lateness_" not in field.name
        }
        return {**kept, "lateness_max_ns": stats.lateness_max_ns, "lateness_p99_ns": stats.lateness_ns(0.99)}


def take(source: Source, period_ns: int, seconds: float) -> tuple[Any, dict[str, Any]]:
    """Ticks of so many seconds, and what the loop says of itself; closes the source."""
    state(0x40)  # brings the chip up to date, so that the first read does not have to
    with Taking(source, period_ns, seconds) as taking:
        time.sleep(seconds)
    ticks = taking.ticks()
    source.close()
    return ticks, taking.facts()


def hwmon_source(address: int) -> HwmonSource:
    """The source under test over the driver's files of all three channels."""
    return HwmonSource(inputs(hwmon(address)))


def resident_bytes() -> int:
    """Of this process, page by page (statm is only about right)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no Rss in smaps_rollup")


def descriptors() -> int:
    """Open ones of this process."""
    return len(os.listdir("/proc/self/fd")) - 1
