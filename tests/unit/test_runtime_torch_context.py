"""A network under PyTorch behind TensorRT's face, over a stand-in for its CUDA and CUPTI (simulated), against true windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.worlds.gpu.cuda_stand_in import Cuda, Gpu, Ran

from neuralpower.errors import Failure
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.profiler import LayerProfiler
from neuralpower.profiler.events import EventClock
from neuralpower.runtimes.torch.context import Step, StepTimes, TorchContext, TorchStream
from neuralpower.runtimes.torch.cupti import Activities, KernelTimes
from neuralpower.runtimes.torch.events import AroundEvents, EventTimes, span_of
from neuralpower.runtimes.windows import compare, laid_apart

KERNELS = {"conv": (("conv kernel", 40e3), ("bias kernel", 3e3)), "view": (), "relu": (("relu kernel", 5e3),),
           "fc": (("split", 2e3), ("gemm", 21e3), ("sum", 2e3))}  # fmt: skip
"""A step that runs nothing, and some of several kernels, ns."""


def steps(gpu: Gpu) -> list[Step]:
    def enqueue(kernels: tuple[tuple[str, float], ...]) -> Callable[[], None]:
        return lambda: [gpu.launch(*kernel) for kernel in kernels] and None

    kinds = {"conv": {"kind": "conv", "out_c": 8}, "fc": {"kind": "fc", "out_c": 10, "in_h": 1, "in_w": 1}}
    sizes = {"batch": 1, "in_c": 3, "in_h": 9, "in_w": 9, "out_h": 1, "out_w": 1}
    return [
        Step(
            (Layer(name, **{**sizes, **kinds.get(name, {"kind": "other"})}, layer_type=name.title()),),  # type: ignore[arg-type]  # of each its type
            enqueue(kernels),
        )
        for name, kernels in KERNELS.items()
    ]


def context(gpu: Gpu, how: str, captured: bool, of: list[Step] | None = None) -> TorchContext:
    cuda, parts = Cuda(gpu), of or steps(gpu)
    times: StepTimes
    if how == "cupti":
        times = KernelTimes(Activities(gpu.cupti), len(parts), captured)
    else:
        times = EventTimes(cuda, len(parts), captured)
    return TorchContext(
        "net", parts, cuda, TorchStream(cuda.Stream()), times, captured=captured, about={"Timing": how}, simulated=True
    )


def true_windows(ran: list[Ran]) -> np.ndarray[Any, Any]:
    """(steps, 2) of an inference, from when the first began; a step without a kernel where the one before ended."""
    found, at, last = [], 0, ran[0].begin_ns
    for kernels in KERNELS.values():
        mine = ran[at : at + len(kernels)]
        found.append((mine[0].begin_ns, mine[-1].end_ns) if mine else (last, last))
        at, last = at + len(kernels), found[-1][1]
    return np.array(found) - ran[0].begin_ns


def measured(gpu: Gpu, made: TorchContext, tmp_path: Path, count: int = 30) -> tuple[list[Any], list[list[Ran]]]:
    """Inferences as a daemon would get them, and what ran in each."""
    stream = made._stream
    events = EventClock(AroundEvents(made._cuda, span_of(made)))
    offered: list[Any] = []
    truth = []
    with LayerProfiler(made, address=tmp_path, clock_ns=gpu.clock_ns, events=events) as profiler:
        profiler._link.offer = offered.append  # type: ignore[method-assign]  # a stand-in in its place
        made.execute_async_v3(stream.handle)  # a capture, and the pattern before it, are no inference
        stream.synchronize()
        made.report_to_profiler()
        for _ in range(count):
            gpu.ran.clear()
            with profiler.inference(stream):
                made.execute_async_v3(stream.handle)
            truth.append(list(gpu.ran))
            gpu.now_ns += 3e6
    return offered, truth


@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize(("how", "within_ns"), [("cupti", 1.0), ("events", 4_000.0)])
def test_layers_and_windows_are_the_true_ones(how: str, within_ns: float, captured: bool, tmp_path: Path) -> None:
    """By CUPTI exactly, by events to what these take on the stream and, from the host, the launch that a GPU waits for; anchors to the floor
    of waking up."""
    gpu = Gpu()
    within_ns += 0 if captured or how == "cupti" else gpu.call_ns
    made = context(gpu, how, captured)
    offered, truth = measured(gpu, made, tmp_path)
    assert len(offered) == len(truth) == 30
    late = []
    for inference, ran in zip(offered, truth, strict=True):
        begins = np.cumsum([0, *inference.durations_ns.tolist()])[:-1]
        windows = np.stack([begins, begins + inference.durations_ns], axis=1)[::2]
        ends = true_windows(ran)
        assert np.abs(np.diff(windows, axis=1) - np.diff(ends, axis=1)).max() <= within_ns
        if how == "cupti":
            assert np.abs(windows - ends).max() <= within_ns
            assert windows[1, 0] == windows[1, 1]  # the view
            late.append(inference.begin_ns - ran[0].begin_ns)
            assert inference.end_ns - inference.begin_ns == pytest.approx(ends[-1, 1], abs=1500)
    if late:
        assert np.std(late) < 1500 and 0 < np.mean(late) < gpu.wake_ns + 2 * gpu.event_ns


def test_the_description_tells_layers_as_they_are_and_what_lies_between() -> None:
    """Layers come out of it as they went in; between two lies an entry of its own, no layer; two of a name get different ones."""
    gpu = Gpu()
    parts = [*steps(gpu), steps(gpu)[0]]
    made = context(gpu, "events", True, parts)
    with LayerProfiler(made, address="/nowhere") as profiler:
        document, names = profiler.engine.inspector, profiler.engine.layers
        assert profiler.engine.simulated
    found = layers_from_engine(document)
    assert [each.renamed("") for each in found[::2]] == [step.layers[0].renamed("") for step in parts]
    assert [each.kind for each in found[1::2]] == ["reformat"] * 4
    assert len(set(names)) == len(names) and names[-1] == "conv [2]"


@pytest.mark.parametrize("entry", [{"Layer": 3}, {"Layer": {"kind": "conv", "batch": True}}, {"Layer": {"kind": "fc", "name": "x"}},
                                   {"Layer": {"kind": "conv"}}, {"Layer": {"batch": 1}}])  # fmt: skip
def test_a_layer_that_is_none_is_unclassified(entry: dict[str, Any]) -> None:
    """Whatever stands there in its place."""
    (layer,) = layers_from_engine({"Layers": [{"Name": "a", "LayerType": "Conv", **entry}], "Bindings": []})
    assert layer.kind == "unclassified" and layer.note


def test_copies_share_the_time_of_their_step(tmp_path: Path) -> None:
    """Evenly, to the nanosecond, with nothing between them."""
    gpu = Gpu()
    copies = tuple(Layer(f"relu ×{copy}", "other") for copy in range(1, 8))
    made = context(gpu, "events", True, [Step(copies, lambda: [gpu.launch("k", 10e3) for _ in copies] and None)])
    made.profiler = object()
    made.execute_async_v3(0)
    gpu.wait()
    durations = made.durations_ns()
    assert len(durations) == 7 and np.ptp(durations) <= 1
    assert durations.sum() == made.windows_ns()[0, 1]


def test_without_the_profiler_nothing_is_put_on_the_stream() -> None:
    """Events and records are for inferences with it."""
    gpu = Gpu(jitter=0.0)
    for how in ("events", "cupti"):
        made = context(gpu, how, True)
        lengths = {}
        for profiler in (None, object()):
            made.profiler = profiler
            for _ in range(2):
                gpu.ran.clear()
                made.execute_async_v3(0)
                gpu.wait()
            lengths[profiler is not None] = gpu.ran[-1].end_ns - gpu.ran[0].begin_ns
        longer = lengths[True] - lengths[False]
        assert longer > 4 * gpu.event_ns if how == "events" else longer == pytest.approx(0, abs=1)


def test_records_that_are_not_those_of_the_steps_are_refused() -> None:
    """A graph that ran other kernels than the steps did, or left no records: one line, no durations."""
    gpu = Gpu()
    made = context(gpu, "cupti", True)
    made.profiler = object()
    made.execute_async_v3(0)
    gpu.wait()
    assert len(made.durations_ns()) == 7
    made._graphs[True].nodes.pop()
    made.execute_async_v3(0)
    gpu.wait()
    with pytest.raises(Failure, match="ran 5 kernels, not the 6"):
        made.durations_ns()
    eager = context(gpu, "cupti", False)
    with pytest.raises(Failure, match="no kernel was recorded"):
        eager._times.windows()


def test_windows_by_cupti_and_by_events_are_compared() -> None:
    """Events make each layer longer by what a pair takes; laying durations one after another moves windows by what lies between."""
    found = {}
    for how in ("cupti", "events"):
        gpu = Gpu(jitter=0.0)
        made = context(gpu, how, True)
        made.profiler = object()
        windows = []
        for _ in range(5):
            made.execute_async_v3(0)
            gpu.wait()
            windows.append(made.windows_ns())
        found[how] = np.stack(windows)
    both = compare(found["cupti"], found["events"])
    assert both.longer_s.shape == (4,) and 0.0 < both.longer_s[0] * 1e9 < 4_000
    assert both.layers_ratio == pytest.approx(1 + both.longer_s.sum() / 76.2e-6, rel=0.05)
    apart = laid_apart(found["cupti"])
    assert 0 < apart < 1e-6
