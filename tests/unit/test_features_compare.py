"""One network from ONNX and from engine information: the same layers; and the command that shows and compares them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from neuralpower.cli import main
from neuralpower.features.differences import compare, geometry
from neuralpower.features.layers import Layer
from neuralpower.features.network import load_network
from neuralpower.features.onnx.fused import layers_from_onnx

node = helper.make_node


class Drawn:
    """An ONNX model drawn node by node. Weights have shapes and no contents, which features never look at."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def conv(self, data: str, name: str, sizes: tuple[int, int, int], stride: int = 1, groups: int = 1) -> str:
        """A convolution (in, out, kernel) with batch normalisation, padded to keep the map; returns its output."""
        inside, out, kernel = sizes
        self._weight(f"{name}.w", out, inside // groups, kernel, kernel)
        self._weight(f"{name}.s", out)
        told = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": groups}
        self.nodes.append(node("Conv", [data, f"{name}.w"], [f"{name}.c"], f"/{name}/Conv", **told))
        scales = [f"{name}.s"] * 4
        self.nodes.append(node("BatchNormalization", [f"{name}.c", *scales], [f"{name}.b"], f"/{name}/bn"))
        return f"{name}.b"

    def step(self, op_type: str, inputs: list[str], name: str, **told: Any) -> str:
        self.nodes.append(node(op_type, inputs, [name], f"/{name}/{op_type}", **told))
        return name

    def classifier(self, data: str, inside: int, out: int) -> None:
        self._weight("fc.w", out, inside)
        pooled = self.step("GlobalAveragePool", [data], "avgpool")
        self.step("Gemm", [self.step("Flatten", [pooled], "flat"), "fc.w"], "fc", transB=1)

    def save(self, path: Path, batch: int | str) -> Path:
        inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, 224, 224])]
        outputs = [helper.make_tensor_value_info("fc", TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "graph", inputs, outputs, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    def _weight(self, name: str, *shape: int) -> None:
        self.weights.append(TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape))


def resnet18(path: Path, batch: int | str = "batch") -> Path:
    """ResNet-18 as its paper has it, from the geometry alone."""
    net = Drawn()
    data = net.step("Relu", [net.conv("data", "conv1", (3, 64, 7), 2)], "relu")
    data = net.step("MaxPool", [data], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    inside = 64
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride, name = 2 if stage and not block else 1, f"layer{stage + 1}.{block}"
            out = net.step("Relu", [net.conv(data, f"{name}.conv1", (inside, width, 3), stride)], f"{name}.relu1")
            out = net.conv(out, f"{name}.conv2", (width, width, 3))
            short = net.conv(data, f"{name}.down", (inside, width, 1), stride) if inside != width else data
            data = net.step("Relu", [net.step("Add", [out, short], f"{name}.add")], f"{name}.relu2")
            inside = width
    net.classifier(data, 512, 1000)
    return net.save(path, batch)


def mobilenet_v2(path: Path) -> Path:
    """MobileNetV2 as its paper has it."""
    net = Drawn()
    data, inside = net.step("Clip", [net.conv("data", "stem", (3, 32, 3), 2)], "stem.act"), 32
    plan = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for stage, (expand, width, repeats, first) in enumerate(plan):
        for block in range(repeats):
            name, stride, wide = f"s{stage}.{block}", first if not block else 1, inside * expand
            out = data
            if expand > 1:
                out = net.step("Clip", [net.conv(out, f"{name}.up", (inside, wide, 1))], f"{name}.a")
            out = net.step("Clip", [net.conv(out, f"{name}.dw", (wide, wide, 3), stride, groups=wide)], f"{name}.d")
            out = net.conv(out, f"{name}.down", (wide, width, 1))
            data = net.step("Add", [data, out], f"{name}.add") if stride == 1 and inside == width else out
            inside = width
    data = net.step("Clip", [net.conv(data, "head", (320, 1280, 1))], "head.act")
    net.classifier(data, 1280, 1000)
    return net.save(path, 1)


def plain_network(path: Path, plan: list[tuple[int, ...] | None], dense: tuple[int, ...], pool: int) -> Path:
    """Convolutions (in, out, kernel, stride, padding) with rectifiers, maximum pooling where the plan has None, then dense layers with dropout."""
    net = Drawn()
    data = "data"
    for at, sizes in enumerate(plan):
        if sizes is None:
            data = net.step("MaxPool", [data], f"pool{at}", kernel_shape=[pool] * 2, strides=[2, 2])
            continue
        inside, out, kernel, stride, pad = sizes
        net._weight(f"w{at}", out, inside, kernel, kernel)
        told = {"strides": [stride] * 2, "pads": [pad] * 4}
        data = net.step("Relu", [net.step("Conv", [data, f"w{at}"], f"c{at}", **told)], f"r{at}")
    data = net.step("Flatten", [data], "flat")
    for at, (inside, out) in enumerate(pairwise(dense)):
        net._weight(f"d{at}", out, inside)
        last = at == len(dense) - 2
        data = net.step("Gemm", [data, f"d{at}"], "fc" if last else f"g{at}", transB=1)
        if not last:
            data = net.step("Relu", [net.step("Dropout", [data], f"drop{at}")], f"a{at}")
    return net.save(path, 1)


def alexnet(path: Path) -> Path:
    """AlexNet in the form with one column of 64 to 256 channels."""
    plan = [
        (3, 64, 11, 4, 2),
        None,
        (64, 192, 5, 1, 2),
        None,
        (192, 384, 3, 1, 1),
        (384, 256, 3, 1, 1),
        (256, 256, 3, 1, 1),
        None,
    ]
    return plain_network(path, plan, (9216, 4096, 4096, 1000), 3)


def vgg16(path: Path) -> Path:
    """VGG-16 as its paper has it (configuration D)."""
    plan: list[tuple[int, ...] | None] = []
    inside = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            plan.append((inside, width, 3, 1, 1))
            inside = width
        plan.append(None)
    return plain_network(path, plan, (25088, 4096, 4096, 1000), 2)


SHAPES_ALONE = {"shape computation": 1}
"""Myelin's shape_call, before its first kernel: it has no tensors, and no operator of the network stands for it."""

FLATTENED = {**SHAPES_ALONE, "generated kernel with Flatten": 1}
"""Myelin turns the last map into the order that its first gemm reads: a copy, where other engines need none."""

ENGINES: list[tuple[str, Any, dict[str, int]]] = [
    ("desktop/resnet18/trt_engine_info.json", resnet18, {}),
    ("engines/resnet18_trt_engine_info.json", resnet18, {}),
    ("trtexec/resnet18/resnet18_fp16.graph.json", resnet18, SHAPES_ALONE),
    ("desktop/mobilenet_v2/trt_engine_info.json", mobilenet_v2, {}),
    ("desktop/alexnet/trt_engine_info.json", alexnet, {}),
    ("trtexec/alexnet/alexnet_fp16.graph.json", alexnet, FLATTENED),
    ("engines/vgg16_trt_engine_info.json", vgg16, {}),
]
"""A real engine, its network, and what of kind other the engine has and the network's file has not, each with its reason above."""


@pytest.mark.parametrize(("engine", "drawn", "differences"), ENGINES)
def test_onnx_and_real_engines_give_the_same_layers(
    tmp_path: Path, public_data: Path, engine: str, drawn: Any, differences: dict[str, int]
) -> None:
    """Networks drawn from their papers have the layers of engines that were built, in their order, and no other but those of the table."""
    built = load_network(public_data / "edgeprofiler" / engine)
    batch = built.of_kind("conv")[0].batch
    found = layers_from_onnx(drawn(tmp_path / "net.onnx"), batch=batch)
    compared = compare(found, built.layers)
    assert compared.differences == () and compared.equal == sum(layer.modelled for layer in built.layers) == len(found)
    assert Counter(layer.note for layer in built.of_kind("other")) == differences
    assert not built.of_kind("unclassified")


def test_gemm_convolutions_of_mobilenet_are_what_they_are(public_data: Path) -> None:
    """All layers of type CaskGemmConvolution are 1x1 convolutions but for the classifier; depthwise ones have groups."""
    layers = load_network(public_data / "edgeprofiler" / "desktop" / "mobilenet_v2" / "trt_engine_info.json").layers
    gemm = [layer for layer in layers if layer.layer_type == "CaskGemmConvolution"]
    assert Counter(layer.kind for layer in gemm) == {"conv": len(gemm) - 1, "fc": 1} and len(gemm) > 20
    assert {(layer.kernel_h, layer.kernel_w, layer.groups) for layer in gemm if layer.kind == "conv"} == {(1, 1, 1)}
    assert sum(layer.depthwise for layer in layers) == 17


def conv(**changes: Any) -> Layer:
    return replace(Layer("c", "conv", 1, 8, 10, 10, 8, 10, 10, 3, 3, 1, 1, 1, 1, precision="FP16"), **changes)


def test_networks_are_matched_whatever_their_order() -> None:
    """Equal layers pair off in any order; what is left is set beside the nearest of its kind, and names what differs."""
    a, b, pool = conv(), conv(in_c=16, name="b"), Layer("p", "pool", 1, 8, 10, 10, 8, 5, 5, 2, 2, 2, 2)
    found = compare([a, b, pool], [replace(pool, name="other"), conv(in_c=16), conv(groups=8)])
    assert found.equal == 2 and [d.differing for d in found.differences] == [("groups",)]
    assert compare([a, a], [a]).differences[0].second is None and compare([], [a]).differences[0].first is None
    assert compare([a], [replace(a, precision="INT8")]).precisions == 1
    assert geometry(a) == geometry(replace(a, name="x", note="y"))


def test_the_command_shows_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each layer has its sizes and counts; two batch sizes differ everywhere, one file not at all from itself."""
    path = str(resnet18(tmp_path / "resnet18.onnx"))
    assert main(["features", path, "--batch", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["source"] == "onnx" and len(told["layers"]) == 23
    assert sum(layer["flops"] for layer in told["layers"] if layer["kind"] != "pool") == 2 * 3_628_146_688
    fixed = str(resnet18(tmp_path / "fixed.onnx", batch=1))
    assert main(["features", path, fixed]) == 0
    assert "23 conv, pool, fc and product layers are the same, 0 differ" in capsys.readouterr().out
    assert main(["features", path, fixed, "--input-shape", "1,3,112,112"]) == 0
    assert main(["features", path]) == 0
    assert "3x224x224" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--batch", "0"], "--batch 0"),
        (["--input-shape", "1"], "--input-shape 1"),
        (["--input-shape", "1,3,a,4"], "sizes such as"),
        (["--input-shape", "1,3,0,4"], "sizes such as"),
        (["--input-shape", "1,3,99999999999,4"], "sizes such as"),
        (["--input-shape", "1,3"], "dimensions"),
    ],
)
def test_impossible_sizes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    """A batch of nothing and shapes that are none are refused with what was given."""
    assert main(["features", str(resnet18(tmp_path / "n.onnx")), *arguments]) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1
