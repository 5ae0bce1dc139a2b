"""(a) How late our loop wakes up, beside cyclictest, with /dev/cpu_dma_latency held at 0 and not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from neuralpower.console import progress

from ..machine import shallow_idle, tool
from ..report import Result
from ..statistics import Bar, Form, Metrics, interleave
from . import loops

MINUTES = 13.5
P50, P99 = Bar(1.10), Bar(1.25)


def run(form: Form) -> Result:
    """Blocks of 2 s by turns: ours, cyclictest, and cyclictest again as the control."""
    rounds, seconds = form.count(4, 60), form.pick(1, 2)
    program = tool("cyclictest", "rt-tests")
    result = Result()
    with loops.ours() as ours:
        for shallow in (True, False):
            state = "cpu_dma_latency held at 0" if shallow else "cpu_dma_latency not held"
            with progress(f"a: {state}", rounds) as advance:
                measured = interleave(_sides(program, ours, seconds, shallow), rounds, advance)
            result.rows += measured.row(f"lateness p50, {state}", "p50", "µs", bar=P50)
            result.rows += measured.row(f"lateness p99, {state}", "p99", "µs", bar=P99)
    return result


def _sides(program: str, ours: loops.Ours, seconds: float, shallow: bool) -> dict[str, Callable[[], Metrics]]:
    def mine() -> Metrics:
        with shallow_idle() if shallow else nullcontext():
            return ours(loops.Job(seconds)).metrics()

    def theirs() -> Metrics:
        return loops.cyclictest(program, seconds, shallow=shallow).metrics()

    return {"ours": mine, "reference": theirs, "control": theirs}
