"""The profiler of one execution context: anchors around an inference, the layers' durations after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from neuralpower_wire.link import Engine

from ..address import DEFAULT, AddressLike
from .callback import Burst, callback_for
from .description import describe, unprofiled
from .events import EventClock, event_clock
from .link import Carrier, Counts
from .overlap import Region, refuse_overlap, regions, silent
from .session import Session


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
        session: of another profiler, to share its link; only for contexts that run one after another.
        events: what tells the GPU's own begin and end, where a stream is given; found by itself if None, off if False.

    Raises:
        OverlapError: layers of the engine run at the same time; it is a ValueError and says what to do.
        ValueError: the engine inspector gives no description.
        WireError: the description is too large to send.
    """

    def __init__(
        self,
        context: Any,
        engine: Any = None,
        *,
        address: AddressLike = DEFAULT,
        name: str = "",
        clock_ns: Callable[[], int] = time.monotonic_ns,
        session: Session | None = None,
        events: EventClock | bool | None = None,
    ) -> None:
        self._context = context
        self._clock_ns = clock_ns
        self._burst = Burst()
        native = context.engine if engine is None else engine
        self.engine: Engine = describe(context, native, name)
        refuse_overlap(native, self.engine.inspector, self.engine.name)
        self.regions: list[Region] = regions(self.engine.inspector)
        self._silent = silent(self.engine.inspector)
        self._unprofiled: Engine | None = None
        self._own_session = session is None
        self.session = Session(address, self.engine.name) if session is None else session
        self.session.add_engine(self.engine)
        found = event_clock(self.engine.simulated) if events is None or events is True else events
        self._events: EventClock | None = found or None
        # Emitting from enqueue would make it synchronous; reporting afterwards keeps the inference as it was.
        context.enqueue_emits_profile = False
        self._callback = callback_for(context, self._burst)
        self._attached = False
        self.last = (0, 0)
        """Anchors of the inference before, ns."""
        self._attach(True)

    @property
    def _link(self) -> Carrier:
        return self.session.link

    @property
    def counts(self) -> Counts:
        """Inferences of the session offered, acknowledged, refused and dropped so far."""
        return self._link.counts

    @property
    def pending(self) -> int:
        """Inferences that the daemon has not acknowledged yet."""
        return self._link.pending

    @property
    def last_refusal(self) -> str:
        """Why the daemon last refused an inference; empty if it never did."""
        return self._link.last_refusal

    @property
    def anchors(self) -> str:
        """Which clock the anchors of inferences with a stream come from: "events" or "host"."""
        return "host" if self._events is None else "events"

    @property
    def anchor_uncertainty_ns(self) -> tuple[float, float] | None:
        """By how much the end of the last inference with a stream can be too early and too late at most; None for the host's clock."""
        return None if self._events is None else self._events.uncertainty_ns

    @contextmanager
    def inference(self, stream: Any = None, *, profiled: bool = True) -> Iterator[None]:
        """Measure the inference enqueued in the block; it must be complete when the block ends.

        Args:
            stream: synchronised at the end of the block if given (`stream.synchronize()`), and the place of CUDA events.
            profiled: False leaves TensorRT's profiler off for this inference, which then has anchors and no durations.

        Raises:
            ProfilerError: the layers reported are not the engine's, in number and order.
            BaseException: what was raised inside the callback, where TensorRT had swallowed it.
        """
        if profiled is not self._attached:
            self._attach(profiled)
        self._burst.clear()
        events = self._events if stream is not None else None
        begin_ns = self._clock_ns()
        recorded = events is not None and self._recorded(events.events.begin, stream)
        yield
        recorded = recorded and events is not None and self._recorded(events.events.end, stream)
        if stream is not None:
            stream.synchronize()
        self.last = begin_ns, end_ns = begin_ns, self._clock_ns()
        if recorded and events is not None and self._recorded(self._place, events):
            begin_ns, end_ns = self.last
        if profiled:
            self._context.report_to_profiler()
            self._take(begin_ns, end_ns)
        else:
            self._take_whole(begin_ns, end_ns)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Capture a CUDA graph in the block: the profiler is attached and nothing is measured.

        Launch the graph inside :meth:`inference` afterwards. What was captured without the profiler never reports.
        """
        self._attach(True)
        yield
        self._burst.clear()

    def poll(self) -> None:
        """Exchange messages with the daemon; useful where inferences are rare. Never blocks."""
        self._link.poll()

    def close(self, timeout_s: float = 1.0) -> None:
        """Detach, and give the daemon up to `timeout_s` to acknowledge what is under way.

        A session that was given stays open for the others.
        """
        self._attach(False)
        if self._own_session:
            self.session.close(timeout_s)

    def __enter__(self) -> LayerProfiler:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _attach(self, attached: bool) -> None:
        self._context.profiler = self._callback if attached else None
        self._attached = attached

    def _recorded(self, call: Callable[[Any], None], argument: Any) -> bool:
        """Whether that worked; a CUDA error ends the use of events, and the inference goes on with the host's anchors."""
        try:
            call(argument)
        except Exception:
            self._events = None
            return False
        return True

    def _place(self, events: EventClock) -> None:
        self.last = events.anchors(*self.last)

    def _take(self, begin_ns: int, end_ns: int) -> None:
        burst = self._burst
        if burst.error is not None:
            self.session.skip()
            raise burst.error
        if burst.names != self.engine.layers and not self._fill_silent():
            self.session.skip()
            raise ProfilerError(self._difference())
        durations_ns = np.rint(np.asarray(burst.ms) * 1e6).astype("<i8")
        self.session.send(self.engine.hash, begin_ns, end_ns, durations_ns)

    def _take_whole(self, begin_ns: int, end_ns: int) -> None:
        if self._unprofiled is None:
            self._unprofiled = unprofiled(self.engine)
            self.session.add_engine(self._unprofiled)
        duration_ns = np.array([end_ns - begin_ns], "<i8")
        self.session.send(self._unprofiled.hash, begin_ns, end_ns, duration_ns, profiled=False)

    def _fill_silent(self) -> bool:
        """Whether only the NoOp entries are missing from the burst: they take no time, and are put in with none."""
        burst, quiet = self._burst, set(self._silent)
        told = [name for at, name in enumerate(self.engine.layers) if at not in quiet]
        if not quiet or burst.names != told:
            return False
        times = iter(burst.ms)
        burst.ms = [0.0 if at in quiet else next(times) for at in range(len(self.engine.layers))]
        return True

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
    anchors = "host"
    anchor_uncertainty_ns = None
    last = (0, 0)

    @contextmanager
    def inference(self, stream: Any = None, *, profiled: bool = True) -> Iterator[None]:
        """Run the block, and synchronise `stream` if given."""
        yield
        if stream is not None:
            stream.synchronize()

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Run the block."""
        yield

    def poll(self) -> None:
        """Nothing."""

    def close(self, timeout_s: float = 0.0) -> None:
        """Nothing."""

    def __enter__(self) -> NoOp:
        return self

    def __exit__(self, *exception: object) -> None:
        pass
