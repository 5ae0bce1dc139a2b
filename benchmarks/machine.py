"""The machine that a bench runs on: what it is, what disturbs it, its tools, and the C programs built for it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
OUT = ROOT / "build" / "bench"
MEMORY = Path("/dev/shm")
"""tmpfs: files whose reading costs a system call and a copy, and rings that no disk slows."""

PRIORITY = 80
CPU = max(os.sched_getaffinity(0))
"""Loops are pinned to the last processor: the first takes most interrupts."""
PERIOD_NS = 1_000_000

_CFLAGS = ["-std=c11", "-O2", "-g", "-pthread", "-Wall", "-Wextra", "-Wconversion"]


class Missing(Exception):
    """A part cannot run here; the text says why and what to do."""


def tool(name: str, package: str) -> str:
    """Path of a program; Missing names the Debian package that has it."""
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is not installed: apt install {package}")
    return path


def build(source: str, *, with_sampler: bool = False) -> Path:
    """Compile benchmarks/SOURCE, with the sampler's sources where it needs them, into build/bench; ends the bench where it does not compile."""
    OUT.mkdir(parents=True, exist_ok=True)
    target, room = OUT / Path(source).stem, ROOT / "sampler_c"
    sources = [HERE / source, *(sorted((room / "src").glob("*.c")) if with_sampler else [])]
    command = [os.environ.get("CC", "gcc"), *_CFLAGS, f"-I{room}/include", f"-I{room}/src", "-o", str(target)]
    done = subprocess.run([*command, *map(str, sources), "-lm", "-ldl"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{sources[0]} does not compile:\n{done.stderr}")
    return target


def describe() -> str:
    """One line about the machine, and one more where something disturbs the figures."""
    load = os.getloadavg()[0]
    lines = [f"{platform.release()} {platform.machine()}, {os.cpu_count()} CPUs, {_preemption()}, load {load:.2f}"]
    if load > 0.5:
        lines.append(f"this machine is busy (load {load:.2f}): figures are noisier than they need be")
    return "\n".join(lines)


def _preemption() -> str:
    try:
        modes = Path("/sys/kernel/debug/sched/preempt").read_text()
        return f"preempt {modes.partition('(')[2].partition(')')[0]}"
    except OSError:
        return next((word for word in platform.version().split() if word.startswith("PREEMPT")), "no preemption")


@contextmanager
def shallow_idle() -> Iterator[None]:
    """Hold /dev/cpu_dma_latency at 0 µs: processors do not go to sleep deeply, which wakes sooner and costs power."""
    try:
        held = open("/dev/cpu_dma_latency", "wb", buffering=0)  # noqa: SIM115 (held for as long as it is open)
    except OSError as error:
        raise Missing(f"/dev/cpu_dma_latency: {error.strerror}: run as root") from None
    with held:
        held.write(struct.pack("=i", 0))
        yield


def process_cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process, to the nanosecond: clock_getcpuclockid(3) by hand."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def throttling() -> str:
    """How the kernel limits real-time tasks."""
    period, runtime = (_number(f"/proc/sys/kernel/sched_rt_{name}_us") for name in ("period", "runtime"))
    if period is None or runtime is None:
        return "the kernel's limit on real-time tasks is unknown"
    if runtime < 0:
        return "real-time tasks are not throttled (sched_rt_runtime_us is -1)"
    return f"real-time tasks get {runtime} of every {period} µs (sched_rt_runtime_us)"


def throttled_gap_ns() -> int:
    """How long a throttled real-time task stands still."""
    period, runtime = (_number(f"/proc/sys/kernel/sched_rt_{name}_us") for name in ("period", "runtime"))
    if period is None or runtime is None or runtime < 0:
        return 50_000_000
    return max(1, period - runtime) * 1000


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def budget(section: str) -> dict[str, float]:
    """A section of benchmarks/budget.json."""
    found: dict[str, float] = json.loads((HERE / "budget.json").read_text())[section]
    return found
