"""CUDA events of PyTorch: around each step of a network, and around the whole inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .context import Ints, TorchContext


class EventTimes:
    """As :class:`~neuralpower.runtimes.torch.context.StepTimes`: a pair of events around each step.

    An event is a stamp that the GPU makes between kernels: it takes a microsecond or two, and keeps the next kernel from starting
    early. Pairs lie a little outside of the kernels.

    Args:
        cuda: `torch.cuda`.
        steps: how many.
        captured: whether they are recorded into a graph, which PyTorch calls external events.
    """

    def __init__(self, cuda: Any, steps: int, captured: bool) -> None:
        kind = {"external": True} if captured else {}
        self._pairs = [[cuda.Event(enable_timing=True, **kind) for _ in range(2)] for _ in range(steps)]
        self._cuda = cuda

    def attach(self, attached: bool) -> None:
        """Nothing: events that nobody records cost nothing."""

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Record both."""
        begin, end = self._pairs[step]
        begin.record(self._cuda.current_stream())
        yield
        end.record(self._cuda.current_stream())

    def pattern(self, run: Callable[[], None]) -> None:
        """Nothing: events are captured where they are recorded."""

    def windows(self) -> Ints:
        """From the first event on: differences of stamps on one clock."""
        first = self._pairs[0][0]
        ms = [[first.elapsed_time(event) if event is not first else 0.0 for event in pair] for pair in self._pairs]
        return np.rint(np.array(ms) * 1e6).astype(np.int64)


class AroundEvents:
    """As :class:`neuralpower.profiler.events.Events`, of PyTorch's own: around the whole inference.

    Where `span_ns` tells how long the steps were from the first to the last (CUPTI), the inference is that long: it ends with the
    last event, which lies right behind the last kernel, and begins so much before.
    """

    def __init__(self, cuda: Any, span_ns: Callable[[], float] = lambda: math.nan) -> None:
        self._pairs = [[cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(2)]
        self._turn, self._ended, self._span_ns = 0, None, span_ns

    def begin(self, stream: Any) -> None:
        """Record the begin in `stream`."""
        self._turn ^= 1
        self._pairs[self._turn][0].record(stream.native)

    def end(self, stream: Any) -> None:
        """Record the end in `stream`."""
        self._pairs[self._turn][1].record(stream.native)

    def elapsed_ms(self) -> tuple[float, float]:
        """The stream is synchronised."""
        begin, end = self._pairs[self._turn]
        before, self._ended = self._ended, end
        span_ms = begin.elapsed_time(end)
        known_ms = self._span_ns() * 1e-6
        shorter_ms = span_ms - known_ms if known_ms <= span_ms else 0.0  # nan compares as False
        pause_ms = before.elapsed_time(begin) if before is not None else math.nan
        return pause_ms + shorter_ms, span_ms - shorter_ms


def span_of(context: TorchContext) -> Callable[[], float]:
    """Of the inference before, if the profiler was attached and knows; nan if not."""

    def span_ns() -> float:
        return float(context.windows_ns()[-1, 1]) if context.profiler is not None else math.nan

    return span_ns
