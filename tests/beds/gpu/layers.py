"""(2) Repeated layers of the sweep: the time and the power of each, as rows that `neuralpower import measured` reads."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from bed import Bed, Row

from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.runtimes.run import repeated
from neuralpower.virtual.sweep import sweep

CONV, POOL, FC = 36, 12, 12
"""A model wants ten of a kind at least."""
SEED = 1
TOGETHER = 4
"""Runs of a repeated layer, 20 ms each, that are enqueued at once."""
SETTLE_S, WINDOW_S = 0.3, 0.4
"""Of a layer: power is read over the window, some 20 readings of the ring. The first part is longer than what was seen of a sensor's
window and delay on one chip (30 ms), so that it shows nothing from before."""


@dataclass
class Measured:
    """A layer that ran alone."""

    layer: Layer
    copies: int
    runs: int
    seconds: float
    begin_ns: int
    end_ns: int
    watts: float = float("nan")
    readings: int = 0

    @property
    def entry(self) -> dict[str, Any]:
        """As a measured layer is written; `relu` tells that there is no kernel beside the layer's own."""
        return {
            **described(self.layer), "relu": True, "ms": self.seconds * 1e3, "watts": self.watts, "readings": self.readings,
            "repeats": self.copies * self.runs,
        }  # fmt: skip


def described(layer: Layer) -> dict[str, Any]:
    """A layer's geometry in the words of measured layers."""
    if layer.kind not in ("conv", "pool", "fc"):
        data, answer = (
            [layer.batch, layer.in_c, layer.in_h, layer.in_w],
            [layer.batch, layer.out_c, layer.out_h, layer.out_w],
        )
        return {
            "kind": layer.layer_type.lower(),
            "dtype": layer.precision.lower() or "fp16",
            "inputs": [_known(data)],
            "output": _known(answer),
        }
    found: dict[str, Any] = {
        "kind": layer.kind,
        "dtype": layer.precision.lower() or "fp16",
        "n": layer.batch,
        "ci": layer.in_c,
    }
    if layer.kind == "fc":
        return {**found, "co": layer.out_c}
    found |= {
        "h": layer.in_h,
        "w": layer.in_w,
        "k": [layer.kernel_h, layer.kernel_w],
        "s": [layer.stride_h, layer.stride_w],
    }
    found["p"] = [layer.pad_h, layer.pad_w]
    if layer.kind == "pool":
        return {**found, "pool": "max" if "Max" in layer.layer_type else "avg"}
    return {**found, "co": layer.out_c, "g": layer.groups}


def _known(sizes: list[int]) -> list[int]:
    return [max(1, size) for size in sizes]


def alone(bed: Bed, runtime: Any, layer: Layer) -> Measured:
    """A layer so many times that it runs 20 ms, over and over for the settling and the window. Its power is read later: :func:`weigh`."""
    with bed.device.quickly():
        program = repeated(runtime, layer, bed.device.options).load()
    copies = len(json.loads(program.context.engine.create_engine_inspector().get_engine_information())["Layers"])
    begin_ns, end_ns, runs = steady(program, TOGETHER)
    return Measured(layer, copies, runs, (end_ns - begin_ns) * 1e-9 / (runs * copies), begin_ns, end_ns)


def steady(program: Any, together: int) -> tuple[int, int, int]:
    """Run it for the settling, then for the window: when that began and ended, and how many runs it held.

    So many are enqueued before the host waits: what it takes to wake up then lies in no pause of the GPU's.
    """

    def batches(seconds: float) -> int:
        until_ns, count = time.monotonic_ns() + round(seconds * 1e9), 0
        while time.monotonic_ns() < until_ns:
            for _ in range(together):
                program.context.execute_async_v3(program.stream.handle)
            program.stream.synchronize()
            count += together
        return count

    batches(SETTLE_S)
    begin_ns = time.monotonic_ns()
    runs = batches(WINDOW_S)
    return begin_ns, time.monotonic_ns(), runs


def weigh(bed: Bed, measured: list[Measured]) -> None:
    """Give each its power, once the readings are there."""
    if not measured:
        return
    ticks = bed.ticks(measured[0].begin_ns, measured[-1].end_ns)
    for each in measured:
        each.watts, each.readings = bed.mean_w(ticks, each.begin_ns, each.end_ns)


def candidates(precision: str) -> list[Layer]:
    """The sweep's layers in an order in which any beginning is a fair part of all kinds."""
    found = []
    for probe in sweep(SEED, CONV, POOL, FC):
        (layer,) = layers_from_engine(probe.engine(1))
        # What PyTorch calls it decides what is repeated.
        kind = layer.kind if layer.kind != "pool" else "MaxPool" if "max" in probe.name else "AveragePool"
        found.append(
            Layer(
                **{
                    **layer.__dict__,
                    "name": probe.name,
                    "precision": precision,
                    "layer_type": kind.title() if kind in ("conv", "fc") else kind,
                }
            )
        )
    order = np.random.default_rng(SEED).permutation(len(found))
    return [found[at] for at in order]


def run(bed: Bed) -> None:
    """All, or as many as there is time for."""
    runtime = bed.device.runtime()
    measured: list[Measured] = []
    refused: list[str] = []
    every = candidates(bed.device.options.precision.upper())
    for layer in every:
        if bed.clock.left_s < SETTLE_S + WINDOW_S + 4:
            break
        try:
            measured.append(alone(bed, runtime, layer))
        except Exception as error:  # what PyTorch and its libraries raise where a layer is not for them
            refused.append(f"{layer.name}: {type(error).__name__}: {str(error).splitlines()[:1]}")
    if not measured and refused:
        raise RuntimeError(f"none of {len(refused)} could be run: {refused[0]}")
    weigh(bed, measured)
    good = [each for each in measured if each.readings]
    bed.keep(
        "layers",
        {"device": runtime.about(), "layers": [each.entry for each in good], "networks": [], "refused": refused},
    )
    note = f"{len(refused)} could not be run: layers.json says why" if refused else ""
    note = note if len(measured) + len(refused) == len(every) else "NOT RUN: the rest, the time was over"
    bed.add(Row("repeated layers measured", len(good), "", len(every), note))
    if good:
        watts, seconds = np.array([each.watts for each in good]), np.array([each.seconds for each in good])
        bed.add(
            Row("their time, median", float(np.median(seconds)) * 1e6, "µs"),
            Row("their power, from", float(watts.min()), "W"),
            Row("their power, to", float(watts.max()), "W"),
        )
        if bed.simulated:
            _judge(bed, good)


def _judge(bed: Bed, good: list[Measured]) -> None:
    """Over the stand-in, what a kernel draws is known where the layer is one kernel."""
    from tests.worlds.gpu.gpu_stand_in import ENVIRONMENT, power_w
    from tests.worlds.gpu.torch_stand_in import LEAST_NS, NS_AN_ELEMENT

    floor_w = float(ENVIRONMENT["NVML_STAND_IN"].split()[0].partition("=")[2]) * 1e-3
    names = {"conv": "aten.convolution.default", "fc": "aten.linear.default"}
    errors = []
    for each in good:
        if each.layer.kind in names:
            ns = LEAST_NS + NS_AN_ELEMENT * each.layer.batch * each.layer.out_c * each.layer.out_h * each.layer.out_w
            dynamic = power_w(names[each.layer.kind], ns) * ns * 1e-9 / each.seconds
            errors.append(each.watts / (floor_w + dynamic) - 1)
    if errors:
        bed.add(
            Row("their power against the stand-in's truth, rms", 100 * float(np.sqrt(np.mean(np.square(errors)))), "%")
        )
