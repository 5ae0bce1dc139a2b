"""(1) The sensor against a square wave of matrix products: period, window and delay of each reading, and energy by ring and counter."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from bed import Bed, Row

from neuralpower_wire.power import counted
from neuralpower_wire.tick import Flag

WAVES = ((1.0, 6), (0.2, 25), (0.077, 50))
"""Period in s and how many: the slow one shows the plateaus, the last one what the ring resolves and the others blur."""
CLOSE_NS = 50_000_000
WINDOWS_S = np.geomspace(0.002, 1.3, 40)
DELAYS_S = np.arange(-0.05, 0.4, 0.005)


def run(bed: Bed) -> None:
    """The wave, then what each reading showed of it."""
    for _ in range(2):
        bed.device.busy(0.3)
    time.sleep(1.0)
    on: list[tuple[int, int]] = []
    for period_s, count in WAVES:
        for _ in range(count):
            on.append(bed.device.busy(period_s / 2))
            time.sleep(period_s / 2)
    begin_ns, end_ns = on[0][0] - 800_000_000, time.monotonic_ns()
    ticks = bed.ticks(begin_ns, end_ns)
    found: dict[str, Any] = {}
    for kind, place in bed.channels().items():
        if kind == "energy":
            continue
        when, watts = bed.readings(ticks, place)
        inside = (when > begin_ns) & (when < end_ns)
        if inside.sum() < 20:
            bed.add(Row(f"{kind}: readings", float(inside.sum()), note="too few to judge"))
            continue
        found[kind] = shown = response(when[inside], watts[inside], on)
        stamped = bool((ticks["readings"]["flags"][:, place] & Flag.STAMPED).any())
        bed.add(
            Row(f"{kind}: a new one each", shown["period_s"] * 1e3, "ms"),
            Row(f"{kind}: window", shown["window_s"] * 1e3, "ms", note="mean over so long"),
            Row(
                f"{kind}: delay",
                shown["delay_s"] * 1e3,
                "ms",
                note=f"from what it shows to {'its stamp' if stamped else 'the tick: it has no stamps'}",
            ),
            Row(f"{kind}: wave", shown["high_w"] - shown["low_w"], "W", note=f"residual {shown['rms_w']:.1f} W rms"),
        )
    bed.keep("sensor", {"on_ns": on, "readings": found, "energy": _energies(bed, ticks)})


def response(when_ns: Any, watts: Any, on_ns: list[tuple[int, int]]) -> dict[str, float]:
    """Window and delay by least squares: a reading is the mean of a wave of two levels over the window that ended the delay before it."""
    edges = np.array(on_ns, np.float64).ravel()
    worked = np.concatenate([[0.0], np.cumsum(np.diff(edges) * (np.arange(len(edges) - 1) % 2 == 0))])

    def fitted(window_s: float, delay_s: float) -> tuple[float, float, float]:
        end = when_ns - delay_s * 1e9
        share = (np.interp(end, edges, worked) - np.interp(end - window_s * 1e9, edges, worked)) / (window_s * 1e9)
        matrix = np.stack([np.ones_like(share), share], axis=1)
        levels, *_ = np.linalg.lstsq(matrix, watts, rcond=None)
        return float(np.sqrt(np.mean((watts - matrix @ levels) ** 2))), float(levels[0]), float(levels.sum())

    windows, delays, best = WINDOWS_S, DELAYS_S, (0.0, 0.0)
    for _ in range(3):
        best = min(((w, d) for w in windows for d in delays), key=lambda each: fitted(*each)[0])
        wide, step = windows[min(1, len(windows) - 1)] / windows[0], (delays[1] - delays[0])
        windows = best[0] * np.geomspace(1 / wide, wide, 9)
        delays = best[1] + np.linspace(-step, step, 9)
    rms_w, low_w, high_w = fitted(*best)
    period_s = float(np.median(np.diff(when_ns))) * 1e-9
    return {
        "period_s": period_s,
        "window_s": best[0],
        "delay_s": best[1],
        "low_w": low_w,
        "high_w": high_w,
        "rms_w": rms_w,
    }


def _energies(bed: Bed, ticks: Any) -> dict[str, float]:
    """The counter between two of its renewals, and the best reading between the same."""
    places = bed.channels()
    if "energy" not in places:
        bed.add(Row("energy counter", float("nan"), note="this GPU has none"))
        return {}
    after, until, energy_uj = counted(ticks, places["energy"])
    close = np.flatnonzero(until - after < CLOSE_NS)
    if len(close) < 2:
        bed.add(Row("energy counter", float("nan"), note="too few renewals were seen"))
        return {}
    first, last = close[0], close[-1]
    begin_ns, end_ns = ((after[at] + until[at]) // 2 for at in (first, last))
    counter_j = float(energy_uj[last] - energy_uj[first]) * 1e-6
    when, watts = bed.readings(ticks, places[bed.best])
    inside = (when >= begin_ns) & (when <= end_ns)
    other_j = float(watts[inside].mean()) * float(end_ns - begin_ns) * 1e-9
    bed.add(
        Row(
            f"energy by {bed.best} over the counter's",
            other_j / counter_j,
            "",
            1.0,
            f"{(end_ns - begin_ns) * 1e-9:.0f} s",
        )
    )
    return {"counter_j": counter_j, f"{bed.best}_j": other_j, "seconds": float(end_ns - begin_ns) * 1e-9}
