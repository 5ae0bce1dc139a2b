"""(1) The sensor against a square wave of matrix products: period, window and delay of each reading, and energy by ring and counter."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from bed import BEHIND_S, Bed, Row
from scipy.optimize import minimize

from neuralpower_wire.power import counted
from neuralpower_wire.tick import Flag

WAVES = ((1.4, 5), (0.2, 25), (0.077, 50))
"""Period in s and how many: the slow one shows the plateaus, the last one what the ring resolves and the others blur. None is as long as a mean
that NVML gives (1 s), which would show nothing of it."""
QUIET_S, EARLY_NS = 2.0, 300_000_000
"""Before the wave: longer than any window and delay that is looked for, so that what ran before is in no reading; and from when readings count."""
CLOSE_NS = 50_000_000
LONGEST_NS = 300_000_000_000
WINDOWS_S = np.geomspace(0.002, 1.3, 40)
DELAYS_S = np.arange(-0.05, 0.4, 0.005)
SIMPLEX = ((-0.7, -0.7), (0.9, 0.0), (0.0, 0.9))
"""Around the best of the grid, in its steps."""


def run(bed: Bed) -> None:
    """The wave, then what each reading showed of it."""
    for _ in range(2):
        bed.device.busy(0.3)
    time.sleep(QUIET_S)
    on: list[tuple[int, int]] = []
    for period_s, count in WAVES:
        for _ in range(count):
            on.append(bed.device.busy(period_s / 2))
            time.sleep(period_s / 2)
    begin_ns, end_ns = on[0][0] - EARLY_NS, time.monotonic_ns()
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
    bed.keep("sensor", {"on_ns": on, "readings": found})


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

    coarse = min(((w, d) for w in WINDOWS_S for d in DELAYS_S), key=lambda each: fitted(*each)[0])
    wide, step = WINDOWS_S[1] / WINDOWS_S[0], DELAYS_S[1] - DELAYS_S[0]

    def missed(
        at: np.ndarray,
    ) -> float:  # the window in its steps, and its middle, which does not depend on it, in the delay's
        window = coarse[0] * wide ** at[0]
        return fitted(window, coarse[1] + (coarse[0] - window) / 2 + step * at[1])[0]

    found = minimize(missed, (0.0, 0.0), method="Nelder-Mead", options={"initial_simplex": SIMPLEX, "xatol": 1e-3})
    window_s = float(coarse[0] * wide ** found.x[0])
    best = (window_s, float(coarse[1] + (coarse[0] - window_s) / 2 + step * found.x[1]))
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


def energies(bed: Bed) -> None:
    """Of all that ran: the counter between two of its renewals, seconds apart, and the best reading between the same."""
    end_ns = time.monotonic_ns() - round(2 * BEHIND_S * 1e9)
    bed.keep("energy", _energies(bed, bed.ticks(end_ns - LONGEST_NS, end_ns)))


def _energies(bed: Bed, ticks: Any) -> dict[str, float]:
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
