"""One door for networks: every form of ONNX and of engine information, under any name, from any folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuralpower.cli import main
from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.network import load_network

ENGINES = Path(__file__).parents[1] / "fixtures" / "engines"
FORMS = {"protobuf": ".onnx", "textproto": ".textproto", "json": ".json", "onnxtxt": ".onnxtxt"}


def model() -> Any:
    """A convolution, a flattening by a stored shape, a fully connected layer."""
    value = helper.make_tensor_value_info
    weights = {
        "w": np.zeros((16, 3, 3, 3), np.float32),
        "v": np.zeros((1024, 10), np.float32),
        "s": np.array([1, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1], strides=[1, 1]),
        helper.make_node("Reshape", ["c", "s"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "v"], ["y"], "fc"),
    ]
    ends = [value("x", TensorProto.FLOAT, [1, 3, 8, 8])], [value("y", TensorProto.FLOAT, [1, 10])]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return helper.make_model(
        helper.make_graph(nodes, "net", *ends, stored), opset_imports=[helper.make_opsetid("", 17)]
    )


def written(form: str) -> bytes:
    content: bytes = onnx.serialization.registry.get(form).serialize_proto(model())
    return content


@pytest.mark.parametrize("suffix", [*FORMS.values(), ".graph.json", ".csv", ""])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_onnx_is_read_under_every_name(tmp_path: Path, form: str, suffix: str) -> None:
    """The content decides: binary, protobuf's text, JSON, ONNX's own text."""
    path = tmp_path / f"net{suffix}"
    path.write_bytes(written(form))
    network = load_network(path)
    assert network.source == "onnx" and [layer.kind for layer in network.layers if layer.modelled] == ["conv", "fc"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_forms_are_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    for form in ("textproto", "json", "onnxtxt"):
        (tmp_path / "net").write_bytes(written(form).decode().encode(encoding))
        assert load_network(tmp_path / "net").source == "onnx"


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_model_says_what_it_was_taken_for(tmp_path: Path, form: str) -> None:
    """One line that names the form, or that it is none."""
    says = {"protobuf": "neither", "textproto": "ONNX as protobuf's text, which breaks at", "json": "cut off", "onnxtxt": "ONNX's text syntax, which breaks at"}  # fmt: skip
    content = written(form)
    (tmp_path / "net.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError) as caught:
        load_network(tmp_path / "net.onnx")
    assert says[form] in str(caught.value) and "\n" not in str(caught.value)


def test_small_integers_beside_the_model_are_read_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Axes and shapes in a file of their own, weights in one that is not even there."""
    (tmp_path / "there").mkdir()
    made = model()
    for tensor in made.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "ints.data" if tensor.name == "s" else "weights.data")
        raw = tensor.raw_data
        tensor.ClearField("raw_data")
        if tensor.name == "s":
            (tmp_path / "there" / "ints.data").write_bytes(raw)
    (tmp_path / "there" / "net.onnx").write_bytes(made.SerializeToString())
    for folder, spec in ((tmp_path, "there/net.onnx"), (tmp_path / "there", "net.onnx")):
        monkeypatch.chdir(folder)
        assert [layer.kind for layer in load_network(spec).layers if layer.modelled] == ["conv", "fc"]
    (tmp_path / "there" / "ints.data").unlink()
    with pytest.raises(InputError, match=r"its tensor 's' stands in 'ints.data'"):
        load_network("net.onnx")


def engine(batch: int, datatype: str = "Half", weights: str = "Half") -> dict[str, Any]:
    """Two convolutions of an engine with this first dimension."""

    def tensor(*sizes: int) -> list[dict[str, Any]]:
        return [{"Name": "t", "Dimensions": [batch, *sizes], "Format/Datatype": datatype}]

    window = {
        "LayerType": "CaskConvolution",
        "Kernel": [3, 3],
        "PrePadding": [1, 1],
        "Weights": {"Type": weights, "Count": 9},
    }
    first = {"Name": "a", "Inputs": tensor(3, 32, 32), "Outputs": tensor(16, 32, 32), "OutMaps": 16, "Stride": [1, 1]}
    second = {"Name": "b", "Inputs": tensor(16, 32, 32), "Outputs": tensor(32, 16, 16), "OutMaps": 32, "Stride": [2, 2]}
    return {"Layers": [{**first, **window}, {**second, **window}]}


def test_a_dynamic_batch_is_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By --batch, and 1 without it; each layer says so. Who gives none is told that the engine is dynamic."""
    (tmp_path / "net.json").write_text(json.dumps(engine(-1)))
    for batch in (1, 4):
        layers = load_network(tmp_path / "net.json", batch).layers
        assert [(layer.kind, layer.batch, layer.note) for layer in layers] == [
            ("conv", batch, f"dynamic batch, taken as {batch}")
        ] * 2
    assert main(["features", str(tmp_path / "net.json"), "--batch", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["batch"] == 4
    with pytest.raises(InputError, match="dynamic"):
        layers_from_engine(engine(-1))


def test_a_fixed_batch_is_not_overruled_in_silence(tmp_path: Path) -> None:
    """Another one is refused; the engine's own, and none, are not."""
    (tmp_path / "net.json").write_text(json.dumps(engine(2)))
    assert {layer.batch for layer in load_network(tmp_path / "net.json", 2).layers} == {2}
    assert {layer.batch for layer in load_network(tmp_path / "net.json").layers} == {2}
    with pytest.raises(InputError, match="batch is fixed at 2, not 4"):
        load_network(tmp_path / "net.json", 4)


def test_precision_is_that_of_the_weights_where_the_tensors_do_not_tell() -> None:
    """As engines with dynamic shapes have it."""
    for weights, precision in {"Half": "FP16", "Int8": "INT8", "Float": "FP32", "": ""}.items():
        layers = layers_from_engine(engine(4, "N/A due to dynamic shapes", weights))
        assert {layer.precision for layer in layers} == {precision}
    assert {layer.precision for layer in layers_from_engine(engine(4, "Int8", "Half"))} == {"INT8"}


def test_a_fused_region_names_what_helps() -> None:
    """An engine that lists its tensors was built with DETAILED already: that advice would be wrong."""
    region = {"Name": "{ForeignNode[a...b]}", "LayerType": "Myelin", "Inputs": [], "Outputs": []}
    (layer,) = layers_from_engine({"Layers": [region]})
    assert layer.kind == "unclassified" and "ONNX" in layer.note and "DETAILED" not in layer.note


def test_separators_that_tensorrt_does_not_escape_are_read(tmp_path: Path) -> None:
    """The same layers as with them escaped."""
    text = (ENGINES / "trt10.json").read_text()
    assert "\\u001e" in text
    (tmp_path / "net.json").write_text(text.replace("\\u001e", "\x1e"))
    assert load_network(tmp_path / "net.json").layers == load_network(ENGINES / "trt10.json").layers


def test_an_engine_in_a_string_is_an_engine(tmp_path: Path) -> None:
    """A tool that keeps the inspector's answer as text."""
    (tmp_path / "net.onnx").write_text(json.dumps((ENGINES / "trt10.json").read_text()))
    assert load_network(tmp_path / "net.onnx").layers == load_network(ENGINES / "trt10.json").layers


def test_odd_tensors_cost_no_time() -> None:
    """A thousand dimensions, ten thousand inputs: read as not told."""
    wide = {
        "Name": "a",
        "LayerType": "gemm",
        "Inputs": [{"Dimensions": [2**30] * 100_000}],
        "Outputs": [{"Dimensions": [1, 4]}],
    }
    many = {
        "Name": "b",
        "LayerType": "gemm",
        "Inputs": [{"Dimensions": [4, 4]}] * 10_000,
        "Outputs": [{"Dimensions": [4, 4]}],
    }
    assert [layer.kind for layer in layers_from_engine({"Layers": [wide, many]})] == ["unclassified"] * 2
