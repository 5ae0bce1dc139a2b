"""An ONNX model as a graph with static shapes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError
from neuralpower.features.graph import Graph, Node, Shape
from neuralpower.features.onnx_file import LARGEST_LIST, load_model

_PRECISIONS = {1: "FP32", 3: "INT8", 10: "FP16", 16: "BF16", 17: "FP8"}
"""Element types of onnx.TensorProto that a layer computes in."""
_INTEGERS = (6, 7)


def graph_of(path: str | os.PathLike[str], batch: int = 1, input_shape: Sequence[int] | None = None) -> Graph:
    """A model with every shape inferred.

    ``batch`` replaces a dynamic first dimension of the model's inputs; ``input_shape`` replaces the whole shape of
    its first input. Raises InputError when the file is no ONNX model, an input keeps a dynamic dimension, or the
    batch is fixed at another number.
    """
    import onnx
    from onnx import numpy_helper

    source = Path(path)
    model = load_model(source)
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    for position, value in enumerate(inputs):
        _fix_shape(source, value, batch, input_shape if position == 0 else None)
    if input_shape:
        del model.graph.value_info[:]
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # whatever its C++ side throws
        raise InputError(f"{source}: shapes cannot be inferred: {_first_line(error)}") from None
    values = (model.graph.input, model.graph.value_info, model.graph.output)
    types = {value.name: value.type.tensor_type for listed in values for value in listed}
    shapes = {name: shape for name, each in types.items() if (shape := _static(each)) is not None}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    integers = {
        tensor.name: [int(x) for x in numpy_helper.to_array(tensor).flat]
        for tensor in model.graph.initializer
        if tensor.data_type in _INTEGERS and prod(tensor.dims) <= LARGEST_LIST
    }
    precisions = {name: _PRECISIONS.get(each.elem_type, "") for name, each in types.items()}
    nodes = [_node(node) for node in model.graph.node if node.output]
    return Graph(str(source), nodes, shapes, precisions, given, integers, {each.name for each in model.graph.output})


def _static(tensor: Any) -> Shape | None:
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _node(node: Any) -> Node:
    from onnx import helper

    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    decoded = {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
    name = node.name or f"{node.op_type} {node.output[0]}"
    return Node(node.op_type, name, list(node.input), list(node.output), decoded, node.domain)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _fix_shape(path: Path, value: Any, batch: int, wanted: Sequence[int] | None) -> None:
    dims = value.type.tensor_type.shape.dim
    if wanted:
        if dims and len(dims) != len(wanted):
            raise InputError(
                f"{path}: input {value.name} has {len(dims)} dimensions, the shape given has {len(wanted)}"
            )
        del dims[:]
        for size in wanted:
            dims.add(dim_value=size)
        return
    for axis, dim in enumerate(dims):
        if dim.dim_value > 0:
            if axis == 0 and len(dims) > 1 and batch not in (1, dim.dim_value):
                raise InputError(f"{path}: input {value.name} has its batch fixed at {dim.dim_value}, not {batch}")
        elif axis == 0:
            dim.dim_value = batch
        else:
            raise InputError(f"{path}: input {value.name} has a dynamic dimension {axis}; give its shape")
