"""Layers of every kind from ONNX: what each asks of the machine, and what is fused into it."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import pytest
from drawn_onnx import layers, node
from onnx import TensorProto, helper

from neuralpower.features.layers import Layer
from neuralpower.features.network import load_network


def told(layer: Layer) -> tuple[Any, ...]:
    return layer.kind, layer.macs(), layer.weights()


CONVOLUTIONS: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any], tuple[Any, ...]]] = [
    ("Conv", (2, 6, 50), (12, 6, 5), {"pads": [2, 2], "strides": [2]}, ("conv", 2 * 25 * 12 * 6 * 5, 12 * 6 * 5)),
    ("Conv", (1, 6, 20, 20), (12, 3, 3, 3), {"group": 2}, ("conv", 18 * 18 * 12 * 3 * 9, 12 * 3 * 9)),
    ("Conv", (1, 6, 20, 20), (12, 1, 3, 3), {"group": 6}, ("conv", 18 * 18 * 12 * 9, 12 * 9)),
    ("Conv", (1, 3, 6, 9, 9), (4, 3, 3, 3, 3), {}, ("conv3d", 4 * 7 * 7 * 4 * 3 * 27, 4 * 3 * 27)),
    ("ConvTranspose", (1, 8, 7, 7), (8, 5, 4, 4), {"strides": [2, 2], "pads": [1] * 4}, ("deconv", 49 * 8 * 5 * 16, 8 * 5 * 16)),
    ("ConvTranspose", (1, 8, 7, 7), (8, 2, 3, 3), {"group": 4}, ("deconv", 49 * 8 * 2 * 9, 8 * 2 * 9)),
    ("ConvTranspose", (3, 8, 7), (8, 5, 4), {"strides": [2]}, ("deconv", 3 * 7 * 8 * 5 * 4, 8 * 5 * 4)),
    ("ConvTranspose", (1, 2, 3, 4, 5), (2, 3, 2, 2, 2), {"strides": [2] * 3}, ("conv3d", 60 * 2 * 3 * 8, 2 * 3 * 8)),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "data", "weight", "given", "expected"), CONVOLUTIONS)
def test_every_convolution_has_its_work(
    tmp_path: Path,
    op_type: str,
    data: tuple[int, ...],
    weight: tuple[int, ...],
    given: dict[str, Any],
    expected: tuple[Any, ...],
) -> None:
    """Of one, two and three dimensions, grouped and transposed: multiply-accumulates and weights by the formula, and all that moves."""
    nodes = [node(op_type, ["x", "w"], ["y"], "c", **given)]
    (layer,) = layers(tmp_path, nodes, {"x": data}, weights={"w": weight})
    assert told(layer) == expected and layer.flops() == 2 * layer.macs()
    assert layer.memory_accesses() > prod(data) + prod(weight) and layer.memory_bytes() == 4 * layer.memory_accesses()
    assert layer.modelled == (layer.kind == "conv")


PRODUCTS: list[tuple[str, list[str], dict[str, Any], tuple[Any, ...]]] = [
    ("Gemm", ["x", "w"], {"transA": 1}, ("fc", 7, 30, 11)),  # x is 30 rows of 7
    ("MatMul", ["first", "x"], {}, ("fc", 7, 30, 13)),
    ("MatMul", ["s", "w3"], {}, ("fc", 2 * 5 * 9, 6, 8)),
    ("MatMul", ["s", "own"], {}, ("matmul", 2 * 5, 6, 8)),
    ("MatMul", ["s", "t"], {}, ("matmul", 2 * 5, 6, 9)),
    ("MatMul", ["s", "v"], {}, ("fc", 2 * 5 * 9, 6, 1)),
    ("Einsum", ["s", "w3"], {"equation": "bhij,jk->bhik"}, ("fc", 2 * 5 * 9, 6, 8)),
    ("Einsum", ["s", "u"], {"equation": "bhid, bhjd -> bhij"}, ("matmul", 2 * 5, 6, 9)),
    ("Einsum", ["s", "u"], {"equation": "bhid,bhjd"}, ("matmul", 1, 2 * 5 * 6, 9)),
    ("Einsum", ["s", "w3"], {"equation": "...j,jk->...k"}, ("fc", 2 * 5 * 9, 6, 8)),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "inputs", "given", "expected"), PRODUCTS)
def test_every_product_has_its_sizes(
    tmp_path: Path, op_type: str, inputs: list[str], given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """Weights on either side make a fully connected layer, two activations or weights of its own for each matrix a product of kind matmul."""
    entering = {"x": (30, 7), "s": (2, 5, 9, 6), "t": (2, 5, 6, 9), "u": (2, 5, 9, 6)}
    weights = {"w": (30, 11), "first": (13, 30), "w3": (6, 8), "own": (2, 5, 6, 8), "v": (6,)}
    (layer,) = layers(tmp_path, [node(op_type, inputs, ["y"], "p", **given)], entering, weights=weights)
    assert (layer.kind, layer.batch, layer.in_c, layer.out_c) == expected
    rows = layer.in_h if layer.kind == "matmul" else 1
    assert layer.macs() == layer.batch * rows * layer.in_c * layer.out_c
    if layer.kind == "matmul":
        assert layer.memory_accesses() == layer.batch * (
            rows * layer.in_c + layer.in_c * layer.out_c + rows * layer.out_c
        )


def test_products_that_do_not_fit_say_so(tmp_path: Path) -> None:
    """A MatMul whose sizes differ, and an Einsum that is no product of two matrices."""
    (layer,) = layers(tmp_path, [node("MatMul", ["x", "y"], ["z"], "m")], {"x": (3, 4), "y": (5, 6)})
    assert (layer.kind, layer.note) == ("unclassified", "a product of 4 columns with 5 rows")
    nodes = [node("Einsum", ["x", "y", "x"], ["z"], "e", equation="ij,jk,kl->il")]
    (layer,) = layers(tmp_path, nodes, {"x": (4, 4), "y": (4, 4)})
    assert layer.kind == "unclassified" and "3 operands" in layer.note


def norm_written_out(data: str) -> list[Any]:
    return [
        node("ReduceMean", [data], ["mean"], "mean", axes=[-1]),
        node("Sub", [data, "mean"], ["d"], "sub"),
        node("Pow", ["d", "two"], ["sq"], "pow"),
        node("ReduceMean", ["sq"], ["var"], "var", axes=[-1]),
        node("Add", ["var", "eps"], ["ve"], "add"),
        node("Sqrt", ["ve"], ["sd"], "sqrt"),
        node("Div", ["d", "sd"], ["n"], "div"),
        node("Mul", ["n", "gamma"], ["ng"], "scale"),
        node("Add", ["ng", "beta"], ["normed"], "shift"),
    ]


NORM = {"two": (), "eps": (), "gamma": (32,), "beta": (32,)}


def test_a_normalisation_is_one_layer_however_it_is_written(tmp_path: Path) -> None:
    """Nine operators, the operator of that name, and the root mean square alone: 7 operations for each element, read and written once."""
    nodes = [*norm_written_out("x"), node("Relu", ["x"], ["beside"], "relu")]
    outputs = {"normed": None, "beside": None}
    found, beside = layers(tmp_path, nodes, {"x": (1, 10, 32)}, weights=NORM, outputs=outputs)
    one = node("LayerNormalization", ["x", "gamma", "beta"], ["y"], "norm")
    (single,) = layers(tmp_path, [one], {"x": (1, 10, 32)}, weights=NORM)
    assert (found.kind, found.flops(), beside.note) == (
        "norm",
        7 * 320,
        "elementwise",
    ) and single.flops() == found.flops()
    assert single.memory_accesses() == 2 * 320 + 64
    rms = [
        node("Mul", ["x", "x"], ["sq"], "square"), node("ReduceMean", ["sq"], ["m"], "m", axes=[-1]), node("Add", ["m", "eps"], ["me"], "e"),
        node("Sqrt", ["me"], ["r"], "r"), node("Div", ["x", "r"], ["n"], "d"), node("Mul", ["n", "gamma"], ["y"], "g"),
    ]  # fmt: skip
    assert [layer.kind for layer in layers(tmp_path, rms, {"x": (1, 10, 32)}, weights=NORM)] == ["norm"]


def test_a_softmax_written_out_is_no_normalisation(tmp_path: Path) -> None:
    """Maximum, difference, exponential, sum and quotient stay what they are."""
    nodes = [
        node("ReduceMax", ["x"], ["m"], "m", axes=[-1]), node("Sub", ["x", "m"], ["d"], "d"), node("Exp", ["d"], ["e"], "e"),
        node("ReduceSum", ["e", "axis"], ["s"], "s"), node("Div", ["e", "s"], ["y"], "y"),
    ]  # fmt: skip
    kinds = {layer.kind for layer in layers(tmp_path, nodes, {"x": (1, 10, 32)}, integers={"axis": [-1]})}
    assert kinds == {"other"}


def attention_block(tokens: int, width: int, heads: int) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """A transformer block as exporters write it, with sizes computed while it runs."""
    nodes = [*norm_written_out("x")]
    nodes += [
        node("Shape", ["x"], ["sizes"], "shape"), node("Gather", ["sizes", "zero"], ["batch"], "gather"),
        node("Unsqueeze", ["batch", "axis0"], ["b1"], "unsqueeze"), node("Concat", ["b1", "rest"], ["split"], "concat", axis=0),
        node("MatMul", ["normed", "wqkv"], ["qkv0"], "qkv"), node("Add", ["qkv0", "bqkv"], ["qkv1"], "qkv_bias"),
        node("Reshape", ["qkv1", "split"], ["qkv2"], "heads"), node("Transpose", ["qkv2"], ["qkv3"], "turn", perm=[2, 0, 3, 1, 4]),
    ]  # fmt: skip
    for at, name in enumerate("qkv"):
        nodes.append(node("Gather", ["qkv3", f"at{at}"], [name], f"take_{name}", axis=0))
    nodes += [
        node("Mul", ["q", "factor"], ["qs"], "scale_q"), node("Transpose", ["k"], ["kt"], "turn_k", perm=[0, 1, 3, 2]),
        node("MatMul", ["qs", "kt"], ["scores"], "scores"), node("Add", ["scores", "mask"], ["masked"], "mask"),
        node("Softmax", ["masked"], ["p"], "softmax"), node("Dropout", ["p"], ["pd"], "dropout"),
        node("MatMul", ["pd", "v"], ["mixed"], "mix"), node("Transpose", ["mixed"], ["m1"], "back", perm=[0, 2, 1, 3]),
        node("Reshape", ["m1", "joined"], ["m2"], "join"), node("MatMul", ["m2", "wo"], ["o0"], "out"), node("Add", ["o0", "bo"], ["o1"], "out_bias"),
        node("Add", ["x", "o1"], ["r"], "residual"),
        node("MatMul", ["r", "w1"], ["h0"], "up"), node("Add", ["h0", "b1w"], ["h1"], "up_bias"), node("Div", ["h1", "root2"], ["g1"], "gelu1"),
        node("Erf", ["g1"], ["g2"], "gelu2"), node("Add", ["g2", "one"], ["g3"], "gelu3"), node("Mul", ["h1", "g3"], ["g4"], "gelu4"),
        node("Mul", ["g4", "half"], ["g5"], "gelu5"), node("MatMul", ["g5", "w2"], ["d0"], "down"), node("Add", ["d0", "b2w"], ["d1"], "down_bias"),
        node("Add", ["r", "d1"], ["y"], "residual2"),
    ]  # fmt: skip
    weights = {
        **NORM, "wqkv": (width, 3 * width), "bqkv": (3 * width,), "factor": (), "mask": (1, 1, 1, tokens), "wo": (width, width), "bo": (width,),
        "w1": (width, 4 * width), "b1w": (4 * width,), "root2": (), "one": (), "half": (), "w2": (4 * width, width), "b2w": (width,),
    }  # fmt: skip
    integers = {
        "zero": 0, "axis0": [0], "rest": [tokens, 3, heads, width // heads], "at0": 0, "at1": 1, "at2": 2, "joined": [-1, tokens, width],
    }  # fmt: skip
    return nodes, weights, integers


def test_a_transformer_block_is_its_products_attention_and_normalisation(tmp_path: Path) -> None:
    """Sizes computed on the way fold away, GELU, biases and residual sums ride along, nothing of kind other is left."""
    nodes, weights, integers = attention_block(10, 32, 4)
    found = layers(tmp_path, nodes, {"x": (2, 10, 32)}, weights=weights, integers=integers)
    assert [layer.kind for layer in found] == ["norm", "fc", "attention", "fc", "fc", "fc"]
    attention = found[2]
    assert attention.flops() == 2 * 2 * 4 * (10 * 10 * 8 + 10 * 10 * 8)
    assert attention.memory_accesses() == 4 * 2 * 10 * 32  # q, k, v and the result
    assert [layer.flops() for layer in found if layer.kind == "fc"] == [2 * 20 * 32 * n for n in (96, 32, 128, 128)]
    assert found[3].name.endswith("out + out_bias + residual") and found[4].name.endswith("gelu5")


def test_a_product_of_activations_alone_is_no_attention(tmp_path: Path) -> None:
    """Without a softmax between them, two products stay two; a softmax alone stays one."""
    nodes = [
        node("MatMul", ["q", "k"], ["s"], "a"),
        node("Relu", ["s"], ["r"], "r"),
        node("MatMul", ["r", "v"], ["y"], "b"),
    ]
    inputs = {"q": (4, 10, 8), "k": (4, 8, 10), "v": (4, 10, 8)}
    assert [layer.kind for layer in layers(tmp_path, nodes, inputs)] == ["matmul", "matmul"]
    assert [layer.note for layer in layers(tmp_path, [node("Softmax", ["q"], ["y"], "s")], inputs)] == ["softmax"]


def test_an_embedding_moves_rows_and_computes_nothing(tmp_path: Path) -> None:
    """A look-up by computed indices; of an activation by a constant index it is a copy, and of a constant by a constant nothing."""
    nodes = [node("Gather", ["table", "ids"], ["y"], "words")]
    (layer,) = layers(tmp_path, nodes, {"ids": (2, 7)}, weights={"table": (1000, 16)}, types={"ids": TensorProto.INT64})
    assert told(layer) == ("embedding", 0, 0) and layer.memory_accesses() == 14 + 2 * 14 * 16
    nodes = [node("Gather", ["x", "at"], ["y"], "first", axis=1)]
    (layer,) = layers(tmp_path, nodes, {"x": (2, 7, 16)}, integers={"at": 0})
    assert (layer.kind, layer.note) == ("other", "gather")


def steps(*names: str) -> list[Any]:
    """Activations after a convolution ``c`` that gives ``a``; the last one gives ``y``."""
    drawn = {
        "silu": [node("Sigmoid", ["a"], ["s"], "sigmoid"), node("Mul", ["a", "s"], ["y"], "mul")],
        "hard-swish": [
            node("Add", ["a", "three"], ["p"], "plus"), node("Clip", ["p", "zero", "six"], ["q"], "clip"), node("Mul", ["a", "q"], ["m"], "mul"),
            node("Div", ["m", "six"], ["y"], "div"),
        ],
        "mish": [node("Softplus", ["a"], ["p"], "softplus"), node("Tanh", ["p"], ["t"], "tanh"), node("Mul", ["a", "t"], ["y"], "mul")],
        "sum with the input": [node("Add", ["a", "x"], ["r"], "sum"), node("Relu", ["r"], ["y"], "relu")],
        "silu, then a sum": [
            node("Sigmoid", ["a"], ["s"], "sigmoid"), node("Mul", ["a", "s"], ["m"], "mul"), node("Add", ["x", "m"], ["y"], "sum"),
        ],
        "dropout and identity": [node("Dropout", ["a"], ["d"], "drop"), node("Identity", ["d"], ["i"], "same"), node("Relu", ["i"], ["y"], "relu")],
    }  # fmt: skip
    return drawn[names[0]]


@pytest.mark.parametrize(
    "name", ["silu", "hard-swish", "mish", "sum with the input", "silu, then a sum", "dropout and identity"]
)
def test_a_convolution_takes_in_activation_and_sum(tmp_path: Path, name: str) -> None:
    """Whatever is written behind it, one layer runs, and it is the convolution."""
    nodes = [node("Conv", ["x", "w"], ["a"], "c", pads=[1] * 4), *steps(name)]
    weights = {"w": (8, 8, 3, 3), "three": (), "zero": (), "six": ()}
    (layer,) = layers(tmp_path, nodes, {"x": (1, 8, 9, 9)}, weights=weights)
    assert layer.kind == "conv" and layer.flops() == 2 * 81 * 8 * 8 * 9


def test_a_gate_is_a_layer_of_its_own(tmp_path: Path) -> None:
    """Squeeze and excitation: depthwise convolution, pooling, two small products, and the product with the map, which is elementwise."""
    nodes = [
        node("Conv", ["x", "dw"], ["a"], "depthwise", group=8, pads=[1] * 4), node("Relu", ["a"], ["r"], "act"),
        node("ReduceMean", ["r"], ["m"], "squeeze", axes=[2, 3]), node("Conv", ["m", "w1"], ["g"], "reduce"), node("Relu", ["g"], ["h"], "act2"),
        node("Conv", ["h", "w2"], ["e"], "expand"), node("Sigmoid", ["e"], ["f"], "gate"), node("Mul", ["r", "f"], ["s"], "excite"),
        node("Conv", ["s", "w3"], ["y"], "project"),
    ]  # fmt: skip
    weights = {"dw": (8, 1, 3, 3), "w1": (2, 8, 1, 1), "w2": (8, 2, 1, 1), "w3": (4, 8, 1, 1)}
    found = layers(tmp_path, nodes, {"x": (1, 8, 9, 9)}, weights=weights)
    assert [layer.kind for layer in found] == ["conv", "pool", "fc", "fc", "other", "conv"] and found[0].depthwise


def test_a_channel_shuffle_is_one_layer(tmp_path: Path) -> None:
    """Concatenation, reshape, transposition and two slices with computed ends: one layer of other between convolutions."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], "left"), node("Conv", ["x", "w"], ["b"], "right"), node("Concat", ["a", "b"], ["j"], "join", axis=1),
        node("Reshape", ["j", "five"], ["f"], "five"), node("Transpose", ["f"], ["t"], "turn", perm=[0, 2, 1, 3, 4]), node("Reshape", ["t", "four"], ["s"], "four"),
        node("Shape", ["s"], ["sizes"], "sizes"), node("Gather", ["sizes", "one"], ["n"], "channels"), node("Div", ["n", "two"], ["half"], "half"),
        node("Slice", ["s", "zero", "half", "one"], ["l"], "first"), node("Slice", ["s", "half", "n", "one"], ["r"], "second"),
        node("Conv", ["l", "w"], ["y1"], "next"), node("Add", ["y1", "r"], ["y"], "sum"),
    ]  # fmt: skip
    integers = {"five": [1, 2, 8, 9, 9], "four": [1, 16, 9, 9], "one": [1], "two": [2], "zero": [0]}
    found = layers(tmp_path, nodes, {"x": (1, 8, 9, 9)}, weights={"w": (8, 8, 1, 1)}, integers=integers)
    assert [layer.kind for layer in found] == ["conv", "conv", "other", "conv"]


def quantised(name: str, source: str) -> list[Any]:
    return [
        node("QuantizeLinear", [source, "s", "z"], [f"{name}_q"], f"Q_{name}"),
        node("DequantizeLinear", [f"{name}_q", "s", "z"], [name], f"D_{name}"),
    ]


def test_quantised_layers_compute_in_int8_and_leave_no_layer(tmp_path: Path) -> None:
    """Convolutions, a pool and a product between pairs of Q and DQ are INT8; a layer without such a pair is not."""
    nodes = [
        *quantised("xd", "x"), node("DequantizeLinear", ["w", "s", "z"], ["wd"], "DW"), node("Conv", ["xd", "wd"], ["c"], "conv", pads=[1] * 4),
        node("Relu", ["c"], ["r"], "relu"), *quantised("rd", "r"), node("GlobalAveragePool", ["rd"], ["p"], "pool"), node("Flatten", ["p"], ["f"], "flat"),
        *quantised("fd", "f"), node("DequantizeLinear", ["wf", "s", "z"], ["wfd"], "DWF"), node("Gemm", ["fd", "wfd"], ["o"], "fc"),
        node("Gemm", ["o", "head"], ["y"], "head"),
    ]  # fmt: skip
    weights = {"w": (8, 3, 3, 3), "wf": (8, 10), "s": (), "z": (), "head": (10, 2)}
    types = dict.fromkeys(("w", "wf", "z"), TensorProto.INT8)
    found = layers(tmp_path, nodes, {"x": (1, 3, 16, 16)}, weights=weights, types=types)
    kinds = [(layer.kind, layer.precision) for layer in found]
    assert kinds == [("conv", "INT8"), ("pool", "INT8"), ("fc", "INT8"), ("fc", "FP32")]


def test_quantised_operators_are_the_plain_ones(tmp_path: Path) -> None:
    """QLinearConv, a residual sum of ONNX Runtime's, QLinearMatMul: an INT8 convolution with its sum, and a product."""
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q"), node("QLinearConv", ["xq", "s", "z", "w", "s", "z", "s", "z"], ["a"], "conv"),
        node("QLinearAdd", ["a", "s", "z", "xq", "s", "z", "s", "z"], ["b"], "sum", domain="com.microsoft"),
        node("QLinearGlobalAveragePool", ["b", "s", "z", "s", "z"], ["p"], "pool", domain="com.microsoft"), node("Flatten", ["p"], ["f"], "flat"),
        node("QLinearMatMul", ["f", "s", "z", "wf", "s", "z", "s", "z"], ["m"], "fc"), node("DequantizeLinear", ["m", "s", "z"], ["y"], "dq"),
    ]  # fmt: skip
    weights = {"w": (3, 3, 1, 1), "wf": (3, 10), "s": (), "z": ()}
    types = dict.fromkeys(("w", "wf", "z"), TensorProto.UINT8)
    found = layers(tmp_path, nodes, {"x": (1, 3, 16, 16)}, weights=weights, types=types, domains=["com.microsoft"])
    assert [(layer.kind, layer.precision) for layer in found] == [("conv", "INT8"), ("pool", "INT8"), ("fc", "INT8")]
    assert found[0].name == "conv + sum" and found[0].out_h == 16


@pytest.mark.parametrize("opset", [17, 21])
def test_fused_operators_of_onnx_runtime_are_the_plain_ones(tmp_path: Path, opset: int) -> None:
    """A transformer block as its optimiser writes it: projection, attention, the sum that goes into a product or a normalisation, products."""
    ours = {"domain": "com.microsoft"}
    nodes = [
        node("Attention", ["x", "wqkv", "b"], ["a"], "att", num_heads=4, **ours), node("MatMul", ["a", "wo"], ["o"], "out"),
        node("SkipLayerNormalization", ["o", "x", "g", "g"], ["n", "", "", "joined"], "skip", **ours),
        node("FusedMatMul", ["n", "w1"], ["m"], "up", transB=1, **ours), node("BiasGelu", ["m", "b1"], ["h"], "gelu", **ours),
        node("MultiHeadAttention", ["h", "h", "h"], ["t"], "mha", num_heads=8, **ours),
        node("SkipSimplifiedLayerNormalization", ["t", "h", "g1"], ["s"], "last", **ours), node("MatMul", ["joined", "wo"], ["y"], "side"),
        node("LayerNormalization", ["s", "g1"], ["z"], "plain", **ours),
    ]  # fmt: skip
    weights = {"wqkv": (32, 96), "b": (96,), "wo": (32, 32), "g": (32,), "w1": (64, 32), "b1": (64,), "g1": (64,)}
    told_so = {"weights": weights, "domains": ["com.microsoft"], "outputs": {"y": None, "z": None}}
    found = layers(tmp_path, nodes, {"x": (2, 16, 32)}, opset=opset, **told_so)
    assert [(layer.kind, layer.flops()) for layer in found if layer.kind not in ("other", "norm")] == [
        ("fc", 2 * 32 * 32 * 96), ("attention", 2 * 2 * 4 * 16 * 16 * 16), ("fc", 2 * 32 * 32 * 32), ("fc", 2 * 32 * 32 * 64),
        ("attention", 2 * 2 * 8 * 16 * 16 * 16), ("fc", 2 * 32 * 32 * 32),
    ]  # fmt: skip
    assert Counter(layer.kind for layer in found) == {"fc": 4, "attention": 2, "norm": 3, "other": 1}


def test_weights_that_are_packed_are_a_matrix(tmp_path: Path) -> None:
    """ONNX Runtime's product with weights of four bits in blocks, and the turns of positions around it."""
    ours = {"domain": "com.microsoft"}
    nodes = [node("MatMulNBits", ["x", "w", "s"], ["a"], "fc", K=64, N=48, bits=4, block_size=32, **ours), node("RotaryEmbedding", ["a", "p", "c", "c"], ["y"], "turn", **ours)]  # fmt: skip
    weights = {"w": (48, 2, 16), "s": (96,), "c": (64, 24)}
    found = layers(tmp_path, nodes, {"x": (2, 5, 64)}, weights=weights, types={"w": TensorProto.UINT8}, integers={"p": [0]}, domains=["com.microsoft"])  # fmt: skip
    first, second = found
    assert (first.kind, first.batch, first.in_c, first.out_c, second.kind) == ("fc", 10, 64, 48, "other")


def test_an_einsum_of_one_tensor_is_no_product(tmp_path: Path) -> None:
    """A transposition, a diagonal: known, and without work."""
    nodes = [node("Einsum", ["x"], ["t"], "turn", equation="ij->ji"), node("Einsum", ["t"], ["y"], "trace", equation="ii->")]  # fmt: skip
    found = layers(tmp_path, nodes, {"x": (3, 3)})
    assert [(layer.kind, layer.note) for layer in found] == [("other", "transposition or sum")] * 2
    assert [layer.layer_type for layer in found] == ["Transpose", "ReduceSum"]  # no product, whatever the operator


def test_sparse_weights_have_their_sizes(tmp_path: Path) -> None:
    """Stored as an initializer of few values, and as a constant."""
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [3]), [8, 3, 3, 3])
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]  # fmt: skip
    convolution, constant = node("Conv", ["x", "w"], ["y"], "c"), node("Constant", [], ["w"], sparse_value=sparse)
    for nodes, stored in (([convolution], [sparse]), ([constant, convolution], [])):
        graph = helper.make_graph(nodes, "g", *ends, sparse_initializer=stored)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
        (layer,) = load_network(tmp_path / "m.onnx").layers
        assert told(layer) == ("conv", 49 * 8 * 27, 8 * 27)


def test_a_reshape_of_old_files_has_its_sizes(tmp_path: Path) -> None:
    """An attribute where later ones have an input: 0 keeps a size, -1 takes what is left."""
    nodes = [node("Conv", ["x", "w"], ["c"], "conv"), node("Reshape", ["c"], ["f"], "flat", shape=[0, -1]), node("Gemm", ["f", "v", "b"], ["y"], "fc", broadcast=1)]  # fmt: skip
    found = layers(
        tmp_path, nodes, {"x": (2, 3, 6, 6)}, weights={"w": (8, 3, 3, 3), "v": (128, 10), "b": (10,)}, opset=4
    )
    assert [told(layer)[:2] for layer in found] == [("conv", 2 * 16 * 8 * 27), ("fc", 2 * 1280)]


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    """A function that calls another one becomes the convolutions in it."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    inner = helper.make_function(
        "my",
        "Inner",
        ["a", "w"],
        ["c"],
        [node("Conv", ["a", "w"], ["b"], "conv"), node("Relu", ["b"], ["c"], "relu")],
        opset,
    )
    outer = helper.make_function(
        "my", "Outer", ["a", "w"], ["c"], [node("Inner", ["a", "w"], ["c"], "call", domain="my")], opset
    )
    nodes = [node("Outer", ["x", "w"], ["h"], "one", domain="my"), node("Inner", ["h", "w"], ["y"], "two", domain="my")]
    found = layers(
        tmp_path, nodes, {"x": (1, 8, 9, 9)}, weights={"w": (8, 8, 1, 1)}, domains=["my"], functions=[inner, outer]
    )
    assert [(layer.kind, layer.in_h) for layer in found] == [("conv", 9), ("conv", 9)]


def body(name: str, source: str, result: str) -> Any:
    out = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
    return helper.make_graph(
        [node("Conv", [source, "w"], [f"{name}_c"], name), node("Relu", [f"{name}_c"], [result], f"{name}_r")],
        name,
        [],
        [out],
    )


def test_branches_are_taken_where_shapes_decide_and_named_where_not(tmp_path: Path) -> None:
    """An If on the rank of its input is the branch it takes; one on data, and a loop, are named with what is in them."""
    chosen = [
        node("Shape", ["x"], ["sizes"], "sizes"), node("Gather", ["sizes", "at"], ["n"], "n"), node("Equal", ["n", "eight"], ["is8"], "is8"),
        node("If", ["is8"], ["y"], "if", then_branch=body("yes", "x", "t"), else_branch=body("no", "x", "e")),
    ]  # fmt: skip
    told_ = {"weights": {"w": (8, 8, 1, 1)}, "integers": {"at": 1, "eight": 8}}
    found = layers(tmp_path, chosen, {"x": (1, 8, 9, 9)}, **told_)
    assert [(layer.kind, layer.name) for layer in found] == [("conv", "yes + yes_r")]
    open_ = [
        node("Conv", ["x", "w"], ["c"], "first"),
        node("If", ["flag"], ["y"], "if", then_branch=body("yes", "c", "t"), else_branch=body("no", "c", "e")),
    ]  # fmt: skip
    found = layers(tmp_path, open_, {"x": (1, 8, 9, 9), "flag": ()}, types={"flag": TensorProto.BOOL}, **told_)
    assert [layer.kind for layer in found] == ["conv", "unclassified"]
    assert all(f"{name}_branch with 1 Conv, 1 Relu" in found[1].note for name in ("then", "else"))


def test_what_depends_on_shapes_alone_is_no_layer(tmp_path: Path) -> None:
    """A mask built from sizes by ranges, comparisons and expansions is computed before the network runs."""
    nodes = [
        node("Shape", ["x"], ["sizes"], "sizes"), node("Gather", ["sizes", "two"], ["n"], "n"), node("Range", ["zero", "n", "step"], ["r"], "r"),
        node("Less", ["r", "n"], ["l"], "l"), node("Where", ["l", "r", "zero"], ["m"], "m"), node("Cast", ["m"], ["mf"], "cast", to=TensorProto.FLOAT),
        node("Conv", ["x", "w"], ["c"], "conv"), node("Add", ["c", "mf"], ["y"], "mask"),
    ]  # fmt: skip
    integers = {"two": 2, "zero": 0, "step": 1}
    found = layers(tmp_path, nodes, {"x": (1, 8, 9, 9)}, weights={"w": (8, 8, 1, 1)}, integers=integers)
    assert Counter(layer.kind for layer in found) == {"conv": 1}
