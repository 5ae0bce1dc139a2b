"""(f) The ring: writes a second and read latency beside a single-reader ring of the same stride, and what readers cost its writer."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from neuralpower.console import progress

from ..machine import MEMORY, Missing, build
from ..report import Result
from ..statistics import Bar, Form, Metrics, interleave

MINUTES = 4.0
READERS_COST = Bar(1.10)
SIDES = {
    "ours": "ours full 1 spin",
    "plain": "plain full 1 spin",
    "plain again": "plain full 1 spin",
    "ours, single": "ours single 1 spin",
    "plain, single": "plain single 1 spin",
    "plain, single again": "plain single 1 spin",
    "no reader": "ours bursts 0 poll",
    "no reader again": "ours bursts 0 poll",
    "1 reader, each ms": "ours bursts 1 poll",
    "4 readers, each ms": "ours bursts 4 poll",
    "1 reader, spinning": "ours bursts 1 spin",
    "4 readers, spinning": "ours bursts 4 spin",
}


def run(form: Form) -> Result:
    """All sides in turn, in every round."""
    rounds, seconds = form.count(3, 20), form.pick(0.2, 0.9)
    program = build("ring/ring_speed.c", with_sampler=True)
    if (os.cpu_count() or 1) < 2:
        raise Missing("a writer and a reader at once need two processors")
    with progress("f: the ring", rounds) as advance:
        sides = {name: _side(program, arguments, seconds) for name, arguments in SIDES.items()}
        measured = interleave(sides, rounds, advance)
    rows = measured.row("writes a second, one reader", "writes_per_s", "1/s", reference="plain", control="plain again")
    for share in ("p50", "p99"):
        rows += measured.row(
            f"read latency {share}, a tick each 10 µs",
            f"{share}_read_ns",
            "ns",
            ours="ours, single",
            reference="plain, single",
            control="plain, single again",
        )
    for name in SIDES:
        if "reader," not in name and "readers," not in name:
            continue
        bar, control = (READERS_COST, "no reader again") if name.startswith("4") else (None, "")
        rows += measured.row(
            f"a write with {name} / no reader",
            "write_ns",
            "ns",
            ours=name,
            reference="no reader",
            control=control,
            bar=bar,
        )
    note = (
        "writes at 100 kHz, in bursts of 8, a hundred times a sampler's; spinning readers are more than any client does"
    )
    return Result(rows, [note])


def _side(program: Path, arguments: str, seconds: float) -> Callable[[], Metrics]:
    def measure() -> Metrics:
        with tempfile.TemporaryDirectory(dir=MEMORY, prefix="npbench") as folder:
            # A single reader that spins in real time has its processor to itself: keep that short.
            length = seconds / 3 if "single" in arguments else seconds
            command = [str(program), *arguments.split(), str(length), f"{folder}/ticks.ring"]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"ring_speed failed with status {done.returncode}: {done.stderr.strip()}")
        metrics: Metrics = json.loads(done.stdout)
        return metrics

    return measure
