"""Anchors by CUDA events: the minimum-delay filter, and both packages that can record them."""

from __future__ import annotations

import math
import sys
import types
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower.profiler.events import LONGEST_MS, BindingsEvents, EventClock, PycudaEvents, event_clock, handle_of


class Gpu:
    """A GPU with a clock of its own; each inference has a true begin and end on the host's clock."""

    def __init__(self, ppm: float, offset_ns: float) -> None:
        self.rate, self.offset = 1 + ppm * 1e-6, offset_ns
        self.last_end: float | None = None
        self.pair = (0.0, 0.0)

    def run(self, begin_ns: float, end_ns: float) -> None:
        self.pair = (begin_ns * self.rate + self.offset, end_ns * self.rate + self.offset)

    def begin(self, stream: Any) -> None: ...

    def end(self, stream: Any) -> None: ...

    def elapsed_ms(self) -> tuple[float, float]:
        begin, end = self.pair
        pause = math.nan if self.last_end is None else float(np.float32((begin - self.last_end) * 1e-6))
        self.last_end = end
        return pause, float(np.float32((end - begin) * 1e-6))


def errors_ns(seed: int, ppm: float, count: int = 400, floor_ns: float = 8_000) -> tuple[np.ndarray, np.ndarray]:
    """How late the host's and the events' anchors of the end are, for inferences with wake-ups above a floor."""
    rng = np.random.default_rng(seed)
    gpu = Gpu(ppm, rng.uniform(-1e12, 1e12))
    clock = EventClock(gpu)
    now, host, found = 1e12, [], []
    for _ in range(count):
        before = now
        begin = before + 40_000 + abs(rng.normal(0, 15_000))
        end = begin + rng.uniform(1.5e6, 2.5e6)
        after = end + floor_ns + abs(rng.normal(0, 30_000))
        gpu.run(begin, end)
        first, last = clock.anchors(round(before), round(after))
        assert round(before) <= first < last <= round(after)
        host.append(after - end)
        found.append(last - end)
        now = after + rng.uniform(0, 5e6)
    return np.array(host), np.array(found)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(-20, 20))
def test_events_are_nearer_the_truth_than_the_host(seed: int, ppm: float) -> None:
    """Once the window has seen some inferences, anchors are late by the wake-up's floor and little else."""
    host, found = errors_ns(seed, ppm)
    settled = found[50:]
    assert np.std(settled) < 0.5 * np.std(host[50:])
    drift_ns = abs(ppm) * 1e-6 * 2e9
    assert np.all(settled > 8_000 - drift_ns - 2_000) and np.all(settled < 8_000 + drift_ns + 12_000)


def test_a_long_pause_begins_the_window_anew() -> None:
    """Beyond ten seconds a float of milliseconds is too coarse to bridge."""
    gpu = Gpu(0, 0)
    clock = EventClock(gpu)
    gpu.run(1e9, 1.002e9)
    clock.anchors(999_000_000, 1_002_050_000)
    late = 1e9 + LONGEST_MS * 1e6 + 5e9
    gpu.run(late, late + 2e6)
    first, last = clock.anchors(round(late) - 30_000, round(late) + 2_010_000)
    assert last == round(late) + 2_010_000 and last - first == 2_000_000


class PycudaEvent:
    now = 0.0

    def __init__(self) -> None:
        self.at = 0.0

    def record(self, stream: Any) -> None:
        PycudaEvent.now += 1.5
        self.at = PycudaEvent.now

    def time_since(self, other: PycudaEvent) -> float:
        return self.at - other.at


def fake_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = types.ModuleType("pycuda.driver")
    driver.Event = PycudaEvent  # type: ignore[attr-defined]  # a stand-in in its place
    driver.Context = SimpleNamespace(get_device=lambda: None)  # type: ignore[attr-defined]  # a stand-in in its place
    monkeypatch.setitem(sys.modules, "pycuda", types.ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)


class Bindings(types.ModuleType):
    """cuda.bindings.driver: functions that return (status, values...)."""

    def __init__(self, status: int = 0) -> None:
        super().__init__("cuda.bindings.driver")
        self.status, self.times, self.now = status, {}, 0.0  # type: ignore[var-annotated]  # the driver's own fields

    def cuCtxGetCurrent(self) -> tuple[int, int]:
        return self.status, 1

    def cuEventCreate(self, flags: int) -> tuple[int, object]:
        return 0, object()

    def CUstream(self, handle: int) -> int:
        return handle

    def cuEventRecord(self, event: object, stream: int) -> tuple[int]:
        assert stream == 42
        self.now += 1.5
        self.times[event] = self.now
        return (0,)

    def cuEventElapsedTime(self, begin: object, end: object) -> tuple[int, float]:
        return 0, self.times[end] - self.times[begin]


def fake_bindings(monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", Bindings(status))


@pytest.mark.parametrize("package", ["pycuda", "cuda-bindings"])
def test_both_packages_give_the_pause_and_the_span(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """The first inference has no pause before it; the next one's pause runs from the end before."""
    fake_pycuda(monkeypatch) if package == "pycuda" else fake_bindings(monkeypatch)
    events: Any = PycudaEvents() if package == "pycuda" else BindingsEvents()
    stream = SimpleNamespace(handle=42)
    told = []
    for _ in range(3):
        events.begin(stream)
        events.end(stream)
        told.append(events.elapsed_ms())
    assert math.isnan(told[0][0]) and told[0][1] == 1.5 and told[1:] == [(1.5, 1.5), (1.5, 1.5)]


def test_host_anchors_where_nothing_records_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither package, a driver that gives an error, or a simulated device: no event clock, and no exception."""
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "cuda", None)
    assert event_clock(simulated=False) is None
    fake_bindings(monkeypatch, status=35)
    assert event_clock(simulated=False) is None
    fake_pycuda(monkeypatch)
    assert event_clock(simulated=True) is None
    assert isinstance(event_clock(simulated=False), EventClock)


def test_streams_of_all_packages_have_a_handle() -> None:
    """PyCUDA's `handle`, PyTorch's `cuda_stream`, CuPy's `ptr`, a number."""
    streams = [SimpleNamespace(handle=7), SimpleNamespace(cuda_stream=7), SimpleNamespace(ptr=7), 7]
    assert [handle_of(stream) for stream in streams] == [7] * 4
