"""An ONNX model as a graph with static shapes."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError
from neuralpower.features.layers import Unreadable
from neuralpower.features.onnx.file import LARGEST_LIST, load_model
from neuralpower.features.onnx.inference import ShapeInference
from neuralpower.features.onnx.inputs import InputShape, by_name, is_other, static_inputs
from neuralpower.features.onnx.order import put_in_order
from neuralpower.features.onnx.quantised import plain
from neuralpower.features.operators.graph import Graph

_PRECISIONS = {
    1: "FP32",
    2: "INT8",
    3: "INT8",
    10: "FP16",
    16: "BF16",
    **dict.fromkeys((17, 18, 19, 20), "FP8"),
    **dict.fromkeys((21, 22), "INT4"),
}
"""Element types of onnx.TensorProto that a layer computes in; eight bits without a sign count as INT8."""


MOST_TOLD = 3
"""Contradictions that are told one by one: where a whole file declares other shapes, the first ones tell where that begins."""


def graph_of(path: str | os.PathLike[str], batch: int = 1, input_shape: InputShape = None) -> Graph:
    """A model with every shape inferred, its local functions inlined, and its quantised operators as plain ones.

    ``batch`` replaces a dynamic first dimension of the model's inputs; ``input_shape`` replaces the whole shape of
    its first input, or of those it names. Raises InputError when the file is no ONNX model, an input keeps a dynamic dimension, or the
    batch is fixed at another number.
    """
    source = Path(path)
    model = _inlined(source, load_model(source, weights=False))
    stored = _stored(model.graph)
    inputs = [value for value in model.graph.input if value.name not in stored]
    shapes, notes = static_inputs(source, inputs, batch, by_name(input_shape))
    plain(model)
    other = any(is_other(value, shapes[value.name]) for value in inputs if value.name in shapes)
    try:
        notes += put_in_order(model.graph, shapes)
        known = ShapeInference(model, shapes, trusting=not other)
    except Unreadable as reason:
        raise InputError(f"{source}: {reason}") from None
    notes += _contradictions(known.contradictions, other)
    integers = {
        name: [int(x) for x in value.flat]
        for name, value in known.values.items()
        if value.dtype.kind in "iu" and value.size <= LARGEST_LIST
    }
    precisions = {name: _PRECISIONS.get(element, "") for name, element in known.elements.items()}
    outputs = {each.name for each in model.graph.output}
    constants = _stored(model.graph) | set(known.values)
    return Graph(str(source), known.nodes, known.shapes, precisions, constants, integers, outputs, notes)


def _stored(graph: Any) -> set[str]:
    """Names of the tensors that a graph holds."""
    return {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}


def _contradictions(found: list[str], other: bool) -> list[str]:
    """A line each for the first shapes that a file declares and its nodes contradict, and one for the rest.

    Where an input was given an ``other`` shape than the file's, they are right for the file's, and a line says so.
    """
    if other:
        told = f"the file's own shapes of {len(found)} tensors are those of its own input: taken as follows from the shape given"
        return [told] if found else []
    more = len(found) - MOST_TOLD
    rest = [f"{more} more tensors are declared otherwise than their nodes make them"] if more > 0 else []
    return found[:MOST_TOLD] + rest


def _inlined(path: Path, model: Any) -> Any:
    """The model without functions of its own: each call becomes the nodes of its function."""
    if not model.functions:
        return model
    from onnx import inliner

    for tensor in model.graph.initializer:
        if prod(tensor.dims) > LARGEST_LIST:  # contents that nobody reads need not be copied
            tensor.ClearField("raw_data")
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # whatever its C++ side throws
        raise InputError(f"{path}: its local functions cannot be inlined: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
