"""`python -m benchmarks.accuracy ablation`: one run with each effect of the virtual device off in turn, down to a world with none.

Which effect an estimate cannot stand shows where its intervals begin to hold.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.worlds.runs.draw import FAST, drawn_manner, drawn_sensor
from tests.worlds.runs.make import UserRun, make

from .judge import judged
from .report import document, table_cells
from .score import RunScore

OUT = Path("build") / "accuracy" / "ablation.json"
FOLDED = math.sqrt(2 / math.pi)
"""Mean of the amount of a normal number of deviation 1."""
EVERY = "none of them"


@dataclass(frozen=True)
class Effect:
    """Something that the virtual device does, and the run without it."""

    name: str
    without: Callable[[UserRun], UserRun]


def _manner(**values: Any) -> Callable[[UserRun], UserRun]:
    return lambda run: replace(run, manner=replace(run.manner, **values))


def _sensor(**values: Any) -> Callable[[UserRun], UserRun]:
    def without(run: UserRun) -> UserRun:
        sensor: Any = {**run.sensor, **values}
        return replace(run, sensor=sensor)

    return without


def _no_scatter(run: UserRun) -> UserRun:
    """Each anchor as far from the kernels as it is in the mean."""
    manner = run.manner
    lognormal = manner.wake_median_ns * math.exp(manner.wake_sigma**2 / 2)
    wake = manner.wake_ns + FOLDED * manner.wake_spread_ns + lognormal + manner.wake_rare_share * manner.wake_rare_ns
    enqueue = manner.enqueue_ns + FOLDED * manner.enqueue_spread_ns
    return _manner(
        enqueue_ns=round(enqueue), enqueue_spread_ns=0, wake_ns=round(wake), wake_spread_ns=0,
        wake_median_ns=0.0, wake_sigma=0.0, wake_rare_share=0.0, wake_rare_ns=0.0,
    )(run)  # fmt: skip


def _no_skew(run: UserRun) -> UserRun:
    """Waking up takes as long as enqueueing, by the same law: the middle between the anchors is the kernels' in the mean."""
    manner = run.manner
    return _manner(
        wake_ns=manner.enqueue_ns, wake_spread_ns=manner.enqueue_spread_ns,
        wake_median_ns=0.0, wake_sigma=0.0, wake_rare_share=0.0, wake_rare_ns=0.0,
    )(run)  # fmt: skip


EFFECTS = (
    Effect("gaps between kernels", _manner(gap_s=0.0)),
    Effect("their scatter", _manner(gap_spread=0.0)),
    Effect("scatter of anchors", _no_scatter),
    Effect("skew of anchors", _no_skew),
    Effect("wander and steps of clock and warmth", _manner(clock_wander=0.0, warmth=0.0, step_every_s=0.0)),
    Effect("cold inferences", _manner(cold_runs=0)),
    Effect("stalls", _manner(stall=(0.0, 0.0))),
    Effect("steps of reported durations", _manner(event_step_ns=1)),
    Effect("jitter of durations", _manner(jitter_own=0.0, jitter_common=0.0)),
    Effect("noise of conversions", _sensor(noise_uv=0.0)),
    Effect("wander of the chip's clock", _sensor(swing_ppm=0.0, walk_ppm=0.0)),
    Effect("lag", _sensor(lag_ns=0)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("network", nargs="?", default="resnet18", metavar="NETWORK", help="default resnet18")
    parser.add_argument("--seed", type=int, default=7000, metavar="N", help="of the run (default 7000)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of the experiment (default 30)")
    parser.add_argument("--plain", action="store_true", help="begin with the device as it is by default, not one drawn")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")


def worlds(run: UserRun) -> list[tuple[str, UserRun]]:
    """The run as it is, without each effect alone, and without this and all before it, down to none."""
    found = [("as it is", run)]
    found += [(f"without {effect.name}", effect.without(run)) for effect in EFFECTS]
    for number, effect in enumerate(EFFECTS):
        run = effect.without(run)
        if 0 < number < len(EFFECTS) - 1:
            found.append((f"nor {effect.name}", run))
    return [*found, (EVERY, run)]


def run(args: argparse.Namespace) -> int:
    """Judge each world; 1 where one could not be attributed at all."""
    drawn = UserRun(args.seed, (args.network,), args.seconds, FAST)
    if not args.plain:
        drawn = replace(drawn, sensor=drawn_sensor(args.seed), manner=drawn_manner(args.seed))
    print(f"{args.network}, {args.seconds:.0f} s, seed {args.seed} (simulated): {drawn.manner}; {dict(drawn.sensor)}")
    print(table_cells("world", None), flush=True)
    given, scores = worlds(drawn), []
    unlike: list[UserRun] = []
    for _, world in given:
        if world not in unlike:  # an effect that the run has not leaves it as it is
            unlike.append(world)
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("fork")) as pool:
        pending = [pool.submit(_judge, world) for world in unlike]
        for name, world in given:
            scores.append(pending[unlike.index(world)].result())
            print(table_cells(name, scores[-1]), flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    each = [{"world": name, **document("ablation", "batch", [s])} for (name, _), s in zip(given, scores, strict=True)]
    OUT.write_text(json.dumps(each, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"simulated; {OUT}")
    return int(any(score.error for score in scores))


def _judge(run: UserRun) -> RunScore:
    return judged("ablation", make(run))
