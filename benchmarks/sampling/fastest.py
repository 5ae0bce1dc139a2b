"""(e) The highest rate that a loop keeps, sleeping and spinning before its deadlines, beside a bare loop that only sleeps."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from functools import partial

from neuralpower.console import progress

from ..machine import build, shallow_idle, throttled_gap_ns, throttling
from ..report import Result
from ..statistics import SEED, Bar, Form, Rounds, compare, quantile
from . import loops
from .worker import SPIN

MINUTES = 16.0
KEPT_SLOTS = 0.98
SLEEPING, SPINNING = Bar(0.9, at_least=True), Bar(1.0, at_least=True)
SPIN_RATE_HZ = 20_000.0
RATES_HZ = [round(500 * 1.05**step) for step in range(109)]
"""500 Hz to 97 kHz in steps of 5 %."""

Loop = Callable[[loops.Job], loops.Block]
Search = Generator[tuple[int, float], bool, int]
"""Asks for (rate, seconds), is told whether that was kept, returns the highest rate kept."""


def run(form: Form) -> Result:
    """Each side searches for its rate; the sides take turns at every single trial."""
    build("sampling/bare_loop.c")
    rounds, short, long = form.count(1, 3), form.pick(0.5, 2), form.pick(2, 30)
    found, throttled = Rounds(), Throttled()
    with loops.ours() as ours, loops.six_files() as files:
        sides: dict[str, Loop] = {
            "ours": lambda job: ours(loops.Job(job.seconds, files, job.period_ns)),
            "reference": loops.bare,
            "control": loops.bare,
        }
        if SPIN:
            sides["spin"] = lambda job: ours(loops.Job(job.seconds, files, job.period_ns, spin=True))
            sides["awake"] = partial(_awake, sides["spin"])
        with progress("e: highest rate", rounds) as advance:
            for done in range(rounds):
                searches = {side: _search(RATES_HZ, short, long) for side in sides}
                for side, rate in _by_turns(searches, sides, throttled).items():
                    found.add(side, {"rate": rate})
                advance(done + 1, f"round {done + 1} of {rounds}")
    result = Result(found.row("highest rate kept, sleeping", "rate", "Hz", bar=SLEEPING))
    if SPIN:
        for side, state in (("spin", "not held"), ("awake", "held at 0")):
            kept = found.values[side]["rate"]
            target, name = [SPIN_RATE_HZ] * len(kept), f"highest rate kept, spinning / 20 kHz, cpu_dma_latency {state}"
            result.rows.append(compare(name, kept, target, "Hz", SPINNING))
    else:
        result.notes.append("spinning before the deadline: not available, the sampler has no such option")
    result.notes += [
        f"kept: {KEPT_SLOTS:.0%} of slots taken and p99 lateness under half a period, over {long:g} s; steps of 5 %; "
        "ours reads six files, the reference only sleeps",
        f"{throttling()}; {throttled}",
    ]
    return result


class Throttled:
    """Counts the trials in which a loop stood still for as long as the kernel stops a throttled task."""

    def __init__(self) -> None:
        self._trials = self._stood = 0
        self._longest_ns = 0.0

    def see(self, block: loops.Block) -> None:
        """Look at the latest wake-up of a trial."""
        self._trials += 1
        latest = quantile(block.lateness, 1.0)
        self._longest_ns = max(self._longest_ns, latest)
        self._stood += latest >= throttled_gap_ns()

    def __str__(self) -> str:
        gap = f"longest {self._longest_ns / 1e6:.1f} ms"
        if not self._stood:
            return f"no loop stood still as if throttled ({gap})"
        return f"in {self._stood} of {self._trials} trials a loop stood still as if throttled ({gap})"


def _by_turns(searches: dict[str, Search], sides: dict[str, Loop], throttled: Throttled) -> dict[str, int]:
    """Run all searches to their end, one trial of each at a time, in a new order each time."""
    draw, rates = random.Random(SEED), dict[str, int]()
    wanted = {side: next(search) for side, search in searches.items()}
    while wanted:
        for side in draw.sample(sorted(wanted), len(wanted)):
            rate, seconds = wanted[side]
            block = sides[side](loops.Job(seconds, period_ns=round(1e9 / rate)))
            throttled.see(block)
            try:
                wanted[side] = searches[side].send(_kept(block, 1e9 / rate))
            except StopIteration as end:
                rates[side] = end.value
                del wanted[side]
    return rates


def _kept(block: loops.Block, period_ns: float) -> bool:
    return block.ticks >= KEPT_SLOTS * block.slots and quantile(block.lateness, 0.99) < period_ns / 2


def _awake(loop: Loop, job: loops.Job) -> loops.Block:
    """A loop while processors are kept from sleeping deeply."""
    with shallow_idle():
        return loop(job)


def _search(rates: Sequence[int], short: float, long: float) -> Search:
    """Halve with short trials, then confirm with long ones, down from there; 0 where nothing is kept."""
    low, high = 0, len(rates)
    while low < high:
        middle = (low + high) // 2
        if (yield rates[middle], short):
            low = middle + 1
        else:
            high = middle
    while low > 0 and not (yield rates[low - 1], long):
        low -= 1
    return rates[low - 1] if low else 0
