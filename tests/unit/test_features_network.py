"""Loading networks by content, and what each unusable file says."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from neuralpower import documents
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.features.network import load_network, network_name
from neuralpower.features.torch.export import exported

ENGINES = Path(__file__).parents[1] / "fixtures" / "engines"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "an empty file"),
        (b"{", "broken JSON"),
        (b"[" * 100_000, "100 deep"),
        (b'[{"count": 3}]', "not TensorRT engine information"),
        (b'{"a": "\xff"}', "not in utf-8: byte 7 is 0xff"),
        (b"\x7fELF\x02\x01\x01", "a program or library"),
        (b"\x01\x02\x03\x04", "neither TensorRT engine information"),
        (b"ftrt\x00\x00", "serialised TensorRT engine"),
        (b"PK\x03\x04xx", "archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    ],
)
def test_an_unusable_file_is_one_line(tmp_path: Path, content: bytes, line: str) -> None:
    """Whatever the file holds, the error is one line that begins with its path."""
    file = tmp_path / "net"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_network(file)
    assert str(caught.value).startswith(f"{file}: ") and line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path) -> None:
    """A path that is no file says so."""
    with pytest.raises(InputError, match="No such file"):
        load_network(tmp_path / "none")
    with pytest.raises(InputError, match="a folder"):
        load_network(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the limit of its format is refused by its size."""
    monkeypatch.setattr(documents, "LARGEST_TEXT", 1 << 20)
    file = tmp_path / "huge.json"
    with file.open("wb") as out:
        out.write(b"{")
        out.truncate(3 << 20)
    with pytest.raises(InputError, match="3 MiB, at most 1"):
        load_network(file)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    """Engine JSON under any name, even with a byte order mark, is engine JSON."""
    file = tmp_path / "engine.onnx"
    file.write_bytes(b"\xef\xbb\xbf" + (ENGINES / "trt10.json").read_bytes())
    network = load_network(file)
    assert network.source == "engine" and len(network.of_kind("conv", "fc")) == 4


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/resnet18_trt_engine_info.json", "resnet18"),
        ("alexnet/trt_engine_info.json", "alexnet"),
        ("vgg/trt_profiling/trt_engine_info.json", "vgg"),
        ("x/alexnet_fp16.graph.json", "alexnet_fp16"),
        ("net.onnx.engine.graph.json", "net"),
        ("squeezenet1.1.onnx", "squeezenet1.1"),
        ("yolov8n.v1.2-fp16.ONNX", "yolov8n.v1.2-fp16"),
        ("squeezenet1.0", "squeezenet1.0"),
        (".json", ".json"),
    ],
)
def test_networks_are_named_after_their_files(path: str, name: str) -> None:
    """The usual file names of the tools give the network's name."""
    assert network_name(Path(path)) == name


def test_torch_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyTorch the line names the command that installs it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="pip install torch"):
        load_network("torch:module:callable")


def test_a_broken_torch_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyTorch whose libraries are missing is named with its own first line."""
    (tmp_path / "torch.py").write_text("raise ImportError('libcudnn.so.9: cannot open\\nand more')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(InputError, match=r"cannot be loaded: libcudnn.so.9: cannot open$"):
        load_network("torch:module:callable")


def test_a_torch_callable_is_exported_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The callable's module is exported to ONNX with its INPUT_SHAPE at the wanted batch, and the file removed afterwards."""
    made: dict[str, Any] = {}

    def export(model: object, args: tuple[Any, ...], path: str) -> None:
        from test_features_onnx import tiny

        made.update(shape=args[0], path=Path(path))
        tiny(Path(path), args[0][0])

    module = type("Module", (), {"eval": lambda self: self})
    torch: Any = types.ModuleType("torch")
    torch.nn = types.SimpleNamespace(Module=module)
    torch.zeros = lambda *shape: shape
    torch.onnx = types.SimpleNamespace(export=export)
    monkeypatch.setitem(sys.modules, "torch", torch)
    zoo: Any = types.ModuleType("zoo_of_this_test")
    zoo.INPUT_SHAPE, zoo.tiny = (1, 3, 32, 32), module
    monkeypatch.setitem(sys.modules, "zoo_of_this_test", zoo)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    with exported("torch:zoo_of_this_test:tiny", batch=4) as path:
        assert load_network(path).layers[0].batch == 4 and made["shape"] == (4, 3, 32, 32)
    assert not made["path"].exists()
    del zoo.INPUT_SHAPE
    with pytest.raises(InputError, match="INPUT_SHAPE"):
        load_network("torch:zoo_of_this_test:tiny")
    with pytest.raises(InputError, match="none_such"):
        load_network("torch:zoo_of_this_test:none_such")


def test_counts_follow_their_formulae() -> None:
    """Weights, MACs, operations and memory accesses of a grouped convolution, a pool and a fully connected layer."""
    conv = Layer("c", "conv", 2, 8, 10, 10, 12, 5, 5, 3, 3, 2, 2, 1, 1, groups=4)
    assert conv.weights() == 3 * 3 * 2 * 12
    assert conv.macs() == 2 * 5 * 5 * 3 * 3 * 2 * 12 and conv.flops() == 2 * conv.macs()
    assert conv.memory_accesses() == 2 * 8 * 100 + 216 + 2 * 12 * 25
    pool = Layer("p", "pool", 1, 8, 4, 4, 8, 2, 2, 2, 2, 2, 2)
    assert (pool.macs(), pool.weights(), pool.flops()) == (0, 0, 8 * 2 * 2 * 2 * 2)
    dense = Layer("f", "fc", 3, 20, 1, 1, 10, 1, 1)
    assert (dense.weights(), dense.macs(), dense.memory_accesses()) == (200, 600, 60 + 200 + 30)


@pytest.mark.parametrize("kind", ["conv", "pool", "fc"])
def test_a_modelled_layer_needs_its_sizes(kind: str) -> None:
    """A layer that a model would be asked about cannot lack a size; an unknown kind is refused."""
    with pytest.raises(ValueError, match="batch"):
        Layer("x", kind)
    with pytest.raises(ValueError, match="none of"):
        Layer("x", "convolution")
