"""(b), (c) What a tick costs, beside a C loop that stores nothing and beside the Python loop that most people write."""

from __future__ import annotations

from collections.abc import Callable

from neuralpower.console import progress

from ..machine import build
from ..report import Result
from ..statistics import Bar, Form, Metrics, Rounds, interleave
from . import loops

MINUTES_C, MINUTES_PYTHON = 5.5, 3.5
PACED, UNPACED = Bar(1.10), Bar(1.25)


def beside_c(form: Form) -> Result:
    """(b): six files at 1 kHz, and without sleeping."""
    build("sampling/bare_loop.c")
    result = Result()
    with loops.ours() as ours, loops.six_files() as files:
        paced = _against(ours, loops.bare, loops.Job(form.pick(1, 2), files), form.count(4, 40), "b: at 1 kHz")
        result.rows += paced.row("CPU per tick at 1 kHz", "cpu", "µs", bar=PACED)
        job = loops.Job(form.pick(0.3, 0.5), files, period_ns=0)
        unpaced = _against(ours, loops.bare, job, form.count(4, 40), "b: unpaced")
        result.rows += unpaced.row("CPU per tick, unpaced", "cpu", "µs", bar=UNPACED)
    return result


def beside_python(form: Form) -> Result:
    """(c): six files at 1 kHz, opened, read and closed each time by Python."""
    with loops.ours() as ours, loops.six_files() as files:
        job = loops.Job(form.pick(1, 2), files)
        measured = _against(ours, loops.python, job, form.count(3, 30), "c: beside Python")
    rows = measured.row("CPU per tick at 1 kHz", "cpu", "µs")
    rows += measured.row("lateness p50", "p50", "µs") + measured.row("lateness p99", "p99", "µs")
    return Result(rows)


def _against(
    ours: loops.Ours, reference: Callable[[loops.Job], loops.Block], job: loops.Job, rounds: int, label: str
) -> Rounds:
    def metrics_of(loop: Callable[[loops.Job], loops.Block]) -> Callable[[], Metrics]:
        return lambda: loop(job).metrics()

    sides: dict[str, Callable[[loops.Job], loops.Block]] = {"ours": ours, "reference": reference, "control": reference}
    with progress(label, rounds) as advance:
        return interleave({name: metrics_of(loop) for name, loop in sides.items()}, rounds, advance)
