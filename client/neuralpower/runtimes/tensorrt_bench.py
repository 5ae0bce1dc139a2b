"""An engine of real TensorRT, ready for an experiment. Written from the documentation of TensorRT 8.6 to 11 and PyCUDA.

The names that it uses are checked against the real bindings (`make test-bindings`); it has not run on a GPU.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..address import AddressLike
from ..errors import InputError
from ..experiment.design import InferenceOrder
from ..profiler.layer_profiler import LayerProfiler
from . import build, cuda
from .sources import is_exported, onnx_of, title

WARM_UP_S = 2.0
"""Caches, lazily loaded kernels and the clocks' first steps take about a second."""
WARM_UP_RUNS = 20
TIMED = 50
_SHORT_SLEEP_S = 0.002


@dataclass
class Loaded:
    """A context with its stream, the memory and all else that must outlive it, and what was said while it was built."""

    context: Any
    stream: Any
    held: list[Any]
    notes: tuple[str, ...] = ()
    name: str = ""


def load(spec: str, options: build.Options) -> Loaded:
    """Build or read the engine of `spec` (ONNX, `torch:`, `hub:`, a serialized engine), and give it memory.

    Raises:
        InputError: not something that TensorRT takes.
        Failure: TensorRT cannot build it.
    """
    import tensorrt as trt

    cuda.make_current()
    if spec.endswith(".onnx") or is_exported(spec):
        with onnx_of(spec, options.batch) as path:
            plan = build.build(trt, str(path), options)
    else:
        plan = build.EnginePlan(build.read_plan(spec))
    return _loaded(trt, spec, plan)


def _loaded(trt: Any, spec: str, plan: build.EnginePlan, shared: bool = False) -> Loaded:
    logger = trt.Logger(trt.Logger.WARNING)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan.serialized)
    if engine is None:
        raise InputError(f"{spec}: neither an ONNX model nor an engine of TensorRT {trt.__version__} for this GPU")
    context = engine.create_execution_context()
    held = [*cuda.bind(trt, context, shared), engine, runtime, logger]
    return Loaded(context, cuda.new_stream(), held, plan.notes, title(spec))


def load_repeated(path: Path, options: build.Options, name: str) -> Loaded:
    """The engine of a repeated-layer model, its copies' inputs and outputs in one piece of memory each."""
    import tensorrt as trt

    cuda.make_current()
    loaded = _loaded(trt, str(path), build.build(trt, str(path), options), shared=True)
    loaded.name = name
    return loaded


def time_of(loaded: Loaded, runs: int = TIMED) -> float:
    """Seconds of an inference without the profiler, by the host's clock, after a few to warm up."""
    for _ in range(WARM_UP_RUNS):
        _run(loaded)
    begin = time.perf_counter()
    for _ in range(runs):
        _run(loaded)
    return (time.perf_counter() - begin) / runs


def _run(loaded: Loaded) -> None:
    loaded.context.execute_async_v3(loaded.stream.handle)
    loaded.stream.synchronize()


@dataclass
class TensorrtBench:
    """As :class:`neuralpower.experiment.experiment.Bench`; warms up when it is made."""

    loaded: Loaded
    address: AddressLike
    simulated: bool = False
    inference_s: float = 0.0
    profiler: LayerProfiler = field(init=False)

    def __post_init__(self) -> None:
        deadline = time.monotonic() + WARM_UP_S
        while time.monotonic() < deadline:
            _run(self.loaded)
        self.inference_s = time_of(self.loaded)
        self.profiler = LayerProfiler(self.loaded.context, address=self.address, name=self.loaded.name)

    def lay(self, course: InferenceOrder) -> None:
        """Nothing: a real device needs no plan."""

    def wait(self, pause_ns: int) -> None:
        """Sleep in short pieces, as the gaps are, so that a rest is a long gap and nothing else."""
        until = time.monotonic_ns() + pause_ns
        while (left_s := (until - time.monotonic_ns()) * 1e-9) > 0:
            time.sleep(min(left_s, _SHORT_SLEEP_S))

    def infer(self, profiled: bool) -> tuple[int, int]:
        """One inference through the profiler."""
        with self.profiler.inference(self.loaded.stream, profiled=profiled):
            self.loaded.context.execute_async_v3(self.loaded.stream.handle)
        return self.profiler.last

    def rest(self, seconds: float) -> None:
        """The same behind a round."""
        self.wait(round(seconds * 1e9))

    def idle(self, seconds: float) -> None:
        """One long sleep."""
        time.sleep(seconds)
