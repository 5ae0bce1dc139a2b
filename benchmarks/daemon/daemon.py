"""(d), (l) The whole daemon at 1 kHz × 3 rails, served to clients outside the count: beside the C loop and the Python loop, and loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from neuralpower.console import progress

from ..machine import PERIOD_NS, budget, build
from ..report import Result
from ..sampling import loops
from ..statistics import Bar, Form, Metrics, compare, interleave
from .board import Daemon, NotServed

MINUTES, MINUTES_LOADED = 9.0, 2.0
BESIDE_C, BESIDE_PYTHON = Bar(1.5), Bar(1 / 3)
INFERENCES_PER_S, LAYERS = 400, 60
PERIOD_US = PERIOD_NS / 1000
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


def loaded(form: Form) -> Result:
    """(l): its share of a processor at the heaviest load that is promised, against benchmarks/budget.json."""
    rounds, seconds, settle = form.count(2, 10), form.pick(2, 5), form.pick(1, 3)
    load = Daemon(inferences_per_s=INFERENCES_PER_S, layers=LAYERS)
    measured = []
    with progress("l: the daemon under load", rounds) as advance:
        for done in range(rounds):
            measured.append(_daemon(load, seconds, settle)["cpu"] / PERIOD_US * 100)
            advance(done + 1, f"round {done + 1} of {rounds}")
    allowed = budget("daemon_cpu_percent")["loaded"]
    title = f"1 kHz and {INFERENCES_PER_S} inferences/s of {LAYERS} layers, against the budget"
    note = (
        "CPU time of the daemon's process, its sampling thread included, by the time that its ticks took; the process that "
        "estimates is part (h); a subscriber to everything, two questions a second and the inference process are outside the count"
    )
    return Result([compare(title, measured, [allowed] * rounds, "%", Bar(1.0))], [note])


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
