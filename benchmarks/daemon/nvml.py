"""(n) Source nvml over the stand-in library, simulated: fresh rates and energy beside its truth, and what the daemon costs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from tests.worlds.gpu.nvml_stand_in import (
    FIELDS_HZ,
    SAMPLES_HZ,
    build,
    energy_j,
)

from neuralpower.console import progress
from neuralpower_wire import Epoch, ReadingState, Ticks
from neuralpower_wire.power import counted, stamps_ns

from ..machine import Missing, process_cpu_ns
from ..report import Result
from ..statistics import Bar, Form, compare
from .board import Daemon

MINUTES = 1.3
CHEAP = Bar(1.0)
PERCENT_OF_A_CORE = 1.0
CLOSE_NS = 50_000_000
"""A counter's looks closer than this say when it was renewed."""


def run(form: Form) -> Result:
    """One daemon with its defaults, watched for a minute with a subscriber; what asks for the time counts too."""
    seconds = round(form.pick(15, 65))
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = build(Path(folder))
        except OSError as error:
            raise Missing(str(error)) from None
        source = f'source = "nvml"\nnvml.library = "{library}"'
        with progress("n: NVML", seconds) as advance, Daemon(source=source) as daemon:
            time.sleep(2)
            first, cpu_ns, begin_ns = daemon.next_index, process_cpu_ns(daemon.pid), time.monotonic_ns()
            for second in range(seconds):
                time.sleep(1)
                advance(second + 1, f"{second + 1} s")
            cpu = 100 * (process_cpu_ns(daemon.pid) - cpu_ns) / (time.monotonic_ns() - begin_ns)
            epoch, ticks = daemon.ticks(first)
    result = Result()
    for (name, unit), (ours, truth) in figures(epoch, ticks).items():
        result.rows.append(compare(f"{name} (simulated)", [ours], [truth], unit))
    result.rows.append(compare("the daemon's processor time, of 1 %", [cpu], [PERCENT_OF_A_CORE], "%", CHEAP))
    result.notes = [
        "the GPU is simulated by a stand-in for NVIDIA's library; its calls take the time that was measured on one H200, as work on the processor",
        f"ticks each {epoch.period_ns / 1e6:g} ms for {seconds} s, one subscriber and a question to the history each half second",
    ]
    return result


def figures(epoch: Epoch, ticks: Ticks) -> dict[tuple[str, str], tuple[float, float]]:
    """(what, unit) → (as measured, as the stand-in's GPU 0 had it)."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for position, channel in enumerate(epoch.channels):
        if channel.quantity == "energy_uj":
            found["energy by the counter", "J"] = _counter(ticks, position)
            continue
        is_ring = channel.chip.endswith("samples")
        found[f"fresh rate of {channel.rail}", "Hz"] = (
            fresh_rate_hz(ticks, position),
            SAMPLES_HZ if is_ring else FIELDS_HZ,
        )
        if is_ring:
            found["energy by the ring", "J"] = _ring(ticks, position)
    return found


def fresh_rate_hz(ticks: Ticks, position: int) -> float:
    """New values a second, from the first to the last."""
    t_ns = ticks["t_ns"][ticks["readings"]["state"][:, position] == ReadingState.FRESH]
    return float((len(t_ns) - 1) * 1e9 / (t_ns[-1] - t_ns[0]))


def _counter(ticks: Ticks, position: int) -> tuple[float, float]:
    """Between the first and the last renewal that was seen to within two looks of a turn."""
    after, until, energy_uj = counted(ticks, position)
    seen = np.flatnonzero(until - after < CLOSE_NS)[[0, -1]]
    middle = (after[seen] + until[seen]) // 2
    return float(np.diff(energy_uj[seen])[0]) * 1e-6, float(np.diff(energy_j(middle))[0])


def _ring(ticks: Ticks, position: int) -> tuple[float, float]:
    """Each reading holds since the stamp of the one before."""
    fresh = (ticks["readings"]["state"][:, position] == ReadingState.FRESH) & (stamps_ns(ticks, position) >= 0)
    stamps = stamps_ns(ticks, position)[fresh]
    power_w = ticks["readings"]["value"][:, position][fresh] * 1e-6
    ours = float(np.sum(power_w[1:] * np.diff(stamps)) * 1e-9)
    return ours, float(np.diff(energy_j(stamps[[0, -1]]))[0])
