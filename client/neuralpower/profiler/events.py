"""When an inference began and ended by the GPU's own events, on the host's clock.

A host anchor is late: the host enters enqueue some 40 µs before the first kernel and leaves synchronise some 30 µs after the
last. An event in the stream is neither, but the GPU's clock is another one. Each inference bounds the offset between the
two from both sides: host before enqueue <= event + offset, event + offset <= host after synchronise. The second delay,
waking up, has a floor: the least of them is the offset to within that floor, once it is known how fast the clocks part
(:mod:`neuralpower.profiler.clock_offset`).

Times of events come as differences (`cuEventElapsedTime`, a float of milliseconds). From one inference to the next they are
short, so a float is enough, and they add up exactly because both ends are stamps on one clock.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from .clock_offset import ClockOffset

LONGEST_MS = 10_000.0
"""Between two inferences: beyond it a float's resolution of 1 µs is too coarse, and the offset is found anew."""


class Events(Protocol):
    """A pair of events around each inference; `begin` and `end` record them in a stream."""

    def begin(self, stream: Any) -> None: ...

    def end(self, stream: Any) -> None: ...

    def elapsed_ms(self) -> tuple[float, float]:
        """From the last inference's end to this one's begin (nan for the first), and from its begin to its end."""
        ...


class EventClock:
    """Turns pairs of events and host anchors into anchors that are the GPU's, on the host's clock."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self._offset = ClockOffset()
        self._origin_ns = 0
        self._at_ns = 0.0
        self._used_ns = 0.0

    @property
    def uncertainty_ns(self) -> tuple[float, float]:
        """By how much the last inference's end can be too early and too late at most, ns.

        It holds while the clocks keep within the limits of :mod:`neuralpower.profiler.clock_offset`; infinite before the first.
        """
        least, greatest = self._offset.range()
        return max(greatest - self._used_ns, 0.0), max(self._used_ns - least, 0.0)

    def anchors(self, before_ns: int, after_ns: int) -> tuple[int, int]:
        """(begin, end) of the inference whose events lie between two readings of the host's clock.

        They are late by about the floor of waking up. They never reach outside these readings, nor do they turn around.
        """
        pause_ms, span_ms = self.events.elapsed_ms()
        if not 0 <= pause_ms <= LONGEST_MS:
            self._offset.clear()
            self._origin_ns, self._at_ns = before_ns, 0.0
        else:
            self._at_ns += pause_ms * 1e6
        begin = self._at_ns
        end = self._at_ns = begin + span_ms * 1e6
        before, after = before_ns - self._origin_ns, after_ns - self._origin_ns  # small enough for a float's digits
        offset = self._offset.bounded((begin, before - begin), (end, after - end))
        first = round(begin + offset - self._offset.rate * (end - begin)) + self._origin_ns
        first = min(max(first, before_ns), after_ns - 1)
        last = min(max(round(end + offset) + self._origin_ns, first + 1), after_ns)
        self._used_ns = last - self._origin_ns - end
        return first, last


def event_clock(simulated: bool) -> EventClock | None:
    """An event clock where PyCUDA or cuda-bindings and a CUDA driver are there; None elsewhere, and for the virtual device."""
    if simulated:
        return None
    for make in (PycudaEvents, BindingsEvents):
        try:
            return EventClock(make())
        except Exception:  # whatever a half-installed CUDA raises: host anchors are always there
            continue
    return None


def handle_of(stream: Any) -> int:
    """The CUDA stream's number behind PyCUDA's, PyTorch's, CuPy's, cuda-bindings' or a plain handle."""
    for name in ("handle", "cuda_stream", "ptr"):
        if hasattr(stream, name):
            return int(getattr(stream, name))
    return int(stream)


class _Pairs:
    """Two pairs of events by turns: the end before is still needed for the pause."""

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self._pairs = pairs
        self._turn = 0
        self._ended: Any = None

    def next_begin(self) -> Any:
        self._turn ^= 1
        return self._pairs[self._turn][0]

    def this_end(self) -> Any:
        return self._pairs[self._turn][1]

    def take(self) -> tuple[Any, Any, Any]:
        """The end before (None at first), begin and end."""
        begin, end = self._pairs[self._turn]
        before, self._ended = self._ended, end
        return before, begin, end


class PycudaEvents:
    """Through PyCUDA, for its own streams."""

    def __init__(self) -> None:
        driver: Any = importlib.import_module("pycuda.driver")
        driver.Context.get_device()  # raises where no context is current: then there is nothing to record in
        self._pairs = _Pairs([(driver.Event(), driver.Event()) for _ in range(2)])

    def begin(self, stream: Any) -> None:
        """Record the begin in `stream`."""
        self._pairs.next_begin().record(stream)

    def end(self, stream: Any) -> None:
        """Record the end in `stream`."""
        self._pairs.this_end().record(stream)

    def elapsed_ms(self) -> tuple[float, float]:
        """As :class:`Events`; the stream is synchronised."""
        before, begin, end = self._pairs.take()
        pause = begin.time_since(before) if before is not None else float("nan")
        return pause, end.time_since(begin)


class BindingsEvents:
    """Through cuda-bindings (`cuda.bindings.driver`, before 12.8 `cuda.cuda`), for any stream."""

    def __init__(self) -> None:
        try:
            self._cuda: Any = importlib.import_module("cuda.bindings.driver")
        except ModuleNotFoundError:
            self._cuda = importlib.import_module("cuda.cuda")
        self._call("cuCtxGetCurrent")
        self._pairs = _Pairs([(self._call("cuEventCreate", 0), self._call("cuEventCreate", 0)) for _ in range(2)])

    def begin(self, stream: Any) -> None:
        """Record the begin in `stream`."""
        self._call("cuEventRecord", self._pairs.next_begin(), self._cuda.CUstream(handle_of(stream)))

    def end(self, stream: Any) -> None:
        """Record the end in `stream`."""
        self._call("cuEventRecord", self._pairs.this_end(), self._cuda.CUstream(handle_of(stream)))

    def elapsed_ms(self) -> tuple[float, float]:
        """As :class:`Events`; the stream is synchronised."""
        before, begin, end = self._pairs.take()
        pause = self._call("cuEventElapsedTime", before, begin) if before is not None else float("nan")
        return pause, self._call("cuEventElapsedTime", begin, end)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *rest = getattr(self._cuda, name)(*arguments)
        if int(status):
            raise RuntimeError(f"{name} gave {int(status)}")
        return rest[0] if rest else None
