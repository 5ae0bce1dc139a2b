"""Inside the virtual machine: guest CPU time of a tick, ours and a bare loop's, alternating."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed

RUNS, SECONDS, PERIOD_NS = 5, 4, 1_000_000


def measure(attach: Callable[[dict[str, int]], Path]) -> dict[str, Any]:
    """CPU nanoseconds a tick of each run; the reference is run against itself too, as the control."""
    attach({"update_interval": 0})
    bed.set_waveform(bed.random_levels(200))
    paths = [entry.path for entry in bed.inputs(bed.hwmon(0x40))]
    ours, reference, control = [], [], []
    for _ in range(RUNS):
        ours.append(loop_under_test())
        reference.append(bare(paths))
        control.append(bare(paths))
    bed.command("detach", 0x40)
    return {"ours": ours, "reference": reference, "control": control}


def loop_under_test() -> float:
    """CPU nanoseconds a tick of the shipped loop over the shipped source; what starting it costs is no part of a tick."""
    source = bed.hwmon_source(0x40)
    with bed.Taking(source, PERIOD_NS, SECONDS + 1) as taking:
        time.sleep(0.1)
        first_ns, first = taking.cpu()
        time.sleep(SECONDS)
        last_ns, last = taking.cpu()
    source.close()
    return (last_ns - first_ns) / (last - first)


def bare(paths: list[str]) -> float:
    """CPU nanoseconds a tick of the bare loop."""
    command = ["/np/bare_loop", str(PERIOD_NS), str(SECONDS * 1_000_000_000 // PERIOD_NS), *paths]
    cpu_ns, ticks = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(cpu_ns) / int(ticks)
