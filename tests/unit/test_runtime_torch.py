"""The runtime of PyTorch: real PyTorch on the CPU, over a stand-in for its CUDA and CUPTI (simulated)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.worlds.gpu.cuda_stand_in import Gpu
from tests.worlds.gpu.torch_stand_in import LEAST_NS, NS_AN_ELEMENT, cuda_of

from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.profiler import LayerProfiler
from neuralpower.runtimes.options import Options
from neuralpower.runtimes.runtime import Program
from neuralpower.runtimes.torch.runtime import TorchRuntime

torch: Any = pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning", "default::UserWarning")

NETWORK = """
import torch
from torch import nn

INPUT_SHAPE = (1, 3, 16, 16)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 8 * 8, 10)

    def forward(self, x):
        x = torch.relu_(self.norm(self.conv(x)))
        left, right = x.chunk(2, dim=1)
        x = nn.functional.max_pool2d(torch.cat([right, left], 1), 2)
        return nn.functional.softmax(self.fc(torch.flatten(x, 1)), -1)
"""
TYPES = ["Conv", "BatchNormalization", "Relu", "Concat", "MaxPool", "MatMul", "Softmax"]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "drawn_net.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("drawn_net", None)
    return "torch:drawn_net:Net"


def runtime(gpu: Gpu, **how: Any) -> TorchRuntime:
    return TorchRuntime(native=cuda_of(gpu), cupti=gpu.cupti, **how)


def layers_of(program: Program) -> tuple[list[Layer], LayerProfiler]:
    profiler = LayerProfiler(program.context, address="/nowhere", events=program.events)
    return layers_from_engine(profiler.engine.inspector), profiler


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "captured"])
@pytest.mark.parametrize("timing", ["cupti", "events", None])
def test_a_module_becomes_layers_with_their_times(spec: str, eager: bool, timing: str | None) -> None:
    """Each operator that runs is a layer with its geometry, views are none; times are those of its kernels; all says simulated."""
    gpu = Gpu(jitter=0.0)
    program = runtime(gpu, eager=eager, timing=timing).load(spec, Options("fp32"))
    found, profiler = layers_of(program)
    with profiler:
        assert [layer.layer_type for layer in found[::2]] == TYPES and profiler.engine.simulated
        conv, pool, fc = found[0], found[8], found[10]
        assert (conv.kind, conv.out_c, conv.out_h, conv.kernel_h, conv.pad_h) == ("conv", 8, 16, 3, 1)
        assert (pool.kind, pool.out_h) == ("pool", 8) and (fc.kind, fc.in_c, fc.out_c) == ("fc", 512, 10)
        assert profiler.engine.inspector["Timing"] == (timing or "cupti")
        assert "simulated" in profiler.engine.inspector["Runtime"]
        for _ in range(2):
            with profiler.inference(program.stream):
                program.context.execute_async_v3(program.stream.handle)
            durations = program.context.durations_ns()  # type: ignore[attr-defined]  # of PyTorch's alone
    more = 0.0 if (timing or "cupti") == "cupti" else gpu.event_ns + gpu.gap_ns + gpu.call_ns
    size = 8 * 16 * 16
    for at, elements in ((4, size), (6, size), (12, 10)):
        assert LEAST_NS <= durations[at] - NS_AN_ELEMENT * elements <= LEAST_NS + more + 1


def test_what_is_computed_is_what_the_module_computes(spec: str) -> None:
    """The answer of the steps, one after another, twice, is the module's."""
    from neuralpower.features.torch.export import module_of, program_layers
    from neuralpower.runtimes.torch.program import ProgramCourse

    model, _, _ = module_of(spec)
    given = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        program = torch.export.export(model, (given,))
        course = ProgramCourse(program, [given], program_layers(program, "net"))
        last = next(node for node in program.graph.nodes if node.op == "output").args[0][0].name
        for _ in range(2):
            course.begin()
            kept = course._dead
            course._dead = [[name for name in names if name != last] for names in kept]
            for step in course.steps:
                step.enqueue()
            assert torch.allclose(course._values[last], model(given), atol=1e-6)


def test_half_precision_is_the_layers_precision(spec: str) -> None:
    """In the description, too."""
    found, profiler = layers_of(runtime(Gpu()).load(spec, Options("fp16")))
    profiler.close()
    assert {layer.precision for layer in found[::2]} == {"FP16"}


def test_what_does_not_work_is_passed_over_and_said(spec: str) -> None:
    """Without external events a capture cannot be timed by them, and without CUPTI nothing else can: it runs eager, with a line for each."""
    gpu = Gpu(external=False)
    made = runtime(gpu, timing="events").load(spec, Options("fp32"))
    assert not made.context.captured and len(made.notes) == 1  # type: ignore[attr-defined]  # of PyTorch's alone
    assert "captured with events: Event() got an unexpected" in made.notes[0]
    blind = TorchRuntime(native=cuda_of(Gpu())).load(spec, Options("fp32"))
    assert any("timed by CUDA events" in note for note in blind.notes)


def test_an_exported_program_runs_as_its_module(spec: str, tmp_path: Path) -> None:
    """Of a file; one that is none is refused in one line, as is a file that is not there."""
    from neuralpower.features.torch.export import module_of

    model, _, _ = module_of(spec)
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 16, 16),)), str(tmp_path / "net.pt2"))
    found, profiler = layers_of(runtime(Gpu()).load(str(tmp_path / "net.pt2"), Options("fp32")))
    profiler.close()
    assert [layer.layer_type for layer in found[::2]] == TYPES
    (tmp_path / "no.pt2").write_bytes(b"no program")
    for name in ("no.pt2", "none.pt2"):
        with pytest.raises(InputError, match=name):
            runtime(Gpu()).load(str(tmp_path / name), Options("fp32"))


@pytest.mark.parametrize(
    "layer",
    [
        Layer("c", "conv", 1, 8, 14, 14, 16, 7, 7, 3, 3, 2, 2, 1, 1, layer_type="Conv"),
        Layer("p", "pool", 1, 8, 14, 14, 8, 7, 7, 2, 2, 2, 2, layer_type="MaxPool"),
        Layer("a", "pool", 1, 8, 7, 7, 8, 1, 1, 7, 7, 1, 1, layer_type="AveragePool"),
        Layer("f", "fc", 4, 64, 1, 1, 10, 1, 1, layer_type="Gemm"),
        Layer("m", "matmul", 12, 64, 49, 1, 49, 49, 1, layer_type="MatMul"),
        Layer("r", "other", 1, 8, 7, 7, 8, 7, 7, layer_type="Relu"),
        Layer("s", "other", 49, 64, 1, 1, 64, 1, 1, layer_type="Softmax"),
        Layer("n", "norm", 49, 64, 1, 1, 64, 1, 1, layer_type="LayerNormalization", told_flops=1, told_accesses=1),
    ],
    ids=lambda layer: layer.layer_type,
)
def test_a_layer_is_repeated_alone(layer: Layer) -> None:
    """So many kernels as copies; the description tells so many layers of its geometry, each with an even share of the time."""
    gpu = Gpu()
    program = runtime(gpu).repeated(layer, 12, Options("fp32"), "repeat/x")
    gpu.ran.clear()
    program.run()
    assert len(gpu.ran) >= 12 and len(gpu.ran) % 12 == 0
    found, profiler = layers_of(program)
    with profiler:
        with profiler.inference(program.stream):
            program.context.execute_async_v3(program.stream.handle)
        durations = program.context.durations_ns()  # type: ignore[attr-defined]  # of PyTorch's alone
    assert len(found) == len(durations) == 12 and max(durations) - min(durations) <= 1
    assert all(each.shape == layer.shape for each in found)


def test_a_layer_that_torch_has_not_with_these_sizes_is_refused() -> None:
    """One line each: padding on one side alone, and an operator that is not known."""
    with pytest.raises(InputError, match="not the sizes"):
        runtime(Gpu()).repeated(Layer("c", "conv", 1, 8, 14, 14, 16, 9, 9, 3, 3, layer_type="Conv"), 2, Options(), "x")
    with pytest.raises(InputError, match="a Roll cannot be repeated"):
        runtime(Gpu()).repeated(Layer("c", "other", 1, 8, 14, 14, layer_type="Roll"), 2, Options(), "x")
