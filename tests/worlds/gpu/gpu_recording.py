"""A recording of a GPU with readings as NVML gives them, of a power that is known at any time. Simulated."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_wire import Channel, Chip, Epoch, Flag, ReadingState, tick_dtype

from ..held_recording import Memory

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GpuSensor:
    """Readings `spacing_ns` ± `jitter_ns` apart, each the mean over `window_ns` that ends `delay_ns` before its stamp, behind one pole."""

    spacing_ns: float = 21e6
    jitter_ns: float = 5e6
    window_ns: float = 20e6
    delay_ns: float = 3e6
    lag_ns: float = 0.0
    noise_w: float = 0.3


@dataclass(frozen=True)
class GpuLayer:
    """Power and mean duration; a layer whose name begins with `idle` lies between two others."""

    name: str
    ns: float
    watts: float


@dataclass(frozen=True)
class GpuRun:
    """How the host runs it: `count` inferences, with gaps drawn evenly up to `gap_ns`."""

    layers: tuple[GpuLayer, ...]
    idle_w: float = 124.0
    count: int = 1500
    gap_ns: float = 80e6
    jitter: float = 0.02
    seed: int = 0


def recording(run: GpuRun, sensor: GpuSensor) -> Memory:
    """What the daemon and the profiler would have written."""
    random = np.random.default_rng(run.seed)
    t, edges, levels, inferences = 10**9, [0.0], [run.idle_w], []
    mean = np.array([layer.ns for layer in run.layers])
    for _ in range(run.count):
        t += round(random.uniform(0, run.gap_ns)) + 200_000
        spent = np.rint(mean * (1 + run.jitter * random.standard_normal(mean.size))).astype(np.int64)
        begin = t
        for layer, duration in zip(run.layers, spent.tolist(), strict=True):
            edges.append(float(t))
            levels.append(layer.watts)
            t += duration
        edges.append(float(t))
        levels.append(run.idle_w)
        inferences.append(SimpleNamespace(engine="net", begin_ns=begin, end_ns=t, durations_ns=spent))
    stamps = np.cumsum(
        sensor.spacing_ns + random.uniform(-1, 1, round((t + 1e9) / sensor.spacing_ns)) * sensor.jitter_ns
    )
    shown = windows_of(np.array(edges), np.array(levels), stamps - sensor.delay_ns, sensor.window_ns, sensor.lag_ns)
    shown += sensor.noise_w * random.standard_normal(shown.size)
    return Memory(_epoch(), _ticks(stamps.astype(np.int64), shown), {"net": _engine(run.layers)}, inferences)


def windows_of(edges: Floats, levels: Floats, ends: Floats, window_ns: float, lag_ns: float) -> Floats:
    """Means over a window that ends at (k,) of steps of power behind one pole, by a fine grid of its output."""
    step = min(window_ns / 40, 1e5)
    grid = np.arange(edges[1] - 3e8, ends[-1] + step, step)
    energy = np.concatenate([[0.0], np.cumsum(levels[:-1] * np.diff(edges))])
    at = np.searchsorted(edges, grid, side="right") - 1
    total = energy[at] + levels[at] * (grid - edges[at])
    if lag_ns:
        kept, power = np.exp(-step / lag_ns), np.diff(total) / step
        level, out = levels[0], np.empty(power.size)
        for place, value in enumerate(power.tolist()):
            level = value + (level - value) * kept
            out[place] = level
        total = np.concatenate([[0.0], np.cumsum(out * step)])
    high, low = np.interp(ends, grid, total), np.interp(ends - window_ns, grid, total)
    early = ends - window_ns < grid[0]
    return np.where(early, levels[0], (high - low) / window_ns)


def _ticks(stamps: npt.NDArray[np.int64], watts: Floats) -> Any:
    """A reading twice: new, and once more as the source gives it again, late by what its queue makes it."""
    rows = np.zeros(2 * stamps.size, tick_dtype(1))
    late = np.tile([200_000_000, 209_000_000], stamps.size)
    rows["t_ns"], rows["epoch"], rows["index"] = np.repeat(stamps, 2) + late, 1, np.arange(rows.size)
    reading = rows["readings"][:, 0]
    reading["value"], reading["scan"], reading["flags"] = np.repeat(np.rint(watts * 1e6), 2), late, Flag.STAMPED
    reading["state"] = np.tile([ReadingState.FRESH, ReadingState.REPEATED], stamps.size)
    rows.sort(order="t_ns")
    return rows


def _epoch() -> Epoch:
    channel, chip = Channel("gpu0", "power_uw", "gpu0 samples", 1, lsb=1000), Chip("gpu0 samples", freshness="known")
    return Epoch(1, 0, 9_000_000, 0, "nvml", True, "Simulated GPU", (channel,), (chip,), ("gpu0",))


def _engine(layers: tuple[GpuLayer, ...]) -> dict[str, Any]:
    entries = []
    for layer in layers:
        kind = {"kind": "conv", "batch": 1, "in_c": 8, "in_h": 9, "in_w": 9, "out_c": 8, "out_h": 9, "out_w": 9}
        told = {"LayerType": "Idle"} if layer.name.startswith("idle") else {"LayerType": "Conv", "Layer": kind}
        entries.append({"Name": layer.name, **told})
    names = [layer.name for layer in layers]
    return {"hash": "net", "name": "net", "inspector": {"Layers": entries}, "layers": names, "simulated": True}
