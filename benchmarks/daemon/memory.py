"""(m) The daemon's resident memory, by where it lies, against benchmarks/budget.json."""

from __future__ import annotations

import time

from neuralpower.console import progress

from ..machine import budget
from ..report import Result
from ..statistics import Bar, Form, compare
from .board import Daemon, memory_bytes
from .daemon import INFERENCES_PER_S

MINUTES = 1.5
WITHIN = Bar(1.0)
MEBIBYTE = 1 << 20


def run(form: Form) -> Result:
    """Once it runs, and again after a minute of inferences: what grows would show."""
    seconds = round(form.pick(5, 60))
    with progress("m: memory", seconds) as advance, Daemon(inferences_per_s=INFERENCES_PER_S) as daemon:
        time.sleep(3)
        early = memory_bytes(daemon.pid)
        for second in range(seconds):
            time.sleep(1)
            advance(second + 1, f"{second + 1} s")
        late = memory_bytes(daemon.pid)
    allowed = {name: mebibytes * MEBIBYTE for name, mebibytes in budget("memory_mib").items()}
    result = Result()
    for name, title in (("anonymous", "memory of its own"), ("logs", "tick ring and journal"), ("files", "code")):
        row = compare(
            f"{title}, against the budget", [late[name] / MEBIBYTE], [allowed[name] / MEBIBYTE], "MiB", WITHIN
        )
        result.rows.append(row)
    grown = (late["anonymous"] - early["anonymous"]) / 1024
    result.notes = [
        f"its own memory grew by {grown:.0f} KiB in {seconds} s with {INFERENCES_PER_S} inferences a second",
        "ring and journal are files in memory, mapped and shared with their readers; the ring is held in full from the start, "
        "the journal as far as it was written: history_seconds and journal.mebibytes set their sizes",
    ]
    return result
