"""Quantised operators, and those of ONNX Runtime's tools, as the plain ones that they stand for: an engine has no others either."""

from __future__ import annotations

from typing import Any

_CONTRIB = "com.microsoft"
"""The domain in which ONNX Runtime's tools write operators of their own."""

_PLAIN = {
    ("", "QLinearConv"): ("Conv", (0, 3, 8)),
    ("", "ConvInteger"): ("Conv", (0, 1)),
    ("", "QLinearMatMul"): ("MatMul", (0, 3)),
    ("", "MatMulInteger"): ("MatMul", (0, 1)),
    (_CONTRIB, "QGemm"): ("Gemm", (0, 3, 6)),
    (_CONTRIB, "QLinearAdd"): ("Add", (0, 3)),
    (_CONTRIB, "QLinearMul"): ("Mul", (0, 3)),
    (_CONTRIB, "QLinearSigmoid"): ("Sigmoid", (0,)),
    (_CONTRIB, "QLinearLeakyRelu"): ("LeakyRelu", (0,)),
    (_CONTRIB, "QLinearSoftmax"): ("Softmax", (0,)),
    (_CONTRIB, "QLinearGlobalAveragePool"): ("GlobalAveragePool", (0,)),
    (_CONTRIB, "QLinearAveragePool"): ("AveragePool", (0,)),
    (_CONTRIB, "DynamicQuantizeMatMul"): ("MatMul", (0, 1)),
    (_CONTRIB, "MatMulIntegerToFloat"): ("MatMul", (0, 1)),
    (_CONTRIB, "FusedConv"): ("Conv", (0, 1, 2)),
    (_CONTRIB, "FusedGemm"): ("Gemm", (0, 1, 2)),
    (_CONTRIB, "FusedMatMul"): ("MatMul", (0, 1)),
    (_CONTRIB, "Gelu"): ("Gelu", (0,)),
    (_CONTRIB, "FastGelu"): ("Gelu", (0,)),
    (_CONTRIB, "BiasGelu"): ("Gelu", (0,)),
    (_CONTRIB, "QuickGelu"): ("Gelu", (0,)),
    (_CONTRIB, "LayerNormalization"): ("LayerNormalization", (0, 1, 2)),
    (_CONTRIB, "RotaryEmbedding"): ("RotaryEmbedding", (0,)),
    (_CONTRIB, "QuantizeLinear"): ("QuantizeLinear", (0, 1, 2)),
    (_CONTRIB, "DequantizeLinear"): ("DequantizeLinear", (0, 1, 2)),
}
"""Domain and operator -> the plain operator, and which inputs are its: data, weights, bias, without scales and zero points."""


SPLIT_COUNTS = 18
"""The set of operators from which on a Split without sizes tells how many parts it makes."""

_NORMS = {
    "SkipLayerNormalization": "LayerNormalization",
    "SkipSimplifiedLayerNormalization": "SimplifiedLayerNormalization",
}
"""A sum and the normalisation behind it, as one operator of ONNX Runtime's."""


def plain(model: Any) -> None:
    """Rewrite the nodes of an ``onnx.ModelProto`` in place."""
    graph, versions = model.graph, {each.domain: each.version for each in model.opset_import}
    thirds: dict[str, Any] = {"num_outputs": 3} if versions.get("", 1) >= SPLIT_COUNTS else {}
    graph.initializer.extend(_unpacked(graph))
    nodes = [part for node in graph.node for part in _parts(node, thirds)]
    if any(node.domain == _CONTRIB for node in graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
    for node in graph.node:
        if node.op_type == "QLinearConcat" and node.domain == _CONTRIB:
            _become(node, "Concat", [*node.input[2::3]])
        found = _PLAIN.get((node.domain.removeprefix("ai.onnx"), node.op_type))
        if found is not None:
            op_type, places = found
            _become(node, op_type, [node.input[place] for place in places if place < len(node.input)])


def _unpacked(graph: Any) -> list[Any]:
    """Weights that MatMulNBits holds packed, in rows of blocks, as the matrices that they are: names and sizes without contents."""
    from onnx import TensorProto, helper

    found: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type == "MatMulNBits" and node.domain == _CONTRIB and len(node.input) > 1:
            given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            sizes = [given.get("K", 0), given.get("N", 0)]
            if min(sizes) > 0:
                name = f"{node.input[1]} unpacked"
                found[name] = TensorProto(name=name, dims=sizes, data_type=TensorProto.INT8)
                _become(node, "MatMul", [node.input[0], name])
    return list(found.values())


def _parts(node: Any, thirds: dict[str, Any]) -> list[Any]:
    """An operator of ONNX Runtime's that is several of ONNX's, as those; else the node. ``thirds`` tells a Split to make three."""
    from onnx import helper

    if node.domain != _CONTRIB or not node.output:
        return [node]
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    inputs, result = [*node.input], node.output[0]
    if node.op_type in _NORMS and len(inputs) > 2:
        joined = node.output[3] if len(node.output) > 3 and node.output[3] else f"{result} joined"
        both = helper.make_node("Add", inputs[:2], [joined], f"{node.name} sum")
        return [both, helper.make_node(_NORMS[node.op_type], [joined, *inputs[2:4]], [result], node.name)]
    heads = given.get("num_heads")
    told = {"q_num_heads": heads, "kv_num_heads": given.get("kv_num_heads", heads)}
    if node.op_type in ("MultiHeadAttention", "GroupQueryAttention") and heads and all(inputs[:3]) and len(inputs) > 2:
        return [helper.make_node("Attention", inputs[:3], [result], node.name, **told)]
    if node.op_type == "Attention" and heads and len(inputs) > 1 and "qkv_hidden_sizes" not in given:
        packed, parts = f"{result} packed", [f"{result} {each}" for each in ("queries", "keys", "values")]
        return [
            helper.make_node("MatMul", inputs[:2], [packed], f"{node.name} projection"),
            helper.make_node("Split", [packed], parts, f"{node.name} split", axis=-1, **thirds),
            helper.make_node("Attention", parts, [result], node.name, **told),
        ]
    return [node]


def _become(node: Any, op_type: str, inputs: list[str]) -> None:
    node.op_type, node.domain = op_type, ""
    del node.input[:]
    node.input.extend(inputs)
