"""Engines of one repeated layer, made from a network's own layers.

A layer of 50 µs is far below what a power monitor resolves. The same layer so many times over that the engine runs 20 ms or
more draws a power that can be read off the rails, without attribution: a check on it, and rows to learn from. The copies read
inputs of their own, all bound to one piece of memory, because a builder joins convolutions that read the same tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..features.layers import Layer
from ..features.onnx.fused import layers_from_onnx

TARGET_S = 0.020
TRIAL = 16
"""Copies in the engine that is timed to find how many are needed."""
MOST = 6144
OPSET, NORM_OPSET, GELU_OPSET = 13, 17, 20
"""Layer normalisation and GELU came with later ones."""


@dataclass(frozen=True)
class Repeated:
    """A layer of a network and how many times it runs there."""

    layer: Layer
    uses: int


def distinct(path: Path, batch: int = 1) -> list[Repeated]:
    """The same of an ONNX model."""
    return distinct_of(layers_from_onnx(path, batch))


def distinct_of(layers: Iterable[Layer]) -> list[Repeated]:
    """The layers that have a model of their own (convolution, pooling, fully connected), each geometry once."""
    found: dict[tuple[str | int, ...], Repeated] = {}
    for layer in layers:
        if layer.modelled:
            before = found.get(layer.shape)
            found[layer.shape] = Repeated(before.layer if before else layer, (before.uses if before else 0) + 1)
    return list(found.values())


def copies_needed(seconds_each: float, target_s: float = TARGET_S) -> int:
    """How many copies run for `target_s`, with 2 % to spare; at most :data:`MOST`, at least the trial's."""
    return max(TRIAL, min(MOST, math.ceil(1.02 * target_s / max(seconds_each, 1e-7))))


def write(layer: Layer, copies: int, target: Path) -> Path:
    """Write an ONNX model of `copies` of the layer, each with an input and an output of its own and the weights shared."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    inputs, outputs, nodes = [], [], []
    source, result = _shapes(layer)
    for number in range(1, copies + 1):
        x, y = f"x{number}", f"y{number}"
        inputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, source))
        outputs.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, result))
        second = [f"z{number}"] if layer.kind == "matmul" or layer.layer_type in ("Add", "Mul") else []
        other = [layer.batch, layer.in_c, layer.out_c] if layer.kind == "matmul" else source
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, other) for name in second]
        nodes.append(_node(helper, layer, [x, *second], y, f"{layer.name} ×{number}"))
    draw = np.random.default_rng(0)
    weights = []
    if layer.kind == "conv":
        shape = (layer.out_c, layer.in_c // layer.groups, layer.kernel_h, layer.kernel_w)
        weights = [numpy_helper.from_array(draw.standard_normal(shape).astype(np.float32), "w")]
    elif layer.kind == "fc":
        weights = [numpy_helper.from_array(draw.standard_normal((layer.out_c, layer.in_c)).astype(np.float32), "w")]
    elif layer.kind == "norm":
        weights = [numpy_helper.from_array(np.ones(layer.in_c, np.float32), "w")]
    graph = helper.make_graph(nodes, "repeated", inputs, outputs, weights)
    opset = {"LayerNormalization": NORM_OPSET, "Gelu": GELU_OPSET}.get(layer.layer_type, OPSET)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(target))
    return target


def _shapes(layer: Layer) -> tuple[list[int], list[int]]:
    if layer.kind == "fc":
        return [layer.batch, layer.in_c], [layer.batch, layer.out_c]
    if layer.kind == "matmul":
        return [layer.batch, layer.in_h, layer.in_c], [layer.batch, layer.in_h, layer.out_c]
    if layer.kind == "norm" or layer.layer_type == "Softmax":
        return [layer.batch, layer.in_c], [layer.batch, layer.in_c]
    return [layer.batch, layer.in_c, layer.in_h, layer.in_w], [layer.batch, layer.out_c, layer.out_h, layer.out_w]


def _node(helper: Any, layer: Layer, given: list[str], y: str, name: str) -> Any:
    (x, *_) = given
    if layer.kind == "fc":
        return helper.make_node("Gemm", [x, "w"], [y], name, transB=1)
    if layer.kind == "norm":
        return helper.make_node("LayerNormalization", [x, "w"], [y], name, axis=-1)
    if layer.kind in ("matmul", "other"):
        return helper.make_node("MatMul" if layer.kind == "matmul" else layer.layer_type, given, [y], name)
    after = (
        _padding_after(layer.in_h, layer.out_h, layer.kernel_h, layer.stride_h, layer.pad_h, layer.dilation_h),
        _padding_after(layer.in_w, layer.out_w, layer.kernel_w, layer.stride_w, layer.pad_w, layer.dilation_w),
    )
    window: dict[str, Any] = {
        "kernel_shape": [layer.kernel_h, layer.kernel_w],
        "strides": [layer.stride_h, layer.stride_w],
        "pads": [layer.pad_h, layer.pad_w, *after],
    }
    if layer.kind == "conv":
        dilations = [layer.dilation_h, layer.dilation_w]
        return helper.make_node("Conv", [x, "w"], [y], name, group=layer.groups, dilations=dilations, **window)
    kind = "MaxPool" if "Max" in layer.layer_type else "AveragePool"
    return helper.make_node(kind, [x], [y], name, **window)


def _padding_after(size: int, out: int, kernel: int, stride: int, before: int, dilation: int) -> int:
    """The padding behind the data that gives `out` positions; never less than none."""
    return max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - size - before)
