"""Layers from an ONNX model, fused as TensorRT would fuse them: `fusion` groups the nodes, here each group becomes a layer."""

from __future__ import annotations

import os
from math import prod

from neuralpower.errors import InputError
from neuralpower.features.classify import (
    Operation,
    Sliding,
    attention,
    convolution,
    embedding,
    fully_connected,
    global_pooling,
    matrix_product,
    normalisation,
    not_modelled,
    pooling,
    transposed,
)
from neuralpower.features.layers import ImpossibleLayer, Layer, Unreadable
from neuralpower.features.onnx.inputs import InputShape
from neuralpower.features.onnx.model import graph_of
from neuralpower.features.operators.fusion import Fusion, Group
from neuralpower.features.operators.graph import Graph, Node, Shape
from neuralpower.features.operators.kinds import (
    CONVOLUTIONS,
    ELEMENTWISE,
    GLOBAL_POOLS,
    NORMS,
    OPAQUE,
    POOLS,
    PRODUCTS,
    REDUCTIONS,
    STANDARD,
)
from neuralpower.features.operators.products import Product, product_of
from neuralpower.features.operators.shapes import WINDOWED, padding, window


def layers_from_onnx(path: str | os.PathLike[str], batch: int = 1, input_shape: InputShape = None) -> list[Layer]:
    """Every layer of an ONNX model that would run, in the model's order.

    ``batch`` stands for a dynamic batch dimension, ``input_shape`` replaces the shape of the first input, or of those it names.
    Raises InputError when the file is no ONNX model or its shapes stay unknown. ``precision`` is that of the model's
    tensors; an engine built from it may use another.
    """
    return layers_of(graph_of(path, batch, input_shape))


def layers_of(graph: Graph) -> list[Layer]:
    """Every layer of a graph that would run, in its order. Raises InputError when there is none."""
    reader = _Reader(graph)
    layers = [reader.layer(group) for group in Fusion(graph).groups()]
    if not layers:
        raise InputError(f"{graph.source}: the model has no layers that run")
    return layers


def of_weights_alone(graph: Graph) -> list[Layer]:
    """What products and convolutions of a graph would be that need no input of the network: an engine's builder computes them, so they do not run."""
    reader = _Reader(graph)
    nodes = [node for node in graph.nodes if node.op_type in CONVOLUTIONS | PRODUCTS and node.domain in STANDARD]
    return [reader.layer(Group(node, [node])) for node in nodes if all(map(graph.constant, node.output))]


def layers_apart(graph: Graph) -> list[tuple[Node, Layer]]:
    """Each running node as a layer of its own, in their order: how a framework runs them that fuses nothing. Raises InputError when there is none."""
    reader = _Reader(graph)
    found = [(node, reader.layer(Group(node, [node]))) for node in graph.running]
    if not found:
        raise InputError(f"{graph.source}: the model has no layers that run")
    return found


class _Reader:
    """Groups of nodes as layers."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def layer(self, group: Group) -> Layer:
        anchor = group.anchor
        operation = Operation(group.name, anchor.op_type, self._precision(group))
        try:
            return self._classify(group, anchor, operation)
        except Unreadable as reason:
            return not_modelled("unclassified", _noted(operation, str(reason)))
        except ImpossibleLayer as error:
            return not_modelled("unclassified", _noted(operation, error.reason))

    def _precision(self, group: Group) -> str:
        """That of the data: the first computed operand of the anchor."""
        data = [name for name in group.anchor.input if name and not self._graph.constant(name)]
        return self._graph.precision(data[0]) if data else ""

    def _classify(self, group: Group, node: Node, operation: Operation) -> Layer:
        kind = node.op_type
        if node.domain not in STANDARD or kind in OPAQUE:
            raise Unreadable(_opaque(node))
        if group.kind == "attention":
            return self._attention_of_products(group, operation)
        if kind == "Attention":
            return attention(
                operation,
                *(self._heads(node, name, key) for name, key in zip(node.input[:3], ("q", "kv", "kv"), strict=True)),
            )
        if group.kind == "norm" or kind in NORMS:
            return self._normalisation(group, operation)
        if kind in CONVOLUTIONS:
            return self._convolution(node, operation)
        if kind in PRODUCTS:
            return self._product(node, operation)
        if kind in POOLS:
            return self._pooling(node, operation)
        if kind in GLOBAL_POOLS or self._is_mean_of_maps(node):
            return global_pooling(operation, self._maps(node.input[0]))
        data, output = self._shape(node.input[0]) if node.input else (), self._shape(node.output[0])
        if kind == "Gather" and self._graph.constant(node.input[0]):
            return self._embedding(node, operation, output)
        what = "elementwise" if kind in ELEMENTWISE else "reduction" if kind in REDUCTIONS else kind.lower()
        return not_modelled("other", _noted(operation, what), data, output)

    def _convolution(self, node: Node, operation: Operation) -> Layer:
        data, output = self._maps(node.input[0]), self._maps(node.output[0], node)
        weight = self._known(node.input[1], "the shape of its weights is")
        given = node.attributes
        strides, dilations = window(given, weight[2:])
        if node.op_type == "ConvTranspose":
            pads = tuple(given.get("pads") or (0,) * len(strides))[: len(strides)]
            sliding = Sliding(tuple(weight[2:]), strides, pads, dilations)
            return transposed(operation, data, output, sliding, given.get("group", 1))
        pads = padding(given, data[2:], output[2:], weight[2:])
        sliding = Sliding(tuple(weight[2:]), strides, pads, dilations)
        return convolution(operation, data, output, sliding, given.get("group", 1))

    def _pooling(self, node: Node, operation: Operation) -> Layer:
        data, output = self._maps(node.input[0]), self._maps(node.output[0], node)
        given = node.attributes
        kernel = tuple(given.get("kernel_shape", ()))
        strides, dilations = window(given, kernel)
        pads = padding(given, data[2:], output[2:], kernel)
        return pooling(operation, data, output, Sliding(kernel, strides, pads, dilations))

    def _product(self, node: Node, operation: Operation) -> Layer:
        found = self._sizes(node)
        if found.inner == 0:
            data, output = self._shape(node.input[0]), self._shape(node.output[0])
            single = "Transpose" if prod(data) == prod(output) else "ReduceSum"
            does, what = ("Mul", "elementwise") if len(node.input) > 1 else (single, "transposition or sum")
            plain = Operation(operation.name, does, operation.precision, what)
            return not_modelled("other", plain, data, output)
        first, second = (self._graph.constant(name) for name in node.input[:2])
        if not first and not second:
            return matrix_product(operation, found.batch, found.rows, found.inner, found.columns)
        # What is the same for the whole batch of matrices is one matrix of weights.
        if second and found.second_alone:
            return fully_connected(operation, found.batch * found.rows, found.inner, found.columns)
        if first and found.first_alone:
            return fully_connected(operation, found.batch * found.columns, found.inner, found.rows)
        noted = _noted(operation, "each matrix of the batch has weights of its own")
        return matrix_product(noted, found.batch, found.rows, found.inner, found.columns)

    def _sizes(self, node: Node) -> Product:
        shapes = [self._known(name, "the shapes of its operands are") for name in node.input if name]
        return product_of(node.op_type, node.attributes, shapes)

    def _attention_of_products(self, group: Group, operation: Operation) -> Layer:
        products = [node for node in group.nodes if node.op_type in PRODUCTS]
        scores, result = self._sizes(products[0]), self._sizes(products[-1])
        query = (scores.batch, scores.rows, scores.inner)
        key = (scores.batch, scores.columns, scores.inner)
        value = (result.batch, result.inner, result.columns)
        precision = self._graph.precision(products[0].input[0])
        return attention(Operation(operation.name, "Attention", precision), query, key, value)

    def _heads(self, node: Node, tensor: str, whose: str) -> Shape:
        """[.., heads, length, width] of an operand; where heads lie side by side they are told apart by their number."""
        shape = self._known(tensor, "the shapes of its operands are")
        if len(shape) != 3:
            return shape
        heads = node.attributes.get(f"{whose}_num_heads")
        if not heads or shape[-1] % heads:
            raise Unreadable("the number of its heads is not known")
        return (shape[0], heads, shape[1], shape[2] // heads)

    def _normalisation(self, group: Group, operation: Operation) -> Layer:
        node = group.anchor
        source = group.nodes[-1] if group.kind else node
        data = self._known(source.output[0] if group.kind else node.input[0], "its shape is")
        weights = [
            self._graph.shape(name)
            for each in group.nodes
            for name in each.input
            if name and self._graph.constant(name)
        ]
        return normalisation(operation, data, sum(prod(shape) for shape in weights if shape))

    def _embedding(self, node: Node, operation: Operation, output: Shape) -> Layer:
        rows = self._known(node.input[1], "the shape of its indices is")
        return embedding(operation, rows or (1,), output)

    def _is_mean_of_maps(self, node: Node) -> bool:
        if node.op_type not in ("ReduceMean", "ReduceMax"):
            return False
        shape = self._graph.shape(node.input[0])
        axes = node.attributes.get("axes") or (self._graph.integers(node.input[1]) if len(node.input) > 1 else None)
        if shape is None or len(shape) not in (4, 5):
            return False
        return sorted(axis % len(shape) for axis in axes or ()) == list(range(2, len(shape)))

    def _shape(self, tensor: str) -> Shape:
        return self._graph.shape(tensor) or ()

    def _known(self, tensor: str, what: str) -> Shape:
        shape = self._graph.shape(tensor)
        if shape is None:
            raise Unreadable(f"{what} not known")
        return shape

    def _maps(self, tensor: str, node: Node | None = None) -> Shape:
        """N,C and the data's dimensions. Where it is a node's output that is not known, the node's own rule says why."""
        shape = self._graph.shape(tensor)
        if shape is None and node is not None:
            known = [self._known(name, "the shapes of its operands are") for name in node.input[:2]]
            WINDOWED[node.op_type](node.attributes, known)
        if shape is None:
            raise Unreadable("its shapes are not known")
        if not 3 <= len(shape) <= 5:
            raise Unreadable(f"{len(shape)} dimensions, where N,C and one to three of data are known")
        return shape


def _opaque(node: Node) -> str:
    bodies = [
        f"{name} with {value}"
        for name, value in node.attributes.items()
        if name in ("body", "then_branch", "else_branch")
    ]
    told = ".".join(filter(None, (node.domain, node.op_type)))
    return f"operator {told}: {'; '.join(bodies)}" if bodies else f"operator {told} is not modelled or known"


def _noted(operation: Operation, note: str) -> Operation:
    return Operation(operation.name, operation.layer_type, operation.precision, note)
