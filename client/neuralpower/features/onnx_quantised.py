"""Quantised operators of ONNX as the plain ones that they stand for: an INT8 engine has no others either."""

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
    (_CONTRIB, "QuantizeLinear"): ("QuantizeLinear", (0, 1, 2)),
    (_CONTRIB, "DequantizeLinear"): ("DequantizeLinear", (0, 1, 2)),
}
"""Domain and operator -> the plain operator, and which inputs are its: data, weights, bias, without scales and zero points."""


def plain(graph: Any) -> None:
    """Rewrite the nodes of an ``onnx.GraphProto`` in place."""
    for node in graph.node:
        if node.op_type == "QLinearConcat" and node.domain == _CONTRIB:
            _become(node, "Concat", [*node.input[2::3]])
        found = _PLAIN.get((node.domain.removeprefix("ai.onnx"), node.op_type))
        if found is not None:
            op_type, places = found
            _become(node, op_type, [node.input[place] for place in places if place < len(node.input)])


def _become(node: Any, op_type: str, inputs: list[str]) -> None:
    node.op_type, node.domain = op_type, ""
    del node.input[:]
    node.input.extend(inputs)
