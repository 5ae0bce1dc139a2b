"""Matrix products and generated kernels: entries with tensors and a name, and nothing about what they compute.

TensorRT's graph compiler writes a fully connected layer as ``gemm`` or as a generated kernel (``kgen``). Which input is
the weight follows from the shapes; which ONNX nodes a kernel holds follows from ``Metadata``, where that is not empty.
"""

from __future__ import annotations

import re
from math import prod

from neuralpower.features.classify import (
    fully_connected,
    global_pooling,
    matrix_product,
    normalisation,
    not_modelled,
)
from neuralpower.features.inspector.entry import Entry, Shape
from neuralpower.features.layers import Layer, Unreadable
from neuralpower.features.operators.kinds import NORMS

_PRODUCTS = {"Gemm", "MatMul", "addmm", "Linear", "FullyConnected"}
_GLOBAL_POOLS = {"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"}
_HIDDEN = {"Conv", "ConvTranspose", "MaxPool", "AveragePool"} | _GLOBAL_POOLS | _PRODUCTS
"""ONNX operators that are too much work to call their kernel ``other`` when it cannot be classified."""


def product(entry: Entry) -> Layer:
    """A ``gemm`` or ``MatrixMultiply``: fully connected when one input is a weight matrix, otherwise a product of two activations.

    No layer makes a weight. Where the engine's information does not hold the layers that make either operand, the shapes tell of a ``gemm``, which
    has more inputs than those two; a ``MatrixMultiply`` has weights only where a Constant makes them.
    """
    shapes = entry.shapes("Inputs")
    plain = "matrixmultiply" in entry.layer_type.lower()
    both = entry.computed[:2] == [True, True] or (plain and len(shapes) == 2 and not any(entry.computed[:2]))
    features = None if both else _features(entry)
    if features is not None:
        return _fully_connected(entry, features, "")
    if (
        len(shapes) == 1 and "fullyconnected" in entry.layer_type.lower()
    ):  # TensorRT's own layer: all but the batch are features
        data, output = entry.static_shape("Inputs"), entry.static_shape("Outputs")
        return fully_connected(entry.operation(), data[0], prod(data[1:]), prod(output[1:]))
    if len(shapes) == 1 and plain:  # its weights are part of it
        return _fully_connected(entry, entry.static_shape("Inputs")[-1], "")
    return _of_activations(entry, shapes)


def _of_activations(entry: Entry, shapes: list[Shape]) -> Layer:
    """[.., M, K] times [.., K, N], either of them turned; the result tells which is which."""
    output = entry.static_shape("Outputs")
    if any(-1 in shape for shape in shapes):
        raise Unreadable("dynamic dimensions (-1)", dynamic=True)
    if len(shapes) < 2 or min(map(len, (*shapes[:2], output))) < 2:
        raise Unreadable("a matrix product whose shapes do not tell which input is the weight")
    (first, second), (rows, columns), batch = shapes[:2], output[-2:], prod(output[:-2])
    for inner in dict.fromkeys((first[-1], first[-2])):
        left, right = {rows, inner} == set(first[-2:]), {inner, columns} == set(second[-2:])
        if left and right and prod(first) == batch * rows * inner and prod(second) == batch * inner * columns:
            return matrix_product(entry.operation(), batch, rows, inner, columns)
    raise Unreadable("a matrix product whose shapes do not tell which input is the weight")


def generated_kernel(entry: Entry) -> Layer:
    """A ``kgen``: fully connected or global pooling when nodes and shapes agree; otherwise named by its nodes."""
    operators = onnx_operators(entry.text("Metadata"))
    data, output = entry.shapes("Inputs"), entry.shapes("Outputs")
    features = _features(entry) if data and output else None
    if features and (_PRODUCTS & set(operators)):
        return _fully_connected(entry, features, "")
    if features and not operators and re.search(r"Mul.*Sum|MatMul|Gemm", entry.name):
        return _fully_connected(entry, features, "told by its shapes: the engine names no ONNX node")
    if _GLOBAL_POOLS & set(operators) and data and output and is_global_pooling(data[0], output[0]):
        return global_pooling(entry.operation("a generated kernel"), data[0])
    if data and min(data[0], default=0) > 0 and _is_normalisation(operators):
        return normalisation(entry.operation("a generated kernel"), data[0], 0)
    hidden = [operator for operator in operators if operator in _HIDDEN]
    if hidden:
        raise Unreadable(f"a generated kernel with {', '.join(hidden)}; the engine does not tell its geometry")
    held = f" with {', '.join(operators)}" if operators else ""
    first_in, first_out = data[0] if data else (), output[0] if output else ()
    return not_modelled("other", entry.operation(f"generated kernel{held}"), first_in, first_out)


def _is_normalisation(operators: list[str]) -> bool:
    """Whether a kernel's nodes are a normalisation, as one operator or written out."""
    names = set(operators)
    return bool(NORMS & names) or (
        {"ReduceMean", "Sqrt"} <= names and bool({"Pow", "Mul"} & names) and not _PRODUCTS & names
    )


def onnx_operators(metadata: str) -> list[str]:
    """Operators that ``Metadata`` names: ``[ONNX Layer: /fc/Gemm]`` entries joined by U+001E or U+001F give ``Gemm``.

    An exporter names its nodes after their operators; nodes with other names give those names.
    """
    nodes = re.findall(r"\[ONNX Layer: ([^\x1e\x1f]*)\]", metadata)
    return [re.sub(r"_\d+$", "", node.rpartition("/")[2]) for node in nodes]


def is_global_pooling(data: Shape, output: Shape) -> bool:
    """Whether N,C,H,W becomes one value for each map."""
    return (
        len(data) == 4
        and min(data) >= 1
        and data[2] * data[3] > 1
        and tuple(output[:2]) == tuple(data[:2])
        and prod(output) == data[0] * data[1]
    )


def _features(entry: Entry) -> int | None:
    """Input features K of activation [.., K] times weight [K, N] (or [N, K]) to output [.., N]; None if nothing fits.

    Bias and scale inputs can look like a product with K = 1, so the largest K that fits is taken.
    """
    output = entry.static_shape("Outputs")
    rows, outputs = prod(output[:-1]), output[-1]
    shapes = [shape for shape in entry.shapes("Inputs") if shape]
    if any(-1 in shape for shape in shapes):
        raise Unreadable("dynamic dimensions (-1)", dynamic=True)
    fitting = [
        prod(weight) // outputs
        for i, weight in enumerate(shapes)
        for j, data in enumerate(shapes)
        if i != j and len(weight) == 2 and outputs in weight and prod(data) == rows * (prod(weight) // outputs)
    ]
    return max(fitting, default=None)


def _fully_connected(entry: Entry, features: int, note: str) -> Layer:
    output = entry.static_shape("Outputs")
    return fully_connected(entry.operation(note), prod(output[:-1]), features, output[-1])
