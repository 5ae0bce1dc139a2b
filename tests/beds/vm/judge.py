"""Outside: compares what the real driver did with what `sim` does, and says what passed.

judge.py FOLDER BENCH: the folder with drive/ and hour/ from the virtual machines, and the JSON file of measured ratios.
"""

from __future__ import annotations

import errno
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from i2c_truth import judge_i2c
from row import Row

from neuralpower_sampler import SimChip, SimError, simulate
from neuralpower_sampler.sim import Driver

PIECE_NS = 250_000
SHUNT_UOHM = 5000
BUS_UV = (19_000_000, 5_000_000, 5_000_000)
RAILS = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
CHANNELS = [(0, channel, quantity) for channel in (1, 2, 3) for quantity in ("bus_uv", "shunt_uv")]
MISSING = 3
LEAD_NS = 2_000_000_000
"""How long the simulated chip runs before what is compared, so that its averages forget their start."""
SEEDS = 4
"""The simulated chip's phase in the scan is drawn; the count of distinct values is the mean over so many."""
CPU_BAR = 1.10
RESIDENT_BAR = 64 * 1024
RAIL_W = {"VDD_IN": 76.0, "VDD_CPU_GPU_CV": 8.0, "VDD_SOC": 4.0}
RAIL_W |= {f"ina3221@0-0041.{channel}": power / 2 for channel, power in enumerate(list(RAIL_W.values()), 1)}
"""Of the steady waveform; the chip without a device tree has twice the shunts."""


def main() -> int:
    """Print the table, write the ratios, and return 1 if anything failed."""
    folder, bench = Path(sys.argv[1]), Path(sys.argv[2])
    facts = json.loads((folder / "drive/facts.json").read_text())
    hour = json.loads((folder / "hour/hour.json").read_text())
    rows = [row for number, fact in enumerate(facts["timelines"]) for row in judge_timeline(folder, number, fact)]
    rows += judge_errors(folder, facts["errors"])
    rows += judge_older(folder, facts["older"])
    rows += judge_minute(facts["minute"]) + judge_hour(hour) + judge_cpu(facts["cpu"], bench)
    rows += judge_i2c(folder, facts["i2c"]) + judge_daemon(facts["daemon"])
    head = Row("what", "found (driver / sim)", "wanted", True)
    widths = [max(len(getattr(row, name)) for row in [head, *rows]) for name in ("what", "found", "wanted")]
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip((row.what, row.found, row.wanted), widths, strict=True)]
        print("  ".join(cells), " verdict" if row is head else " passed" if row.passed else " FAILED")
    failed = sum(not row.passed for row in rows)
    print(
        f"{len(rows) - failed} passed, {failed} failed"
        + ("" if facts["older"] else "; not run: the older driver, see above")
    )
    return 1 if failed else 0


# ---- the same timeline in the simulated chip


def simulated(fact: dict[str, Any], ticks: Any, levels_uv: Any, older: bool, **more: Any) -> Any:
    """What `sim` gives for the times of these ticks, the chip having run for LEAD_NS before."""
    period = fact["period_ns"]
    first = int(ticks["t_ns"][0]) - int(ticks["slot"][0]) * period
    grid = first + np.arange(-(LEAD_NS // period), int(ticks["slot"][-1]) + 1) * period
    begin = (grid[0] - fact["origin_ns"]) // PIECE_NS - 100
    pieces = np.arange(begin, (grid[-1] - fact["origin_ns"]) // PIECE_NS + 1000)
    records = np.zeros(len(pieces), [("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", 3)])
    records["start_ns"] = fact["origin_ns"] + pieces * PIECE_NS
    records["end_ns"] = records["start_ns"] + PIECE_NS
    records["power_uw"] = levels_uv[pieces % len(levels_uv)].astype("<i8") * BUS_UV // SHUNT_UOHM
    on = [bool(fact["config"] >> (14 - channel) & 1) for channel in range(3)]
    chip = SimChip(
        "0x40",
        [rail if is_on else "" for rail, is_on in zip(RAILS, on, strict=True)],
        BUS_UV,
        [SHUNT_UOHM] * 3,
        fact["config"],
    )
    driver: Driver = "waiting" if older else "continuous" if fact["config"] & 4 else "single-shot"
    if fact["wire_ns"]:
        more["bus_hz"] = 48 * 1_000_000_000 // (quickest_ns(ticks) // 2 if older else fact["wire_ns"])
    made = simulate(records, dict.fromkeys(RAILS, 0), [chip], CHANNELS, grid, noise_uv=0.0, driver=driver, **more)
    return made[made["t_ns"] >= int(ticks["t_ns"][0]) - period // 2]


def quickest_ns(ticks: Any) -> int:
    """The time of a read that waits for nothing: the flag and the register, on the wire as it was."""
    readings = ticks["readings"]
    spent = readings["end_ns"].astype(np.int64) - readings["begin_ns"]
    return int(np.quantile(spent[readings["state"] != MISSING], 0.05))


def distinct(ticks: Any, reading: int) -> int:
    """How many values of one reading differ from the one before."""
    return 1 + int(np.count_nonzero(np.diff(ticks["readings"]["value"][:, reading])))


def duration_ms(ticks: Any) -> float:
    """The median read of what is not missing."""
    readings = ticks["readings"]
    spent = readings["end_ns"].astype(np.int64) - readings["begin_ns"]
    return float(np.median(spent[readings["state"] != MISSING])) / 1e6


def is_waiting(ticks: Any, fact: dict[str, Any]) -> bool:
    """A read that takes over half a conversion beyond its transfers waits for the chip."""
    wire_ms: float = fact["wire_ns"] / 1e6
    return duration_ms(ticks) > 4 * wire_ms + 0.5


def judge_older(folder: Path, facts: dict[str, Any]) -> list[Row]:
    """The driver that waits for the chip in each read, the same way; nothing where it could not be had."""
    if not facts:
        return []
    rows = [
        row for number, fact in enumerate(facts["timelines"]) for row in judge_timeline(folder, number, fact, "older")
    ]
    return [
        *rows,
        *(replace(row, what=f"older driver, {row.what}") for row in judge_errors(folder, facts["errors"], "older")),
    ]


def judge_timeline(folder: Path, number: int, fact: dict[str, Any], stem: str = "timeline") -> list[Row]:
    """Distinct values, class of read duration, error codes and, over steps, the filter, of one setting."""
    stored = np.load(folder / f"drive/{stem}{number}.npz")
    real = stored["ticks"]
    sims = [simulated(fact, real, stored["levels_uv"], stem == "older", seed=seed) for seed in range(SEEDS)]
    sim = sims[0]
    off = [reading for reading in range(6) if (real["readings"]["state"][:, reading] == MISSING).all()]
    shunts = [reading for reading in (1, 3, 5) if reading not in off]
    name = f"{fact['name']} ({fact['config']:#06x})"
    theirs = sum(distinct(real, reading) for reading in shunts)
    ours = float(np.mean([sum(distinct(ticks, reading) for reading in shunts) for ticks in sims]))
    shown = f"{theirs} / {ours:.1f}: {100 * (ours / theirs - 1):+.2f} %"
    rows = [Row(f"{name}: distinct values", shown, "within 1 %", abs(ours / theirs - 1) <= 0.01)]
    if "steps" in fact["name"]:
        rows += judge_filter(name, real, sims)
    words = ["waits" if is_waiting(ticks, fact) else "immediate" for ticks in (real, sim)]
    shown = f"{words[0]} {duration_ms(real):.3f} ms / {words[1]} {duration_ms(sim):.3f} ms"
    rows.append(Row(f"{name}: a read", shown, "the same class", words[0] == words[1]))
    codes = [sorted({int(code) for code in np.unique(ticks["readings"]["error"])}) for ticks in (real, sim)]
    wanted = [0, errno.ENODATA] if off else [0]
    rows.append(Row(f"{name}: error codes", f"{codes[0]} / {codes[1]}", str(wanted), codes[0] == codes[1] == wanted))
    return rows


def judge_filter(name: str, real: Any, sims: list[Any]) -> list[Row]:
    """The recursive average over steps: its time constant, and between which values it goes."""
    theirs = constant_ms(real)
    ours = float(np.mean([constant_ms(ticks) for ticks in sims]))
    shown = f"{theirs:.1f} ms / {ours:.1f} ms: {100 * (ours / theirs - 1):+.2f} %"
    rows = [Row(f"{name}: time constant", shown, "within 1 %", abs(ours / theirs - 1) <= 0.01)]
    ends = [
        [int(ticks["readings"]["value"][:, 1].min()), int(ticks["readings"]["value"][:, 1].max())]
        for ticks in (real, sims[0])
    ]
    return [*rows, Row(f"{name}: least, greatest", f"{ends[0]} / {ends[1]} µV", "equal", ends[0] == ends[1])]


def constant_ms(ticks: Any) -> float:
    """The time constant: how long the first shunt takes from 10 to 90 % of a step and back, over ln 9; mean of all steps."""
    t, value = ticks["t_ns"], ticks["readings"]["value"][:, 1].astype(float)
    share = (value - value.min()) / (value.max() - value.min())
    turns = np.flatnonzero(np.diff((share > 0.5).astype(int)))  # one in each half period of 1.28 s
    spent = []
    for turn in turns:
        up = share[turn + 1] > 0.5
        far = (share > 0.9) if up else (share < 0.1)
        near = (share < 0.1) if up else (share > 0.9)
        before, after = np.flatnonzero(near[:turn]), np.flatnonzero(far[turn:])
        if len(before) and len(after):
            spent.append(t[turn + after[0]] - t[before[-1]])
    return float(np.mean(spent)) / 1e6 / math.log(9)


def judge_errors(folder: Path, fact: dict[str, Any], stem: str = "errors") -> list[Row]:
    """Failed transfers give the transfer's errno and nothing else; a chip that goes away comes back."""
    ticks = np.load(folder / f"drive/{stem}.npy")
    rows = []
    for number in fact["errnos"]:
        found = int(np.count_nonzero(ticks["readings"]["error"] == number))
        made = simulate(
            np.zeros(0, [("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", 3)]), dict.fromkeys(RAILS, 0),
            [SimChip("0x40", RAILS, BUS_UV, [SHUNT_UOHM] * 3)], CHANNELS, np.arange(100) * 1_000_000,
            errors=[SimError(reading, number, 10, 2) for reading in range(6)],
        )  # fmt: skip
        in_sim = int(np.count_nonzero(made["readings"]["error"] == number))
        name = errno.errorcode[number]
        shown = f"{found} / {in_sim} readings"
        rows.append(
            Row(
                f"{fact['fails']} transfers fail with {name}",
                shown,
                f"{fact['fails']}",
                found == in_sim == fact["fails"],
            )
        )
    gone = ticks[(ticks["t_ns"] > fact["gone_ns"] + 20_000_000) & (ticks["t_ns"] < fact["back_ns"])]["readings"]
    codes = {int(code) for code in np.unique(gone["error"])}
    shown = f"{', '.join(errno.errorcode[code] for code in codes)}; path {'gone' if fact['path_gone'] else 'there'}"
    allowed = codes <= {errno.ENOENT, errno.ENODEV} and bool((gone["state"] == MISSING).all()) and fact["path_gone"]
    rows.append(Row("chip removed: its readings", shown, "ENOENT or ENODEV, path gone", allowed))
    back = bool((ticks[ticks["t_ns"] > ticks["t_ns"][-1] - 500_000_000]["readings"]["state"] != MISSING).all())
    rows.append(Row("chip bound again: its readings", "values" if back else "missing", "values after revive()", back))
    return rows


# ---- the loop in virtual time


def judge_minute(fact: dict[str, Any]) -> list[Row]:
    """60 s at 1 kHz."""
    loop = fact["loop"]
    shown = f"{loop['missed_slots']} missed of {loop['ticks']}, lateness p99 {loop['lateness_p99_ns'] / 1e3:.1f} µs"
    rows = [
        Row(
            "60 virtual s at 1 kHz, 6 readings",
            shown,
            "0 missed",
            loop["missed_slots"] == 0 and loop["ticks"] >= 59_990,
        )
    ]
    even = fact["gaps"] == fact["index"] == fact["missing"] == 0
    rows.append(
        Row(
            "  gaps in slot, in index, missing readings",
            f"{fact['gaps']}, {fact['index']}, {fact['missing']}",
            "0, 0, 0",
            even,
        )
    )
    return rows


def judge_hour(fact: dict[str, Any]) -> list[Row]:
    """An hour: index × slot, memory, descriptors."""
    loop, checks = fact["loop"], fact["checks"]
    rate = 1_000_000_000 // fact["period_ns"]
    exact = fact["seen"] == loop["ticks"] == fact["slots"] == loop["ticks"] + loop["missed_slots"]
    exact = exact and fact["lost"] == fact["uneven"] == fact["missing"] == 0 and loop["ticks"] >= 3600 * rate
    shown = f"{loop['ticks']} ticks, {fact['seen']} read, {fact['slots']} slots, {loop['missed_slots']} missed"
    rows = [Row(f"an hour of virtual time at {rate} Hz", shown, "all equal, 0 missed", exact)]
    grown = checks[-1]["resident"] - checks[9]["resident"]
    shown = f"{checks[-1]['resident'] / 2**20:.1f} MiB, {grown / 1024:+.0f} KiB since minute 10"
    rows.append(Row("  resident memory", shown, f"at most +{RESIDENT_BAR // 1024} KiB", grown <= RESIDENT_BAR))
    numbers = sorted({check["descriptors"] for check in checks})
    rows.append(Row("  open descriptors", str(numbers), "one number", len(numbers) == 1))
    return rows


def judge_cpu(fact: dict[str, list[float]], bench: Path) -> list[Row]:
    """Guest CPU time of a tick against a bare loop, and that against itself."""
    ours, reference, control = (np.array(fact[name]) for name in ("ours", "reference", "control"))
    ratios, controls = ours / reference, control / reference
    ratio = float(np.median(ratios))
    entry = {
        "name": "guest CPU per tick at 1 kHz, 6 preads of the real driver, -icount", "ours": float(np.median(ours)),
        "reference": float(np.median(reference)), "ratio": ratio, "low": float(ratios.min()),
        "high": float(ratios.max()), "unit": "ns", "runs": len(ours),
    }  # fmt: skip
    bench.parent.mkdir(parents=True, exist_ok=True)
    bench.write_text(json.dumps([entry], indent=1) + "\n")
    shown = f"{np.median(ours):.0f} / {np.median(reference):.0f} ns: {ratio:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
    shown += f", control {controls.min():.3f} to {controls.max():.3f}"
    return [Row("guest CPU per tick, ours / bare loop", shown, f"at most {CPU_BAR}", ratio <= CPU_BAR)]


# ---- the shipped sources and the daemon


def judge_daemon(fact: dict[str, Any]) -> list[Row]:
    """`neuralpowerd check` and `neuralpowerd run` over driver and registers."""
    rails = {rail["rail"]: rail["power_w"] for rail in (fact["check"] or {}).get("rails", [])}
    shown = ", ".join(f"{name} {power:g} W" for name, power in rails.items())
    rows = [Row("neuralpowerd check: rails with labels and without", shown, "those of the waveform", rails == RAIL_W)]
    runs = {"hwmon": fact["hwmon"], "i2c": fact["registers"]["runs"][0]}
    for name, run in runs.items():
        power: dict[str, float] = run["status"]["rails"]
        right = (
            run["status"]["source"] == name
            and all(RAIL_W[rail] == watts for rail, watts in power.items())
            and len(power) >= 3
        )
        whole = run["lost"] == run["missing"] == 0 and run["ticks"] > 4000 and run["exit"] == 0
        shown = f"{run['ticks']} ticks, {run['lost']} lost, {run['missing']} missing readings, {run['missed_slots']} missed slots"
        rows.append(
            Row(f"neuralpowerd run, source {name}", shown, "none lost or missing, the right powers", right and whole)
        )
    states, original = fact["registers"]["configs"], fact["registers"]["original"]
    shown = " ".join(f"{config:#06x}" for config in (original, *states))
    put_back = states[0] == original and states[1] != original and states[2] == original
    return [*rows, Row("  config before, after stop, kill, restore", shown, "back after stop and restore", put_back)]


if __name__ == "__main__":
    sys.exit(main())
