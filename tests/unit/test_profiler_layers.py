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

from neuralpower.profiler import LayerProfiler, NoOp, OverlapError, ProfilerError, Session
from neuralpower.profiler.description import UNPROFILED, content_hash, layer_names, unprofiled
from neuralpower.profiler.events import EventClock
from neuralpower_wire.link import Inference

INSPECTOR: dict[str, Any] = {"Layers": [{"Name": "conv"}, {"Name": "fc"}], "Bindings": ["x", "y"]}


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
    module.IProfiler = IProfiler  # type: ignore[attr-defined]  # a stand-in in its place
    module.LayerInformationFormat = types.SimpleNamespace(JSON="json")  # type: ignore[attr-defined]  # a stand-in in its place
    monkeypatch.setitem(sys.modules, "fake_tensorrt", module)
    return Context()


@pytest.fixture
def profiler(context: Context, tmp_path: Path) -> Iterator[LayerProfiler]:
    times = iter(range(1000, 10**9, 1_000_000))
    with LayerProfiler(context, address=tmp_path, clock_ns=lambda: next(times)) as made:
        made.offered = []  # type: ignore[attr-defined]  # a stand-in in its place
        made._link.offer = made.offered.append  # type: ignore[method-assign, attr-defined]  # a stand-in in its place
        yield made


def offered(profiler: LayerProfiler) -> list[Inference]:
    return profiler.offered  # type: ignore[attr-defined, no-any-return]  # a stand-in in its place


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
    profiler._clock_ns = lambda: calls.append("clock") or len(calls)  # type: ignore[func-returns-value]  # append returns None, which is wanted
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
    public = {name for name in dir(LayerProfiler) if not name.startswith("_")} - {"engine", "session"}
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


def test_an_inference_without_the_profiler_has_anchors_alone(context: Context, profiler: LayerProfiler) -> None:
    """TensorRT's profiler is off meanwhile; it goes under an engine of its own, whose one layer is the whole inference."""
    with profiler.inference(profiled=False):
        assert context.profiler is None
    with profiler.inference():
        assert context.profiler is not None
    plain, full = offered(profiler)
    assert plain.engine != full.engine == profiler.engine.hash
    assert plain.durations_ns.tolist() == [plain.end_ns - plain.begin_ns] and (plain.seq, full.seq) == (0, 1)
    assert profiler.last == (full.begin_ns, full.end_ns)
    told = unprofiled(profiler.engine)
    assert told.hash == plain.engine and told.inspector[UNPROFILED] == profiler.engine.hash
    assert told.name == "net unprofiled" and unprofiled(profiler.engine) == told


def test_silent_layers_may_be_left_out(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report without the NoOp entries is taken, with no time for them; one that lacks another layer is not."""
    layers = [{"Name": "conv"}, {"Name": "flat", "LayerType": "NoOp"}, {"Name": "fc"}]
    monkeypatch.setitem(INSPECTOR, "Layers", layers)
    times = iter(range(1000, 10**9, 1_000_000))
    with LayerProfiler(context, address=tmp_path, clock_ns=lambda: next(times)) as profiler:
        sent: list[Inference] = []
        profiler.session.link.offer = sent.append  # type: ignore[method-assign]  # a stand-in in its place
        for report in ([("conv", 0.5), ("fc", 0.001024)], [("conv", 0.5), ("flat", 0.002), ("fc", 0.001024)]):
            context.report = report
            with profiler.inference():
                pass
        context.report = [("conv", 0.5), ("flat", 0.002)]
        with pytest.raises(ProfilerError), profiler.inference():
            pass
    assert [each.durations_ns.tolist() for each in sent] == [[500_000, 0, 1024], [500_000, 2000, 1024]]


@pytest.mark.parametrize(
    ("streams", "layers", "says"),
    [
        (2, INSPECTOR["Layers"], "uses 2 auxiliary streams"),
        (0, [{"Name": "a", "StreamId": 0}, {"Name": "b", "StreamId": 1}], "on 2 streams"),
    ],
)
def test_layers_that_overlap_are_refused(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streams: int, layers: list[Any], says: str
) -> None:
    """With a reason and what to do about it; the context is left as it was."""
    monkeypatch.setattr(Engine, "num_aux_streams", streams, raising=False)
    monkeypatch.setitem(INSPECTOR, "Layers", layers)
    with pytest.raises(OverlapError, match=f"{says}.*max_aux_streams = 0"):
        LayerProfiler(context, address=tmp_path)
    assert context.enqueue_emits_profile is True and context.profiler is None


def test_regions_are_groups(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused regions and DLA subgraphs are one entry each, and named as what they are."""
    names = ["conv", "{ForeignNode[/layer1/Conv.../fc/Gemm]}", "{DLA[conv2 + relu2]}"]
    monkeypatch.setitem(INSPECTOR, "Layers", [{"Name": name} for name in names])
    with LayerProfiler(context, address=tmp_path) as profiler:
        found = profiler.regions
    assert (
        [region.position for region in found] == [1, 2] and "DETAILED" in found[0].reason and "DLA" in found[1].reason
    )


def test_contexts_that_take_turns_share_one_link(context: Context, tmp_path: Path) -> None:
    """One session numbers the inferences of both; closing one leaves it open for the other."""
    session = Session(tmp_path, "service")
    sent: list[Inference] = []
    session.link.offer = sent.append  # type: ignore[method-assign]  # a stand-in in its place
    first = LayerProfiler(context, name="one", session=session)
    second = LayerProfiler(Context(), name="two", session=session)
    for profiler in (first, second, first):
        with profiler.inference():
            pass
    first.close()
    with second.inference():
        pass
    assert [each.seq for each in sent] == [0, 1, 2, 3]
    second.close()
    session.close(0)


def test_contexts_on_streams_of_their_own_have_a_session_each(context: Context, tmp_path: Path) -> None:
    """What overlaps in time is told apart by its session."""
    with LayerProfiler(context, address=tmp_path) as one, LayerProfiler(Context(), address=tmp_path) as two:
        sent: list[Inference] = []
        one.session.link.offer = two.session.link.offer = sent.append  # type: ignore[method-assign]  # a stand-in in its place
        with one.inference(), two.inference():
            pass
    assert len({each.session for each in sent}) == 2 and [each.seq for each in sent] == [0, 0]


def test_a_graph_is_captured_with_the_profiler_and_reports_after_each_launch(
    context: Context, profiler: LayerProfiler
) -> None:
    """Nothing is measured while it is captured; each launch after it is one inference."""
    with profiler.inference(profiled=False):
        pass
    with profiler.capturing():
        assert context.profiler is not None
    for _ in range(2):
        with profiler.inference():
            pass  # graph.launch(stream)
    assert [len(each.durations_ns) for each in offered(profiler)] == [1, 2, 2]


class Recorded:
    """Events that always lie 10 µs inside the host's anchors."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self, stream: Any) -> None:
        self.calls.append("begin")

    def end(self, stream: Any) -> None:
        self.calls.append("end")

    def elapsed_ms(self) -> tuple[float, float]:
        return float("nan"), 0.98


def test_events_give_the_anchors_where_there_is_a_stream(context: Context, tmp_path: Path) -> None:
    """They are recorded around the block, and an inference without a stream keeps the host's."""
    events, times = Recorded(), iter(range(0, 10**9, 1_000_000))
    stream = types.SimpleNamespace(synchronize=lambda: events.calls.append("synchronize"))
    with LayerProfiler(context, address=tmp_path, clock_ns=lambda: next(times), events=EventClock(events)) as profiler:
        sent: list[Inference] = []
        profiler.session.link.offer = sent.append  # type: ignore[method-assign]  # a stand-in in its place
        assert profiler.anchors == "events"
        with profiler.inference(stream):
            events.calls.append("body")
        early, late = profiler.anchor_uncertainty_ns or (0, 0)
        assert early == pytest.approx(1024) and 20_000 < late < 24_000
        with profiler.inference():
            pass
    assert events.calls == ["begin", "body", "end", "synchronize"]
    assert [(each.begin_ns, each.end_ns) for each in sent] == [(20_000, 1_000_000), (2_000_000, 3_000_000)]


def test_events_that_fail_leave_the_hosts_anchors(context: Context, tmp_path: Path) -> None:
    """A CUDA error of the event is no error of the inference: it is measured by the host's clock from there on."""

    class Failing(Recorded):
        def end(self, stream: Any) -> None:
            raise RuntimeError("cuEventRecord gave 400")

    times = iter(range(0, 10**9, 1_000_000))
    stream = types.SimpleNamespace(synchronize=lambda: None)
    with LayerProfiler(
        context, address=tmp_path, clock_ns=lambda: next(times), events=EventClock(Failing())
    ) as profiler:
        sent: list[Inference] = []
        profiler.session.link.offer = sent.append  # type: ignore[method-assign]  # a stand-in in its place
        with profiler.inference(stream):
            pass
        assert profiler.anchors == "host" and profiler.anchor_uncertainty_ns is None
    assert [(each.begin_ns, each.end_ns) for each in sent] == [(0, 1_000_000)]
