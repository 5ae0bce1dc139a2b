"""Layers from an ONNX model, fused as TensorRT would fuse them.

A convolution takes in the batch normalisation, scale, residual sum and activation behind it; a matrix product its bias
and activation; elementwise operations that follow one another are one layer. What depends on weights alone is
computed when the engine is built and is no layer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from neuralpower.errors import InputError
from neuralpower.features.classify import (
    Operation,
    Sliding,
    convolution,
    fully_connected,
    global_pooling,
    not_modelled,
    pooling,
)
from neuralpower.features.graph import Graph, Node, Shape
from neuralpower.features.inspected import Unreadable
from neuralpower.features.layers import Layer
from neuralpower.features.onnx_model import graph_of

_ACTIVATIONS = {
    "Relu",
    "Clip",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Gelu",
}
_SCALES = {"Mul", "Add", "Sub", "Div", "BatchNormalization"}
_SUMS = {"Add", "Sum"}
_ELEMENTWISE = _ACTIVATIONS | _SCALES | _SUMS | {"Max", "Min", "Pow", "Sqrt", "Exp", "Log", "Neg", "Abs", "Erf"}
_GLOBAL_POOLS = {"GlobalAveragePool", "GlobalMaxPool"}
_MEANS = {"ReduceMean", "ReduceMax"}
_NOTHING = {"Dropout", "Identity"}
"""Removed when the engine is built."""

_OPAQUE = {
    "ConvInteger",
    "QLinearConv",
    "MatMulInteger",
    "QLinearMatMul",
    "Einsum",
    "LSTM",
    "GRU",
    "RNN",
    "Attention",
    "AdaptivePool",
    "If",
    "Loop",
    "Scan",
}
"""Work that the kinds cannot express: unclassified, not ``other``."""


def layers_from_onnx(
    path: str | os.PathLike[str], batch: int = 1, input_shape: Sequence[int] | None = None
) -> list[Layer]:
    """Every layer of an ONNX model that would run, in the model's order.

    ``batch`` stands for a dynamic batch dimension, ``input_shape`` replaces the shape of the first input.
    Raises InputError when the file is no ONNX model or its shapes stay unknown. ``precision`` is that of the model's
    tensors; an engine built from it may use another.
    """
    return layers_of(graph_of(path, batch, input_shape))


def layers_of(graph: Graph) -> list[Layer]:
    """Every layer of a graph that would run, in its order. Raises InputError when there is none."""
    layers = [layer for layer in _Fusion(graph).layers() if layer is not None]
    if not layers:
        raise InputError(f"{graph.source}: the model has no layers that run")
    return layers


class _Fusion:
    """One pass over the nodes in order; ``_taken`` holds the outputs of nodes that an earlier layer absorbed."""

    def __init__(self, model: Graph) -> None:
        self._model = model
        self._taken: set[str] = set()
        self._ready: set[str] = set()

    def layers(self) -> list[Layer | None]:
        return [self._node(node) for node in self._model.nodes]

    def _node(self, node: Node) -> Layer | None:
        self._ready.update(node.output)
        if node.output[0] in self._taken or self._model.constant(node.output[0]) or node.op_type in _NOTHING:
            return None
        names = [node.name]
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            names += self._absorb(node.output[0], _SCALES, residual=node.op_type == "Conv")
        elif node.op_type in _ELEMENTWISE:
            names += self._absorb(node.output[0], _SCALES | _ACTIVATIONS, residual=False)
        operation = Operation(" + ".join(names), node.op_type, self._model.precision(node.input[0]))
        try:
            return self._classify(node, operation)
        except Unreadable as reason:
            return not_modelled("unclassified", _noted(operation, str(reason)))
        except ValueError as error:
            return not_modelled("unclassified", _noted(operation, str(error).partition(": ")[2]))

    def _absorb(self, tensor: str, steps: set[str], residual: bool) -> list[str]:
        """Names of the nodes fused behind a tensor: steps with a constant, one residual sum, then one activation."""
        names: list[str] = []
        while (node := self._model.only_reader(tensor)) is not None:
            others = [name for name in node.input if name != tensor]
            constant = all(self._model.constant(name) for name in others)
            if node.op_type in _NOTHING or (node.op_type in steps and constant):
                pass
            elif residual and node.op_type in _SUMS and len(node.input) == 2 and self._are_ready(others):
                steps, residual = set(), False
            elif node.op_type in _ACTIVATIONS and constant:
                self._take(node, names)
                break
            else:
                break
            self._take(node, names)
            tensor = node.output[0]
        return names

    def _are_ready(self, tensors: list[str]) -> bool:
        """A sum is fused into the convolution that runs last: its other operand exists already."""
        return all((name in self._ready or name in self._taken) and not self._model.constant(name) for name in tensors)

    def _take(self, node: Node, names: list[str]) -> None:
        self._taken.update(node.output)
        names.append(node.name)

    def _classify(self, node: Node, operation: Operation) -> Layer:
        if node.op_type == "Conv":
            return self._convolution(node, operation)
        if node.op_type in ("MaxPool", "AveragePool"):
            return self._pooling(node, operation)
        if node.op_type in _GLOBAL_POOLS or self._is_mean_of_maps(node):
            return global_pooling(operation, self._maps(node.input[0]))
        if node.op_type in ("Gemm", "MatMul"):
            return self._product(node, operation)
        if node.op_type in _OPAQUE or node.domain not in ("", "ai.onnx"):
            raise Unreadable(f"operator {'.'.join(filter(None, (node.domain, node.op_type)))} is not modelled or known")
        data, output = self._model.shape(node.input[0]), self._model.shape(node.output[0])
        what = "elementwise" if node.op_type in _ELEMENTWISE else node.op_type.lower()
        return not_modelled("other", _noted(operation, what), data or (), output or ())

    def _convolution(self, node: Node, operation: Operation) -> Layer:
        data, output = self._maps(node.input[0]), self._maps(node.output[0])
        weight = self._model.shape(node.input[1])
        if weight is None or len(weight) != 4:
            raise Unreadable("the shape of its weights is not known")
        given = node.attributes
        return convolution(operation, data, output, _window(given, data, output, weight[2:]), given.get("group", 1))

    def _pooling(self, node: Node, operation: Operation) -> Layer:
        data, output = self._maps(node.input[0]), self._maps(node.output[0])
        given = node.attributes
        return pooling(operation, data, output, _window(given, data, output, given.get("kernel_shape", ())))

    def _product(self, node: Node, operation: Operation) -> Layer:
        data, output = self._model.shape(node.input[0]), self._model.shape(node.output[0])
        weight = self._model.shape(node.input[1])
        if not data or not output or not weight:
            raise Unreadable("its shapes are not known")
        if not self._model.constant(node.input[1]) or len(weight) != 2:
            raise Unreadable("a product of two matrices that are both computed")
        return fully_connected(operation, prod(output[:-1]), prod(weight) // output[-1], output[-1])

    def _is_mean_of_maps(self, node: Node) -> bool:
        if node.op_type not in _MEANS:
            return False
        shape = self._model.shape(node.input[0])
        axes = node.attributes.get("axes") or (self._model.integers(node.input[1]) if len(node.input) > 1 else None)
        return shape is not None and len(shape) == 4 and sorted(axis % 4 for axis in axes or ()) == [2, 3]

    def _maps(self, tensor: str) -> Shape:
        shape = self._model.shape(tensor)
        if shape is None:
            raise Unreadable("its shapes are not known")
        if len(shape) != 4:
            raise Unreadable(f"{len(shape)} dimensions, where N,C,H,W is known")
        return shape


def _window(given: Mapping[str, Any], data: Shape, output: Shape, kernel: Sequence[int]) -> Sliding:
    """The window of a convolution or pooling; ``auto_pad`` SAME is worked out from the sizes."""
    if len(kernel) != 2:
        raise Unreadable(f"a window of {len(kernel)} dimensions, where height and width are known")
    stride, dilation = tuple(given.get("strides", (1, 1))), tuple(given.get("dilations", (1, 1)))
    pad = tuple(given.get("pads", (0, 0)))[:2]
    automatic = given.get("auto_pad", "NOTSET")
    if automatic.startswith("SAME"):
        reach = [dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
        total = [max(0, (output[2 + i] - 1) * stride[i] + reach[i] - data[2 + i]) for i in (0, 1)]
        pad = tuple((amount + (automatic == "SAME_LOWER")) // 2 for amount in total)
    return Sliding((kernel[0], kernel[1]), (stride[0], stride[1]), (pad[0], pad[1]), (dilation[0], dilation[1]))


def _noted(operation: Operation, note: str) -> Operation:
    return Operation(operation.name, operation.layer_type, operation.precision, note)
