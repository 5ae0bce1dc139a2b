"""An ONNX model as a graph with static shapes."""

from __future__ import annotations

import os
from collections.abc import Collection
from heapq import heappop, heappush
from math import prod
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError
from neuralpower.features.graph import Graph
from neuralpower.features.inspected import Unreadable
from neuralpower.features.onnx_file import LARGEST_LIST, load_model
from neuralpower.features.onnx_inference import ShapeInference, captured_by
from neuralpower.features.onnx_inputs import InputShape, by_name, is_other, static_inputs
from neuralpower.features.onnx_quantised import plain

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
"""Single tensors that are told: where a whole file is so, the first ones tell where that begins."""


def graph_of(path: str | os.PathLike[str], batch: int = 1, input_shape: InputShape = None) -> Graph:
    """A model with every shape inferred, its local functions inlined, and its quantised operators as plain ones.

    ``batch`` replaces a dynamic first dimension of the model's inputs; ``input_shape`` replaces the whole shape of
    its first input, or of those it names. Raises InputError when the file is no ONNX model, an input keeps a dynamic dimension, or the
    batch is fixed at another number.
    """
    source = Path(path)
    model = _inlined(source, load_model(source, weights=False))
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    shapes, notes = static_inputs(source, inputs, batch, by_name(input_shape))
    plain(model)
    notes += _put_in_order(source, model.graph, shapes)
    other = any(is_other(value, shapes[value.name]) for value in inputs if value.name in shapes)
    try:
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
    constants = given | set(known.values)
    return Graph(str(source), known.nodes, known.shapes, precisions, constants, integers, outputs, notes)


def _put_in_order(path: Path, graph: Any, inputs: Collection[str]) -> list[str]:
    """Each node behind those whose outputs it reads, as ONNX wants them; parsers of engines, too, put them so themselves.

    Returns a line on tensors that nothing makes, if there are any. Raises InputError on nodes that need each other.
    """
    stored = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    known = {"", *inputs, *stored, *(each.name for each in graph.input)}
    makers = {name: at for at, node in enumerate(graph.node) for name in node.output if name not in known}
    readers: dict[int, list[int]] = {}
    unmet, lost = [], dict[str, str]()
    for at, node in enumerate(graph.node):
        reads = [name for name in (*node.input, *captured_by(node)) if name not in known]
        lost |= {name: node.name or node.op_type for name in reads if name not in makers}
        before = {makers[name] for name in reads if name in makers}
        unmet.append(len(before))
        for each in before:
            readers.setdefault(each, []).append(at)
    ready, order = [at for at, count in enumerate(unmet) if not count], []
    while ready:
        order.append(heappop(ready))
        for at in readers.get(order[-1], ()):
            unmet[at] -= 1
            if not unmet[at]:
                heappush(ready, at)
    if len(order) < len(unmet):
        node = graph.node[next(at for at, count in enumerate(unmet) if count)]
        raise InputError(
            f"{path}: node {node.name or node.op_type} needs its own output, by way of others: nothing can run it"
        )
    if order != sorted(order):
        nodes = [graph.node[at].SerializeToString() for at in order]
        del graph.node[:]
        for node in nodes:
            graph.node.add().ParseFromString(node)
    told = [f"{name} (read by {reader})" for name, reader in lost.items()]
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return (
        [f"nothing makes or holds tensor {', '.join(told[:MOST_TOLD])}{more}: the file is damaged, or a part of one"]
        if told
        else []
    )


def _contradictions(found: list[str], other: bool) -> list[str]:
    """A line each for the first shapes that a file declares and its nodes contradict, and one for the rest.

    Where an input was given an ``other`` shape than the file's, they are right for the file's, and a line says so.
    """
    if other:
        told = f"the file's own shapes of {len(found)} tensors are those of its own input: taken as follows from the shape given"
        return [told] if found else []
    more = len(found) - MOST_TOLD
    return found[:MOST_TOLD] + (
        [f"{more} more tensors are declared otherwise than their nodes make them"] if more > 0 else []
    )


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
