"""Anchors by CUDA events: how near the truth they come, and both packages that can record them."""

from __future__ import annotations

import math
import operator
import sys
import types
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.worlds.event_world import EventGpu, EventWorld, Floats, found_in

from neuralpower.profiler.clock_offset import RESOLUTION_NS
from neuralpower.profiler.events import LONGEST_MS, BindingsEvents, EventClock, PycudaEvents, event_clock, handle_of

ROUNDED_NS = 100
"""Differences between events come as floats of milliseconds, and add up over the window."""

PARTED = EventWorld(seed=0, ppm=-19.0)
"""Where anchors were 30 µs early: bounds of 2 s ago were taken as if the clocks agreed."""

WORLDS = {
    "seed": st.integers(0, 10**6),
    "ppm": st.floats(-100, 100),
    "wander": st.floats(0, 0.4),
    "wave_s": st.floats(1, 100),
    "tail": st.sampled_from(["normal", "exponential", "lognormal", "pareto"]),
    "wake_ns": st.floats(1_000, 300_000),
    "floor_ns": st.floats(0, 50_000),
    "queue_ns": st.floats(0, 300_000),
    "gap_ns": st.floats(0, 1e8),
    "stamp_ns": st.sampled_from([32, 1024]),
}
jumps = st.builds(operator.mul, st.floats(1e6, 1e11), st.sampled_from([-1, 1]))


def rms(late: Floats) -> float:
    return float(np.sqrt(np.mean(late**2)))


@settings(max_examples=40)
@given(st.builds(EventWorld, **WORLDS))
@example(PARTED)
def test_the_truth_is_no_farther_than_the_uncertainty(world: EventWorld) -> None:
    """Whatever the delays are, while rate and wander are within the limits that it is stated for."""
    found = found_in(world)
    assert np.all(found.late <= found.late_at_most + ROUNDED_NS)
    assert np.all(-found.late <= found.early_at_most + ROUNDED_NS)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(-100, 100))
@example(seed=PARTED.seed, ppm=PARTED.ppm)
def test_events_are_nearer_the_truth_than_the_host(seed: int, ppm: float) -> None:
    """Once some inferences were seen, anchors are late by the wake-up's floor and little else, however fast the clocks part."""
    found = found_in(EventWorld(seed, ppm))
    assert np.std(found.late[50:]) < 0.25 * np.std(found.host[50:])
    assert np.all(abs(found.late[200:] - 8_000) < 10_000)


@settings(max_examples=40)
@given(st.builds(EventWorld, **WORLDS))
def test_long_tails_of_delays_do_not_reach_the_anchors(world: EventWorld) -> None:
    """Whatever the tail, the rate and its wander, a second or so of inferences takes most of the host's error away."""
    found = found_in(world)
    assert rms(found.late[100:] - world.floor_ns) < 0.2 * rms(found.host[100:] - world.floor_ns) + 2_000


@settings(max_examples=40)
@given(st.builds(EventWorld, **WORLDS, jump_ns=jumps))
def test_a_jump_of_a_clock_is_forgotten(world: EventWorld) -> None:
    """After a suspend or a step, forwards or back, anchors are soon as near as before it."""
    found = found_in(world)
    assert rms(found.late[300:] - world.floor_ns) < 0.2 * rms(found.host[300:] - world.floor_ns) + 2_000


def test_the_first_inference_keeps_the_hosts_end() -> None:
    """Nothing else is known of it, and the uncertainty is the room between both readings of the host's clock."""
    gpu = EventGpu(EventWorld(stamp_ns=1))
    clock = EventClock(gpu)
    assert clock.uncertainty_ns == (math.inf, math.inf)
    gpu.run(1e9, 1.002e9)
    assert clock.anchors(999_960_000, 1_002_010_000) == (1_000_010_000, 1_002_010_000)
    early, late = clock.uncertainty_ns
    assert early == pytest.approx(RESOLUTION_NS) and late == pytest.approx(
        50_000 + RESOLUTION_NS, abs=2 * RESOLUTION_NS
    )


def test_a_long_pause_begins_the_window_anew() -> None:
    """Beyond ten seconds a float of milliseconds is too coarse to bridge."""
    gpu = EventGpu(EventWorld(stamp_ns=1))
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
