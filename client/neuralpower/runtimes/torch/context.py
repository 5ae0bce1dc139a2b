"""A network under PyTorch behind the face of TensorRT's execution context: its layers timed by CUPTI or by CUDA events.

PyTorch runs each operator of the exported graph as kernels of its own. A step is what is timed as one: the kernels of a layer, or
all copies of a repeated one. With the profiler attached, steps are timed on the GPU's clock, where each began and ended, so the time
between two steps is known as well: it is an entry of its own (type `Idle`) in the description, and windows need not be laid.

Nothing here imports torch: `cuda` is `torch.cuda`, or a stand-in of the same face.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import Failure
from ...features.inspector.told import IDLE, told
from ...features.layers import Layer

Ints = npt.NDArray[np.int64]

WARM_UP = 3
"""Runs before a capture: libraries make their handles and choose their kernels, which a capture does not allow."""


@dataclass(frozen=True)
class Step:
    """Layers that are timed together and share the time evenly (copies of one), and what enqueues them on the current stream."""

    layers: tuple[Layer, ...]
    enqueue: Callable[[], None]


class StepTimes(Protocol):
    """Tells when the steps of an inference began and ended, ns on a clock of the GPU."""

    def attach(self, attached: bool) -> None:
        """Begin or end to look."""
        ...

    def around(self, step: int) -> AbstractContextManager[None]:
        """Around enqueuing a step, or capturing it."""
        ...

    def pattern(self, run: Callable[[], None]) -> None:
        """Before a capture: `run` does one inference step by step from the host, to its end."""
        ...

    def windows(self) -> Ints:
        """(steps, 2) of the last inference, which has ended; asked once for each."""
        ...


class TorchStream:
    """A stream of PyTorch under the names that TensorRT's users know."""

    def __init__(self, stream: Any) -> None:
        self.native = stream

    @property
    def handle(self) -> int:
        """Its number."""
        return int(self.native.cuda_stream)

    def synchronize(self) -> None:
        """Wait until all that was enqueued is done."""
        self.native.synchronize()


class TorchInspector:
    """As `IEngineInspector`."""

    execution_context: Any = None

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def get_engine_information(self, format: Any = None) -> str:
        """The description as JSON, whatever `format` asks for."""
        return json.dumps(self._document)


class TorchEngine:
    """As `ICudaEngine`, as far as a profiler looks."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self.name, self._document = name, document

    def create_engine_inspector(self) -> TorchInspector:
        """What tells the description."""
        return TorchInspector(self._document)


class TorchContext:
    """As `IExecutionContext`: see :class:`neuralpower.runtimes.runtime.Context`.

    Args:
        name: of the network.
        steps: in the order in which they run.
        cuda: `torch.cuda`.
        stream: what they run on.
        times: what times them.
        captured: run as CUDA graphs, one for each of `profiler` set and None; else step by step from the host.
        about: more of the description, such as the version.
        begin: called before the first step of each run from the host.
    """

    def __init__(
        self,
        name: str,
        steps: Sequence[Step],
        cuda: Any,
        stream: TorchStream,
        times: StepTimes,
        *,
        captured: bool,
        about: dict[str, Any],
        begin: Callable[[], None] = lambda: None,
        simulated: bool = False,
    ) -> None:
        self._steps, self._cuda, self._stream, self._times, self._begin = list(steps), cuda, stream, times, begin
        self.captured, self.simulated = captured, simulated
        self.enqueue_emits_profile = True
        document = description(steps, about)
        self.engine = TorchEngine(name, document)
        self._names = [layer["Name"] for layer in document["Layers"]]
        self._profiler: Any = None
        self._graphs: dict[bool, Any] = {}
        self._windows: Ints | None = None
        self._plain()

    @property
    def profiler(self) -> Any:
        """What is told each layer's duration, or None."""
        return self._profiler

    @profiler.setter
    def profiler(self, value: Any) -> None:
        if (value is None) != (self._profiler is None):
            self._times.attach(value is not None)
        self._profiler = value

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue an inference on the context's own stream."""
        profiled = self._profiler is not None
        self._windows = None
        with self._cuda.stream(self._stream.native):
            if not self.captured:
                self._enqueue(profiled)
                return True
            if profiled not in self._graphs:
                self._graphs[profiled] = self._capture(profiled)
            self._graphs[profiled].replay()
        return True

    def report_to_profiler(self) -> bool:
        """Each entry's time in milliseconds, in order."""
        if self._profiler is None:
            return False
        for name, ns in zip(self._names, self.durations_ns().tolist(), strict=True):
            self._profiler.report_layer_time(name, ns * 1e-6)
        return True

    def durations_ns(self) -> Ints:
        """(entries,) of the last inference: layers, and the time between steps."""
        windows = self.windows_ns()
        found: list[int] = []
        for number, (step, (begin, end)) in enumerate(zip(self._steps, windows.tolist(), strict=True)):
            if number:
                found.append(max(0, begin - int(windows[number - 1, 1])))
            edges = np.linspace(0, end - begin, len(step.layers) + 1).round().astype(np.int64)
            found += np.diff(edges).tolist()
        return np.array(found, np.int64)

    def windows_ns(self) -> Ints:
        """(steps, 2) when each step of the last inference with the profiler began and ended, from when the first began."""
        if self._windows is not None:
            return self._windows
        windows = self._times.windows()
        if windows.shape != (len(self._steps), 2):
            raise Failure(f"{self.engine.name}: {len(self._steps)} steps ran and {len(windows)} were timed")
        self._windows = np.asarray(windows - windows[0, 0], np.int64)
        return self._windows

    def _plain(self) -> None:
        """Run it a few times from the host, without anything that looks."""
        with self._cuda.stream(self._stream.native):
            for _ in range(WARM_UP):
                self._enqueue(False)
        self._stream.synchronize()

    def _from_host(self) -> None:
        self._enqueue(True)
        self._stream.synchronize()

    def _enqueue(self, profiled: bool) -> None:
        self._begin()
        for number, step in enumerate(self._steps):
            with self._times.around(number) if profiled else nullcontext():
                step.enqueue()

    def _capture(self, profiled: bool) -> Any:
        if profiled:
            self._times.pattern(self._from_host)
        graph = self._cuda.CUDAGraph()
        with self._cuda.graph(graph, stream=self._stream.native):
            self._enqueue(profiled)
        return graph


def description(steps: Sequence[Step], about: dict[str, Any]) -> dict[str, Any]:
    """What an inspector would tell: an entry for each layer, with `Idle` between two steps. Names are made different."""
    seen: dict[str, int] = {}

    def unique(name: str) -> str:
        seen[name] = seen.get(name, 0) + 1
        return name if seen[name] == 1 else f"{name} [{seen[name]}]"

    entries: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        if number:
            entries.append({"Name": unique(f"idle {number}"), "LayerType": IDLE})
        entries += [told(layer, unique(layer.name)) for layer in step.layers]
    return {"Layers": entries, "Bindings": [], **about}
