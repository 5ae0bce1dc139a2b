"""A stand-in for `torch.cuda` and for `cupti.cupti`: a GPU in virtual time whose kernels' true begin and end are known. Simulated.

The host needs `call_ns` for each launch and `replay_ns` for a graph; kernels of the one stream follow one another, `gap_ns` apart at least. An event is a
stamp that takes the stream `event_ns`. The GPU's clock and CUPTI's are off from the host's by constants. As far as CUPTI says nothing else,
it is as strict as it could be: a graph that was captured while nobody looked leaves no records, and events in a graph must be external ones.
"""

from __future__ import annotations

import enum
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GPU_OFFSET_NS, CUPTI_OFFSET_NS = 7_000_000_000, 1_700_000_000_000_000_000


@dataclass
class Ran:
    """A kernel as it really ran, ns on the host's clock."""

    name: str
    begin_ns: float
    end_ns: float


@dataclass
class Node:
    """What a graph holds: a kernel, or an event to record."""

    name: str = ""
    ns: float = 0.0
    traced: bool = False
    event: CudaEvent | None = None


@dataclass
class Gpu:
    """The device and its host, in virtual time. `jitter` is the standard deviation of a kernel's duration, of 1."""

    seed: int = 0
    jitter: float = 0.01
    call_ns: float = 6_000.0
    replay_ns: float = 12_000.0
    gap_ns: float = 800.0
    event_ns: float = 1_500.0
    wake_ns: float = 9_000.0
    now_ns: float = 1e12
    ran: list[Ran] = field(default_factory=list)
    external: bool = True
    """Whether its PyTorch has external events."""

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._free_ns = self.now_ns
        self._graph: list[Node] | None = None
        self.cupti = Cupti(self)
        self.call = 0

    def clock_ns(self) -> int:
        """CLOCK_MONOTONIC of the host, which moves a little with each look."""
        self.now_ns += 100
        return round(self.now_ns)

    def launch(self, name: str, ns: float) -> None:
        """A kernel, from the host, or into the graph that is captured."""
        traced = self.cupti.looks
        if self._graph is not None:
            self._graph.append(Node(name, ns, traced))
            return
        self.now_ns += self.call_ns
        self.call += 1
        self.cupti.launched(self.call)
        self._kernel(Node(name, ns, traced))

    def stamp(self, event: CudaEvent) -> None:
        """Record an event."""
        if self._graph is not None:
            if not event.external:
                raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
            self._graph.append(Node(event=event))
            return
        self.now_ns += 1_000
        self._mark(event)

    def replay(self, nodes: list[Node]) -> None:
        """A graph, in one call."""
        self.now_ns += self.replay_ns
        self.call += 1
        for node in nodes:
            if node.event is not None:
                self._mark(node.event)
            else:
                self._kernel(node)

    def wait(self) -> None:
        """The host waits for all."""
        self.now_ns = max(self.now_ns, self._free_ns) + self.wake_ns

    @contextmanager
    def capturing(self, graph: CudaGraph) -> Iterator[None]:
        """What is launched goes into the graph."""
        self._graph = graph.nodes
        try:
            yield
        finally:
            self._graph = None

    def _kernel(self, node: Node) -> None:
        begin = max(self.now_ns, self._free_ns + self.gap_ns)
        end = begin + node.ns * (1 + self.jitter * self._random.standard_normal())
        self._free_ns = end
        self.ran.append(Ran(node.name, begin, end))
        if node.traced and self.cupti.looks:
            self.cupti.record(node.name, begin, end, self.call)

    def _mark(self, event: CudaEvent) -> None:
        self._free_ns = max(self.now_ns, self._free_ns) + self.event_ns
        event.at_ns = self._free_ns + GPU_OFFSET_NS


@dataclass
class CudaEvent:
    """As `torch.cuda.Event`."""

    gpu: Gpu
    external: bool
    at_ns: float | None = None

    def record(self, stream: Any) -> None:
        """Into the stream."""
        self.gpu.stamp(self)

    def elapsed_time(self, other: CudaEvent) -> float:
        """Milliseconds, a float of 32 bits."""
        if self.at_ns is None or other.at_ns is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return float(np.float32((other.at_ns - self.at_ns) * 1e-6))


@dataclass
class CudaStream:
    """As `torch.cuda.Stream`."""

    gpu: Gpu
    cuda_stream: int = 17

    def synchronize(self) -> None:
        """Wait."""
        self.gpu.wait()


class CudaGraph:
    """As `torch.cuda.CUDAGraph`."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self.nodes = gpu, list[Node]()

    def replay(self) -> None:
        """Launch it."""
        self._gpu.replay(self.nodes)


class Cuda:
    """As `torch.cuda`. `within` surrounds all that runs on its stream; a test turns what PyTorch computes into kernels there."""

    def __init__(self, gpu: Gpu, within: Callable[[], Any] | None = None) -> None:
        self.gpu, self._within, self._stream = gpu, within, CudaStream(gpu)
        self._inside = False

    def Event(self, enable_timing: bool = False, **kind: bool) -> CudaEvent:
        if kind and not self.gpu.external:
            raise TypeError("Event() got an unexpected keyword argument 'external'")
        assert enable_timing
        return CudaEvent(self.gpu, kind.get("external", False))

    def Stream(self) -> CudaStream:
        return self._stream

    def CUDAGraph(self) -> CudaGraph:
        return CudaGraph(self.gpu)

    def current_stream(self) -> CudaStream:
        return self._stream

    @contextmanager
    def stream(self, stream: CudaStream) -> Iterator[None]:
        if self._within is None or self._inside:  # a stream within a stream: what runs there is a kernel once
            yield
            return
        self._inside = True
        try:
            with self._within():
                yield
        finally:
            self._inside = False

    @contextmanager
    def graph(self, graph: CudaGraph, stream: CudaStream) -> Iterator[None]:
        with self.gpu.capturing(graph):
            yield


class ActivityKind(enum.IntEnum):
    MEMCPY, MEMSET, DRIVER, RUNTIME, CONCURRENT_KERNEL, EXTERNAL_CORRELATION = 1, 2, 4, 5, 10, 39


class ExternalCorrelationKind(enum.IntEnum):
    CUSTOM0 = 3


class Cupti:
    """As the module `cupti.cupti`, as far as `runtimes/torch/cupti.py` goes."""

    ActivityKind, ExternalCorrelationKind = ActivityKind, ExternalCorrelationKind

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self._pushed, self._waiting = gpu, list[int](), list[Any]()
        self._on: set[int] = set()
        self._completed: Callable[[list[Any]], None] = lambda activities: None

    @property
    def looks(self) -> bool:
        """Whether kernels are recorded."""
        return ActivityKind.CONCURRENT_KERNEL in self._on

    def activity_register_callbacks(self, requested: Callable[[], tuple[int, int]], completed: Any) -> None:
        assert requested()[0] > 0
        self._completed = completed

    def activity_enable(self, kind: int) -> None:
        self._on.add(kind)

    def activity_disable(self, kind: int) -> None:
        self._on.discard(kind)

    def activity_push_external_correlation_id(self, kind: int, number: int) -> None:
        self._pushed.append(number)

    def activity_pop_external_correlation_id(self, kind: int) -> int:
        return self._pushed.pop()

    def activity_flush_all(self, flag: int) -> None:
        waiting, self._waiting = self._waiting, []
        self._completed(waiting)

    def launched(self, call: int) -> None:
        """A call that launches something: where calls leave records, that of this one is tied to what is pushed.

        Some libraries call the runtime, some the driver, so both must be looked at.
        """
        wanted = {ActivityKind.EXTERNAL_CORRELATION, ActivityKind.DRIVER, ActivityKind.RUNTIME}
        if wanted <= self._on:
            self._waiting.append(types.SimpleNamespace(kind=ActivityKind.DRIVER, correlation_id=call, name=""))
        if wanted <= self._on and self._pushed:
            kinds = {"kind": ActivityKind.EXTERNAL_CORRELATION, "external_kind": ExternalCorrelationKind.CUSTOM0}
            self._waiting.append(types.SimpleNamespace(**kinds, correlation_id=call, external_id=self._pushed[-1]))

    def record(self, name: str, begin_ns: float, end_ns: float, call: int) -> None:
        """A kernel that has ended."""
        times = {"start": round(begin_ns) + CUPTI_OFFSET_NS, "end": round(end_ns) + CUPTI_OFFSET_NS}
        kernel = types.SimpleNamespace(kind=ActivityKind.CONCURRENT_KERNEL, name=name, correlation_id=call, **times)
        self._waiting.insert(0, kernel)  # buffers come in any order


class RealTimeGpu(Gpu):
    """The same in the host's own time: a launch takes what it takes, and waiting sleeps."""

    @property
    def now_ns(self) -> float:
        """CLOCK_MONOTONIC."""
        return float(time.monotonic_ns())

    @now_ns.setter
    def now_ns(self, value: float) -> None:
        """What the host does takes its own time."""

    def wait(self) -> None:
        """Until all has run."""
        while (left_ns := self._free_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns * 1e-9)
