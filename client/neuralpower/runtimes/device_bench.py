"""A program of a real runtime, ready for an experiment, and what such runtimes have in common."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field

from ..address import AddressLike
from ..experiment.design import InferenceOrder
from ..experiment.experiment import Bench, Declares, Outcome
from ..profiler.layer_profiler import LayerProfiler
from .runtime import Program, seconds_of
from .steady import LONGEST_S, DaemonLooks, SteadyState, warm_up

WARM_UP_S = 2.0
"""At least: caches, lazily loaded kernels and the clocks' first steps take about a second."""
THROTTLED = "throttled"
"""Kind of a mark over an experiment in which the GPU held its clocks back."""
_SHORT_SLEEP_S = 0.002


@dataclass
class DeviceBench:
    """As :class:`neuralpower.experiment.experiment.Bench`; warms up when it is made, until the GPU's temperature and clocks stand still."""

    program: Program
    address: AddressLike
    warm_up_s: float = WARM_UP_S
    longest_s: float = LONGEST_S
    inference_s: float = 0.0
    simulated: bool = False
    profiler: LayerProfiler = field(init=False)
    warm: SteadyState = field(init=False)
    """How the warm-up ended."""
    began_ns: int = field(init=False)

    def __post_init__(self) -> None:
        program = self.program
        self.simulated = bool(getattr(program.context, "simulated", False))
        looks = DaemonLooks(self.address)
        try:
            self.warm = warm_up(program.run, looks, self.warm_up_s, longest_s=self.longest_s)
        finally:
            looks.close()
        self.began_ns = time.monotonic_ns()
        self.inference_s = seconds_of(program)
        self.profiler = LayerProfiler(program.context, address=self.address, name=program.name, events=program.events)

    def lay(self, course: InferenceOrder) -> None:
        """Nothing: a real device needs no plan."""

    def wait(self, pause_ns: int) -> None:
        """Sleep in short pieces, as the gaps are, so that a rest is a long gap and nothing else."""
        until = time.monotonic_ns() + pause_ns
        while (left_s := (until - time.monotonic_ns()) * 1e-9) > 0:
            time.sleep(min(left_s, _SHORT_SLEEP_S))

    def infer(self, profiled: bool) -> tuple[int, int]:
        """One inference through the profiler."""
        with self.profiler.inference(self.program.stream, profiled=profiled):
            self.program.context.execute_async_v3(self.program.stream.handle)
        return self.profiler.last

    def rest(self, seconds: float) -> None:
        """The same behind a round."""
        self.wait(round(seconds * 1e9))

    def idle(self, seconds: float) -> None:
        """One long sleep."""
        time.sleep(seconds)

    def close(self, outcome: Outcome, marks: Declares) -> None:
        """Say and mark what was found of temperature and clocks."""
        outcome.notes += self.warm.notes(self.program.name)
        if self.warm.throttled:
            marks.span(THROTTLED, self.warm.throttled, self.began_ns, time.monotonic_ns(), engine=outcome.name)


class DeviceRuntime:
    """The part of :class:`~neuralpower.runtimes.runtime.Runtime` that is the same for whatever runs on a GPU of this machine."""

    def opened(self, address: AddressLike) -> contextlib.AbstractContextManager[None]:
        """Nothing to hold."""
        return contextlib.nullcontext()

    def seconds(self, program: Program) -> float:
        """By the host's clock."""
        return seconds_of(program)

    def bench(self, program: Program, address: AddressLike) -> Bench:
        """Warm."""
        return DeviceBench(program, address)

    def ended(self, bench: Bench, outcome: Outcome, marks: Declares) -> None:
        """Memory goes with the program."""
        assert isinstance(bench, DeviceBench)
        bench.close(outcome, marks)

    def notes(self) -> list[str]:
        """None."""
        return []

    def idle(self, seconds: float) -> None:
        """One long sleep."""
        time.sleep(seconds)
