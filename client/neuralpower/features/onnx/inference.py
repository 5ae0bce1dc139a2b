"""One pass over an ONNX model before it runs: the shape of every tensor from its node's inputs, and the values of what shapes alone decide.

A shape that the file declares is used where no node gives one, and said where a node contradicts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from neuralpower.features.layers import Unreadable
from neuralpower.features.operators.graph import Node, Shape
from neuralpower.features.operators.shapes import PLAIN, WINDOWED

LARGEST_VALUE = 1024
"""Elements of a tensor whose values are kept: shapes, axes and indices are short, and tables of weights are not needed."""
MOST_NODES = 200_000
"""Nodes of a model with the branches it takes; the largest that people build have some ten thousand."""

_STANDARD = ("", "ai.onnx")
_ELEMENTS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11}
"""numpy's types that shapes are computed in, as element types of onnx.TensorProto."""
_BOUNDED = {
    "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Cast", "Add", "Sub", "Mul", "Div", "Mod", "Equal", "Greater", "Less", "Where", "Not", "And",
    "Or", "Min", "Max", "Floor", "Ceil", "Sqrt", "Neg", "Identity", "Reshape", "Transpose", "ReduceProd", "ReduceSum", "ReduceMin", "ReduceMax",
}  # fmt: skip
"""Their output has no more elements than two small operands together can give."""
_SHRINKING = {"NonZero", "Compress", "Unique"}
"""Their output is no longer than their input, though its shape is not known before."""


class ShapeInference:
    """What is known of a model's tensors. ``nodes`` are those that would run, with the branches taken that shapes decide.

    ``trusting``: a shape that the file declares is taken where nothing else tells one. Of another input than the file's own it would be wrong.
    """

    def __init__(self, model: Any, inputs: Mapping[str, Shape], trusting: bool = True) -> None:
        from onnx import helper

        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}
        self.elements: dict[str, int] = {}
        self.values: dict[str, Any] = {}
        self.contradictions: list[str] = []
        """A line for each shape that the file declares and a node contradicts."""
        self._versions = {each.domain: each.version for each in model.opset_import}
        self._opsets = [helper.make_opsetid(domain, version) for domain, version in self._versions.items()]
        self._trusting = trusting
        self._ir_version = model.ir_version
        self._schemas: dict[tuple[str, str], Any] = {}
        self._typed: dict[str, Any] = {}
        self._declared = {
            value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)
        }
        self._names = _dimensions(model.graph.input, inputs)
        self._weights(model.graph.initializer)
        for sparse in model.graph.sparse_initializer:
            self._set(sparse.values.name, tuple(sparse.dims), sparse.values.data_type)
        for value in model.graph.input:
            if value.name in inputs:
                self._set(value.name, inputs[value.name], value.type.tensor_type.elem_type)
        self._run(model.graph.node)

    def _weights(self, initializers: Iterable[Any]) -> None:
        for tensor in initializers:
            self._set(tensor.name, tuple(tensor.dims), tensor.data_type)
            if prod(tensor.dims) <= LARGEST_VALUE:
                self._keep(tensor.name, tensor)

    def _keep(self, name: str, tensor: Any) -> None:
        from onnx import numpy_helper

        try:
            self.values[name] = numpy_helper.to_array(tensor)
        except Exception:  # contents that stand elsewhere, or were cut: its shape is enough for most
            return

    def _run(self, nodes: Iterable[Any]) -> None:
        for node in nodes:
            if not any(node.output):
                continue
            if len(self.nodes) >= MOST_NODES:
                raise Unreadable(f"more than {MOST_NODES:,} nodes")
            branch = self._branch(node)
            if branch is not None:
                self._weights(branch.initializer)
                self._run(branch.node)
                for inner, outer in zip(branch.output, node.output, strict=False):
                    self._add(_identity(inner.name, outer))
            else:
                self._add(node)

    def _branch(self, node: Any) -> Any:
        """The body that an If will take, where its condition is known."""
        if node.op_type != "If" or node.domain not in _STANDARD or not node.input:
            return None
        condition = self.values.get(node.input[0])
        if condition is None:
            return None
        wanted = "then_branch" if condition.any() else "else_branch"
        return next((each.g for each in node.attribute if each.name == wanted), None)

    def _add(self, proto: Any) -> None:
        node = _node(proto)
        self.nodes.append(node)
        if node.op_type == "Constant" and node.domain in _STANDARD:
            self._constant(node)
            return
        known = all(name in self.values for name in node.input if name) and node.domain in _STANDARD
        if known and node.op_type in _BOUNDED and self._evaluate(proto, node):
            return
        self._infer(proto, node)
        if node.op_type in ("Shape", "Size") and node.domain in _STANDARD:
            self._sizes(node)
        elif known and self._evaluable(node):
            self._evaluate(proto, node)

    def _infer(self, proto: Any, node: Node) -> None:
        given = self._by_library(proto, node)
        own = self._by_rule(node)
        for name in filter(None, node.output):
            shape, element = given.get(name, (None, 0))
            if node.op_type in WINDOWED or (shape is None and own is not None):
                shape = own
            declared = self._declared_shape(name)
            if shape is None and node.op_type not in WINDOWED:
                shape = declared if self._trusting else None
            elif shape is not None and declared not in (None, shape):
                told = f"declared as {_by(declared)}, which its node {node.name} contradicts: taken as {_by(shape)}"
                self.contradictions.append(f"tensor {name} is {told}")
            self._set(name, shape, element or self._element(node, name))

    def _element(self, node: Node, name: str) -> int:
        """The element type of a node's output where the library tells none: as declared, as a quantisation's zero point, as the first input."""
        declared: int = getattr(self._declared.get(name), "elem_type", 0)
        source = node.input[2] if node.op_type == "QuantizeLinear" and len(node.input) > 2 else "".join(node.input[:1])
        return declared or self.elements.get(source, 0)

    def _by_library(self, proto: Any, node: Node) -> dict[str, tuple[Shape | None, int]]:
        from onnx import shape_inference

        schema = self._schema(node)
        types = {name: self._type(name) for name in node.input if name}
        if schema is None or None in types.values():
            return {}
        data = {
            name: _tensor(self.values[name])
            for name in node.input
            if name in self.values and self.values[name].dtype != object
        }
        try:
            found = shape_inference.infer_node_outputs(
                schema, proto, types, data, opset_imports=self._opsets, ir_version=self._ir_version
            )
        except Exception:  # whatever its C++ side throws: a node that contradicts its schema
            return {}
        return {name: (_static(each.tensor_type), each.tensor_type.elem_type) for name, each in found.items()}

    def _by_rule(self, node: Node) -> Shape | None:
        rule = WINDOWED.get(node.op_type) or PLAIN.get(node.op_type)
        shapes = [self.shapes.get(name) for name in node.input if name]
        used = shapes[: 2 if node.op_type in WINDOWED else None]
        if rule is None or node.domain not in _STANDARD or not used or any(shape is None for shape in used):
            return None
        try:
            return rule(node.attributes, [shape for shape in used if shape is not None])
        except (Unreadable, ValueError, TypeError, IndexError, ArithmeticError):
            return None

    def _declared_shape(self, name: str) -> Shape | None:
        declared = self._declared.get(name)
        if declared is None or not declared.HasField("shape"):
            return None
        sizes = [dim.dim_value or self._names.get(dim.dim_param, 0) for dim in declared.shape.dim]
        return tuple(sizes) if all(size > 0 for size in sizes) else None

    def _constant(self, node: Node) -> None:
        import numpy as np

        name, given = node.output[0], node.attributes
        tensor = given.get("value")
        if tensor is not None and hasattr(tensor, "data_type"):
            self._set(name, tuple(tensor.dims), tensor.data_type)
            if prod(tensor.dims) <= LARGEST_VALUE:
                self._keep(name, tensor)
            return
        sparse = given.get("sparse_value")
        if sparse is not None and hasattr(sparse, "dims"):
            self._set(name, tuple(sparse.dims), sparse.values.data_type)
        for key, kind, element in (("int", np.int64, 7), ("float", np.float32, 1)):
            value = given.get(f"value_{key}", given.get(f"value_{key}s"))
            if value is not None:
                self.values[name] = np.array(value, dtype=kind)
                self._set(name, self.values[name].shape, element)

    def _sizes(self, node: Node) -> None:
        import numpy as np

        shape = self.shapes.get(node.input[0])
        if shape is not None:
            whole = np.array(shape, dtype=np.int64)
            part = whole[node.attributes.get("start", 0) : node.attributes.get("end")]
            self.values[node.output[0]] = part if node.op_type == "Shape" else whole.prod()
            self._set(node.output[0], self.values[node.output[0]].shape, 7)

    def _evaluable(self, node: Node) -> bool:
        sizes = [self.shapes.get(name) for name in node.output]
        small = all(shape is not None and prod(shape) <= LARGEST_VALUE for shape in sizes)
        return bool(node.input) and (small or node.op_type in _SHRINKING)

    def _evaluate(self, proto: Any, node: Node) -> bool:
        """Whether the values of a node's outputs could be found, which is cheaper than inference."""
        from onnx.reference import ReferenceEvaluator

        try:
            run = ReferenceEvaluator(proto, opsets=self._versions)
            found = run.run(None, {name: self.values[name] for name in node.input if name})
        except Exception:  # an operator that the package's own evaluator lacks: its value stays unknown
            return False
        for name, value in zip(run.output_names, found, strict=True):
            if not hasattr(value, "shape") or str(value.dtype) not in _ELEMENTS:
                return False
            self._set(name, value.shape, _ELEMENTS[str(value.dtype)])
            if value.size <= LARGEST_VALUE:
                self.values[name] = value
        return True

    def _set(self, name: str, shape: Shape | None, element: int) -> None:
        self.elements[name] = element
        if shape is not None:
            self.shapes[name] = tuple(int(size) for size in shape)

    def _type(self, name: str) -> Any:
        """The type of a tensor as ONNX writes it; None where its elements are not known."""
        from onnx import helper

        if name not in self._typed and self.elements.get(name):
            self._typed[name] = helper.make_tensor_type_proto(self.elements[name], self.shapes.get(name))
        return self._typed.get(name)

    def _schema(self, node: Node) -> Any:
        from onnx import defs

        key = node.domain, node.op_type
        if key not in self._schemas:
            domain = "" if node.domain in _STANDARD else node.domain
            try:
                version = self._versions.get(node.domain, self._versions.get(domain, 1))
                self._schemas[key] = defs.get_schema(node.op_type, version, domain)
            except Exception:  # no such operator in this version
                self._schemas[key] = None
        return self._schemas[key]


def _node(proto: Any) -> Node:
    from onnx import helper

    values: dict[str, Any] = {}
    captured: list[str] = []
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        bodies = [value] if hasattr(value, "node") else value if isinstance(value, list) else []
        if any(hasattr(each, "node") for each in bodies):
            value = "; ".join(_body(each) for each in bodies)
            captured += [name for each in bodies for name in _captured(each)]
        values[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    outputs = [name or f"{proto.name} unused {place}" for place, name in enumerate(proto.output)]
    name = proto.name or f"{proto.op_type} {outputs[0]}"
    return Node(proto.op_type, name, [*proto.input, *captured], outputs, values, proto.domain)


def _body(graph: Any) -> str:
    """What a body holds, in words: ``3 Conv, 1 Relu``."""
    counts = Counter(node.op_type for node in graph.node if node.op_type != "Constant")
    return ", ".join(f"{count} {op_type}" for op_type, count in counts.most_common()) or "nothing"


def captured_by(node: Any) -> list[str]:
    """Tensors of the network that the bodies of a node read."""
    bodies = [
        each
        for attribute in node.attribute
        for each in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))
    ]
    return [name for body in bodies for name in _captured(body)]


def _captured(graph: Any) -> list[str]:
    """Tensors of the network that a body reads without taking them as inputs."""
    own = {each.name for each in (*graph.input, *graph.initializer)} | {
        name for node in graph.node for name in node.output
    }
    read: dict[str, None] = {}
    for node in graph.node:
        inner = [name for each in node.attribute if each.HasField("g") for name in _captured(each.g)]
        read |= dict.fromkeys(name for name in (*node.input, *inner) if name and name not in own)
    read |= dict.fromkeys(each.name for each in graph.output if each.name not in own)
    return list(read)


def _identity(inner: str, outer: str) -> Any:
    from onnx import helper

    return helper.make_node("Identity", [inner], [outer], f"{outer} of the branch taken")


def _dimensions(inputs: Sequence[Any], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Name of a dimension -> the size that an input gives it."""
    found: dict[str, int] = {}
    for value in inputs:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            if dim.dim_param:
                found.setdefault(dim.dim_param, size)
    return found


def _static(tensor: Any) -> Shape | None:
    if not tensor.HasField("shape") or not all(
        dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor.shape.dim
    ):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _tensor(value: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value)


def _by(shape: Shape | None) -> str:
    return "x".join(map(str, shape)) if shape else "a scalar"
