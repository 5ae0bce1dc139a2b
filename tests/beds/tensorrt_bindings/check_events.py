"""Run by run.py under the real cuda-bindings, over a driver of events alone (libcuda.c): prints as check.py does."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace

from neuralpower.profiler.events import BindingsEvents, event_clock

STREAM = SimpleNamespace(handle=42)
"""The only stream that the driver knows."""
RUNS = 30


def the_package_is_the_one_asked_for() -> None:
    """Its version."""
    assert version("cuda-bindings") == sys.argv[1], version("cuda-bindings")


def events_are_recorded_and_lie_inside_the_hosts_anchors() -> None:
    """Through the driver and back: times of the right order, pauses and spans that add up."""
    clock = event_clock(simulated=False)
    assert clock is not None and isinstance(clock.events, BindingsEvents)
    last_ns = 0
    for _ in range(RUNS):
        before_ns = time.monotonic_ns()
        clock.events.begin(STREAM)
        time.sleep(0.002)
        clock.events.end(STREAM)
        after_ns = time.monotonic_ns()
        begin_ns, end_ns = clock.anchors(before_ns, after_ns)
        assert last_ns < before_ns <= begin_ns < end_ns <= after_ns and end_ns - begin_ns >= 2_000_000
        last_ns = end_ns


def an_error_of_the_driver_is_an_exception() -> None:
    """Which the profiler takes as the end of events."""
    events = BindingsEvents()
    try:
        events.begin(SimpleNamespace(handle=7))
    except RuntimeError as error:
        assert "cuEventRecord gave 400" in str(error)
        return
    raise AssertionError("an unknown stream was taken")


CHECKS: list[Callable[[], None]] = [
    the_package_is_the_one_asked_for,
    events_are_recorded_and_lie_inside_the_hosts_anchors,
    an_error_of_the_driver_is_an_exception,
]


def main() -> None:
    """Run every check, one after another."""
    found = {}
    for each in CHECKS:
        try:
            each()
            found[each.__name__.replace("_", " ")] = ""
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            found[each.__name__.replace("_", " ")] = f"{type(error).__name__}: {error} (line {where.lineno})"
    print(json.dumps({"version": sys.argv[1], "checks": found}))


if __name__ == "__main__":
    main()
