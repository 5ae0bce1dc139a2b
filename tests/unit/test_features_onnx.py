"""Layers from ONNX models: fusion, shapes, and the same classification as engine information."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.features.network import load_network
from neuralpower.features.onnx.fused import layers_from_onnx

ENGINES = Path(__file__).parents[1] / "fixtures" / "engines"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
node = helper.make_node


def weights(**shapes: tuple[int, ...]) -> list[Any]:
    return [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]


def save(path: Path, nodes: list[Any], constants: list[Any], data: Sequence[int | str]) -> Path:
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, data)]
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def tiny(path: Path, batch: int | str = "batch") -> Path:
    """The network of the engine fixtures: convolution, depthwise, pointwise, two pools, one fully connected layer."""
    nodes = [
        node("Conv", ["data", "w1"], ["c1"], "/conv1/Conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "/relu1/Relu"),
        node("Conv", ["r1", "w2"], ["c2"], "/depthwise/Conv", group=8, pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c2", "s", "s", "s", "s"], ["b2"], "/bn2/BatchNormalization"),
        node("Relu", ["b2"], ["r2"], "/relu2/Relu"),
        node("Conv", ["r2", "w3"], ["c3"], "/pointwise/Conv"),
        node("Relu", ["c3"], ["r3"], "/relu3/Relu"),
        node("MaxPool", ["r3"], ["p1"], "/maxpool/MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["p1"], ["p2"], "/avgpool/GlobalAveragePool"),
        node("Flatten", ["p2"], ["f"], "/Flatten"),
        node("Gemm", ["f", "w4", "b4"], ["y"], "/fc/Gemm", transB=1),
    ]
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "s": (8,), "w3": (16, 8, 1, 1), "w4": (10, 16), "b4": (10,)}
    return save(path, nodes, weights(**shapes), [batch, 3, 32, 32])


def modelled(layers: list[Layer]) -> list[dict[str, Any]]:
    """All that the models look at: everything but names and precision."""
    named = ("name", "layer_type", "note", "precision")
    return [{k: v for k, v in asdict(x).items() if k not in named} for x in layers if x.modelled]


@pytest.mark.parametrize("version", ["trt8", "trt10", "trt11"])
def test_onnx_and_engine_give_the_same_layers(tmp_path: Path, version: str) -> None:
    """One network as ONNX with a dynamic batch of 2 and as engine information has the same modelled layers."""
    built = layers_from_engine(json.loads((ENGINES / f"{version}.json").read_text()))
    assert modelled(layers_from_onnx(tiny(tmp_path / "tiny.onnx"), batch=2)) == modelled(built)


def test_layers_are_named_after_the_nodes_they_fuse(tmp_path: Path) -> None:
    """A fused layer's name joins its nodes as TensorRT's does."""
    names = [layer.name for layer in layers_from_onnx(tiny(tmp_path / "tiny.onnx"))]
    assert names[1] == "/depthwise/Conv + /bn2/BatchNormalization + /relu2/Relu"
    assert names[0] == "/conv1/Conv + /relu1/Relu"
    assert len(names) == 6


def test_a_residual_sum_goes_to_the_convolution_that_runs_last(tmp_path: Path) -> None:
    """Of two convolutions that meet in a sum, only the second takes the sum and the activation behind it."""
    nodes = [
        node("Conv", ["data", "w"], ["a"], "first"),
        node("Conv", ["data", "w"], ["b"], "second"),
        node("Add", ["a", "b"], ["s"], "sum"),
        node("Relu", ["s"], ["y"], "relu"),
    ]
    layers = layers_from_onnx(save(tmp_path / "m.onnx", nodes, weights(w=(3, 3, 1, 1)), [1, 3, 8, 8]))
    assert [layer.name for layer in layers] == ["first", "second + sum + relu"]


def test_a_branch_is_not_fused_away(tmp_path: Path) -> None:
    """A tensor that two layers read stays a layer's output; what only looks like a branch, as x·sigmoid(x), is an activation."""
    nodes = [
        node("Conv", ["data", "w"], ["a"], "conv"),
        node("Sigmoid", ["a"], ["g"], "gate"),
        node("Mul", ["a", "g"], ["y"], "swish"),
    ]
    layers = layers_from_onnx(save(tmp_path / "m.onnx", nodes, weights(w=(3, 3, 1, 1)), [1, 3, 8, 8]))
    assert [(layer.name, layer.kind) for layer in layers] == [("conv + gate + swish", "conv")]
    nodes.insert(2, node("MaxPool", ["g"], ["p"], "pool", kernel_shape=[3, 3], pads=[1] * 4))
    nodes.append(node("Concat", ["y", "p"], ["z"], "join", axis=1))
    layers = layers_from_onnx(save(tmp_path / "m.onnx", nodes, weights(w=(3, 3, 1, 1)), [1, 3, 8, 8]))
    assert [layer.name for layer in layers] == ["conv", "gate", "pool", "swish", "join"]


def test_what_leads_nowhere_does_not_run(tmp_path: Path) -> None:
    """A builder drops it; that a convolution is among it is said. A file without an output that is made is read whole."""
    nodes = [
        node("Conv", ["data", "w"], ["a"], "aside"),
        node("Relu", ["a"], ["b"], "behind"),
        node("Abs", ["data"], ["y"], "main"),
    ]
    path = save(tmp_path / "m.onnx", nodes, weights(w=(3, 3, 1, 1)), [1, 3, 8, 8])
    network = load_network(path)
    assert [layer.name for layer in network.layers] == ["main"]
    assert network.notes == (
        "1 of its products and convolutions lead to no output of the network and do not run: aside",
    )
    model = onnx.load(path)
    model.graph.output[0].name = "elsewhere"
    onnx.save(model, path)
    assert [layer.name for layer in load_network(path).layers] == ["aside + behind", "main"]


def test_nodes_in_any_order_are_put_in_order(tmp_path: Path) -> None:
    """As parsers of engines do; nodes that need each other are refused."""
    path = tiny(tmp_path / "m.onnx")
    expected = layers_from_onnx(path)
    model = onnx.load(path)
    turned = [*model.graph.node][::-1]
    del model.graph.node[:]
    model.graph.node.extend(turned)
    onnx.save(model, path)
    assert layers_from_onnx(path) == expected
    save(path, [node("Add", ["data", "b"], ["a"], "first"), node("Relu", ["a"], ["b"], "second")], [], [1, 3])
    with pytest.raises(InputError, match="node first needs its own output, by way of others"):
        load_network(path)


def test_a_tensor_that_nothing_makes_fails_its_readers_alone(tmp_path: Path) -> None:
    """Weights that were cut out of a file: what needs them is not known, the rest is, and a line names them."""
    nodes = [node("Conv", ["data", "w"], ["a"], "whole"), node("Conv", ["a", "lost"], ["y"], "part")]
    network = load_network(save(tmp_path / "m.onnx", nodes, weights(w=(3, 3, 1, 1)), [1, 3, 8, 8]))
    assert [(layer.name, layer.kind) for layer in network.layers] == [("whole", "conv"), ("part", "unclassified")]
    assert network.notes == (
        "nothing makes or holds tensor lost (read by part): the file is damaged, or a part of one",
    )


def test_weights_alone_are_no_layers(tmp_path: Path) -> None:
    """Nodes that depend on constants only are computed when the engine is built."""
    nodes = [node("Transpose", ["w"], ["t"], "turn"), node("MatMul", ["data", "t"], ["y"], "product")]
    layers = layers_from_onnx(save(tmp_path / "m.onnx", nodes, weights(w=(5, 7)), [4, 7]))
    assert [(x.name, x.kind, x.batch, x.in_c, x.out_c) for x in layers] == [("product", "fc", 4, 7, 5)]


def test_work_of_weights_alone_is_said(tmp_path: Path) -> None:
    """A product that needs no input, as of position biases: no layer, and a note with its operations."""
    nodes = [node("MatMul", ["w", "v"], ["b"], "bias"), node("Add", ["data", "b"], ["y"], "sum")]
    network = load_network(save(tmp_path / "m.onnx", nodes, weights(w=(5, 7), v=(7, 3)), [5, 3]))
    assert [layer.name for layer in network.layers] == ["sum"]
    assert network.notes == (
        "1 of its products and convolutions need weights alone: an engine's builder does their 210 operations, and they are no layers",
    )


def test_same_padding_is_worked_out(tmp_path: Path) -> None:
    """auto_pad SAME_UPPER on 8 pixels with kernel 3 and stride 2 pads nothing before the data, SAME_LOWER one."""
    pads = {}
    for automatic in ("SAME_UPPER", "SAME_LOWER"):
        nodes = [node("Conv", ["data", "w"], ["y"], "c", auto_pad=automatic, strides=[2, 2])]
        (layer,) = layers_from_onnx(save(tmp_path / "m.onnx", nodes, weights(w=(4, 3, 3, 3)), [1, 3, 8, 8]))
        pads[automatic] = (layer.pad_h, layer.out_h)
    assert pads == {"SAME_UPPER": (0, 4), "SAME_LOWER": (1, 4)}


def test_a_mean_over_the_map_is_a_pooling(tmp_path: Path) -> None:
    """ReduceMean over height and width is global pooling; over channels it is not."""
    kinds = []
    for axes in ([2, 3], [-1, -2], [1]):
        nodes = [node("ReduceMean", ["data"], ["y"], "mean", axes=axes)]
        kinds.append(layers_from_onnx(save(tmp_path / "m.onnx", nodes, [], [1, 3, 8, 8]))[0].kind)
    assert kinds == ["pool", "pool", "other"]


def test_a_pooling_to_the_size_that_is_there_is_no_layer(tmp_path: Path) -> None:
    """As PyTorch's exporters write an adaptive pooling to the map's own size; a window of 1 that takes each second value is one."""
    nodes = [node("Conv", ["data", "w"], ["a"], "c"), node("AveragePool", ["a"], ["b"], "same", kernel_shape=[1, 1], strides=[1, 1]),
             node("Relu", ["b"], ["r"], "relu"), node("MaxPool", ["r"], ["y"], "half", kernel_shape=[1, 1], strides=[2, 2])]  # fmt: skip
    layers = layers_from_onnx(save(tmp_path / "m.onnx", nodes, weights(w=(4, 3, 3, 3)), [1, 3, 8, 8]))
    assert [(layer.name, layer.kind) for layer in layers] == [("c + relu", "conv"), ("half", "pool")]


def test_what_the_kinds_cannot_express_is_unclassified(tmp_path: Path) -> None:
    """A recurrent layer and weights that do not fit the data are listed with a reason."""
    nodes = [node("LSTM", ["data", "w", "r"], ["y"], "lstm", hidden_size=4)]
    constants = weights(w=(1, 16, 3), r=(1, 16, 4))
    (layer,) = layers_from_onnx(save(tmp_path / "m.onnx", nodes, constants, [5, 1, 3]))
    assert layer.kind == "unclassified" and "LSTM" in layer.note
    nodes = [node("Conv", ["data", "w"], ["y"], "odd")]
    (layer,) = layers_from_onnx(save(tmp_path / "m.onnx", nodes, weights(w=(4, 16, 3, 3)), [1, 3, 8, 8]))
    assert layer.kind == "unclassified" and layer.note == "weights for 16 channels on data with 3"


def test_dynamic_height_needs_a_shape(tmp_path: Path) -> None:
    """A dynamic height is refused until the input's shape is given."""
    nodes = [node("Conv", ["data", "w"], ["y"], "c")]
    path = save(tmp_path / "m.onnx", nodes, weights(w=(4, 3, 1, 1)), ["n", 3, "h", "w"])
    with pytest.raises(InputError, match="input data has a dynamic dimension 2"):
        load_network(path)
    (layer,) = load_network(path, input_shape=(1, 3, 20, 30)).layers
    assert (layer.in_h, layer.out_w) == (20, 30)


def test_a_fixed_batch_is_not_overruled(tmp_path: Path) -> None:
    """A model whose batch is fixed keeps it, and refuses another."""
    nodes = [node("Conv", ["data", "w"], ["y"], "c")]
    path = save(tmp_path / "m.onnx", nodes, weights(w=(4, 3, 1, 1)), [2, 3, 8, 8])
    assert load_network(path).layers[0].batch == 2
    with pytest.raises(InputError, match="batch fixed at 2, not 4"):
        load_network(path, batch=4)


LIGHT_KINDS = {
    "bvlc_alexnet": ({"conv": 5, "pool": 3, "fc": 3, "norm": 2, "other": 1}, 0.6546),
    "densenet121": ({"conv": 120, "pool": 5, "fc": 1, "other": 116}, 2.8342),
    "inception_v1": ({"conv": 57, "pool": 14, "fc": 1, "norm": 2, "other": 10}, 1.4316),
    "inception_v2": ({"conv": 69, "pool": 13, "fc": 1, "other": 11}, 2.0189),
    "resnet50": ({"conv": 53, "pool": 2, "fc": 1, "other": 1}, 4.0892),
    "shufflenet": ({"conv": 49, "pool": 5, "fc": 1, "other": 20}, 0.1247),
    "squeezenet": ({"conv": 26, "pool": 4, "other": 9}, 0.3492),
    "vgg19": ({"conv": 16, "pool": 5, "fc": 3, "other": 1}, 19.6321),
    "zfnet512": ({"conv": 5, "pool": 3, "fc": 3, "norm": 2, "other": 1}, 1.4817),
}


@pytest.mark.parametrize("name", LIGHT_KINDS)
def test_the_light_models_are_classified_whole(name: str) -> None:
    """The models that ship with onnx: the number of layers of each kind, none unclassified, and GMACs."""
    network = load_network(LIGHT / f"light_{name}.onnx")
    kinds, gmacs = LIGHT_KINDS[name]
    assert network.name == name and network.source == "onnx"
    assert Counter(layer.kind for layer in network.layers) == kinds
    assert sum(layer.macs() for layer in network.layers) / 1e9 == pytest.approx(gmacs, abs=1e-4)
