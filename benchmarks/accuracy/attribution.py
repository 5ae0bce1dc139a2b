"""Runs the attribution case over its networks, prints what came of it, and writes build/accuracy/attribution.json."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tests.worlds.attribution.case import AccuracyCase, Case, load

from .report import show
from .score import Outcome, judge, one_mean
from .summary import Summary, summarise

OUT = Path("build") / "accuracy" / "attribution.json"


def run(
    names: Sequence[str] | None,
    networks: int | None,
    seed: int | None,
    jobs: int,
    *,
    quick: bool = False,
    quoted: bool = False,
) -> int:
    """Run cases, all of them or those named; 1 where a network crashed. KeyError for an unknown case."""
    whole = load()
    if (networks is not None and networks < 1) or jobs < 1:
        raise ValueError("networks and jobs are 1 or more")
    chosen = [whole.case(name) for name in names or (whole.quick if quick else [case.name for case in whole.cases])]
    first = seed if seed is not None else (whole.quoted if quoted else whole.development)[0]
    count = networks or (whole.quick_networks if quick else None)
    begin = time.monotonic()
    print(f"attribution, simulated: {len(chosen)} cases, seeds from {first} on, {jobs} processes", flush=True)
    summaries: list[Summary] = []
    for case, outcomes in _outcomes(chosen, count, first, jobs):
        methods = dict.fromkeys(outcome.method for outcome in outcomes)
        mine = [summarise(whole, case, name, [each for each in outcomes if each.method == name]) for name in methods]
        show(case, mine)
        summaries += mine
        _store(whole, summaries, first)
    print(f"simulated; {time.monotonic() - begin:.0f} s; {OUT}")
    return int(any(summary.failed for summary in summaries))


def one(case: Case, seed: int) -> list[Outcome]:
    """One network under all methods; what goes wrong is an outcome, too."""
    from tests.worlds.attribution.world import draw

    from .estimate import METHODS

    try:
        world = draw(case, seed)
        outcomes = [one_mean(world)]
    except Exception as error:  # whatever it is, the other networks go on, and this one counts as failed
        return [Outcome(seed, "least-squares", error=_told(error))]
    for method, estimate in METHODS.items():
        begin = time.perf_counter()
        try:
            found = estimate(world.recording)
            outcomes.append(judge(world, method, found, time.perf_counter() - begin))
        except Exception as error:
            outcomes.append(Outcome(seed, method, error=_told(error)))
    return outcomes


def _told(error: Exception) -> str:
    """The error and where it arose."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(places[-1].filename).name}:{places[-1].lineno})" if places else ""
    return f"{type(error).__name__}: {error}{where}"


def _outcomes(
    cases: Sequence[Case], networks: int | None, first: int, jobs: int
) -> Iterator[tuple[Case, list[Outcome]]]:
    """Each case with the outcomes of all its networks, by seed, as soon as they are there.

    A process that dies takes its pool with it: each case has one of its own, but for single networks, which share one.
    """
    for group in [cases] if networks == 1 else [[case] for case in cases]:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
            pending = [
                {pool.submit(one, case, seed): seed for seed in range(first, first + (networks or case.networks))}
                for case in group
            ]
            for case, mine in zip(group, pending, strict=True):
                outcomes: list[Outcome] = []
                for done, future in enumerate(as_completed(mine), start=1):
                    try:
                        outcomes += future.result()
                    except BrokenProcessPool:
                        outcomes.append(Outcome(mine[future], "least-squares", error="its process died"))
                    _progress(case.name, done, len(mine))
                yield case, sorted(outcomes, key=lambda outcome: outcome.seed)


def _progress(name: str, done: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{name}: {done} of {count} networks", end="\n" if done == count else "", file=sys.stderr, flush=True)
    elif done == count or done % 10 == 0:
        print(f"{name}: {done} of {count} networks", file=sys.stderr, flush=True)


def _store(whole: AccuracyCase, summaries: Sequence[Summary], first: int) -> None:
    OUT.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**summary.row(), "first_seed": first} for summary in summaries]
    OUT.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
