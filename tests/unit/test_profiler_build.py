"""Building engines and repeated layers, as far as it needs no TensorRT: `make test-bindings` checks the rest on the bindings."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuralpower.errors import InputError
from neuralpower.experiment import repeat
from neuralpower.features.layers import Layer
from neuralpower.features.onnx.fused import layers_from_onnx
from neuralpower.runtimes import clocks, sources
from neuralpower.runtimes.run import jobs
from neuralpower.runtimes.tensorrt import build
from neuralpower.runtimes.tensorrt.half import to_half
from neuralpower.virtual.device.hardware import Hardware
from neuralpower.virtual.device.load import Load
from neuralpower.virtual.networks.onnx_engine import engine_from_onnx
from neuralpower.virtual.runtime import VirtualRuntime

node = helper.make_node


def network(path: Path, batch: int | str = "n") -> Path:
    """A convolution with an activation, a depthwise one, two pools, a resize and a fully connected layer."""
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (10, 8)}
    stored = [numpy_helper.from_array(np.full(shape, 1e6, np.float32), name) for name, shape in shapes.items()]
    stored.append(numpy_helper.from_array(np.array([1, 1, 1, 1], np.float32), "scales"))
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], "/conv1/Conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "/relu/Relu"),
        node("Conv", ["r1", "w2"], ["c2"], "/depthwise/Conv", group=8, pads=[1, 1, 1, 1]),
        node("Resize", ["c2", "", "scales"], ["s"], "/resize/Resize"),
        node("MaxPool", ["s"], ["p"], "/maxpool/MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["p"], ["g"], "/avgpool/GlobalAveragePool"),
        node("Flatten", ["g"], ["f"], "/Flatten"),
        node("Gemm", ["f", "w3"], ["y"], "/fc/Gemm", transB=1),
    ]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 32, 32])]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])]
    graph = helper.make_graph(nodes, "graph", ends, results, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_half_precision_is_written_into_the_types(tmp_path: Path) -> None:
    """Weights and what flows between become FP16, clipped to its range; inputs, outputs and scales stay; the model is sound."""
    target = to_half(network(tmp_path / "net.onnx"), tmp_path / "half.onnx")
    model = onnx.load(str(target))
    onnx.checker.check_model(model, full_check=True)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["w1"] == kinds["w3"] == TensorProto.FLOAT16 and kinds["scales"] == TensorProto.FLOAT
    assert float(numpy_helper.to_array(model.graph.initializer[0]).max()) == 65504.0
    ends = [*model.graph.input, *model.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    between = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    assert between["c1"] == between["p"] == TensorProto.FLOAT16
    before, after = layers_from_onnx(tmp_path / "net.onnx"), layers_from_onnx(target)
    told = [geometry(layer) for layer in after if layer.layer_type != "Cast"]
    assert told == [geometry(layer) for layer in before]


def test_types_are_followed_into_no_subgraph(tmp_path: Path) -> None:
    """A model with If or Loop is refused in one line, and so is what is no model."""
    branch = helper.make_graph([node("Identity", ["x"], ["y"])], "b", [], [helper.make_tensor_value_info("y", 1, [1])])
    graph = helper.make_graph(
        [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], "g",
        [helper.make_tensor_value_info("x", 1, [1]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", 1, [1])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), str(tmp_path / "if.onnx"))
    with pytest.raises(InputError, match="subgraphs"):
        to_half(tmp_path / "if.onnx", tmp_path / "out.onnx")
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="nor an ONNX model"):
        to_half(tmp_path / "no.onnx", tmp_path / "out.onnx")


class Tensor:
    def __init__(self, *shape: int) -> None:
        self.name, self.shape = "x", shape


def inputs(*tensors: Tensor) -> Any:
    return SimpleNamespace(num_inputs=len(tensors), get_input=lambda index: tensors[index])


def test_a_dynamic_batch_is_fixed_and_nothing_else() -> None:
    """The first dimension takes the batch; another dynamic one, or a batch fixed otherwise, is an error."""
    assert build.fixed_shapes("m", inputs(Tensor(-1, 3, 8, 8)), 4) == {"x": (4, 3, 8, 8)}
    assert (
        build.fixed_shapes("m", inputs(Tensor(4, 3, 8, 8)), 4) == {} == build.fixed_shapes("m", inputs(Tensor(1, 3)), 1)
    )
    with pytest.raises(InputError, match="all but the batch fixed"):
        build.fixed_shapes("m", inputs(Tensor(-1, 3, -1, 8)), 4)
    with pytest.raises(InputError, match="fixed at 2, not 4"):
        build.fixed_shapes("m", inputs(Tensor(2, 3)), 4)


@pytest.mark.parametrize(
    ("options", "says"), [({"precision": "fp8"}, "fp32, fp16, int8"), ({"batch": 0}, "batch of 0")]
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    """In one line."""
    with pytest.raises(InputError, match=says):
        build.Options(**options)


def test_calibration_inputs_come_from_a_file_or_are_random(tmp_path: Path) -> None:
    """Whole batches of the file; another shape is an error; without a file random ones, the same each time."""
    np.save(tmp_path / "inputs.npy", np.arange(7 * 12, dtype=np.float64).reshape(7, 3, 4))
    batches = build.calibration_inputs((2, 3, 4), build.Options("int8", 2, str(tmp_path / "inputs.npy")))
    assert [batch.shape for batch in batches] == [(2, 3, 4)] * 3 and batches[0].dtype == np.float32
    assert batches[2][1, 2, 3] == 6 * 12 - 1
    for shape in ((2, 3, 5), (8, 3, 4)):
        with pytest.raises(InputError, match="are needed"):
            build.calibration_inputs(shape, build.Options("int8", 2, str(tmp_path / "inputs.npy")))
    with pytest.raises(InputError, match=r"none\.npy"):
        build.calibration_inputs((1,), build.Options("int8", 1, str(tmp_path / "none.npy")))
    one, two = (build.calibration_inputs((1, 3), build.Options("int8")) for _ in range(2))
    assert len(one) == build.CALIBRATION_BATCHES and all(map(np.array_equal, one, two))


def test_quantised_models_are_told(tmp_path: Path) -> None:
    """By their QuantizeLinear nodes."""
    assert not build.has_quantisation(str(network(tmp_path / "net.onnx")))
    graph = helper.make_graph([node("QuantizeLinear", ["x", "s"], ["q"])], "g", [], [])
    onnx.save(helper.make_model(graph), str(tmp_path / "q.onnx"))
    assert build.has_quantisation(str(tmp_path / "q.onnx"))


def geometry(layer: Layer) -> tuple[Any, ...]:
    """All that is modelled of a layer but its precision."""
    return replace(layer, precision="").shape


def test_repeated_layers_are_the_networks_own(tmp_path: Path) -> None:
    """Each distinct layer once; its repeated model has that very geometry, so many times, each copy with an input of its own."""
    path = network(tmp_path / "net.onnx")
    found = repeat.distinct(path)
    assert [each.layer.kind for each in found] == ["conv", "conv", "pool", "pool", "fc"]
    for each in found:
        written = repeat.write(each.layer, 20, tmp_path / "repeated.onnx")
        model = onnx.load(str(written))
        onnx.checker.check_model(model, full_check=True)
        layers = layers_from_onnx(written)
        assert {geometry(layer) for layer in layers} == {geometry(each.layer)} and len(layers) == 20
        assert len(model.graph.input) == 20 and len(model.graph.initializer) <= 1


def test_copies_make_twenty_milliseconds(tmp_path: Path) -> None:
    """As many as the trial's time asks for; the engine that comes of it runs 20 ms on the simulated hardware."""
    assert repeat.copies_needed(1e-3) == 21 and repeat.copies_needed(1.0) == repeat.TRIAL
    assert repeat.copies_needed(1e-9) == repeat.MOST
    runtime = VirtualRuntime(1)
    path = network(tmp_path / "net.onnx")
    every = list(jobs(runtime, [str(path)], build.Options(), repeat_layers=True))
    assert every[0].name == "repeat//conv1/Conv + /relu/Relu" and len(every) == len(repeat.distinct(path))
    load = every[0].load().load  # type: ignore[attr-defined]  # a program of the virtual device
    assert load.repeats == len(load.layers) and 0.020 <= load.duration_ns.sum() * 1e-9 < 0.021


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_onnx_model_is_simulated_as_an_engine(tmp_path: Path, precision: str) -> None:
    """Its layers come out of the description as they went in, at the batch and precision asked for; a flatten is none of them."""
    path = network(tmp_path / "net.onnx")
    inspector = engine_from_onnx(path, 4, precision)
    load = Load.of("net", inspector, Hardware())
    expected = [geometry(layer) for layer in layers_from_onnx(path, 4) if layer.modelled]
    from neuralpower.features.inspector.engine import layers_from_engine

    layers = layers_from_engine(inspector)
    assert [geometry(layer) for layer in layers if layer.modelled] == expected
    assert {layer.precision for layer in layers if layer.modelled} == {precision.upper()}
    assert len(load.active) == len(load.layers) and "/Flatten" not in load.layers


def fake_torch(monkeypatch: pytest.MonkeyPatch, loaded: list[Any], model: Path) -> None:
    torch = types.ModuleType("torch")

    def load(repository: str, name: str, **options: Any) -> Any:
        loaded.append((repository, name, options))
        if name == "broken":
            raise RuntimeError("no such model\nand more")
        if name == "exiting":
            raise SystemExit(3)
        print("a line of the repository's")
        return SimpleNamespace(eval=lambda: "a module")

    def export(module: Any, arguments: tuple[Any, ...], path: str, dynamo: bool = True) -> None:
        assert module == "a module" and arguments == ((2, 3, 224, 224),) and dynamo is False
        Path(path).write_bytes(model.read_bytes())

    torch.hub = SimpleNamespace(load=load)  # type: ignore[attr-defined]  # a stand-in in its place
    torch.onnx = SimpleNamespace(export=export)  # type: ignore[attr-defined]  # a stand-in in its place
    torch.zeros = lambda *shape: shape  # type: ignore[attr-defined]  # a stand-in in its place
    monkeypatch.setitem(sys.modules, "torch", torch)


def test_hub_networks_become_onnx(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a repository's name or a local folder; what fails there is one line, what prints there prints to stderr."""
    loaded: list[Any] = []
    fake_torch(monkeypatch, loaded, network(tmp_path / "net.onnx"))
    with sources.onnx_of("hub:pytorch/vision:resnet18", 2) as path:
        assert layers_from_onnx(path)
    with sources.onnx_of(f"hub:{tmp_path}:resnet18", 2):
        pass
    assert loaded[0] == ("pytorch/vision", "resnet18", {}) and loaded[1][2] == {"source": "local"}
    told = capfd.readouterr()
    assert told.out == "" and "a line of the repository's" in told.err
    for spec, says in (
        ("hub:pytorch/vision:broken", "no such model$"),
        ("hub:pytorch/vision:exiting", "SystemExit: 3$"),
        ("hub:alone", "write hub:repository:model"),
    ):
        with pytest.raises(InputError, match=says), sources.onnx_of(spec):
            pass
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="needs PyTorch"), sources.onnx_of("hub:pytorch/vision:resnet18"):
        pass
    with pytest.raises(InputError, match="no such file"), sources.onnx_of(str(tmp_path / "none.onnx")):
        pass
    assert sources.title("hub:pytorch/vision:resnet18") == "resnet18" and sources.title("/x/net.onnx") == "net"


def tree(root: Path, **values: tuple[int, int, int]) -> Path:
    for name, (now, low, high) in values.items():
        place = root / "sys/class/devfreq" / name
        place.mkdir(parents=True)
        for file, value in (("cur_freq", now), ("min_freq", low), ("max_freq", high)):
            (place / file).write_text(f"{value}\n")
    return root


def test_clocks_are_looked_at_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked, not locked, or not to be seen; the power mode as nvpmodel says."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert clocks.look(tmp_path).locked is None and "none that scale" in clocks.look(tmp_path).sentence()
    tree(tmp_path, gpu=(625_000_000, 625_000_000, 625_000_000))
    found = clocks.look(tmp_path)
    assert found.locked is True and "locked (gpu 625 MHz)" in found.sentence() and "not known" in found.sentence()
    tree(tmp_path, emc=(1, 204_000_000, 2_133_000_000))
    (tmp_path / "nvpmodel").write_text("#!/bin/sh\necho 'NV Power Mode: 15W'\necho 0\n")
    (tmp_path / "nvpmodel").chmod(0o755)
    found = clocks.look(tmp_path)
    assert found.locked is False and "NOT locked (emc 204-2133 MHz)" in found.sentence() and "15W" in found.sentence()
