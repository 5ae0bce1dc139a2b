"""(k) What attribution costs of longer recordings, and of several engines: CPU time for a recorded second, and memory.

Recordings are a user's runs in virtual time, each attributed in a process of its own by one thread. No other tool tells layers apart with intervals: the
reference is a budget, a tenth of a recording's length, and of the longest recording the shorter one.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from math import log
from pathlib import Path

from tests.worlds.runs.make import UserRun, make, write

from neuralpower.attribution import attribute
from neuralpower.console import progress
from neuralpower.recordings.recording import Recording

from ..report import Result
from ..statistics import Bar, Form, compare

MINUTES = 12.0
SEED = 7001
BUDGET, EXPONENT = 0.1, 1.05
"""Of the recording's length on one core; and the power of its length that it may grow with."""
NETWORK, FOUR = ("resnet18",), ("resnet18", "alexnet", "squeezenet1.1", "mobilenet_v2")
FULL_S, QUICK_S = (300.0, 1200.0), (10.0, 40.0)


def run(form: Form) -> Result:
    """Two lengths of one network, and four networks in a minute."""
    short_s, long_s = QUICK_S if form.quick else FULL_S
    runs = {"short": (NETWORK, short_s), "long": (NETWORK, long_s), "four": (FOUR, form.pick(3, 16))}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    length: dict[str, float] = {}
    mebibytes: dict[str, float] = {}
    rounds = form.count(1, 2)
    with progress("k: attribution's growth", rounds * len(runs)) as advance, tempfile.TemporaryDirectory() as folder:
        for name, (networks, seconds) in runs.items():
            write(make(UserRun(SEED, networks, seconds)), Path(folder) / name)
        for number in range(rounds):
            for at, name in enumerate(runs):
                seconds, length[name], mebibytes[name] = _apart(Path(folder) / name)
                cpu[name].append(seconds / length[name])
                advance(number * len(runs) + at + 1, name)
    titles = {name: f"{len(networks)} engine{'s' * (len(networks) > 1)}" for name, (networks, _) in runs.items()}
    rows = [
        compare(f"{titles[name]}, {length[name]:.0f} s / a tenth of it", cpu[name], [BUDGET] * rounds, "s/s", Bar(1.0))
        for name in runs
    ]
    times = length["long"] / length["short"]
    most = Bar(times ** (EXPONENT - 1))
    rows.append(compare(f"{length['long']:.0f} s / {length['short']:.0f} s", cpu["long"], cpu["short"], "s/s", most))
    exponent = 1 + log(rows[-1].ratio) / log(times)
    held = ", ".join(f"{length[name]:.0f} s of {titles[name]} {mebibytes[name]:.0f} MiB" for name in runs)
    notes = [
        f"CPU seconds for a recorded second, simulated; they grow with the length to the power {exponent:.2f}, at most {EXPONENT} is the bar",
        f"most memory resident: {held}",
    ]
    return Result(rows, notes)


def _apart(folder: Path) -> tuple[float, float, float]:
    """CPU seconds, recorded seconds and MiB of an attribution in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_attributed, (folder,))


def _attributed(folder: Path) -> tuple[float, float, float]:
    recording = Recording(folder)
    begin_s = time.process_time()
    attribute(recording)
    cpu_s = time.process_time() - begin_s
    return cpu_s, recording.duration_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
