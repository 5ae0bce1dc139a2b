"""ONNX files are read without the contents of their weights, and mean the same."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from neuralpower.errors import InputError
from neuralpower.features.network import load_network
from neuralpower.features.onnx import file as onnx_file
from neuralpower.features.onnx import light as onnx_light


def model(width: int) -> Any:
    """A convolution, and a product whose weights are [width, width]; a branch, an attribute and text hold large contents as well."""
    value = helper.make_tensor_value_info
    weights = [
        numpy_helper.from_array(np.ones((width, 3, 3, 3), np.float32), "w"),
        helper.make_tensor("v", TensorProto.FLOAT, [width, width], np.ones(width * width)),  # numbers, not raw bytes
        numpy_helper.from_array(np.array([0, -1]), "s"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], "pool"),
        helper.make_node("Reshape", ["p", "s"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "v"], ["y"], "fc"),
    ]
    graph = helper.make_graph(
        nodes, "net", [value("x", 1, [1, 3, 8, 8])], [value("y", 1, [1, width])], weights, doc_string="d" * 40_000
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests")
    helper.set_model_props(made, {"key": "value"})
    return made


def light(content: bytes) -> bytes | None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return onnx_light.without_weights(file.fileno(), len(content))


def test_contents_of_weights_stay_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16 MiB some KiB are read, and the layers are those of the whole file."""
    (tmp_path / "net.onnx").write_bytes(model(2048).SerializeToString())
    read, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, at: (read.append(count), pread(file, count, at))[1])
    found = load_network(tmp_path / "net.onnx")
    assert 0 < sum(read) < 1 << 17 and (tmp_path / "net.onnx").stat().st_size > 16 << 20
    monkeypatch.setattr(onnx_file, "SMALL", onnx_file.LARGEST_ONNX + 1)
    assert found.layers == load_network(tmp_path / "net.onnx").layers
    assert [layer.kind for layer in found.layers] == ["conv", "pool", "fc"]


CONTENT = model(128).SerializeToString()


@given(at=st.integers(0, len(CONTENT)), over=st.integers(0, 3), what=st.binary(max_size=3))
def test_what_is_left_is_the_model_without_large_contents(at: int, over: int, what: bytes) -> None:
    """Whatever a few bytes are: a file that protocol buffers take is, read so, the same but for contents that nobody looks at."""
    changed = CONTENT[:at] + what + CONTENT[at + over :]
    try:
        whole = onnx.load_model_from_string(changed)
    except Exception:
        return
    left = light(changed)
    if left is None:
        return
    for tensor in whole.graph.initializer:
        for field, contents in tensor.ListFields():
            size = (
                contents
                if isinstance(contents, bytes)
                else b""
                if field.name != "float_data"
                else bytes(4 * len(contents))
            )
            if len(size) > onnx_light.LARGEST_CONTENT:
                tensor.ClearField(field.name)
    assert onnx.load_model_from_string(left).SerializeToString(deterministic=True) == whole.SerializeToString(
        deterministic=True
    )


def test_a_sound_file_is_read_so() -> None:
    """The property above is not empty."""
    left = light(CONTENT)
    assert left is not None and 40_000 < len(left) < len(CONTENT) - 64_000


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"\x0a", b"{}", b"\x0b", b"\xff" * 30, b"\x09"])
def test_what_is_no_chain_of_fields_is_left_to_others(content: bytes) -> None:
    assert light(content) is None


def test_a_graph_of_very_many_fields_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_light, "MOST_FIELDS", 3)
    assert light(CONTENT) is None


def test_a_cut_file_is_refused_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way around the weights changes no line."""
    (tmp_path / "net.onnx").write_bytes(CONTENT[:-100])
    told = []
    for small in (0, len(CONTENT)):
        monkeypatch.setattr(onnx_file, "SMALL", small)
        with pytest.raises(InputError) as caught:
            load_network(tmp_path / "net.onnx")
        told.append(str(caught.value))
    assert told[0] == told[1] and "cut or damaged" in told[0]
