"""(d) The whole daemon at 1 kHz × 3 rails, served to clients outside the count, beside the C loop and the Python loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from neuralpower.console import progress

from ..machine import build
from ..report import Result
from ..sampling import loops
from ..statistics import Bar, Form, Metrics, interleave
from .board import Daemon, NotServed

MINUTES = 9.0
BESIDE_C, BESIDE_PYTHON = Bar(1.5), Bar(1 / 3)
INFERENCES_PER_S = 400
VARIANTS = {
    "5 ms batches": Daemon(batch_ms=5),
    "20 ms batches": Daemon(batch_ms=20),
    "100 ms batches": Daemon(batch_ms=100),
    f"{INFERENCES_PER_S} inferences/s": Daemon(inferences_per_s=INFERENCES_PER_S),
}
"""For the table; the bars are for the default batch without inferences."""


def run(form: Form) -> Result:
    """Each round starts every daemon anew, lets it settle, and measures it for 5 s."""
    build("sampling/bare_loop.c")
    rounds, seconds, settle = form.count(2, 10), form.pick(2, 5), form.pick(1, 2)
    with loops.six_files() as files:
        job = loops.Job(seconds / 2, files)
        sides: dict[str, Callable[[], Metrics]] = {
            "default": lambda: _daemon(Daemon(), seconds, settle),
            **{name: _variant(daemon, seconds, settle) for name, daemon in VARIANTS.items()},
            "bare": lambda: loops.bare(job).metrics(),
            "bare again": lambda: loops.bare(job).metrics(),
            "python": lambda: loops.python(job).metrics(),
            "python again": lambda: loops.python(job).metrics(),
        }
        with progress("d: the daemon", rounds) as advance:
            measured = interleave(sides, rounds, advance)
    rows = measured.row(
        "daemon / C loop", "cpu", "µs", ours="default", reference="bare", control="bare again", bar=BESIDE_C
    )
    rows += measured.row(
        "daemon / Python loop",
        "cpu",
        "µs",
        ours="default",
        reference="python",
        control="python again",
        bar=BESIDE_PYTHON,
    )
    for name in VARIANTS:
        rows += measured.row(f"daemon with {name} / C loop", "cpu", "µs", ours=name, reference="bare", control="")
    note = "CPU time of the whole process per tick; batches are every 50 ms by default; a subscriber and two questions to the history a second are outside the count"
    return Result(rows, [note])


def _variant(daemon: Daemon, seconds: float, settle: float) -> Callable[[], Metrics]:
    return lambda: _daemon(daemon, seconds, settle)


def _daemon(daemon: Daemon, seconds: float, settle: float) -> Metrics:
    """A window in which clients went short is measured again, once."""
    with suppress(NotServed):
        return _window(daemon, seconds, settle)
    return _window(daemon, seconds, settle)


def _window(daemon: Daemon, seconds: float, settle: float) -> Metrics:
    with daemon as running:
        time.sleep(settle)
        return {"cpu": running.cpu_per_tick_us(seconds)}
