"""`python -m benchmarks.accuracy run`: draws runs of docs/decisions/0008, and says what the product's estimates of them are worth."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import count, islice
from pathlib import Path

from tests.worlds.runs.draw import DEVELOPMENT, QUOTED, ROWS, Row, draw, row_named

from .judge import BATCH, METHODS, STREAM, judge
from .report import document, line, shares, table
from .score import RunScore, Share

OUT = Path("build") / "accuracy" / "run.json"
QUICK_RUNS, QUICK_SECONDS = 6, 10.0
"""Of one network, at most so long: what fits into three minutes on two cores."""
LEVEL = math.erf(2 / math.sqrt(2))
"""What two standard errors hold."""
CHANCE = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    names = ", ".join(row.name for row in ROWS)
    parser.add_argument("--row", action="append", metavar="NAME", help=f"only this of {names}; may be given again")
    parser.add_argument("--draws", type=int, metavar="K", help="runs of each row, in place of the row's own number")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--method", choices=METHODS, help="only this, of a row that has both")
    parser.add_argument("--keep", metavar="DIR", help="keep each run's recording and truth there")
    parser.add_argument("--json", metavar="FILE", help=f"write the figures there (default {OUT})")
    parser.add_argument(
        "--quick", action="store_true", help="six short runs of fixed seeds; 1 where too few units hold"
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, metavar="N", help=f"of the first run (default {DEVELOPMENT})")
    seeds.add_argument("--quoted", action="store_true", help=f"the seeds of quoted figures, from {QUOTED} on: once")


def run(args: argparse.Namespace) -> int:
    """Run what was asked for; 1 where a run could not be attributed at all, or the short form fails."""
    if args.jobs < 1 or (args.draws is not None and args.draws < 1):
        raise ValueError("--draws and --jobs are 1 or more")
    first = args.seed if args.seed is not None else QUOTED if args.quoted else DEVELOPMENT
    rows = [row_named(name) for name in args.row or ([ROWS[0].name] if args.quick else [row.name for row in ROWS])]
    if args.quick and any(row.streamed for row in rows):
        raise ValueError("--quick takes rows of short runs; a stream's are 200 s and longer")
    if args.method == STREAM and not all(row.streamed for row in rows):
        raise ValueError("--method stream is of rows that are streamed: --row stream")
    methods = (args.method,) if args.method else METHODS
    keep = Path(args.keep) if args.keep else None
    begin, documents, failed = time.monotonic(), [], False
    for row in rows:
        seeds = _seeds(row, first, args.draws, args.quick)
        print(f"{row.name}: {row.says} (simulated); seeds {seeds[0]} to {seeds[-1]}, {args.jobs} processes", flush=True)
        runs = sorted(
            judged(row, seeds, args.jobs, keep, methods, lambda each: print(line(each), flush=True)), key=_order
        )
        for method in dict.fromkeys(each.method for each in runs):
            mine = [each for each in runs if each.method == method]
            print(f"\n{table(row.name, mine, method)}\n", flush=True)
            documents.append({**document(row.name, method, mine), "first_seed": first})
            failed |= any(each.error for each in mine)
            if args.quick and method == BATCH:
                failed |= not _passed(mine)
    out = Path(args.json) if args.json else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(documents, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"simulated; {time.monotonic() - begin:.0f} s; {out}")
    return int(failed)


def _seeds(row: Row, first: int, draws: int | None, quick: bool) -> list[int]:
    if quick:
        return list(islice(quick_seeds(row, first), draws or QUICK_RUNS))
    return list(range(first, first + (draws or row.draws)))


def quick_seeds(row: Row, first: int) -> Iterator[int]:
    """Seeds from `first` on whose run is short, whatever comes of it."""
    for seed in count(first):
        drawn = draw(row, seed)
        if len(drawn.networks) == 1 and drawn.seconds <= QUICK_SECONDS:
            yield seed


def judged(
    row: Row,
    seeds: Sequence[int],
    jobs: int,
    keep: Path | None,
    methods: Sequence[str],
    told: Callable[[RunScore], None],
) -> list[RunScore]:
    """The scores of all, in processes; `told` hears of each as it comes."""
    found = []
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        pending = {pool.submit(judge, row, seed, keep, methods): seed for seed in seeds}
        for future in as_completed(pending):
            try:
                scores = future.result()
            except BrokenProcessPool:
                scores = [RunScore(pending[future], row.name, methods[0], 0.0, ("?",), (), error="its process died")]
            for each in scores:
                told(each)
                found.append(each)
    return found


def _order(each: RunScore) -> tuple[str, int]:
    return each.method, each.seed


def _passed(runs: Sequence[RunScore]) -> bool:
    """The verdict of the short form, said and returned."""
    rest = shares(runs)[1]
    least, far = least_share(rest), sum(each.far for run in runs for each in run.told)
    good = rest.count > 0 and rest.share >= least and not far
    print(
        f"{'passed' if good else 'FAILED'}: {rest.share:.1%} of {rest.count} units hold the truth less gain and offset; "
        f"chance leaves at least {least:.1%} in 95 of 100, the design effect of runs being {rest.design_effect:.1f}; "
        f"resolved units off by more than 5 se or 50 %: {far}, and none may be"
    )
    return good


def least_share(found: Share) -> float:
    """The least share that intervals of two standard errors hold but for chance (5 %), units of a run erring together.

    So many units tell as much as count / design effect independent ones; the share is the 5 % point of a binomial of those.
    """
    if not found.count:
        return 1.0
    independent = max(1, round(found.count / found.design_effect))
    below, held = 0.0, 0
    for held in range(independent + 1):
        below += math.comb(independent, held) * LEVEL**held * (1 - LEVEL) ** (independent - held)
        if below > CHANCE:
            break
    return held / independent
