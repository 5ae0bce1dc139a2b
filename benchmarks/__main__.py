"""make bench: every part, or one of them. `python -m benchmarks --help` from the top of the checkout."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from .analysis import attribution_growth, attribution_speed, models_speed
from .daemon import daemon, estimator, long_recording, memory, nvml, recorder
from .delivery import delivered
from .machine import Missing, describe
from .profiler import profiler_cost
from .report import Result, show, store
from .ring import rings
from .sampling import cost, fastest, instructions, wakeup
from .statistics import Form


class Part(NamedTuple):
    """A part: what it is about, the minutes it takes in full, and what runs it."""

    title: str
    minutes: float
    run: Callable[[Form], Result]


PARTS = {
    "a": Part("wake-up lateness beside cyclictest", wakeup.MINUTES, wakeup.run),
    "b": Part("CPU per tick beside a C loop that stores nothing", cost.MINUTES_C, cost.beside_c),
    "c": Part("CPU per tick and lateness beside a Python loop", cost.MINUTES_PYTHON, cost.beside_python),
    "d": Part("the whole daemon, 1 kHz × 3 rails, beside (b) and (c)", daemon.MINUTES, daemon.run),
    "e": Part("highest rate kept, beside a bare sleep loop", fastest.MINUTES, fastest.run),
    "f": Part("the ring beside a single-reader ring", rings.MINUTES, rings.run),
    "g": Part("instructions per tick against the budget", instructions.MINUTES, instructions.run),
    "p": Part("what the profiler adds to an inference of 60 layers", profiler_cost.MINUTES, profiler_cost.run),
    "s": Part("fitting six models beside PolynomialFeatures and LassoCV", models_speed.MINUTES, models_speed.run),
    "h": Part("the estimator beside the daemon: CPU and memory", estimator.MINUTES, estimator.run),
    "i": Part("attribution beside a Python loop on the same log", attribution_speed.MINUTES, attribution_speed.run),
    "l": Part("the daemon's share of a core at 400 inferences/s", daemon.MINUTES_LOADED, daemon.loaded),
    "r": Part("a minute of journal, from the socket to Parquet", recorder.MINUTES, recorder.run),
    "k": Part("attribution of longer recordings", attribution_growth.MINUTES, attribution_growth.run),
    "n": Part("source nvml over a stand-in, simulated, beside its truth", nvml.MINUTES, nvml.run),
    "w": Part("ticks to one client beside msgpack maps, and how late", delivered.MINUTES, delivered.run),
    "y": Part("a day at 1 kHz × 3 rails: opened, an hour, a minute", long_recording.MINUTES, long_recording.run),
    "m": Part("the daemon's memory against the budget", memory.MINUTES, memory.run),
}


def main() -> int:
    """Run what was asked for; 1 where the budget of instructions is exceeded, or where nothing at all could be measured."""
    args = _parser().parse_args()
    chosen = args.parts or list(PARTS)
    print(describe())
    if args.quick:
        print("QUICK: a short form with few and short rounds; its intervals are wide and its verdicts mean little")
    else:
        print(f"about {sum(PARTS[part].minutes for part in chosen):.0f} minutes; leave the machine alone meanwhile")
    print(flush=True)
    results = [_run(part, Form(args.quick, args.rounds)) for part in chosen]
    return int(any(result.failed for result in results) or not any(result.rows for result in results))


def _run(name: str, form: Form) -> Result:
    part, begin = PARTS[name], time.monotonic()
    try:
        result = part.run(form)
    except Missing as reason:
        result = Result(notes=[f"nothing measured: {reason}"])
    took = f"{time.monotonic() - begin:.0f} s{', quick' if form.quick else ''}"
    show(f"({name}) {part.title} [{took}]", result)
    store(name, result.rows)
    return result


def _parser() -> argparse.ArgumentParser:
    parts = "; ".join(f"{name}: {part.title} ({part.minutes:g} min)" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=parts)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--quick", action="store_true", help="a short form that shows that it works, not what it costs")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds in place of each part's own number")
    return parser


if __name__ == "__main__":
    sys.exit(main())
