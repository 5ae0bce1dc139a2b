"""(i) Attribution of a log beside a plain Python loop that maps readings to layers as EdgeProfiler does, on the same log.

The loop is written from its description: for every layer of every inference take [end - duration, end], go through the
power log, and average the samples whose time lies inside. It goes through the whole log for each layer; since that takes hours, it is given
layers drawn evenly from all. What it takes for a layer grows with the length of the log, so that is told with the ratio: in full ten
minutes, as of a session, and half a minute in the short form. A kinder one, which its authors did not write, finds the window by bisection.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from tests.worlds.attribution.case import load
from tests.worlds.attribution.world import draw

from neuralpower.console import progress
from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.layer_power import EngineRuns, layer_power
from neuralpower_align.sensor.window_mean import window_mean

from ..accuracy.estimate import readings_of
from ..report import Result
from ..statistics import Bar, Form, Metrics, interleave

MINUTES = 4.0
SEED = 1000
AT_LEAST = Bar(0.01)
"""Time per layer: a hundredth at most."""
WALKED = 200
"""Layer windows that the plain loop is given."""
TEN_MINUTES, HALF_A_MINUTE = ("reset", 56_500), ("fast", 3000)
"""Case and inferences."""

Ints = npt.NDArray[np.int64]
Log = list[tuple[int, float]]


def plain_loop(log: Log, windows: list[tuple[int, int]]) -> list[float | None]:
    """Mean of the samples in each window, None where there is none."""
    found: list[float | None] = []
    for begin, end in windows:
        inside = []
        for at, watts in log:
            if begin <= at <= end:
                inside.append(watts)
        found.append(sum(inside) / len(inside) if inside else None)
    return found


def bisecting_loop(times: list[int], watts: list[float], windows: list[tuple[int, int]]) -> list[float | None]:
    """The same means."""
    found: list[float | None] = []
    for begin, end in windows:
        inside = watts[bisect_left(times, begin) : bisect_right(times, end)]
        found.append(sum(inside) / len(inside) if inside else None)
    return found


def run(form: Form) -> Result:
    """One simulated recording of the accuracy case; each side once a round."""
    readings, engine, windows = _recording(*(HALF_A_MINUTE if form.quick else TEN_MINUTES))
    times, watts = readings.read_ns.tolist(), readings.power_w.tolist()
    log = list(zip(times, watts, strict=True))
    flat: Ints = windows.reshape(-1, 2)
    every = [(int(a), int(b)) for a, b in flat]
    some = every[:: max(len(every) // round(form.pick(60, WALKED)), 1)]
    if plain_loop(log, some[:20]) != bisecting_loop(times, watts, some[:20]):
        raise AssertionError("the two loops must find the same")
    sides: dict[str, Callable[[], Metrics]] = {
        "ours": lambda: _timed(lambda: layer_power([engine], [[readings]]), len(every)),
        "window-mean": lambda: _timed(lambda: window_mean(readings.read_ns, readings.power_w, windows), len(every)),
        "loop": lambda: _timed(lambda: plain_loop(log, some), len(some)),
        "loop again": lambda: _timed(lambda: plain_loop(log, some), len(some)),
        "bisecting": lambda: _timed(lambda: bisecting_loop(times, watts, every), len(every)),
    }
    rounds = form.count(1, 3)
    with progress("i: attribution", rounds) as advance:
        measured = interleave(sides, rounds, advance)
    title = "least squares with intervals"
    rows = measured.row(
        f"{title} / plain loop", "us", "µs", ours="ours", reference="loop", control="loop again", bar=AT_LEAST
    )
    rows += measured.row(
        "our window mean / plain loop", "us", "µs", ours="window-mean", reference="loop", control="", bar=AT_LEAST
    )
    rows += measured.row(f"{title} / bisecting loop", "us", "µs", ours="ours", reference="bisecting", control="")
    rows += measured.row(
        "our window mean / bisecting loop", "us", "µs", ours="window-mean", reference="bisecting", control=""
    )
    seconds = (times[-1] - times[0]) * 1e-9
    faster = [f"{row.name.split(' / ')[0]} {1 / row.ratio:.0f} times" for row in rows if row.bar is not None]
    notes = [
        f"a log of {seconds:.0f} s, {len(log)} readings, {len(every)} layer executions, simulated; faster than the plain loop: {', '.join(faster)}",
        f"CPU time per layer execution; the plain loop was given {len(some)} of them, and what it takes grows with the length of the log; "
        "least squares includes finding delay, lag and scan clock",
    ]
    return Result(rows, notes)


def _recording(case: str, inferences: int) -> tuple[ChannelReadings, EngineRuns, Ints]:
    whole = load().case(case)
    recording = draw(replace(whole, run=replace(whole.run, inferences=inferences)), SEED).recording
    alike = np.arange(recording.durations_ns.shape[1])
    engine = EngineRuns(recording.begin_ns, recording.end_ns, recording.durations_ns, alike)
    windows = layer_windows(recording.begin_ns, recording.end_ns, recording.durations_ns)
    return readings_of(recording), engine, windows


def _timed(work: Callable[[], object], layers: int) -> Metrics:
    """CPU time of this process per layer, µs."""
    begin = time.process_time_ns()
    work()
    return {"us": (time.process_time_ns() - begin) / layers / 1e3}
