"""Networks trained for INT8: with Q and DQ nodes where TensorRT's documents place them, they are the plain network in INT8."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from drawn_onnx import layers, node
from onnx import TensorProto

from neuralpower.features.differences import geometry


@dataclass
class Net:
    """A network drawn node by node. ``q`` stands for the pair of Q and DQ; without ``quantise`` there are none.

    Weights have a scale for each output channel, as TensorRT wants them. ``stored`` weights are integers already, with a DQ alone, as tools
    write them that fold the Q away.
    """

    quantise: bool
    stored: bool = False
    to: int = TensorProto.INT8
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"s": ()})
    types: dict[str, int] = field(default_factory=dict)

    def q(self, data: str) -> str:
        if not self.quantise:
            return data
        self.weights["z"], self.types["z"] = (), self.to
        self.nodes += [
            node("QuantizeLinear", [data, "s", "z"], [f"{data}.q{len(self.nodes)}"], f"{data}.Q{len(self.nodes)}"),
        ]
        made = self.nodes[-1].output[0]
        self.nodes.append(node("DequantizeLinear", [made, "s", "z"], [f"{made}d"], f"{made}.DQ"))
        return f"{made}d"

    def weight(self, name: str, *shape: int, axis: int = 0) -> str:
        self.weights[name] = shape
        if not self.quantise:
            return name
        scale, zero = f"{name}.s", f"{name}.z"
        self.weights |= {scale: (shape[axis],), zero: (shape[axis],)}
        self.types[zero] = self.to
        if self.stored:
            self.types[name] = self.to
        else:
            self.nodes.append(node("QuantizeLinear", [name, scale, zero], [f"{name}.q"], f"{name}.Q", axis=axis))
        source = name if self.stored else f"{name}.q"
        self.nodes.append(node("DequantizeLinear", [source, scale, zero], [f"{name}.d"], f"{name}.DQ", axis=axis))
        return f"{name}.d"

    def conv(self, data: str, name: str, inside: int, out: int, kernel: int = 3, stride: int = 1) -> str:
        told = {"strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return self.step("Conv", [self.q(data), self.weight(f"{name}.w", out, inside, kernel, kernel)], name, **told)

    def step(self, op_type: str, inputs: list[str], name: str, **told: Any) -> str:
        self.nodes.append(node(op_type, inputs, [f"{name}.y"], name, **told))
        return f"{name}.y"

    def residual(self) -> list[str]:
        """A stem with pooling, two blocks of which one has a convolution in its short way, pooling, a classifier: its layers."""
        data = self.step("Relu", [self.conv("x", "stem", 3, 16, 7, 2)], "relu")
        data = self.step("MaxPool", [self.q(data)], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        for block, (inside, width) in enumerate(((16, 16), (16, 32))):
            stride = width // inside
            out = self.step("Relu", [self.conv(data, f"b{block}.1", inside, width, 3, stride)], f"b{block}.relu1")
            out = self.conv(out, f"b{block}.2", width, width)
            short = self.conv(data, f"b{block}.short", inside, width, 1, stride) if inside != width else data
            # The short way has a pair too: else the sum would leave INT8.
            data = self.step("Relu", [self.step("Add", [out, self.q(short)], f"b{block}.add")], f"b{block}.relu2")
        data = self.step("Flatten", [self.step("GlobalAveragePool", [self.q(data)], "gap")], "flat")
        self.step("Gemm", [self.q(data), self.weight("fc.w", 10, 32)], "fc", transB=1)
        return ["stem + relu", "pool", "b0.1 + b0.relu1", "b0.2 + b0.add + b0.relu2", "b1.1 + b1.relu1", "gap", "fc"]

    def layers(self, tmp_path: Path) -> Any:
        return layers(tmp_path, self.nodes, {"x": (1, 3, 64, 64)}, weights=self.weights, types=self.types)


@pytest.mark.parametrize("stored", [False, True])
def test_a_quantised_network_is_the_plain_one_in_int8(tmp_path: Path, stored: bool) -> None:
    """The same layers with the same sizes, fused alike; every conv, pool and fc layer in INT8, and none of kind other."""
    plain, trained = Net(False), Net(True, stored)
    names = plain.residual()
    trained.residual()
    expected, found = plain.layers(tmp_path), trained.layers(tmp_path)
    assert [geometry(layer) for layer in found] == [geometry(layer) for layer in expected]
    assert [layer.name for layer in found] == [layer.name for layer in expected]
    assert set(names) < {layer.name for layer in found} and len(found) == 9
    assert {layer.precision for layer in expected} == {"FP32"} and {layer.precision for layer in found} == {"INT8"}


def told(found: Any) -> list[tuple[str, str]]:
    return [(layer.kind, layer.precision) for layer in found]


def test_what_has_no_pair_keeps_its_precision(tmp_path: Path) -> None:
    """A first and a last layer left in floating point, as is usual; weights of integers alone make no INT8 layer."""
    net = Net(True)
    first = net.step("Conv", ["x", "w"], "first", pads=[1] * 4)
    middle = net.conv(first, "middle", 16, 16)
    alone = net.step("Conv", [middle, net.weight("alone.w", 16, 16, 1, 1)], "alone")
    net.step("Conv", [alone, "v"], "last")
    net.weights |= {"w": (16, 3, 3, 3), "v": (4, 16, 1, 1)}
    assert told(net.layers(tmp_path)) == [("conv", "FP32"), ("conv", "INT8"), ("conv", "FP32"), ("conv", "FP32")]


def test_eight_bits_of_floating_point_are_fp8(tmp_path: Path) -> None:
    net = Net(True, to=TensorProto.FLOAT8E4M3FN)
    net.conv("x", "conv", 3, 8)
    assert told(net.layers(tmp_path)) == [("conv", "FP8")]


def test_a_swish_a_concatenation_and_a_depthwise_convolution(tmp_path: Path) -> None:
    """As in quantised detectors: x·sigmoid(x) goes into the convolution, branches join before a pair or behind theirs."""
    net = Net(True)

    def swish(data: str, name: str) -> str:
        return net.step("Mul", [data, net.step("Sigmoid", [data], f"{name}.sig")], f"{name}.mul")

    left, right = (swish(net.conv("x", name, 8, 8), name) for name in ("left", "right"))
    both = net.step("Concat", [net.q(left), net.q(right)], "cat", axis=1)
    deep = net.step("Conv", [net.q(both), net.weight("dw.w", 16, 1, 3, 3)], "dw", group=16)
    net.step("Resize", [net.q(deep), "", "scales"], "up")
    net.weights["scales"] = (4,)
    found = layers(tmp_path, net.nodes, {"x": (1, 8, 16, 16)}, weights=net.weights, types=net.types)
    assert [(layer.kind, layer.name) for layer in found][:3] == [
        ("conv", "left + left.sig + left.mul"), ("conv", "right + right.sig + right.mul"), ("other", "cat"),
    ]  # fmt: skip
    assert found[3].depthwise and {layer.precision for layer in found} == {"INT8"}


def test_attention_with_pairs_is_attention(tmp_path: Path) -> None:
    """Both products read integers, the softmax between them does not: one layer, in INT8."""
    net = Net(True)
    scores = net.step("MatMul", [net.q("x"), net.q("k")], "scores")
    soft = net.step("Softmax", [net.step("Mul", [scores, "s"], "scale")], "soft", axis=-1)
    net.step("MatMul", [net.q(soft), net.q("v")], "out")
    inputs = {"x": (1, 4, 16, 8), "k": (1, 4, 8, 16), "v": (1, 4, 16, 8)}
    assert told(layers(tmp_path, net.nodes, inputs, weights=net.weights, types=net.types)) == [("attention", "INT8")]
