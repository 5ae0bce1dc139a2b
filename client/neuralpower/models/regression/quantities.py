"""The quantities of a layer that models are built from: its sizes, and what they make it do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy import sqrt
from numpy.typing import NDArray

from neuralpower.features.layers import ELEMENT_BYTES, TOLD, Layer

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """One number of a layer, always positive: its unit, its meaning, and how it is found; of layers stacked, an array of numbers."""

    unit: str
    meaning: str
    of: Callable[[Layer], Any]


def element_bytes(layer: Layer) -> float:
    """Bytes of one element in the layer's precision; 4 where the precision is not known."""
    return ELEMENT_BYTES.get(layer.precision.upper(), 4.0)


def _window(layer: Layer) -> Any:
    """Elements that make one output: the length of a dot product, or of a pooling window."""
    if layer.kind == "fc":
        return layer.in_c * layer.in_h * layer.in_w
    per_group = layer.in_c // layer.groups if layer.kind == "conv" else 1
    return np.maximum(per_group, 1) * layer.kernel_h * layer.kernel_w


def _alignment(layer: Layer) -> Any:
    """The largest power of two that divides both the inputs and the outputs of a group: tensor cores take channels eight or more at a time."""
    channels = np.gcd(
        np.asarray(layer.in_c / layer.groups).astype(np.int64), np.asarray(layer.out_c / layer.groups).astype(np.int64)
    )
    return np.clip(channels & -channels, 1, 64).astype(np.float64)


def _operations(layer: Layer) -> float:
    """MACs of a convolution or a fully connected layer; window elements visited by a pool."""
    return layer.flops() if layer.kind == "pool" else layer.macs()


def _bytes(layer: Layer) -> float:
    return layer.memory_accesses() * element_bytes(layer)


AVERAGES = ("av", "gap", "mean")
"""Parts of a pooling layer's type that say that it averages, where others take the maximum."""


def averages(layer: Layer) -> bool:
    """Whether a pooling layer averages, by its type: ``AveragePool``, ``GlobalAveragePool``, ``avg``, ``gap``."""
    return layer.kind == "pool" and any(part in layer.layer_type.lower() for part in AVERAGES)


QUANTITIES: Mapping[str, Quantity] = {
    "batch": Quantity("1", "images in one inference, N", lambda x: x.batch),
    "in_c": Quantity("1", "input channels, Cin", lambda x: x.in_c),
    "out_c": Quantity("1", "output channels, Cout", lambda x: x.out_c),
    "in_side": Quantity("pixel", "side of the input, sqrt(Hin·Win)", lambda x: sqrt(x.in_h * x.in_w)),
    "out_side": Quantity("pixel", "side of the output, sqrt(Ho·Wo)", lambda x: sqrt(x.out_h * x.out_w)),
    "out_pixels": Quantity("pixel", "pixels of one output channel, Ho·Wo", lambda x: x.out_h * x.out_w),
    "pixels": Quantity("pixel", "output pixels of all images, N·Ho·Wo", lambda x: x.batch * x.out_h * x.out_w),
    "kernel_side": Quantity("pixel", "side of the kernel, sqrt(Kh·Kw)", lambda x: sqrt(x.kernel_h * x.kernel_w)),
    "stride": Quantity("pixel", "stride, sqrt(Sh·Sw)", lambda x: sqrt(x.stride_h * x.stride_w)),
    "dilation": Quantity("pixel", "dilation, sqrt(Dh·Dw)", lambda x: sqrt(x.dilation_h * x.dilation_w)),
    "groups": Quantity("1", "groups of channels", lambda x: x.groups),
    "filters": Quantity("1", "outputs made from the same inputs, Cout/groups", lambda x: x.out_c / x.groups),
    "in_features": Quantity("1", "inputs of one image, Cin·Hin·Win", lambda x: x.in_c * x.in_h * x.in_w),
    "element_bytes": Quantity("B", "bytes of an element; 4 where the precision is not known", element_bytes),
    "window": Quantity("element", "elements behind one output, Kh·Kw·Cin/groups; a pool's Kh·Kw", _window),
    "operations": Quantity("1", "multiply-accumulates; a pool's window elements N·C·Ho·Wo·Kh·Kw", _operations),
    "unrolled": Quantity(
        "element",
        "the input unrolled per output pixel, N·Ho·Wo·Kh·Kw·Cin",
        lambda x: x.batch * x.out_h * x.out_w * x.kernel_h * x.kernel_w * x.in_c,
    ),
    "inputs": Quantity("element", "elements read, N·Cin·Hin·Win", lambda x: x.inputs()),
    "outputs": Quantity("element", "elements written, N·Cout·Ho·Wo", lambda x: x.outputs()),
    "weights": Quantity("element", "weights, Kh·Kw·(Cin/groups)·Cout", lambda x: x.weights()),
    "image_outputs": Quantity("element", "outputs of one image, Cout·Ho·Wo", lambda x: x.out_c * x.out_h * x.out_w),
    "bytes": Quantity("B", "(inputs + weights + outputs)·element bytes: what must move at least once", _bytes),
    "gpu_mhz": Quantity("MHz", "clock that the GPU was set to", lambda x: x.gpu_mhz),
    "clocked": Quantity("1/MHz", "operations over the clock", lambda x: _operations(x) / np.maximum(x.gpu_mhz, 1)),
    "intensity": Quantity("1/B", "operations for each byte", lambda x: _operations(x) / _bytes(x)),
    "alignment": Quantity(
        "1",
        "largest power of two, at most 64, that divides the channels of a group, Cin/groups and Cout/groups",
        _alignment,
    ),
    "inside": Quantity(
        "1", "kernels' work in one: the layer, and bias, activation and sum fused into it", lambda x: 1 + x.fused
    ),
    "averaging": Quantity("1", "2 of a pool that averages, 1 of one that takes the maximum", lambda x: 1 + averages(x)),
}
"""Name -> quantity. The names are those of the columns and terms in a stored model."""


RATES: Mapping[str, tuple[str, str, str]] = {
    "operation_rate": ("operations", "1/s", "operations over the predicted runtime"),
    "byte_rate": ("bytes", "B/s", "bytes over the predicted runtime"),
    "input_rate": ("inputs", "element/s", "elements read over the predicted runtime"),
    "output_rate": ("outputs", "element/s", "elements written over the predicted runtime"),
    "weight_rate": ("weights", "element/s", "weights over the predicted runtime"),
    "launch_rate": ("", "1/s", "one over the predicted runtime"),
}
"""Rate -> (quantity, unit, meaning): how fast a layer works if it runs as long as the runtime model says. For power."""


def rates(columns: Mapping[str, Floats], runtime_s: Floats) -> dict[str, Floats]:
    """The rates whose quantity is among `columns`, shape (rows,) each, for predicted runtimes (rows,)."""
    numerators = {name: quantity for name, (quantity, _, _) in RATES.items()}
    return {
        name: np.asarray((columns[quantity] if quantity else 1.0) / runtime_s)
        for name, quantity in numerators.items()
        if not quantity or quantity in columns
    }


def measure(layers: Sequence[Layer], names: Sequence[str]) -> Floats:
    """The named quantities of each layer: shape (layers, names), in the units of ``QUANTITIES``."""
    values = np.empty((len(layers), len(names)))
    alike: dict[tuple[str, str, bool], list[int]] = {}
    for place, layer in enumerate(layers):
        alike.setdefault((layer.kind, layer.precision, averages(layer)), []).append(place)
    for places in alike.values():
        stacked = _stacked([layers[place] for place in places])
        for column, name in enumerate(names):
            values[places, column] = QUANTITIES[name].of(stacked)
    return values


def measure_rows(table: Mapping[str, NDArray[Any]], rows: NDArray[np.intp], kind: str, names: Sequence[str]) -> Floats:
    """The same for rows of a dataset's columns that are all of one kind, without making layers of them: shape (rows, names)."""
    values = np.empty((len(rows), len(names)))
    told = list(zip(table["precision"][rows].tolist(), table["layer_type"][rows].tolist(), strict=True))
    alike: dict[tuple[str, bool], int] = {}
    stacks: list[Layer] = []
    number: dict[tuple[str, str], int] = {}
    for precision, layer_type in dict.fromkeys(told):
        stacked = object.__new__(Layer)
        stacked.__dict__.update(kind=kind, precision=precision, layer_type=layer_type, **dict.fromkeys(TOLD, 0))
        number[precision, layer_type] = alike.setdefault((precision, averages(stacked)), len(stacks))
        if number[precision, layer_type] == len(stacks):
            stacks.append(stacked)
    numbers = np.array([number[each] for each in told], dtype=np.intp)
    for place, stacked in enumerate(stacks):
        mine = np.flatnonzero(numbers == place)
        stacked.__dict__.update({name: table[name][rows[mine]].astype(np.float64) for name in SIZES})
        for column, name in enumerate(names):
            values[mine, column] = QUANTITIES[name].of(stacked)
    return values


SIZES = ("batch", "in_c", "in_h", "in_w", "out_c", "out_h", "out_w", "kernel_h", "kernel_w", "stride_h", "stride_w",
          "pad_h", "pad_w", "dilation_h", "dilation_w", "groups", "fused", "gpu_mhz")  # fmt: skip


def _stacked(layers: Sequence[Layer]) -> Layer:
    """Layers of one kind, precision and pool type as one, whose sizes are arrays (layers,): its methods and the formulas above are of numbers alike."""
    sizes = np.array(list(map(attrgetter(*SIZES), layers)), dtype=np.float64).T
    stacked = object.__new__(Layer)
    stacked.__dict__.update(layers[0].__dict__, **dict(zip(SIZES, sizes, strict=True)))
    return stacked
