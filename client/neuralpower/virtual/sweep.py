"""Single-layer configurations that fill the space of the networks' layers, as engines of one repeated layer.

Repeating a layer until the engine runs 20 ms or more lets its power be read from the rails directly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..experiment.sweep import ConvShape, PoolShape, between, eights, halton
from .device.hardware import Hardware
from .device.load import Load
from .device.plan import DevicePlanner
from .networks.graph import Json, Tensor, convolution, pooling

TARGET_S = 0.020
MOST_REPEATS = 6144
"""Even a layer that is all launch, 3.5 µs, reaches 20 ms within this."""
_PROBE_RUNS = 16
_MOST_MACS, _MOST_ACTIVATIONS, _MOST_WEIGHTS = 2e9, 3.3e6, 5e6
_LEAST_MACS, _LEAST_ACTIVATIONS = 1e6, 8e3
"""Smaller layers are all launch, and no network for images of 224 has them."""
_GEOMETRY = ("ParameterType", "PoolingType", "Kernel", "WindowSize", "PrePadding", "PostPadding", "Stride", "Dilation", "OutMaps",
             "Groups", "Weights")  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """One layer to sweep: from `source` to `result`, with the inspector's `layer_type` and the keys of its `body`."""

    name: str
    kind: str
    source: Tensor
    result: Tensor
    layer_type: str
    body: Json

    def entry(self, name: str, copy: int) -> Json:
        """The layer as the inspector tells it, reading the engine's input and writing an output of its own."""
        output = Tensor(f"output{copy}", self.result.c, self.result.h, self.result.w)
        # Only what tells the geometry: a thousand copies of every key would be a megabyte that says nothing.
        tensors = {"Inputs": [_brief(self.source)], "Outputs": [_brief(output)]}
        body = {key: value for key, value in self.body.items() if key in _GEOMETRY}
        return {"Name": name, "LayerType": self.layer_type, **tensors, **body}

    def engine(self, repeats: int) -> Json:
        """An engine that runs the layer `repeats` times."""
        layers = [self.entry(f"{self.name} ×{copy}", copy) for copy in range(1, repeats + 1)]
        return {"Layers": layers, "Bindings": ["input", *(layer["Outputs"][0]["Name"] for layer in layers)]}


def sweep(seed: int, n_conv: int, n_pool: int, n_fc: int) -> list[Probe]:
    """Configurations drawn evenly (logarithmically for sizes) from the domain of the zoo's layers.

    Returns:
        n_conv convolutions, n_pool pools, n_fc fully connected layers, all different.
    """
    kinds: list[tuple[int, Callable[[list[float]], Probe | None]]] = [(n_conv, _conv), (n_pool, _pool), (n_fc, _fc)]
    probes: dict[str, Probe] = {}
    for number, (wanted, make) in enumerate(kinds):
        goal = len(probes) + wanted
        points = halton(6, [seed, number])
        while len(probes) < goal:
            probe = make(next(points))
            if probe is not None:
                probes.setdefault(probe.name, probe)
    return list(probes.values())


def repeated(probe: Probe, hardware: Hardware, seed: int) -> Json:
    """The engine that repeats `probe` for at least 20 ms, at most 6144 times.

    How often is taken from a short warm-up run in virtual time, by what TensorRT would report of it.
    """
    load = Load.of(probe.name, probe.engine(_PROBE_RUNS), hardware)
    reported_ns = DevicePlanner(hardware, (0, 0, 0), seed).inferences(load, _PROBE_RUNS, 0).reported_ns
    each_s = max(1e-7, float(reported_ns.mean()) * 1e-9)
    return probe.engine(min(MOST_REPEATS, math.ceil(1.02 * TARGET_S / each_s)))


def _conv(point: list[float]) -> Probe | None:
    shape = ConvShape.drawn(point)
    size, channels, out, kernel, stride, groups = shape
    side, weights, pad = shape.side, shape.weights, shape.pad
    x, y = Tensor("input", channels, size, size), Tensor("output", out, side, side)
    activations = max(channels * size * size, out * side * side)
    macs, least = weights * side * side, 1e5 if groups > 1 else _LEAST_MACS
    if not (least <= macs <= _MOST_MACS and _LEAST_ACTIVATIONS <= activations <= _MOST_ACTIVATIONS):
        return None
    if weights > _MOST_WEIGHTS:
        return None
    plain = kernel == 1 and stride == 1
    layer_type = "CaskGemmConvolution" if plain else "CaskConvolution"
    name = f"conv {kernel}x{kernel}/{stride} g{groups} {channels}x{size}x{size} to {out}"
    return Probe(name, "conv", x, y, layer_type, convolution(x, y, kernel, stride, pad, groups, "RELU"))


def _pool(point: list[float]) -> Probe | None:
    shape = PoolShape.drawn(point)
    everything, size, channels, kernel, stride, pad = shape
    side = shape.side
    if not _LEAST_ACTIVATIONS <= channels * size * size <= _MOST_ACTIVATIONS or side < (1 if everything else 2):
        return None
    x, y = Tensor("input", channels, size, size), Tensor("output", channels, side, side)
    kind = "AVERAGE" if everything or point[4] < 0.3 else "MAX"
    name = f"{kind.lower()} pool {kernel}x{kernel}/{stride} {channels}x{size}x{size}"
    return Probe(name, "pool", x, y, "CaskPooling", pooling(kernel, stride, pad, kind))


def _fc(point: list[float]) -> Probe:
    inputs = eights(point[0], 64, 25088)
    outputs = between(point[1], 10, 4096)
    x, y = Tensor("input", inputs, 1, 1), Tensor("output", outputs, 1, 1)
    return Probe(f"fc {inputs} to {outputs}", "fc", x, y, "CaskGemmConvolution", convolution(x, y, 1, 1, 0, 1, "RELU"))


def _brief(tensor: Tensor) -> Json:
    return {"Name": tensor.name, "Dimensions": [1, tensor.c, tensor.h, tensor.w], "Format/Datatype": "Half"}
