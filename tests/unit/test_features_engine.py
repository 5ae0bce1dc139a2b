"""Layers from TensorRT engine information: every version's keys, every form of a fully connected layer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.inspector.myelin import onnx_operators
from neuralpower.features.layers import KINDS, Layer
from neuralpower.features.network import load_network

ENGINES = Path(__file__).parents[1] / "fixtures" / "engines"


def engine(name: str) -> list[Layer]:
    return layers_from_engine(json.loads((ENGINES / f"{name}.json").read_text()), name)


def geometry(layer: Layer) -> tuple[Any, ...]:
    """All that the models look at."""
    sizes = (layer.batch, layer.in_c, layer.in_h, layer.in_w, layer.out_c, layer.out_h, layer.out_w)
    window = (layer.kernel_h, layer.kernel_w, layer.stride_h, layer.stride_w, layer.pad_h, layer.pad_w)
    return layer.kind, *sizes, *window, layer.groups


TINY = [
    ("conv", 2, 3, 32, 32, 8, 16, 16, 3, 3, 2, 2, 1, 1, 1),
    ("conv", 2, 8, 16, 16, 8, 16, 16, 3, 3, 1, 1, 1, 1, 8),
    ("conv", 2, 8, 16, 16, 16, 16, 16, 1, 1, 1, 1, 0, 0, 1),
    ("pool", 2, 16, 16, 16, 16, 8, 8, 3, 3, 2, 2, 1, 1, 1),
    ("pool", 2, 16, 8, 8, 16, 1, 1, 8, 8, 1, 1, 0, 0, 1),
    ("fc", 2, 16, 1, 1, 10, 1, 1, 1, 1, 1, 1, 0, 0, 1),
]
"""The network that trt8, trt10 and trt11 describe, each in its version's manner."""


@pytest.mark.parametrize("version", ["trt8", "trt10", "trt11"])
def test_one_network_has_the_same_layers_in_every_version(version: str) -> None:
    """8.x, 10.x and 11.x information of one network gives one geometry, and all its tensors are FP16."""
    layers = engine(version)
    assert [geometry(layer) for layer in layers if layer.modelled] == TINY
    assert {layer.precision for layer in layers if layer.modelled} == {"FP16"}
    assert not [layer for layer in layers if layer.kind == "unclassified"]


def test_every_other_layer_says_what_it_is() -> None:
    """Layers that are not modelled are listed in their place, each with a word for what it does."""
    notes = [(layer.kind, layer.note) for layer in engine("trt8") if not layer.working]
    assert notes == [
        ("reformat", "reformat"),
        ("other", "elementwise"),
        ("reformat", "no operation"),
        ("other", "softmax"),
    ]


def test_a_gemm_convolution_on_a_map_is_a_convolution() -> None:
    """The two CaskGemmConvolution of one engine are a 1x1 convolution and a fully connected layer."""
    kinds = [layer.kind for layer in engine("trt10") if layer.layer_type == "CaskGemmConvolution"]
    assert kinds == ["conv", "fc"]


def test_depthwise_comes_from_groups_or_from_the_type() -> None:
    """A CudaDepthwiseConvolution without Groups still has a group per channel."""
    document = json.loads((ENGINES / "trt8.json").read_text())
    del document["Layers"][2]["Groups"]
    layer = layers_from_engine(document)[2]
    assert layer.depthwise and layer.groups == 8
    assert layer.weights() == 3 * 3 * 8
    assert layer.macs() == 2 * 16 * 16 * 3 * 3 * 8


def test_myelin_products_are_told_by_shapes_and_nodes() -> None:
    """A gemm and a nameless MulSum kernel are fully connected, a gemm of two activations is no such; hidden convolutions are not guessed at."""
    layers = engine("myelin")
    assert [layer.kind for layer in layers] == ["fc", "fc", "other", "unclassified", "pool", "matmul"]
    gemm, nameless, flatten, mixed, mean, attention = layers
    assert (gemm.batch, gemm.in_c, gemm.out_c) == (2, 16, 10)
    assert (nameless.batch, nameless.in_c, nameless.out_c) == (1, 16, 10)
    assert "shapes" in nameless.note
    assert "Flatten" in flatten.note
    assert "Conv" in mixed.note
    assert (mean.kernel_h, mean.out_h) == (8, 1)
    assert (attention.batch, attention.in_h, attention.in_c, attention.out_c) == (8, 8, 16, 8)


@pytest.mark.parametrize("separator", ["\x1e", "\x1f"])
def test_metadata_is_split_at_both_separators(separator: str) -> None:
    """Nodes in Metadata are joined by U+001E in some versions and by U+001F in others."""
    assert onnx_operators(separator.join(["[ONNX Layer: /fc/Gemm]", "[ONNX Layer: Relu_12]"])) == ["Gemm", "Relu"]


def test_a_pooling_fused_into_a_convolution_is_noted() -> None:
    """ConvActPool is a convolution with its own output size, and a note on the pooling behind it."""
    (layer,) = engine("conv_act_pool")
    assert geometry(layer) == ("conv", 1, 3, 32, 32, 8, 16, 16, 5, 5, 2, 2, 2, 2, 1)
    assert "2x2 pooling" in layer.note


def test_a_fused_pooling_without_stride_is_unclassified() -> None:
    """The output of a convolution with a stride of 0 cannot be found, and that is no crash."""
    document = json.loads((ENGINES / "conv_act_pool.json").read_text())
    document["Layers"][0]["ConvStride"] = [0, 0]
    (layer,) = layers_from_engine(document)
    assert (layer.kind, layer.note) == ("unclassified", "a stride of 0")


def test_equal_entries_differ_in_name_only() -> None:
    """Copies of a layer keep their own names; a generated kernel, told by its name, is no copy of one of another name."""
    conv = next(e for e in json.loads((ENGINES / "trt10.json").read_text())["Layers"] if "Kernel" in e)
    layers = layers_from_engine({"Layers": [conv | {"Name": f"copy: {n}"} for n in range(3)]})
    assert [layer.name for layer in layers] == ["copy: 0", "copy: 1", "copy: 2"]
    assert len({layer.shape for layer in layers}) == 1 and layers[0] == layers[2].renamed("copy: 0")
    (odd,) = layers_from_engine({"Layers": [conv | {"Name": "a: b", "Groups": 0}]})
    assert odd.note == "a conv layer with an impossible groups"
    kernel = {"LayerType": "kgen", "Inputs": [{"Dimensions": [1, 8]}, {"Dimensions": [8, 4]}]}
    kernel["Outputs"] = [{"Dimensions": [1, 4]}]
    two = layers_from_engine({"Layers": [kernel | {"Name": name} for name in ("__myl_Add", "__myl_MulSum")]})
    assert [layer.kind for layer in two] == ["other", "fc"]


def entry(layer_type: str, inputs: dict[str, list[int]], output: list[int], **fields: Any) -> dict[str, Any]:
    """An entry whose output is called ``made``."""
    tensors = {
        "Inputs": [{"Name": n, "Dimensions": d} for n, d in inputs.items()],
        "Outputs": [{"Name": "made", "Dimensions": output}],
    }
    return {"Name": layer_type, "LayerType": layer_type, **tensors, **fields}


def only(*entries: dict[str, Any]) -> Layer:
    """The last layer of an engine."""
    return layers_from_engine({"Layers": list(entries), "Bindings": ["x"]})[-1]


def test_a_product_of_two_activations_is_one_whatever_it_is_called() -> None:
    """Operands that layers made, or nothing but two operands, are activations; of a gemm what no layer made is its weight."""
    plain = only(entry("MatrixMultiply", {"q": [64, 32], "k": [32, 64]}, [64, 64]))
    assert (plain.kind, plain.macs(), plain.weights()) == ("matmul", 64 * 32 * 64, 0)
    turned = only(entry("MatrixMultiply", {"q": [1, 12, 50, 64], "k": [1, 12, 50, 64]}, [1, 12, 50, 50]))
    assert (turned.kind, turned.batch, turned.macs()) == ("matmul", 12, 12 * 50 * 64 * 50)
    with_weight = entry("gemm", {"x": [7, 32], "w": [32, 64]}, [7, 64])
    assert (only(with_weight).kind, only(with_weight).in_c) == ("fc", 32)
    made = entry("kgen", {"x": [32, 64]}, [32, 64])
    assert only(made, entry("gemm", {"x": [7, 32], "made": [32, 64]}, [7, 64])).kind == "matmul"
    constant = entry("Constant", {}, [32, 64])
    assert only(constant, entry("MatrixMultiply", {"x": [7, 32], "made": [32, 64]}, [7, 64])).kind == "fc"
    odd = only(entry("MatrixMultiply", {"q": [5, 7], "k": [3, 2]}, [4, 4]))
    assert odd.kind == "unclassified" and "which input is the weight" in odd.note


@pytest.mark.parametrize("layer_type", ["CaskDeconvolution", "GemmDeconvolution", "CudnnDeconvolution"])
def test_a_transposed_convolution_is_one_whatever_runs_it(layer_type: str) -> None:
    """Its work is that of every input with the whole kernel."""
    fields = {"ParameterType": "Deconvolution", "Kernel": [2, 2], "Stride": [2, 2], "OutMaps": 16, "Groups": 1}
    layer = only(entry(layer_type, {"x": [1, 32, 8, 8]}, [1, 16, 16, 16], **fields))
    assert (layer.kind, layer.macs(), layer.weights()) == ("deconv", 64 * 32 * 16 * 4, 32 * 16 * 4)


def test_a_window_of_one_number_is_one_of_a_line() -> None:
    """Over N, C and a length; where the three are C, H and W without a batch, both sides have that size."""
    one = {"Kernel": [3], "Stride": [1], "PrePadding": [1], "OutMaps": 8}
    layer = only(entry("CaskConvolution", {"x": [2, 4, 10]}, [2, 8, 10], **one))
    assert (layer.kind, layer.batch, layer.macs(), layer.kernel_w) == ("conv", 2, 2 * 10 * 8 * 4 * 3, 1)
    layer = only(entry("CaskConvolution", {"x": [4, 10, 10]}, [8, 10, 10], **one))
    assert (layer.kind, layer.macs()) == ("conv", 100 * 8 * 4 * 9)
    layer = only(entry("CaskPooling", {"x": [2, 4, 10]}, [2, 4, 5], WindowSize=[2], Stride=[2]))
    assert (layer.kind, layer.flops()) == ("pool", 2 * 4 * 5 * 2)


def test_a_layer_that_has_its_weights_within_is_fully_connected() -> None:
    """TensorRT's own layer of that name: all of the data but the batch are features."""
    layer = only(entry("FullyConnected", {"x": [3, 8, 4, 4]}, [3, 10, 1, 1]))
    assert (layer.kind, layer.batch, layer.in_c, layer.out_c) == ("fc", 3, 128, 10)


def test_windows_of_three_dimensions_have_their_work() -> None:
    """A convolution and a pooling over volumes."""
    fields = {
        "ParameterType": "Convolution",
        "Kernel": [3, 3, 3],
        "Stride": [1, 1, 1],
        "PrePadding": [1, 1, 1],
        "OutMaps": 8,
    }
    layer = only(entry("CaskConvolution", {"x": [1, 4, 5, 6, 7]}, [1, 8, 5, 6, 7], **fields))
    assert (layer.kind, layer.macs()) == ("conv3d", 210 * 8 * 4 * 27)
    layer = only(entry("CaskPooling", {"x": [1, 4, 6, 6, 6]}, [1, 4, 3, 3, 3], WindowSize=[2, 2, 2]))
    assert (layer.kind, layer.flops()) == ("pool3d", 4 * 27 * 8)


def test_attention_and_normalisation_of_an_engine_have_their_work() -> None:
    """Where queries, keys and values are apart; a kernel is a normalisation where its nodes are one, written out or not."""
    heads = {"x": [1, 4, 10, 8], "k": [1, 4, 12, 8], "v": [1, 4, 12, 8]}
    assert only(entry("fused_mha_v2", heads, [1, 4, 10, 8])).flops() == 2 * 4 * 10 * 12 * 16
    assert only(entry("fused_mha_v2", {"x": [1, 10, 96]}, [1, 10, 32])).kind == "unclassified"
    named = entry("kgen", heads, [1, 4, 10, 8]) | {"Name": "_gemm_mha_v2_myl0_9"}
    assert (only(named).kind, only(entry("_gemm_mha_v2", heads, [1, 4, 10, 8])).kind) == ("attention", "attention")
    written = "".join(
        f"[ONNX Layer: /norm/{name}]\x1e" for name in ("ReduceMean", "Sub", "Pow", "ReduceMean_1", "Sqrt", "Div")
    )
    for metadata in (written, "[ONNX Layer: /norm/LayerNormalization]"):
        layer = only(entry("kgen", {"x": [1, 10, 32]}, [1, 10, 32], Metadata=metadata))
        assert (layer.kind, layer.flops()) == ("norm", 7 * 320)


def test_names_only_asks_for_detailed_verbosity() -> None:
    """An engine that lists only names is one line that says how to build it."""
    with pytest.raises(InputError, match=r"^names_only: .*DETAILED.*$") as caught:
        engine("names_only")
    assert "\n" not in str(caught.value)


def test_dynamic_dimensions_are_named() -> None:
    """An engine whose every dimension is dynamic fails; one dynamic layer among static ones is unclassified."""
    with pytest.raises(InputError, match="dynamic"):
        engine("dynamic")
    mixed = json.loads((ENGINES / "trt10.json").read_text())
    mixed["Layers"][1]["Inputs"][0]["Dimensions"][0] = -1
    layer = layers_from_engine(mixed)[1]
    assert layer.kind == "unclassified" and "dynamic dimensions (-1)" in layer.note


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"LayerType": "PluginV2"}, "plugin"),
        ({"LayerType": "Myelin", "Name": "{ForeignNode[a...b]}"}, "fused region"),
        ({"LayerType": "Quantum"}, "unknown layer type 'Quantum'"),
        ({"Kernel": [3, 3, 3]}, "Stride has 2 dimensions"),
        ({"Kernel": [3, 3, 3, 3]}, "Kernel has 4 dimensions"),
        ({"Kernel": None}, "no usable Kernel"),
        ({"Inputs": []}, "no dimensions under Inputs"),
        ({"Inputs": [{"Dimensions": ["2", "3", "32", "32"]}]}, "no usable dimensions under Inputs"),
        ({"Outputs": [{"Dimensions": [4, 8, 16, 16]}]}, "a batch of 4 from one of 2"),
        ({"Stride": [0, 0]}, "a stride of 0"),
        ({"Stride": [1, 1]}, "its window makes 32x32 of its input, and its output is 16x16"),
        ({"OutMaps": 9}, "9 output maps (OutMaps) of an output with 8 channels"),
        ({"Groups": 2}, "2 groups, which do not divide its 3 and 8 channels"),
        ({"Outputs": [{"Dimensions": [1, 8, 16, 1 << 40]}]}, "impossible"),
    ],
)
def test_what_cannot_be_told_is_unclassified_with_a_reason(change: dict[str, Any], note: str) -> None:
    """One odd layer never fails the others, and its note says what was wrong with it."""
    document = json.loads((ENGINES / "trt10.json").read_text())
    document["Layers"][1] |= change
    if "LayerType" in change:
        del document["Layers"][1]["ParameterType"]
    layers = layers_from_engine(document)
    assert layers[1].kind == "unclassified" and note in layers[1].note
    assert [layer.kind for layer in layers[2:]] == ["conv", "conv", "pool", "pool", "fc", "reformat"]


@pytest.mark.parametrize("document", [None, [], {}, {"Layers": 3}, {"Layers": [3]}])
def test_other_json_is_refused(document: object) -> None:
    """JSON that is no engine information is one clear line."""
    with pytest.raises(InputError, match=r"^x: not TensorRT engine information"):
        layers_from_engine(document, "x")


def test_padding_to_the_same_size_need_not_be_told() -> None:
    """A window without padding that keeps its map contradicts itself, unless its mode says that it is padded."""
    document = json.loads((ENGINES / "trt10.json").read_text())
    bare = document["Layers"][2] | {"PrePadding": [0, 0], "PostPadding": [0, 0]}
    kinds = [
        layers_from_engine([bare | {"PaddingMode": mode}])[0].kind for mode in ("kSAME_UPPER", "kEXPLICIT_ROUND_UP")
    ]
    assert kinds == ["conv", "unclassified"]


def test_layers_alone_are_an_engine() -> None:
    """A list of them, without what stands around it, and where each stands in a string, as an inspector answers for one."""
    document = json.loads((ENGINES / "trt10.json").read_text())
    assert layers_from_engine(document["Layers"]) == layers_from_engine(document)
    told = [json.dumps(each) for each in document["Layers"]]
    assert layers_from_engine(told) == layers_from_engine({"Layers": told}) == layers_from_engine(document)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"Layers": []}, "with an empty list of Layers"),
        (
            [{"count": 9}, {"name": "a", "timeMs": 1.0, "averageMs": 0.1}],
            "these are its layers' times (--exportProfile)",
        ),
        ([{"latencyMs": 2.5, "startH2dMs": 0.1}], "these are times of inferences (--exportTimes)"),
        ({"Name": "a", "LayerType": "NoOp"}, "information of one layer"),
    ],
)
def test_what_trtexec_writes_beside_the_layers_is_told(document: object, says: str) -> None:
    """A list of layers that is there and empty, and the files that are easily taken for it."""
    with pytest.raises(InputError) as caught:
        layers_from_engine(document, "x")
    assert says in str(caught.value)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=5)
)
_tensor = st.dictionaries(st.sampled_from(["Dimensions", "Format/Datatype", "Datatype"]), _anything)
_types = st.sampled_from(["CaskConvolution", "CaskPooling", "kgen", "gemm", "Reduce", "ConvActPool", "NoOp", "", "?"])
_keys = st.sampled_from(
    ["Kernel", "WindowSize", "Stride", "PrePadding", "Groups", "OutMaps", "PoolingWindowSize", "Metadata"]
)


def test_a_scalar_output_is_unclassified_with_the_reason() -> None:
    """A product whose output has no dimensions cannot be read, and says so."""
    tensors = {"Inputs": [{"Dimensions": [1, 2]}, {"Dimensions": [2, 3]}], "Outputs": [{"Dimensions": []}]}
    (layer,) = layers_from_engine({"Layers": [{"Name": "a", "LayerType": "gemm", **tensors}]})
    assert (layer.kind, layer.note) == ("unclassified", "no dimensions under Outputs")


@settings(max_examples=150, deadline=None)
@given(
    _types,
    st.lists(_tensor, max_size=3) | _anything,
    st.lists(_tensor, max_size=2) | _anything,
    st.dictionaries(_keys, _anything),
)
def test_no_entry_breaks_the_reader(kind: str, inputs: object, outputs: object, fields: dict[str, Any]) -> None:
    """Whatever a layer's fields hold, it becomes one layer of a known kind."""
    static = {"Name": "fc", "LayerType": "NoOp", "Inputs": [{"Dimensions": [1, 2]}], "Outputs": []}
    pooled = json.loads((ENGINES / "trt10.json").read_text())["Layers"][4]
    entry = {**fields, "LayerType": kind, "Inputs": inputs, "Outputs": outputs}
    layers = layers_from_engine({"Layers": [static, pooled, entry]})
    assert [layer.kind for layer in layers[:2]] == ["reformat", "pool"]
    assert layers[2].kind in KINDS


@pytest.mark.parametrize(
    ("file", "kinds", "gmacs"),
    [
        ("engines/resnet18_trt_engine_info.json", {"conv": 20, "pool": 2, "fc": 1, "reformat": 3}, 1.814),
        ("engines/vgg16_trt_engine_info.json", {"conv": 13, "pool": 5, "fc": 3, "reformat": 16}, 15.470),
        ("desktop/alexnet/trt_engine_info.json", {"conv": 5, "pool": 3, "fc": 3, "reformat": 6}, 0.714),
        ("desktop/mobilenet_v2/trt_engine_info.json", {"conv": 52, "pool": 1, "fc": 1, "reformat": 5}, 0.301),
        ("desktop/resnet18/trt_engine_info.json", {"conv": 20, "pool": 2, "fc": 1, "reformat": 6}, 1.814),
        ("trtexec/alexnet/alexnet_fp16.graph.json", {"conv": 5, "pool": 3, "fc": 3, "reformat": 1, "other": 2}, 0.714),
        (
            "trtexec/resnet18/resnet18_fp16.graph.json",
            {"conv": 20, "pool": 2, "fc": 1, "reformat": 2, "other": 1},
            1.814,
        ),
    ],
)
def test_real_engines_are_classified_whole(public_data: Path, file: str, kinds: dict[str, int], gmacs: float) -> None:
    """Real engines of known networks: every layer classified, and the published multiply-accumulates."""
    layers = load_network(public_data / "edgeprofiler" / file).layers
    assert Counter(layer.kind for layer in layers) == kinds
    assert sum(layer.macs() for layer in layers) / 1e9 == pytest.approx(gmacs, abs=5e-4)


def test_one_network_is_the_same_from_three_builders(public_data: Path) -> None:
    """ResNet-18 of torch-tensorrt, of ONNX in FP32 and of trtexec in FP16: the same convolutions, pools and classifier."""
    files = ["engines/resnet18_trt_engine_info.json", "desktop/resnet18/trt_engine_info.json"]
    files.append("trtexec/resnet18/resnet18_fp16.graph.json")
    networks = [load_network(public_data / "edgeprofiler" / file) for file in files]
    modelled = [Counter(geometry(x) for x in network.layers if x.modelled) for network in networks]
    assert modelled[0] == modelled[1] == modelled[2]
    assert networks[0].name == networks[1].name == "resnet18"


def test_the_pooling_window_is_the_window(public_data: Path) -> None:
    """ResNet-18's first pool is 3x3, not the 112x112 of its input."""
    network = load_network(public_data / "edgeprofiler" / "engines" / "resnet18_trt_engine_info.json")
    first = next(layer for layer in network.layers if layer.kind == "pool")
    assert (first.kernel_h, first.kernel_w, first.in_h, first.out_h) == (3, 3, 112, 56)
