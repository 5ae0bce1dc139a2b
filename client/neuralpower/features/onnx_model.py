"""An ONNX model as tensors with static shapes, known constants, and who reads what."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError

Shape = tuple[int, ...]

_PRECISIONS = {1: "FP32", 3: "INT8", 10: "FP16", 16: "BF16", 17: "FP8"}
"""Element types of onnx.TensorProto that a layer computes in."""


class OnnxModel:
    """A loaded model with every shape inferred.

    ``batch`` replaces a dynamic first dimension of the model's inputs; ``input_shape`` replaces the whole shape of
    its first input. Raises InputError when the file is no ONNX model, an input keeps a dynamic dimension, or the
    batch is fixed at another number.
    """

    def __init__(self, path: str | os.PathLike[str], batch: int = 1, input_shape: Sequence[int] | None = None) -> None:
        import onnx

        self.path = Path(path)
        model = _load(self.path)
        given = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in given]
        for position, value in enumerate(inputs):
            _fix_shape(self.path, value, batch, input_shape if position == 0 else None)
        if input_shape:
            del model.graph.value_info[:]
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception as error:  # whatever its C++ side throws
            raise InputError(f"{self.path}: shapes cannot be inferred: {str(error).splitlines()[0]}") from None
        self.nodes: list[Any] = list(model.graph.node)
        self._types = {
            value.name: value.type.tensor_type
            for values in (model.graph.input, model.graph.value_info, model.graph.output)
            for value in values
        }
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constants = self._fold(given)
        self._readers = Counter(name for node in self.nodes for name in set(node.input))
        self._reader = {name: node for node in self.nodes for name in node.input}
        self._outputs = {value.name for value in model.graph.output}

    def constant(self, name: str) -> bool:
        """Whether a tensor is known before the network runs."""
        return name in self._constants

    def shape(self, name: str) -> Shape | None:
        """The static shape of a tensor, None when it is not known."""
        if name in self._weights:
            return tuple(self._weights[name].dims)
        dims = self._types[name].shape.dim if name in self._types and self._types[name].HasField("shape") else None
        if dims is None or not all(dim.HasField("dim_value") for dim in dims):
            return None
        return tuple(dim.dim_value for dim in dims)

    def precision(self, name: str) -> str:
        return _PRECISIONS.get(self._types[name].elem_type, "") if name in self._types else ""

    def integers(self, name: str) -> list[int] | None:
        """The values of a stored integer tensor."""
        from onnx import numpy_helper

        return [int(x) for x in numpy_helper.to_array(self._weights[name]).flat] if name in self._weights else None

    def only_reader(self, name: str) -> Any | None:
        """The node that reads a tensor, when there is exactly one and the tensor is no output of the model."""
        return self._reader[name] if self._readers[name] == 1 and name not in self._outputs else None

    def _fold(self, given: set[str]) -> set[str]:
        constants = {"", *given}
        for node in self.nodes:
            static_shape = node.op_type in ("Shape", "Size") and self.shape(node.input[0]) is not None
            if static_shape or all(name in constants for name in node.input):
                constants.update(node.output)
        return constants


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes by name; strings are decoded."""
    from onnx import helper

    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except DecodeError:
        raise InputError(f"{path}: neither TensorRT engine information (JSON) nor an ONNX model") from None
    if not model.graph.node:
        raise InputError(f"{path}: neither TensorRT engine information (JSON) nor an ONNX model with layers")
    return model


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
