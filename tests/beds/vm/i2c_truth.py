"""What the i2c source says of scans, against what the waveform tells: the input is a ramp, so a value tells its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from row import Row

from neuralpower_wire.tick import Flag, ReadingState

CONVERSION_NS = np.array([140, 204, 332, 588, 1100, 2116, 4156, 8244]) * 1000
RAMP_NS, PIECE_NS, SETTLED_NS = 2_000_000_000, 250_000, 1_000_000_000
ERRNO_BUSY = "errno 16"


def judge_i2c(folder: Path, fact: dict[str, Any]) -> list[Row]:
    """Refusal, force, restored config, and the truth of freshness, scan bounds and mixed marks."""
    refused = fact["refused"]
    shown = refused[:30] + "..., " + refused[-10:] if refused else "opened"
    rows = [
        Row("i2c on a chip with a driver", shown, "refused, errno 16", ERRNO_BUSY in refused and "driver" in refused)
    ]
    errors = sum(len(counts) for counts in fact["forced"]["errors"])
    shown = f"{fact['forced']['ticks']} ticks, {errors} errors"
    rows.append(Row("  with force, beside the driver", shown, "reads", fact["forced"]["ticks"] > 1900 and not errors))
    for number, run in enumerate(fact["runs"]):
        rows += judge_run(np.load(folder / f"drive/i2c{number}.npy"), run)
    configs = [fact[name] for name in ("original", "after_stop", "after_kill", "after_restore")]
    shown = " ".join(f"{config:#06x}" for config in configs)
    put_back = configs[0] == configs[1] == configs[3] != configs[2]
    return [*rows, Row("i2c: config before, after stop, kill, restore", shown, "back after stop and restore", put_back)]


def judge_run(ticks: Any, run: dict[str, Any]) -> list[Row]:
    """One config and wire."""
    name = f"i2c {run['name']} ({run['config']:#06x})"
    readings, scan_ns, numbers, usable = (
        ticks["readings"],
        scan_of(run["config"]),
        scans(ticks, run),
        away_from_turn(ticks, run),
    )
    state, both = readings["state"], usable[1:] & usable[:-1]
    ahead = np.diff(numbers, axis=0)
    wrong = int(
        np.count_nonzero(
            ((state[1:] == ReadingState.FRESH) & (ahead < 1) | (state[1:] == ReadingState.REPEATED) & (ahead != 0))
            & both[:, None]
        )
    )
    known = float(np.mean(state != ReadingState.UNKNOWN))
    shown = f"{wrong} wrong of {state.size}, {100 * known:.0f} % known"
    rows = [Row(f"{name}: fresh and repeated", shown, "0 wrong", wrong == 0 and known > 0.5)]
    settled = (
        ticks["t_ns"] > ticks["t_ns"][0] + SETTLED_NS
    )  # before, the source may take time to learn the length of a scan
    later = ticks[settled]
    missed = int(later["slot"][-1] - later["slot"][0]) + 1 - len(later)
    rows.append(Row("  missed slots after the first second", f"{missed} of {missed + len(later)}", "0", missed == 0))
    able = min(int(later["t_ns"][-1] - later["t_ns"][0]) / scan_ns, len(later) + missed)
    fresh = np.count_nonzero(state[settled] == ReadingState.FRESH, axis=0)
    worst = float(np.abs(fresh / able - 1).max())
    shown = f"{fresh.min()} to {fresh.max()} of {able:.0f}, scan {scan_ns / 1e6:.3f} ms"
    rows.append(Row("  fresh readings against the chip's scans", shown, "within 1 %", worst <= 0.01))
    bounded = (readings["flags"] & Flag.SCAN > 0) & usable[:, None]
    high = readings["scan"].astype(np.int64)
    low = high - readings["span"]
    outside = int(bounded.sum()) - most_inside(numbers[bounded], low[bounded], high[bounded])
    shown = f"{outside} outside of {bounded.sum()}, mean span {readings['span'][bounded].mean():.2f}"
    rows.append(Row("  scan bounds hold the scan of the value", shown, "0 outside", outside == 0))
    mixed = (readings["flags"] & Flag.MIXED > 0).reshape(len(ticks), 3, 2).any(axis=2)
    truly = (numbers[:, ::2] != numbers[:, 1::2]) & usable[:, None]
    hidden = int(np.count_nonzero(truly & ~mixed))
    shown = f"{hidden} unmarked; {100 * truly.mean():.0f} % are, {100 * mixed.mean():.0f} % are marked"
    return [*rows, Row("  voltage and current of different scans", shown, "0 unmarked", hidden == 0)]


def lengths(config: int) -> tuple[int, int]:
    """Shunt and bus conversion in ns."""
    return int(CONVERSION_NS[config >> 3 & 7]), int(CONVERSION_NS[config >> 6 & 7])


def scan_of(config: int) -> int:
    """All three channels, both voltages, in ns."""
    return 3 * sum(lengths(config))


def scans(ticks: Any, run: dict[str, Any]) -> Any:
    """(ticks, 6) which scan since the restart each value is of: the ramp gives the middle of its conversion."""
    shunt_ns, bus_ns = lengths(run["config"])
    readings = ticks["readings"]
    numbers = np.zeros(readings.shape)
    for reading in range(6):
        value, is_bus = readings["value"][:, reading], reading % 2 == 1
        piece = value // 8_000 * 2 + 1.0 if is_bus else (value + 160_000) / 40 + 0.5
        read_ns = ticks["t_ns"] + readings["end_ns"][:, reading] - run["origin_ns"]
        turns = np.floor((read_ns - (piece - 2) * PIECE_NS) / RAMP_NS)  # the middle is known to 1.5 pieces
        middle = reading // 2 * (shunt_ns + bus_ns) + (shunt_ns + bus_ns / 2 if is_bus else shunt_ns / 2)
        since = run["origin_ns"] - run["restarted_ns"] + turns * RAMP_NS + piece * PIECE_NS - middle
        numbers[:, reading] = np.round(since / scan_of(run["config"]))
    return numbers


def away_from_turn(ticks: Any, run: dict[str, Any]) -> Any:
    """(ticks,) whether no value can be of a conversion in which the ramp went back to its beginning."""
    since_turn = (ticks["t_ns"] - run["origin_ns"]) % RAMP_NS
    margin = 3 * scan_of(run["config"])
    return (since_turn > margin) & (since_turn < RAMP_NS - margin)


def most_inside(numbers: Any, low: Any, high: Any) -> int:
    """The source counts scans from a start of its own: how many numbers lie in [low, high] for the best such start."""
    if not len(numbers):
        return 0
    starts = np.arange((numbers - high).min(), (numbers - low).max() + 1)
    return max(int(np.count_nonzero((numbers >= low + start) & (numbers <= high + start))) for start in starts)
