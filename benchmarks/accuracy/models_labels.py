"""What measurements make of true labels: recordings of the networks that are really attributed, sweep layers read directly. Simulated.

Each network runs in the world of the accuracy case with the durations and powers that the device gives its layers, its recording
is attributed by neuralpower_align, and its units become rows as `neuralpower dataset` makes them. A repeated layer of a sweep is read
directly over tens of milliseconds: of it only the small error of such a reading is drawn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from tests.worlds.attribution.case import Case, load
from tests.worlds.attribution.network import Network
from tests.worlds.attribution.world import draw

from neuralpower.attribution.attribute import apart
from neuralpower.dataset import Dataset

from .estimate import solve

Floats = npt.NDArray[np.float64]
Labels = tuple[Floats, Floats, Floats, Floats, npt.NDArray[np.object_]]

CASE, INFERENCES = "fast", 2000
"""The accuracy case's base: 140 µs × 3 channels, the setting that networks are measured with; fewer inferences than there."""
RUNTIME_SE, DIRECT_SE = 0.0005, 0.001
"""Of a repeated layer: its mean duration over thousands of copies, and its power that is read directly; shares."""


def attributed(dataset: Dataset, idle_w: float, seed: int) -> Dataset:
    """The dataset as measurements would give it: row for row the same layers. `idle_w`: what the device draws when it only waits."""
    table = {name: values.copy() for name, values in dataset.table.items()}
    random = np.random.default_rng((seed, 6))
    swept = dataset["origin"] == "sweep"
    count = int(swept.sum())
    for column, share in (("runtime_s", RUNTIME_SE), ("power_w", DIRECT_SE)):
        value = dataset[column][swept].astype(np.float64) * np.exp(random.normal(0, share, count))
        table[column][swept], table[column.replace("_", "_se_")][swept] = value, share * value
    case = load().case(CASE)
    for number, name in enumerate(dict.fromkeys(dataset["network"][~swept].tolist())):
        rows = np.flatnonzero(dataset["network"] == name)
        seconds, watts = (dataset[column][rows].astype(np.float64) for column in ("runtime_s", "power_w"))
        found = recorded(case, seconds, watts, idle_w, 1000 * seed + number)
        for column, values in zip(("runtime_s", "runtime_se_s", "power_w", "power_se_w", "method"), found, strict=True):
            table[column][rows] = values
    table["energy_j"] = table["runtime_s"] * table["power_w"]
    table["energy_se_j"] = np.hypot(table["runtime_s"] * table["power_se_w"], table["power_w"] * table["runtime_se_s"])
    return Dataset(table, dataset.provenance)


def recorded(case: Case, seconds: Floats, watts: Floats, idle_w: float, seed: int) -> Labels:
    """Runtime and power of a network's layers with standard errors, and methods, (n,) each, from a recording of it.

    seconds, watts: the truth, (n,). What was withheld is nan.
    """
    share = np.random.default_rng((seed, 0)).uniform(*case.run.stall_share, len(seconds))
    network = Network(1e9 * seconds, watts, share, idle_w)
    run = replace(
        case.run, inferences=INFERENCES, device_idle_w=idle_w * case.run.device_idle_w / case.network.context_idle_w
    )
    recording = draw(replace(case, run=run), seed, network).recording
    (engine,) = solve(recording).engines
    spent = recording.durations_ns * 1e-9
    mean_s = spent.mean(axis=0)
    power = np.where(engine.withheld, np.nan, engine.power_w)
    error = np.hypot(engine.power_se_w, apart(engine.unit, mean_s, power, engine.gap.power_w))
    members = np.bincount(engine.unit)[engine.unit]
    method = np.array([f"least-squares, unit of {n}" if n > 1 else "least-squares" for n in members], dtype=np.object_)
    return mean_s, spent.std(axis=0, ddof=1) / np.sqrt(len(spent)), power, error, method
