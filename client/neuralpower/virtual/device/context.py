"""The face of TensorRT's execution context, over the virtual device."""

from __future__ import annotations

import json
import sys
import traceback
from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import Failure
from .load import Load
from .plan import Chunk

if TYPE_CHECKING:
    from .device import VirtualDevice


class Planned(NamedTuple):
    """One inference to come: the host's anchors, the GPU's end, and what TensorRT will report, in nanoseconds."""

    enter_ns: int
    end_ns: int
    leave_ns: int
    reported_ns: np.ndarray[Any, np.dtype[np.int64]]
    profiled: bool | None = None
    """Whether it was planned with the profiler attached; None where nobody said."""


class ContextPhase(Enum):
    """Where the context is: before an inference, in it, or after it with the durations not yet reported."""

    READY = auto()
    RUNNING = auto()
    DONE = auto()


class VirtualInspector:
    """As `IEngineInspector`."""

    execution_context: Any = None

    def __init__(self, inspector: dict[str, Any]) -> None:
        self._inspector = inspector

    def get_engine_information(self, format: Any = None) -> str:
        """The engine's description as JSON, whatever `format` asks for."""
        return json.dumps(self._inspector)


class VirtualEngine:
    """As `ICudaEngine`, as far as a profiler looks."""

    def __init__(self, load: Load) -> None:
        self.name = load.name
        self.num_layers = len(load.layers)
        self._load = load

    def create_engine_inspector(self) -> VirtualInspector:
        """What tells the engine's description."""
        return VirtualInspector(self._load.inspector)


class VirtualStream:
    """As a CUDA stream: `handle`, and `synchronize` that waits for the last inference enqueued."""

    handle = 0

    def __init__(self, device: VirtualDevice) -> None:
        self._device = device
        self.running: VirtualContext | None = None

    def synchronize(self) -> None:
        """Wait in real time until the planned end has passed."""
        if self.running is not None:
            self.running.finish()
            self.running = None


class VirtualContext:
    """As `IExecutionContext`: the `runs` inferences that the device has planned, one for each call of execute.

    The host clock of its anchors is `clock_ns`: pass it to the profiler.
    """

    simulated = True

    def __init__(self, device: VirtualDevice, load: Load, runs: int) -> None:
        self.engine = VirtualEngine(load)
        self.load = load
        self.profiler: Any = None
        self.enqueue_emits_profile = True
        self.unplanned = self.runs = runs
        self._device = device
        self.rest_ns = 0
        self._pauses_ns = np.zeros(0, np.int64)
        self._profiled = np.zeros(0, np.bool_)
        self._planned: deque[Planned] = deque()
        self._current: Planned | None = None
        self._phase = ContextPhase.READY

    @property
    def remaining(self) -> int:
        """Inferences not executed yet."""
        return self.unplanned + len(self._planned)

    def extend(self, pauses_ns: np.ndarray[Any, Any], profiled: np.ndarray[Any, Any], rest_ns: int = 0) -> None:
        """Ask for as many more inferences, the host waiting `pauses_ns` before each, `profiled` or not: (n,) each, and waiting
        `rest_ns` behind the last."""
        with self._device.queued(self):
            self.rest_ns = rest_ns
            self._pauses_ns = np.concatenate([self._pauses_ns[len(self._pauses_ns) - self.unplanned :], pauses_ns])
            self._profiled = np.concatenate([self._profiled[len(self._profiled) - self.unplanned :], profiled])
            self.runs += len(pauses_ns)
            self.unplanned += len(pauses_ns)

    def course(self, count: int) -> dict[str, Any]:
        """Pauses and profiler of the next `count` inferences, as the planner takes them; nothing where none were given."""
        if not len(self._pauses_ns):
            return {}
        at = len(self._pauses_ns) - self.unplanned
        return {"pauses_ns": self._pauses_ns[at : at + count], "profiled": self._profiled[at : at + count]}

    def take(self, chunk: Chunk) -> None:
        """The device has planned `chunk` for this context."""
        ends, leaves = chunk.end_ns.tolist(), chunk.leave_ns.tolist()
        profiled = self.course(len(ends)).get("profiled")
        said = [None] * len(ends) if profiled is None else profiled.tolist()
        self._planned += map(Planned, chunk.enter_ns.tolist(), ends, leaves, chunk.reported_ns, said)
        # Last: another thread may look at `remaining`, which must not be too small meanwhile.
        self.unplanned -= len(chunk.begin_ns)

    def clock_ns(self) -> int:
        """The simulated host's CLOCK_MONOTONIC: entering enqueue before an inference, leaving synchronise after it."""
        if self._phase is ContextPhase.READY:
            return self._next().enter_ns
        assert self._current is not None
        if self._phase is ContextPhase.RUNNING:
            return self._current.enter_ns
        if self.profiler is None:
            self._phase = ContextPhase.READY  # nothing is reported of this one, so its end is looked at last
        return self._current.leave_ns

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Start the next planned inference.

        Raises:
            Failure: all planned inferences are done, the last is still running, or the profiler is not as it was planned.
        """
        if self._phase is ContextPhase.RUNNING:
            raise Failure(f"{self.load.name}: synchronise before the next inference")
        planned = self._next().profiled
        if planned is not None and planned != (self.profiler is not None):
            raise Failure(f"{self.load.name}: planned {'with' if planned else 'without'} the profiler")
        self._current = self._planned.popleft()
        self._phase = ContextPhase.RUNNING
        self._device.stream.running = self
        if self.enqueue_emits_profile and self.profiler is not None:
            self._device.stream.synchronize()
            self.report_to_profiler()
        return True

    def finish(self) -> None:
        """Wait until the inference under way has ended."""
        if self._phase is ContextPhase.RUNNING and self._current is not None:
            self._device.wait_until(self._current.leave_ns)
            self._phase = ContextPhase.DONE

    def report_to_profiler(self) -> bool:
        """Call the profiler with each layer's time in milliseconds (as a C float), in order, in a burst."""
        if self._phase is not ContextPhase.DONE or self._current is None or self.profiler is None:
            return False
        self._phase = ContextPhase.READY
        ms = (self._current.reported_ns * 1e-6).astype(np.float32).tolist()
        for name, duration in zip(self.load.layers, ms, strict=True):
            try:
                self.profiler.report_layer_time(name, duration)
            except BaseException:  # as TensorRT's bindings do: printed, and gone
                traceback.print_exc(file=sys.stderr)
        return True

    def _next(self) -> Planned:
        if not self.remaining:
            raise Failure(f"{self.load.name}: all {self.runs} planned inferences are done; load it again for more")
        while not self._planned:
            self._device.advance()
        return self._planned[0]
