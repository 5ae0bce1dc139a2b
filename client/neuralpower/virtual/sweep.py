"""Single-layer configurations that fill the space of the networks' layers, as engines of one repeated layer.

Repeating a layer until the engine runs 20 ms or more lets its power be read from the rails directly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..experiment.sweep import halton
from .device.hardware import Hardware
from .device.load import Load
from .device.plan import DevicePlanner
from .networks.graph import Json, Tensor, convolution, pooling

TARGET_S = 0.020
MOST_REPEATS = 6144
"""Even a layer that is all launch, 3.5 µs, reaches 20 ms within this."""
_PROBE_RUNS = 16
_KERNELS = ((0.42, 1), (0.84, 3), (0.91, 5), (0.96, 7), (1.0, 11))
"""Cumulative share of each kernel size; the widest input it meets in the networks is in :data:`_WIDEST`."""
_WIDEST = {1: 2048, 3: 1024, 5: 256, 7: 64, 11: 16}
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
    kernel = next(size for share, size in _KERNELS if point[0] < share)
    size = _between(point[1], 7, 224)
    first = point[2] < 0.12 and kernel > 1
    channels = 3 if first else _eights(point[2], 8, _WIDEST[kernel])
    out = _eights(point[3], 16, 2048 if kernel == 1 else 1024)
    stride = 4 if kernel == 11 else 2 if point[4] < (0.8 if kernel == 7 else 0.25) else 1
    groups = 1
    if kernel in (3, 5) and not first and point[5] < 0.5:
        groups = channels if point[5] < 0.38 else 32 if channels % 32 == 0 else 1
        out = channels if groups > 1 else out
    pad = kernel // 2
    side = (size + 2 * pad - kernel) // stride + 1
    x, y = Tensor("input", channels, size, size), Tensor("output", out, side, side)
    weights = kernel * kernel * channels * out / groups
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
    everything = point[0] < 0.25
    kernel, stride, pad = (0, 1, 0) if everything else ((2, 2, 0), (3, 2, 1), (3, 1, 1), (7, 7, 0))[int(point[1] * 4)]
    size = _between(point[2], 6, 14) if everything else _between(point[2], 7, 224)
    channels = _eights(point[3], 16, 2048)
    kernel = kernel or size
    side = (size + 2 * pad - kernel) // stride + 1
    if not _LEAST_ACTIVATIONS <= channels * size * size <= _MOST_ACTIVATIONS or side < (1 if everything else 2):
        return None
    x, y = Tensor("input", channels, size, size), Tensor("output", channels, side, side)
    kind = "AVERAGE" if everything or point[4] < 0.3 else "MAX"
    name = f"{kind.lower()} pool {kernel}x{kernel}/{stride} {channels}x{size}x{size}"
    return Probe(name, "pool", x, y, "CaskPooling", pooling(kernel, stride, pad, kind))


def _fc(point: list[float]) -> Probe:
    inputs = _eights(point[0], 64, 25088)
    outputs = _between(point[1], 10, 4096)
    x, y = Tensor("input", inputs, 1, 1), Tensor("output", outputs, 1, 1)
    return Probe(f"fc {inputs} to {outputs}", "fc", x, y, "CaskGemmConvolution", convolution(x, y, 1, 1, 0, 1, "RELU"))


def _brief(tensor: Tensor) -> Json:
    return {"Name": tensor.name, "Dimensions": [1, tensor.c, tensor.h, tensor.w], "Format/Datatype": "Half"}


def _between(share: float, low: int, high: int) -> int:
    """The integer at `share` of the way from `low` to `high` on a logarithmic scale."""
    return int(low * (high / low) ** share + 0.5)


def _eights(share: float, low: int, high: int) -> int:
    return max(8, 8 * round(_between(share, low, high) / 8))
