"""The zoo: geometry as published, read back by the tool's own features."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_onnx import node, saved

from neuralpower.errors import InputError
from neuralpower.experiment.zoo import NETWORKS as ZOO
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.virtual.device.hardware import Hardware
from neuralpower.virtual.networks.known import LATER, NETWORKS, build
from neuralpower.virtual.networks.onnx_engine import engine_from_onnx

PUBLISHED = {  # multiply-accumulates and weights without bias, both in millions, as torchvision and the papers give them
    "alexnet": (714, 61.1),
    "vgg11": (7609, 132.9),
    "vgg16": (15470, 138.3),
    "resnet18": (1814, 11.7),
    "resnet34": (3664, 21.8),
    "resnet50": (4089, 25.5),
    "resnext50": (4230, 25.0),
    "squeezenet1.0": (819, 1.24),
    "squeezenet1.1": (349, 1.23),
    "mobilenet_v1": (569, 4.2),
    "mobilenet_v2": (301, 3.47),
    "googlenet": (1498, 6.61),
    "densenet121": (2834, 7.9),
    "shufflenet_v2": (145, 2.26),
    "resnet101": (7801, 44.44),
    "wide_resnet50_2": (11398, 68.81),
    "inception_v3": (5713, 23.80),
    "mobilenet_v3_large": (216.6, 5.451),
    "mnasnet1_0": (314.4, 4.344),
    "efficientnet_b0": (385.8, 5.236),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_their_published_size(name: str) -> None:
    """Multiply-accumulates and weights, as features read them from the engine JSON, are the published ones."""
    layers = layers_from_engine(build(name), name)
    macs, weights = PUBLISHED[name]
    assert sum(layer.macs() for layer in layers) / 1e6 == pytest.approx(macs, rel=0.005)
    assert sum(layer.weights() for layer in layers) / 1e6 == pytest.approx(weights, rel=0.005)


@pytest.mark.parametrize("name", NETWORKS | LATER)
def test_every_layer_is_classified_as_meant(name: str) -> None:
    """Convolution, pool, fully connected and the rest come back as what they were described as, under unique names.

    A convolution of a 1×1 image is a fully connected layer: those that squeeze and excite.
    """
    described = build(name)["Layers"]
    layers = layers_from_engine(build(name), name)
    for entry, layer in zip(described, layers, strict=True):
        meant = "reformat" if entry["LayerType"] in ("Reformat", "NoOp") else "other"
        if "WindowSize" in entry:
            meant = "pool"
        elif "Kernel" in entry:
            point = entry["Inputs"][0]["Dimensions"][2:] == [1, 1] == entry["Kernel"]
            meant = "fc" if "/Gemm" in entry["Name"] or point else "conv"
        assert (layer.name, layer.kind) == (entry["Name"], meant)
    assert len({layer.name for layer in layers}) == len(layers)


@pytest.mark.parametrize("name", NETWORKS | LATER)
def test_tensors_connect(name: str) -> None:
    """No layer reads a shape that none before it wrote, unless it joins or splits channels."""
    shapes = {(3, 224), (3, 299), (1, 32)}
    for entry in build(name)["Layers"]:
        read = entry["Inputs"][0]
        _, channels, height, width = read["Dimensions"]
        joined = "Concat" in read["Name"] or read["Name"].endswith((":0", ":1"))
        assert height == width and (joined or (channels, height) in shapes)
        shapes.add(tuple(entry["Outputs"][0]["Dimensions"][1:3]))


def test_the_zoo_has_its_21_networks() -> None:
    """Every one is described, and each family of the list is there."""
    assert len({network.name for network in ZOO}) == 21
    described = [network.spec(simulated=True) for network in ZOO]
    assert all(build(name)["Layers"] for name in described)
    families = ("lenet", "alexnet", "vgg", "resnet", "squeezenet", "densenet", "inception", "googlenet", "shufflenet", "mobilenet",
                "resnext", "wide_resnet", "mnasnet", "efficientnet")  # fmt: skip
    assert all(any(name.startswith(family) for name in described) for family in families)
    assert ZOO[9].spec(simulated=False, repository="pytorch/vision") == "hub:pytorch/vision:resnet18"


def test_depthwise_and_grouped_convolutions_are_there() -> None:
    """The zoo covers what a model of convolutions must know."""
    groups = {name: {layer.groups for layer in layers_from_engine(build(name), name)} for name in NETWORKS}
    assert any(layer.depthwise for layer in layers_from_engine(build("mobilenet_v2"), ""))
    assert 32 in groups["resnext50"]


def test_a_name_may_be_written_as_torchvision_does() -> None:
    assert build("squeezenet1_1") == build("squeezenet1.1") and build("mnasnet1.0") == build("mnasnet1_0")


def test_engine_json_is_json() -> None:
    """The description survives being written and read."""
    assert json.loads(json.dumps(build("lenet5"))) == build("lenet5")


def test_unknown_network_is_one_clear_line() -> None:
    """A wrong name lists the right ones."""
    with pytest.raises(InputError, match="no network 'x' in the zoo; there are lenet5"):
        build("x")


def test_a_virtual_engine_tells_the_kinds_that_an_inspector_tells(tmp_path: Path) -> None:
    """A transposed convolution and a product of two activations come back as such, and cost by their work; attention is a region without details."""
    nodes = [
        node("ConvTranspose", ["x", "t"], ["u"], "up", strides=[2, 2]),
        node("MatMul", ["q", "k"], ["m"], "product"),
        node("Softmax", ["m"], ["s"], "softmax"),
        node("Relu", ["s"], ["r"], "relu"),
        node("LayerNormalization", ["r", "g"], ["y"], "norm"),
    ]
    inputs = {"x": (1, 64, 28, 28), "q": (8, 128, 64), "k": (8, 64, 128)}
    path = saved(
        tmp_path / "kinds.onnx", nodes, inputs, {"t": (64, 32, 2, 2), "g": (128,)}, outputs={"u": None, "y": None}
    )
    up, product, *_, norm = layers_from_engine(engine_from_onnx(path), "kinds")
    assert (up.kind, up.macs()) == ("deconv", 28 * 28 * 64 * 32 * 4)
    assert (product.kind, product.macs()) == ("matmul", 8 * 128 * 64 * 128)
    assert norm.kind == "unclassified"
    hardware = Hardware()
    larger = replace(product, out_c=4096)
    assert hardware.cost(larger).duration_s > 4 * hardware.cost(product).duration_s
