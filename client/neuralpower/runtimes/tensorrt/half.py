"""An ONNX model in half precision: for a TensorRT that takes the precision from the tensors' types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError

_KEPT = {"Resize": (1, 2), "Upsample": (1,), "NonMaxSuppression": (1, 3, 4)}
"""Inputs that ONNX wants in single precision: regions and scales."""
_LARGEST = 65504.0


def to_half(source: Path, target: Path) -> Path:
    """Write `source` with its weights and tensors in FP16 to `target`; inputs and outputs stay as they are, with a Cast.

    Raises:
        InputError: no ONNX model, or one with subgraphs, whose types are not followed.
    """
    import onnx

    from ...features.onnx.file import load_model

    model = load_model(source)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(source.absolute().parent))
    except Exception as error:  # a missing file, one outside the model's folder, or one that is too short
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{source}: its weights cannot be read from the files beside it: {told}") from None
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in model.graph.node for attribute in node.attribute):
        raise InputError(f"{source}: has subgraphs (If, Loop); export it in half precision, as this TensorRT needs it")
    kept = {node.input[at] for node in model.graph.node for at in _KEPT.get(node.op_type, ()) if at < len(node.input)}
    for tensor in model.graph.initializer:
        if tensor.name not in kept:
            _halve(tensor)
    for node in model.graph.node:
        if not kept.intersection(node.output):
            _halve_attributes(node)
    _cast_ends(model.graph)
    del model.graph.value_info[:]
    onnx.save(model, str(target))
    return target


def _halve(tensor: Any) -> None:
    import onnx
    from onnx import numpy_helper

    if tensor.data_type == onnx.TensorProto.FLOAT:
        values = np.clip(numpy_helper.to_array(tensor), -_LARGEST, _LARGEST).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _halve_attributes(node: Any) -> None:
    import onnx

    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            _halve(attribute.t)
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
            attribute.i = onnx.TensorProto.FLOAT16


def _cast_ends(graph: Any) -> None:
    """Casts behind the inputs and before the outputs, so that the model's face does not change."""
    import onnx
    from onnx import helper

    stored = {tensor.name for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    front, back = [], []
    for value in graph.input:
        if value.name not in stored and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            renamed[value.name] = f"{value.name}_half"
            front.append(helper.make_node("Cast", [value.name], [renamed[value.name]], to=onnx.TensorProto.FLOAT16))
    made = {name for node in graph.node for name in node.output}
    for value in graph.output:
        if value.name in made and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            renamed[value.name] = f"{value.name}_half"
            back.append(helper.make_node("Cast", [renamed[value.name]], [value.name], to=onnx.TensorProto.FLOAT))
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    nodes = [*front, *graph.node, *back]
    del graph.node[:]
    graph.node.extend(nodes)
