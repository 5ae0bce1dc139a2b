"""What a runtime is: it builds a network, runs it, and tells how long each layer took, when that was, and what the layers are.

TensorRT's execution context has all of that in five names, and :class:`~neuralpower.profiler.LayerProfiler` speaks to them.
So whatever else runs networks shows the same face (:class:`Context`), and the profiler, the wire and attribution do not differ.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..address import AddressLike
from ..experiment.experiment import Bench, Declares, Outcome
from ..features.layers import Layer
from ..profiler.events import EventClock
from .options import Options

WARM_UP_RUNS = 20
TIMED = 50


class Stream(Protocol):
    """A CUDA stream, or what stands for one."""

    @property
    def handle(self) -> int:
        """Its number."""
        ...

    def synchronize(self) -> None:
        """Wait until all that was enqueued is done."""
        ...


class Context(Protocol):
    """An execution context as TensorRT has it. `simulated = True` is an attribute of those that are.

    `engine.create_engine_inspector()` gives the description: `get_engine_information(format)` is JSON with `Layers` in the order in
    which they run, in the words of TensorRT's inspector (docs/features.md). `profiler` is None, or is told each layer's duration.
    """

    engine: Any
    profiler: Any
    enqueue_emits_profile: bool

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue an inference: so that layers can be timed where `profiler` is set, as a service would run it where it is None."""
        ...

    def report_to_profiler(self) -> bool:
        """Once the inference has ended: `profiler.report_layer_time(name, ms)` for each layer, in order."""
        ...


@dataclass
class Program:
    """A network that is built and has memory: its context and stream, all else that must outlive them, and what was said meanwhile.

    `events` tells the anchors of an inference on the GPU's clock; None: the profiler looks for itself.
    """

    name: str
    context: Context
    stream: Stream
    held: list[Any] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    events: EventClock | None = None

    def run(self) -> None:
        """One inference, to its end."""
        self.context.execute_async_v3(self.stream.handle)
        self.stream.synchronize()


class Runtime(Protocol):
    """Builds networks and runs them. `name` is what `--runtime` calls it; nothing is imported or opened before it is asked for something."""

    name: str
    simulated: bool

    def why_not(self) -> str:
        """Why it cannot run here, in one line; empty where it can."""
        ...

    def about(self) -> str:
        """What it is and on which device, in one line."""
        ...

    def opened(self, address: AddressLike) -> AbstractContextManager[None]:
        """Hold the device while networks run; `address` is the daemon's directory."""
        ...

    def load(self, spec: str, options: Options) -> Program:
        """Build a network.

        Raises:
            InputError: not something that it takes.
            Failure: it cannot be built.
        """
        ...

    def layers(self, spec: str, options: Options) -> list[Layer]:
        """The layers of a network, without building it."""
        ...

    def repeated(self, layer: Layer, copies: int, options: Options, name: str) -> Program:
        """So many copies of a layer, one after another, as a network of their own.

        Raises:
            InputError: a layer that it cannot make alone.
        """
        ...

    def seconds(self, program: Program) -> float:
        """How long an inference takes without the profiler, roughly."""
        ...

    def bench(self, program: Program, address: AddressLike) -> Bench:
        """The program with its profiler, warm, ready for an experiment."""
        ...

    def ended(self, bench: Bench, outcome: Outcome, marks: Declares) -> None:
        """Let go of a program whose experiment has ended."""
        ...

    def notes(self) -> list[str]:
        """What must be said of all that ran, once it is over."""
        ...

    def idle(self, seconds: float) -> None:
        """Let time pass in which nothing runs."""
        ...


def seconds_of(program: Program, runs: int = TIMED) -> float:
    """Seconds of an inference without the profiler, by the host's clock, after a few to warm up."""
    for _ in range(WARM_UP_RUNS):
        program.run()
    begin = time.perf_counter()
    for _ in range(runs):
        program.run()
    return (time.perf_counter() - begin) / runs
