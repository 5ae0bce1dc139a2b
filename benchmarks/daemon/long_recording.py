"""(y) A day at 1 kHz × 3 rails: what it takes to open it, to sum up an hour and to cut out a minute, beside pyarrow reading an hour."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from neuralpower.console import progress
from neuralpower.recordings.files import layout, summaries

from ..machine import MEMORY, ROOT, Missing
from ..report import Result
from ..statistics import Bar, Form, compare
from .asked_recording import HOUR_NS
from .recorded_day import MINUTE_TICKS, RAILS, T0_NS, make

MINUTES = 8.0
DAY, HOUR = 24 * 60, 60
BUDGETS = {"facts": 1.0, "hour": 0.2, "minute": 0.3}
MEGABYTES, BYTES = 100.0, 24.0
ROOM = 3_000_000_000
"""What a day takes in memory, with some to spare."""
QUESTIONS = {
    "facts": "open, and all that info tells",
    "hour": "an hour's energy",
    "minute": "a minute's ticks",
}


def run(form: Form) -> Result:
    """Makes the recording in memory, and asks each question in a process of its own, in turns."""
    minutes, rounds = round(form.pick(HOUR, DAY)), form.count(3, 7)
    if shutil.disk_usage(MEMORY).free < ROOM * minutes / DAY:
        raise Missing(f"{MEMORY} has no room for {ROOM * minutes / DAY / 1e9:.1f} GB")
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="npbench") as name:
        folder = Path(name) / "rec"
        with progress("y: making the recording", minutes) as advance:
            make(folder, minutes, advance)
        found: dict[str, list[dict[str, float]]] = {question: [] for question in (*QUESTIONS, "columns")}
        with progress("y: asking it", rounds) as advance:
            for done in range(rounds):
                for question, answers in found.items():
                    # Not at a whole minute or second: both ends are cut out of a segment. An hour's recording has none around one.
                    begin_ns = T0_NS + (HOUR_NS * (done % 20 + 1) if minutes > HOUR else 0) + 20_123_456_789
                    answers.append(_asked(folder, question, begin_ns))
                advance(done + 1, f"round {done + 1} of {rounds}")
        sizes = _sizes(folder)
    return _result(minutes, found, sizes)


def _asked(folder: Path, question: str, begin_ns: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.daemon.asked_recording", str(folder), question, str(begin_ns)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{question}: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the ticks, their summaries, and the journal."""
    ticks = [segment.path for segment in layout.segments(folder, "ticks")]
    return {
        "ticks": sum(path.stat().st_size for path in ticks),
        "summaries": sum(summaries.path_of(path).stat().st_size for path in ticks),
        "journal": sum(path.stat().st_size for path in (folder / "journal").rglob("*") if path.is_file()),
    }


def _result(minutes: int, found: dict[str, list[dict[str, float]]], sizes: dict[str, int]) -> Result:
    wall = {question: [each["wall"] for each in answers] for question, answers in found.items()}
    count = minutes * MINUTE_TICKS
    length = "a day" if minutes == DAY else f"{minutes} minutes"
    rows = [
        compare(
            f"{length}: {title} / {BUDGETS[question]:g} s",
            wall[question],
            [BUDGETS[question]] * len(wall[question]),
            "s",
            Bar(1.0),
        )
        for question, title in QUESTIONS.items()
    ]
    megabytes = [each["megabytes"] for each in found["facts"]]
    rows.append(
        compare(f"{length}: memory of info / {MEGABYTES:g} MB", megabytes, [MEGABYTES] * len(megabytes), "MB", Bar(1.0))
    )
    each = (sizes["ticks"] + sizes["summaries"]) / count / len(RAILS)
    rows.append(compare(f"bytes of a rail's reading / {BYTES:g}", [each], [BYTES], "bytes", Bar(1.0)))
    rows.append(compare("an hour's energy / pyarrow reads its columns", wall["hour"], wall["columns"], "s", Bar(0.1)))
    began = {question: np.median([each["began"] for each in answers]) for question, answers in found.items()}
    cpu = {question: np.median([each["cpu"] for each in answers]) for question, answers in found.items()}
    held = np.median([each["megabytes"] for each in found["columns"]])
    mib = {name: size / 1e6 for name, size in sizes.items()}
    notes = [
        f"simulated readings: {count} ticks of {len(RAILS)} rails of two readings each, written by the recorder's writer of segments into {MEMORY}",
        f"{mib['ticks']:.0f} MB of ticks (Parquet, zstd), {mib['summaries']:.0f} MB of summaries, {mib['journal']:.0f} MB of journal",
        f"pyarrow reads all columns of 60 of its segments: {np.median(wall['columns']):.2f} s and {held:.0f} MB",
        "CPU seconds: " + ", ".join(f"{question} {value:.3f}" for question, value in cpu.items()),
        "each question in a process of its own, which opens the recording anew; modules are imported before",
        "from the start of that process, interpreter and imports included: "
        + ", ".join(f"{question} {began[question]:.2f} s" for question in QUESTIONS),
    ]
    return Result(rows, notes)
