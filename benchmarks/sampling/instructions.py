"""(g) Instructions of the C functions of a tick, counted by callgrind, against benchmarks/budget.json. More than 5 % over it fails."""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from pathlib import Path

from ..machine import OUT, Missing, budget, build, tool
from ..report import Result
from ..statistics import Bar, Form, compare

MINUTES = 0.2
TICKS = 3000
ALLOWED = Bar(1.05)
STAGES = {
    "stage_read": "parse six files and judge freshness",
    "stage_store": "store a tick of six readings",
    "stage_read_back": "read it back, one reader",
}


def run(form: Form) -> Result:
    """One run under callgrind for each stage and, for all three, the sum. Every run gives the same, so all forms are one."""
    valgrind = tool("valgrind", "valgrind")
    program = build("sampling/instructions.c", with_sampler=True)
    counted = {stage: _count(valgrind, program, stage) for stage in STAGES}
    counted["all"] = sum(counted.values())
    machine, result = platform.machine(), Result()
    try:
        allowed = budget(f"instructions_{machine}")
    except KeyError:
        found = ", ".join(f"{stage} {count:.0f}" for stage, count in counted.items())
        return Result(notes=[f"no budget for {machine} in benchmarks/budget.json; counted: {found}"])
    for stage, count in counted.items():
        name = STAGES.get(stage, "all of a tick")
        result.rows.append(compare(name, [count], [allowed[stage]], "instructions", ALLOWED))
    result.failed = any(row.verdict == "not met" for row in result.rows)
    return result


def _count(valgrind: str, program: Path, stage: str) -> float:
    """Instructions per tick inside the function `stage`, what it calls included."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--tool=callgrind", "--collect-atstart=no", f"--toggle-collect={stage}"]
        command = [
            valgrind,
            *options,
            f"--callgrind-out-file={OUT}/{stage}.callgrind",
            str(program),
            str(TICKS),
            folder,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise Missing(f"callgrind failed with status {done.returncode}: {done.stderr.strip()[-400:]}")
    return int(found[1]) / TICKS
