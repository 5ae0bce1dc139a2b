"""The virtual device: publishes what its rails will draw ahead of time, and lets contexts run through it in real time."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from neuralpower_wire import TimelineWriter, WireError

from ...errors import InputError
from .context import VirtualContext, VirtualStream
from .hardware import RAILS, Hardware
from .held_timeline import PowerTimeline
from .load import Load
from .manner import Manner
from .plan import MEAN_PAUSE_NS, BoardState, DevicePlanner, Times
from .truth import Truth

LEAD_MS = 1000.0
"""How far the timeline is ahead. A Python process is held up for 100 to 200 ms now and then (page faults, garbage
collection, describing an engine of 6000 layers), and several times as long where others want the same processors."""
RESERVE = 0.5
"""Of the lead: with less of it left the device idles until all of it is there again, before it plans anything more."""
STEP_NS = 200_000_000
"""Planning goes in steps of this length, on top of the lead."""
REST_NS = 40_000_000
"""The longest sleep between two looks at the lead."""
IDLE_S = 0.3
"""The rails idle at least so long before each engine, so that its idle power can be told."""


class VirtualDevice:
    """The one writer of a power timeline. Close it: the timeline says then that the rails idle.

    Where the host is held up the device's time slows down with it: idling, which takes no planning, is put before what comes next.
    The chip waits at the end of what is published and converts it once it is there, so whatever the host does, what is
    published is what the rails drew; at worst some ticks go without readings.

    Args:
        timeline: the file that neuralpowerd made in its runtime directory (source sim), or one held in memory.
        seed: of the hardware's parameters and of all jitter.
        lead_ms: the least time between the publication of a record and its start.
        idle_s: idling before each engine.
        clock_ns, sleep: CLOCK_MONOTONIC and the way to wait; virtual time brings its own.
        manner: how its host and GPU behave.

    Raises:
        InputError: no timeline there, another device has it, or its rails are not this device's.
    """

    def __init__(
        self,
        timeline: str | os.PathLike[str] | PowerTimeline,
        seed: int,
        lead_ms: float = LEAD_MS,
        *,
        idle_s: float = IDLE_S,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
        manner: Manner | None = None,
    ) -> None:
        self._writer = _writer(timeline)
        if self._writer.rails != list(RAILS):
            rails = ", ".join(self._writer.rails)
            self._writer.close()
            raise InputError(f"{timeline}: the virtual device has the rails {', '.join(RAILS)}, not {rails}")
        self.hardware = Hardware.drawn(seed)
        self.stream = VirtualStream(self)
        self.manner = manner or Manner()
        self._planner = DevicePlanner(self.hardware, self._writer.idle_uw, seed, self.manner)
        self._queue: deque[VirtualContext] = deque()
        self._begun: VirtualContext | None = None
        self._asides: list[tuple[int, int]] = []
        self._loaded: set[VirtualContext] = set()
        self._closed = False
        self._lock = threading.Lock()
        self._clock_ns, self._sleep = clock_ns, sleep
        self._lead_ns, self._idle_ns = int(lead_ms * 1e6), int(idle_s * 1e9)
        idle_w = [power * 1e-6 for power in self._writer.idle_uw]
        self.truth = Truth(seed, list(RAILS), RAILS[0], idle_w, lead_ms, least_lead_ms=math.inf)
        self._published_ns = clock_ns()
        self._horizon_ns = max(self._writer.horizon_ns, self._published_ns + self._lead_ns)
        self._busy_until_ns = self._horizon_ns
        self._fill()

    def load(self, load: Load, runs: int) -> VirtualContext:
        """A context for `runs` inferences of an engine, planned after those of the contexts loaded before.

        Raises:
            InputError: `runs` is below 1.
        """
        if runs < 1:
            raise InputError(f"{load.name}: {runs} inferences cannot be run; ask for 1 or more")
        context = VirtualContext(self, load, runs)
        self._queue.append(context)
        return context

    def load_empty(self, load: Load) -> VirtualContext:
        """A context that runs nothing until it is asked to by its `extend`; returns when the rails show that it is loaded.

        From then until it is unloaded the board is context idle where nothing is planned.
        """
        context = VirtualContext(self, load, 0)
        with self._lock:
            self._loaded.add(context)
            loaded_ns = self._horizon_ns
        self.wait_until(loaded_ns)
        return context

    def unload(self, context: VirtualContext) -> None:
        """The context that `load_empty` made is gone: the board idles once all that was planned has passed."""
        with self._lock:
            self._loaded.discard(context)

    @contextlib.contextmanager
    def queued(self, context: VirtualContext) -> Iterator[None]:
        """While the block changes what `context` wants nothing is planned; after it all of that is, in its turn."""
        with self._lock:
            yield
            if context not in self._queue:
                self._queue.append(context)

    def wait_until(self, t_ns: int) -> None:
        """Sleep until `t_ns` on CLOCK_MONOTONIC and keep the timeline ahead meanwhile."""
        self.pump()
        while (left_ns := t_ns - self._clock_ns()) > 0:
            self._sleep(min(left_ns, REST_NS) * 1e-9)
            self.pump()

    def idle(self, seconds: float) -> None:
        """Let time pass."""
        self.wait_until(self._clock_ns() + int(seconds * 1e9))

    def advance(self) -> None:
        """Let just so much time pass that more can be planned."""
        self.wait_until(self._clock_ns() + REST_NS // 4)

    @contextlib.contextmanager
    def kept_ahead(self) -> Iterator[None]:
        """A thread keeps the timeline ahead while the block runs, however long the block is busy with other things."""
        done = threading.Event()

        def keep() -> None:
            with contextlib.suppress(WireError):  # pump() in the block raises it again
                while not done.wait(REST_NS * 1e-9):
                    self.pump()

        thread = threading.Thread(target=keep, name="timeline", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def pump(self) -> None:
        """Publish what lies within the lead; any thread may call it."""
        with self._lock:
            self.truth.late_writes += self._ahead_ns() < self._lead_ns
            self._fill()

    def asides(self) -> list[tuple[int, int]]:
        """Stretches (begin, end), ns, of idling that was put between inferences of an engine since this was asked last."""
        with self._lock:
            found, self._asides = self._asides, []
        return found

    def _ahead_ns(self) -> int:
        ahead_ns = self._horizon_ns - self._clock_ns()
        self.truth.least_lead_ms = min(self.truth.least_lead_ms, ahead_ns * 1e-6)
        return ahead_ns

    def close(self) -> Truth:
        """Stop writing; from the last record on the rails idle."""
        if not self._closed:
            self._closed = True
            self._writer.close()
        return self.truth

    def __enter__(self) -> VirtualDevice:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _fill(self) -> None:
        goal_ns = self._clock_ns() + self._lead_ns + STEP_NS
        while self._horizon_ns < goal_ns:
            if not self._queue:
                self._rest(BoardState.CONTEXT_IDLE if self._loaded else BoardState.DEVICE_IDLE, goal_ns)
                continue
            if self._ahead_ns() < RESERVE * self._lead_ns:
                self._hold_up(self._queue[0])
            self._plan(self._queue[0])

    def _hold_up(self, context: VirtualContext) -> None:
        """Idle until the timeline is its lead ahead again: all that is left of `context`, and what follows it, runs later."""
        begin_ns, end_ns = self._horizon_ns, self._clock_ns() + self._lead_ns
        if context is self._begun:
            self._asides.append((begin_ns, end_ns))
        self._rest(BoardState.GAP if context is self._begun else BoardState.CONTEXT_IDLE, end_ns)
        self.truth.held_up.append([begin_ns, end_ns])

    def _plan(self, context: VirtualContext) -> None:
        load = context.load
        first = context.unplanned == context.runs
        count = min(context.unplanned, math.ceil(STEP_NS / (float(load.duration_ns.sum()) + MEAN_PAUSE_NS)))
        ran = context.runs - context.unplanned
        if self._planner.is_cold(ran):  # those that are and those that are not are counted apart
            count = min(count, self.manner.cold_runs - ran)
        course = context.course(count)
        pause_ns = max(0, self._busy_until_ns + self._idle_ns - self._horizon_ns) if first and not course else None
        chunk = self._planner.inferences(load, count, self._horizon_ns, pause_ns, ran=ran, **course)
        self._publish(chunk.start_ns, chunk.stop_ns, chunk.power_uw)
        self._busy_until_ns = self._horizon_ns
        self.truth.add(load, chunk, course.get("profiled"))
        context.take(chunk)
        self._begun = context
        if not context.unplanned:
            self._begun = None
            self._queue.popleft()
            if context.rest_ns:
                self._rest(BoardState.GAP, self._horizon_ns + context.rest_ns)

    def _rest(self, state: BoardState, until_ns: int) -> None:
        power_uw, rest = self._planner.rest(state, self._horizon_ns, until_ns - self._horizon_ns)
        self._publish(np.array([self._horizon_ns]), np.array([until_ns]), power_uw[None])
        self.truth.rest(rest)

    def _publish(self, start_ns: Times, stop_ns: Times, power_uw: Times) -> None:
        self._writer.append(start_ns, stop_ns, power_uw)
        published_ns = self._horizon_ns - self._ahead_ns()
        self.truth.unpublished_s += max(0, published_ns - max(self._horizon_ns, self._published_ns)) * 1e-9
        self._horizon_ns, self._published_ns = int(stop_ns[-1]), published_ns


def _writer(timeline: str | os.PathLike[str] | PowerTimeline) -> PowerTimeline:
    if not isinstance(timeline, str | os.PathLike):
        return timeline
    try:
        return TimelineWriter(timeline)
    except WireError as error:
        raise InputError(str(error)) from None
