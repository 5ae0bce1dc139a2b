"""Inside the virtual machine: what the real driver does, as raw facts that judge.py judges outside."""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed
import cpu_runs
import daemon_runs
import i2c_runs
import numpy as np

MS = 1_000_000
# name, what the driver is told through sysfs, wire time of a transfer, period, seconds
TIMELINES: list[tuple[str, dict[str, int], int, int, float]] = [
    ("reset config", {}, 0, MS, 10),
    ("140 µs", {"update_interval": 0}, 0, MS, 10),
    ("140 µs, 16 averages", {"update_interval": 0, "samples": 16}, 0, MS, 10),
    ("140 µs, 256 averages, steps", {"update_interval": 0, "samples": 256}, 0, MS, 10),
    ("channel 2 off", {"in2_enable": 0}, 0, MS, 10),
    ("400 kHz wire", {"update_interval": 0}, 120_000, MS, 10),
    ("single-shot", {}, 0, 100 * MS, 30),
]
ERRNOS = (errno.ETIMEDOUT, errno.EIO, errno.EAGAIN, errno.EREMOTEIO)
FAILS = 12
"""Transfers: two ticks of six readings."""


def attach(told: dict[str, int], single_shot: bool = False) -> Path:
    """The driver on the chip, as it is told."""
    bed.command("single_shot", int(single_shot))
    bed.command("attach", 0x40)
    folder = bed.hwmon(0x40)
    for name, value in told.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def timelines(
    out: Path, settings: list[tuple[str, dict[str, int], int, int, float]], stem: str = "timeline"
) -> list[dict[str, Any]]:
    """Ticks over each setting of chip and driver, for the simulation to be compared with."""
    facts = []
    for number, (name, told, wire_ns, period_ns, seconds) in enumerate(settings):
        attach(told, name == "single-shot")
        levels = bed.steps() if "steps" in name else bed.random_levels(number)
        origin_ns = bed.set_waveform(levels)
        bed.command("wire_ns", wire_ns)
        time.sleep(2)  # the averages forget what was before
        ticks, loop = bed.take(bed.hwmon_source(0x40), period_ns, seconds)
        bed.command("wire_ns", 0)
        config = bed.state(0x40)["config"]
        np.savez(out / f"{stem}{number}.npz", ticks=ticks, levels_uv=levels.astype("<i4"))
        facts.append({"name": name, "config": config, "origin_ns": origin_ns, "loop": loop})
        facts[-1] |= {"wire_ns": wire_ns, "period_ns": period_ns}
        bed.command("detach", 0x40)
    return facts


def errors(out: Path, stem: str = "errors") -> dict[str, Any]:
    """Transfers that fail, with each errno; then a chip that goes away and comes back."""
    attach({})
    source = bed.hwmon_source(0x40)
    with bed.Taking(source, 10 * MS, 60) as taking:
        for number in ERRNOS:
            time.sleep(0.5)
            bed.command("fail_errno", number)
            bed.command("fail_next", FAILS)
        time.sleep(0.5)
        path = Path(bed.inputs(bed.hwmon(0x40))[0].path)
        bed.command("detach", 0x40)
        gone_ns = time.monotonic_ns()
        gone = not path.exists()
        for _ in range(3):
            time.sleep(1.1)
            source.revive()
        bed.command("attach", 0x40)
        back_ns, same = time.monotonic_ns(), path.exists()
        time.sleep(1.1)
        opened = source.revive()
        time.sleep(1)
    np.save(out / f"{stem}.npy", taking.ticks())
    source.close()
    bed.command("detach", 0x40)
    return {
        "errnos": ERRNOS, "fails": FAILS, "gone_ns": gone_ns, "path_gone": gone, "back_ns": back_ns,
        "same_path": same, "opened": opened, "loop": taking.facts(),
    }  # fmt: skip


OLDER = Path("/np/modules/ina3221_older.ko")
# Ticks that last for some scans beat with the grid and with the kernel's own tick, so that the real driver's count differs by
# percents from run to run: where scans are short, ticks come far enough apart for all reads.
OLDER_TIMELINES: list[tuple[str, dict[str, int], int, int, float]] = [
    ("older driver, reset config", {}, 0, MS, 30),
    ("older driver, 140 µs", {"update_interval": 0}, 0, 10 * MS, 30),
    ("older driver, 140 µs, 16 averages", {"update_interval": 0, "samples": 16}, 0, 100 * MS, 30),
    ("older driver, channel 2 off", {"in2_enable": 0}, 0, MS, 30),
    ("older driver, reset config, 400 kHz wire", {}, 120_000, MS, 30),
]


def older(out: Path) -> dict[str, Any]:
    """The driver of Linux 5.10, which waits for the chip in each read, in the place of the newer; nothing where it is not there."""
    if not OLDER.exists():
        return {}
    bed.unload("ina3221")
    bed.load(OLDER)
    return {"timelines": timelines(out, OLDER_TIMELINES, "older"), "errors": errors(out, "older")}


def minute() -> dict[str, Any]:
    """60 s at 1 kHz, six readings a tick."""
    attach({"update_interval": 0})
    bed.set_waveform(bed.random_levels(100))
    ticks, loop = bed.take(bed.hwmon_source(0x40), MS, 60)
    slots, index = np.diff(ticks["slot"].astype(np.int64)), np.diff(ticks["index"].astype(np.int64))
    missing = int(np.count_nonzero(ticks["readings"]["state"] == 3))
    bed.command("detach", 0x40)
    return {
        "loop": loop,
        "gaps": int(np.count_nonzero(slots != 1)),
        "index": int(np.count_nonzero(index != 1)),
        "missing": missing,
    }


def main() -> None:
    out = Path(sys.argv[1])
    facts: dict[str, Any] = {}
    jobs: dict[str, Callable[[], Any]] = {"timelines": lambda: timelines(out, TIMELINES), "errors": lambda: errors(out), "minute": minute,
            "cpu": lambda: cpu_runs.measure(attach), "i2c": lambda: i2c_runs.measure(attach, out),
            "daemon": lambda: daemon_runs.measure(attach), "older": lambda: older(out)}  # fmt: skip
    for name in sys.argv[2:] or jobs:
        begin = time.monotonic()
        facts[name] = jobs[name]()
        facts[f"{name}_virtual_s"] = time.monotonic() - begin
        print(name, f"{time.monotonic() - begin:.1f} virtual seconds", flush=True)
        (out / "facts.json").write_text(json.dumps(facts, indent=1, default=bytes.hex))


if __name__ == "__main__":
    main()
