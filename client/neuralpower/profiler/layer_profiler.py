"""The profiler of one execution context: host anchors around an inference, the layers' durations after it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from neuralpower_wire.link import Engine, Hello, Inference

from .callback import Burst, callback_for
from .description import describe
from .link import DEFAULT_ADDRESS, Counts, Link


class ProfilerError(RuntimeError):
    """TensorRT reported other layers than the engine has, or none: the durations cannot be trusted."""


class LayerProfiler:
    """Attaches to an `IExecutionContext` and sends each inference's layer durations to neuralpowerd::

        profiler = LayerProfiler(context)
        with profiler.inference():
            context.execute_async_v3(stream.handle)
            stream.synchronize()

    The daemon may be absent, die or restart: nothing here waits for it, and `counts` tells what was dropped.

    Args:
        context: TensorRT's, or the virtual device's.
        engine: the context's engine; `context.engine` if None.
        address: the daemon's runtime directory or its inferences socket.
        name: what to call the engine; its own name if empty.
        clock_ns: the host clock of the anchors, CLOCK_MONOTONIC; a virtual context brings its own.

    Raises:
        ValueError: the engine inspector gives no description.
        WireError: the description is too large to send.
    """

    def __init__(
        self,
        context: Any,
        engine: Any = None,
        *,
        address: str | os.PathLike[str] = DEFAULT_ADDRESS,
        name: str = "",
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._context = context
        self._clock_ns = clock_ns
        self._burst = Burst()
        self._session = os.urandom(16)
        self._seq = 0
        self.engine: Engine = describe(context, context.engine if engine is None else engine, name)
        self._link = Link(address, Hello(self._session, os.getpid(), self.engine.name))
        self._link.add_engine(self.engine)
        # Emitting from enqueue would make it synchronous; reporting afterwards keeps the inference as it was.
        context.enqueue_emits_profile = False
        context.profiler = self._callback = callback_for(context, self._burst)

    @property
    def counts(self) -> Counts:
        """Inferences offered, acknowledged, refused and dropped so far."""
        return self._link.counts

    @property
    def pending(self) -> int:
        """Inferences that the daemon has not acknowledged yet."""
        return self._link.pending

    @property
    def last_refusal(self) -> str:
        """Why the daemon last refused an inference; empty if it never did."""
        return self._link.last_refusal

    @contextmanager
    def inference(self, stream: Any = None) -> Iterator[None]:
        """Measure the inference enqueued in the block; it must be complete when the block ends.

        Args:
            stream: synchronised at the end of the block if given (`stream.synchronize()`).

        Raises:
            ProfilerError: the layers reported are not the engine's, in number and order.
            BaseException: what was raised inside the callback, where TensorRT had swallowed it.
        """
        self._burst.clear()
        begin_ns = self._clock_ns()
        yield
        if stream is not None:
            stream.synchronize()
        end_ns = self._clock_ns()
        self._context.report_to_profiler()
        self._take(begin_ns, end_ns)

    def poll(self) -> None:
        """Exchange messages with the daemon; useful where inferences are rare. Never blocks."""
        self._link.poll()

    def close(self, timeout_s: float = 1.0) -> None:
        """Detach, and give the daemon up to `timeout_s` to acknowledge what is under way."""
        self._context.profiler = None
        self._link.close(timeout_s)

    def __enter__(self) -> LayerProfiler:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, begin_ns: int, end_ns: int) -> None:
        seq, self._seq = self._seq, self._seq + 1
        burst = self._burst
        if burst.error is not None:
            raise burst.error
        if burst.names != self.engine.layers:
            raise ProfilerError(self._difference())
        durations_ns = np.rint(np.asarray(burst.ms) * 1e6).astype("<i8")
        self._link.offer(Inference(self._session, seq, self.engine.hash, begin_ns, end_ns, durations_ns))

    def _difference(self) -> str:
        expected, reported = self.engine.layers, self._burst.names
        if len(expected) != len(reported):
            return f"engine {self.engine.name!r} has {len(expected)} layers and TensorRT reported {len(reported)}"
        at = next(i for i, pair in enumerate(zip(expected, reported, strict=True)) if pair[0] != pair[1])
        return f"engine {self.engine.name!r}: layer {at} is {expected[at]!r} and TensorRT reported {reported[at]!r}"


class NoOp:
    """A profiler that does nothing, for a service that runs with profiling off; the face of :class:`LayerProfiler`."""

    counts = Counts()
    pending = 0
    last_refusal = ""

    @contextmanager
    def inference(self, stream: Any = None) -> Iterator[None]:
        """Run the block, and synchronise `stream` if given."""
        yield
        if stream is not None:
            stream.synchronize()

    def poll(self) -> None:
        """Nothing."""

    def close(self, timeout_s: float = 0.0) -> None:
        """Nothing."""

    def __enter__(self) -> NoOp:
        return self

    def __exit__(self, *exception: object) -> None:
        pass
