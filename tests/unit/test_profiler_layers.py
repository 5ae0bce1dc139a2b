"""LayerProfiler on a stand-in for TensorRT's bindings that is as strict and as forgiving as they are."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralpower.profiler import LayerProfiler, NoOp, ProfilerError
from neuralpower.profiler.description import content_hash, layer_names
from neuralpower_wire.link import Inference

INSPECTOR = {"Layers": [{"Name": "conv"}, {"Name": "fc"}], "Bindings": ["x", "y"]}


class IProfiler:
    """Insists, like a pybind11 class with a trampoline, that the base's __init__ was called."""

    ready = False

    def __init__(self) -> None:
        self.ready = True


class Inspector:
    execution_context: Any = None

    def get_engine_information(self, format: Any) -> str:
        assert format == "json" and self.execution_context is not None
        return json.dumps(INSPECTOR)


class Engine:
    name = "net"

    def create_engine_inspector(self) -> Inspector:
        return Inspector()


class Context:
    """Reports in a burst, swallows what the callback raises, and takes only a real IProfiler."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.enqueue_emits_profile = True
        self.report = [("conv", 0.5), ("fc", 0.00102400000)]
        self._profiler: Any = None

    @property
    def profiler(self) -> Any:
        return self._profiler

    @profiler.setter
    def profiler(self, value: Any) -> None:
        if value is not None and not (isinstance(value, IProfiler) and value.ready):
            raise TypeError("incompatible function arguments")
        self._profiler = value

    def report_to_profiler(self) -> bool:
        for name, ms in self.report:
            with contextlib.suppress(BaseException):  # as the bindings do
                self._profiler.report_layer_time(name, ms)
        return True


Context.__module__ = "fake_tensorrt.bindings"


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Context:
    module = types.ModuleType("fake_tensorrt")
    module.IProfiler = IProfiler  # type: ignore[attr-defined]
    module.LayerInformationFormat = types.SimpleNamespace(JSON="json")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_tensorrt", module)
    return Context()


@pytest.fixture
def profiler(context: Context, tmp_path: Path) -> Iterator[LayerProfiler]:
    times = iter(range(1000, 10**9, 1_000_000))
    with LayerProfiler(context, address=tmp_path, clock_ns=lambda: next(times)) as made:
        made.offered = []  # type: ignore[attr-defined]
        made._link.offer = made.offered.append  # type: ignore[method-assign, attr-defined]
        yield made


def offered(profiler: LayerProfiler) -> list[Inference]:
    return profiler.offered  # type: ignore[attr-defined, no-any-return]


def test_attaches_and_keeps_enqueue_asynchronous(context: Context, profiler: LayerProfiler) -> None:
    """The context gets a profiler of its own bindings' type, and enqueue does not emit."""
    assert isinstance(context.profiler, IProfiler) and context.enqueue_emits_profile is False
    assert (profiler.engine.name, profiler.engine.layers, profiler.engine.simulated) == ("net", ["conv", "fc"], False)


def test_an_inference_has_anchors_and_durations(profiler: LayerProfiler) -> None:
    """Anchors come from before and after the block, durations in order and in nanoseconds, numbers count up."""
    for _ in range(2):
        with profiler.inference():
            pass
    first, second = offered(profiler)
    assert (first.begin_ns, first.end_ns, first.seq, second.seq) == (1000, 1_001_000, 0, 1)
    assert first.durations_ns.tolist() == [500_000, 1024]
    assert first.engine == content_hash(INSPECTOR)


def test_synchronises_a_given_stream_before_the_end(profiler: LayerProfiler) -> None:
    """The stream passed to inference() is synchronised inside the measured time."""
    calls: list[str] = []
    profiler._clock_ns = lambda: calls.append("clock") or len(calls)  # type: ignore[func-returns-value]
    with profiler.inference(types.SimpleNamespace(synchronize=lambda: calls.append("sync"))):
        calls.append("body")
    assert calls == ["clock", "body", "sync", "clock"]


@pytest.mark.parametrize("error", [MemoryError("full"), KeyboardInterrupt()])
def test_what_the_callback_raises_comes_out_later(profiler: LayerProfiler, error: BaseException) -> None:
    """An exception inside the callback, which TensorRT swallows, is raised when the block ends, and only once."""

    class Breaking(list[str]):
        def append(self, item: str) -> None:
            raise error

    burst = profiler._burst
    burst.names, kept = Breaking(), burst.names
    with pytest.raises(type(error)), profiler.inference():
        pass
    burst.names = kept
    with profiler.inference():
        pass
    assert [inference.seq for inference in offered(profiler)] == [1]


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ([("conv", 1.0)], "has 2 layers and TensorRT reported 1"),
        ([], "has 2 layers and TensorRT reported 0"),
        ([("fc", 1.0), ("conv", 1.0)], "layer 0 is 'conv' and TensorRT reported 'fc'"),
    ],
)
def test_other_layers_than_the_engine_has_are_an_error(
    context: Context, profiler: LayerProfiler, report: list[tuple[str, float]], says: str
) -> None:
    """Count and order are checked, and nothing is sent that does not fit."""
    context.report = report
    with pytest.raises(ProfilerError, match=says), profiler.inference():
        pass
    assert offered(profiler) == []


def test_an_error_in_the_inference_stays_the_callers(profiler: LayerProfiler) -> None:
    """An exception in the block passes through, and the next inference is measured as usual."""
    with pytest.raises(ZeroDivisionError), profiler.inference():
        raise ZeroDivisionError
    with profiler.inference():
        pass
    assert len(offered(profiler)) == 1


def test_close_detaches(context: Context, tmp_path: Path) -> None:
    """After close the context runs without a profiler."""
    LayerProfiler(context, address=tmp_path).close(0)
    assert context.profiler is None


def test_absent_daemon_never_blocks(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody listening the profiler never sleeps or waits, and what it holds is bounded."""
    monkeypatch.setattr("neuralpower.profiler.link.KEPT", 16)
    monkeypatch.setattr("neuralpower.profiler.link.time.sleep", lambda seconds: pytest.fail("slept"))
    profiler = LayerProfiler(context, address=tmp_path / "nobody")
    for _ in range(100):
        with profiler.inference():
            pass
    assert (profiler.counts.offered, profiler.counts.dropped, profiler.pending) == (100, 84, 16)
    profiler.close(0)


def test_profiling_off_runs_the_block() -> None:
    """The no-op profiler has the same face and synchronises the stream."""
    calls: list[str] = []
    with NoOp() as off, off.inference(types.SimpleNamespace(synchronize=lambda: calls.append("sync"))):
        calls.append("body")
    off.poll()
    public = {name for name in dir(LayerProfiler) if not name.startswith("_")} - {"engine"}
    assert calls == ["body", "sync"] and public <= set(dir(NoOp))


def test_hash_does_not_depend_on_the_order_of_keys() -> None:
    """Equal engines have equal hashes, other engines others."""
    turned = {"Bindings": ["x", "y"], "Layers": INSPECTOR["Layers"]}
    assert content_hash(turned) == content_hash(INSPECTOR) != content_hash({**INSPECTOR, "Bindings": []})


def test_engine_without_details_still_has_names() -> None:
    """Without DETAILED verbosity the inspector lists bare names."""
    assert layer_names({"Layers": ["a", "b"]}) == ["a", "b"]


def test_needs_only_the_base_dependencies() -> None:
    """Importing the profiler imports neither TensorRT nor anything of the client extra."""
    code = (
        "import sys, neuralpower\nneuralpower.LayerProfiler\n"
        "heavy = {'tensorrt', 'pycuda', 'torch', 'sklearn', 'pyarrow', 'matplotlib', 'onnx', 'rich', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_durations_survive_the_float_of_the_callback(context: Context, profiler: LayerProfiler) -> None:
    """Milliseconds as a C float come back as the nanoseconds that they were."""
    steps = np.arange(1, 2000, 37) * 1024
    for ns in steps:
        context.report = [("conv", float(np.float32(ns * 1e-6))), ("fc", 0.0)]
        with profiler.inference():
            pass
    assert [int(one.durations_ns[0]) for one in offered(profiler)] == steps.tolist()
