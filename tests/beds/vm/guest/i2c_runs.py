"""Inside the virtual machine: the shipped i2c source on /dev/i2c-N, with and without the driver."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed
import numpy as np

from neuralpower_sampler import I2cChip, I2cSource, SamplerError, i2c_restore

SAVED = Path("/run/i2c.saved")
CHANNELS = [(0, channel, quantity) for channel in (1, 2, 3) for quantity in ("shunt_uv", "bus_uv")]
MS = 1_000_000
# name, config, wire time of a transfer, period, seconds
RUNS: list[tuple[str, int | None, int, int, float]] = [
    ("as found", None, 0, MS, 10),
    ("140 µs, 400 kHz wire", 0x7007, 120_000, MS, 10),
    ("332 µs, 400 kHz wire", 0x7097, 120_000, MS, 10),
    ("100 kHz wire", None, 480_000, 5 * MS, 10),
]
HOLD = """
import sys, time
from neuralpower_sampler import I2cChip, I2cSource
source = I2cSource(sys.argv[1], [I2cChip(0x40, config=0x7007)], [(0, 1, "bus_uv")], saved=sys.argv[2])
print("reading", flush=True)
time.sleep(60)
"""


def measure(attach: Callable[[dict[str, int]], Path], out: Path) -> dict[str, Any]:
    """Runs over a ramp, then everything about a bound chip, stop and kill."""
    folder = attach({})
    device = f"/dev/i2c-{folder.resolve().parent.parent.name.partition('-')[0]}"
    facts: dict[str, Any] = {"refused": refusal(device), "forced": forced(device)}
    bed.command("detach", 0x40)
    original = bed.state(0x40)["config"]
    facts["runs"] = [run(device, number, out) for number in range(len(RUNS))]
    facts["original"], facts["after_stop"] = original, bed.state(0x40)["config"]
    return facts | kill(device)


def run(device: str, number: int, out: Path) -> dict[str, Any]:
    """Ticks over the ramp."""
    name, config, wire_ns, period_ns, seconds = RUNS[number]
    origin_ns = bed.set_waveform(*bed.ramp())
    source = I2cSource(device, [I2cChip(0x40, config=config)], CHANNELS, saved=SAVED)
    bed.command("wire_ns", wire_ns)
    before = bed.state(0x40)
    with bed.Taking(source, period_ns, seconds) as taking:
        time.sleep(seconds)
    after = bed.state(0x40)
    bed.command("wire_ns", 0)
    source.close()
    np.save(out / f"i2c{number}.npy", taking.ticks())
    return {
        "name": name, "config": after["config"], "restarted_ns": after["restarted_ns"], "origin_ns": origin_ns,
        "wire_ns": wire_ns, "scans": after["scans"] - before["scans"], "loop": taking.facts(),
    }  # fmt: skip


def refusal(device: str) -> str:
    """What is said of a chip that the driver has."""
    try:
        I2cSource(device, [I2cChip(0x40)], CHANNELS).close()
    except SamplerError as error:
        return f"{error} (errno {error.errno})"
    return ""


def forced(device: str) -> dict[str, Any]:
    """Beside the driver, which goes on reading."""
    other = bed.hwmon_source(0x40)
    source = I2cSource(device, [I2cChip(0x40)], CHANNELS, force=True)
    ticks, loop = bed.take(source, MS, 2)
    other.close()
    return {"ticks": len(ticks), "errors": loop["errors"]}


def kill(device: str) -> dict[str, Any]:
    """A process that is killed leaves the chip changed; what it saved puts it right."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, device, str(SAVED)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    changed = bed.state(0x40)["config"]
    lines = i2c_restore(SAVED)
    return {"after_kill": changed, "restored": lines, "after_restore": bed.state(0x40)["config"]}
