"""Accuracy of the layer models: measured convolutions, virtual devices, and what was published, in one table.

    python -m benchmarks.accuracy.models                     development seeds; build/accuracy/models.json
    python -m benchmarks.accuracy.models --quick             one fold seed, two devices, a small sweep
    python -m benchmarks.accuracy.models --quoted            the seeds that quoted figures come from, once
    python -m benchmarks.accuracy.models --table transfer    few layers of a device: started from another's models, and afresh
    python -m benchmarks.accuracy.models --table h200 --loss log-ratio     another loss, on measured layers

Rows: {table, layer_type, target, model, rmspe, rmspe_low, rmspe_high, median_ape, geometric, sum_bias, terms, unit} and what the table has beside. Shares
are fractions. `unit` is of rmspe: 1 where it is a relative error, and "noise floor" where it is in multiples of that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from neuralpower import console
from neuralpower.models.judging.published import PUBLISHED
from neuralpower.models.regression.search import LOSSES

from .models_devices import device_results
from .models_devices import summary as devices_summary
from .models_h200 import h200_data, show_groups
from .models_h200 import seed_results as h200_results
from .models_h200 import summary as h200_summary
from .models_h200_networks import seed_results as networks_results
from .models_h200_networks import show as show_networks
from .models_h200_networks import summary as networks_summary
from .models_public import noise_floor, public_data, seed_results
from .models_public import summary as public_summary
from .models_transfer import seed_results as transfer_results
from .models_transfer import show as show_curves
from .models_transfer import summary as transfer_summary

Row = dict[str, Any]

OUT = Path(__file__).resolve().parents[2] / "build" / "accuracy" / "models.json"
TABLES = ("public", "h200-layers", "h200-networks", "devices", "transfer", "published")
DEVELOPMENT, QUOTED = range(0, 10), range(100, 120)
"""Fold seeds of the measured convolutions: the first are looked at as often as wanted, the others once."""
DEVICES, QUOTED_DEVICES = range(1, 11), range(1001, 1013)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`run`."""
    parser.add_argument("--table", action="append", choices=TABLES, help="only this table; may be given again")
    parser.add_argument("--quick", action="store_true", help="one fold seed, two devices, a small sweep")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--count", type=int, metavar="N", help="fold seeds and devices, in place of the default number")
    parser.add_argument(
        "--loss", choices=LOSSES, default="relative", help="of the models on measured layers (relative)"
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, metavar="N", help="of the first folds and the first device")
    seeds.add_argument("--quoted", action="store_true", help="the seeds that quoted figures come from")


def run(args: argparse.Namespace) -> list[Row]:
    """Compute the tables that were asked for, print them, write the file."""
    tables = args.table or TABLES
    rows: list[Row] = []
    # One fit a process: threads of the linear algebra would only get into each other's way.
    with ProcessPoolExecutor(max(1, args.jobs), initializer=threadpool_limits, initargs=(1,)) as pool:
        if "public" in tables:
            rows += _public(args, pool)
        if "h200-layers" in tables:
            rows += _h200(args, pool)
        if "h200-networks" in tables:
            rows += _h200_networks(args, pool)
        if "devices" in tables:
            seeds = _chosen(args, DEVICES, QUOTED_DEVICES, 2)
            work = partial(device_results, quick=args.quick)
            rows += devices_summary(_each("virtual devices", work, seeds, pool))
            show(
                "Virtual devices, families held out whole, in multiples of the noise floor",
                rows,
                "device",
                simulated=True,
            )
        if "transfer" in tables:
            draws = _chosen(args, DEVELOPMENT, QUOTED, 1)
            found = transfer_summary(_each("learning curves", partial(transfer_results, args.quick), draws, pool))
            show_curves(found)
            rows += found
    if "published" in tables:
        rows += _published()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {OUT}")
    return rows


def _public(args: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Row]:
    path = public_data()
    if path is None:
        print(
            "the measured convolutions are not here: NEURALPOWER_DATA names no folder with neurstrucenergy/conv2d.txt"
        )
        return []
    seeds = _chosen(args, DEVELOPMENT, QUOTED, 1)
    rows = public_summary(_each("measured convolutions", partial(seed_results, path, args.loss), seeds, pool))
    title = f"999 measured convolutions, five folds, everything chosen inside each; median over {len(seeds)} fold seeds"
    show(title, rows, "public")
    for target, (about_mean, single) in noise_floor(path).items():
        print(
            f"noise floor of {target}: repeats of a layer scatter by {100 * about_mean:.1f} % about their mean, "
            f"a single one by {100 * single:.1f} %"
        )
    print()
    return rows


def _h200(args: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Row]:
    path = h200_data()
    if path is None:
        print("the layers of the H200 are not here: NEURALPOWER_DATA names no folder with h200/measured.json")
        return []
    seeds = _chosen(args, DEVELOPMENT, QUOTED, 1)
    rows = h200_summary(_each("layers of an H200", partial(h200_results, path, args.loss), seeds, pool))
    title = f"Single layers measured on an H200, five folds; median over {len(seeds)} fold seeds"
    show(title, (each for each in rows if each["table"] == "h200"), "h200")
    show_groups(rows)
    return rows


def _h200_networks(args: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Row]:
    path = h200_data()
    if path is None:
        print("the networks of the H200 are not here: NEURALPOWER_DATA names no folder with h200/measured.json")
        return []
    seeds = _chosen(args, DEVELOPMENT, QUOTED, 1)
    rows = _each("networks of an H200", partial(networks_results, path, args.loss), seeds, pool)
    rows += networks_summary(rows)
    show_networks(rows)
    return rows


def _chosen(args: argparse.Namespace, usual: range, quoted: range, few: int) -> list[int]:
    """The seeds to run."""
    if args.quoted:
        return list(quoted)
    first = usual.start if args.seed is None else args.seed
    count = args.count or (few if args.quick else len(usual))
    return list(range(first, first + count))


def _each(title: str, work: Callable[[int], list[Row]], seeds: Sequence[int], pool: ProcessPoolExecutor) -> list[Row]:
    """What `work` gives for every seed."""
    found: list[Row] = []
    with console.progress(title, len(seeds)) as advance:
        for done, rows in enumerate(pool.map(work, seeds), 1):
            found += rows
            advance(done, f"{done} of {len(seeds)}")
    return found


def _published() -> list[Row]:
    """What others published for their hardware, on the rows they fitted to: context."""
    rows: list[Row] = [
        {"table": "published", "layer_type": p.kind, "target": p.target, "model": p.source, "rmspe": p.rmspe_percent / 100,
         "rmspe_low": None, "rmspe_high": None, "median_ape": None, "terms": p.terms, "unit": "1"}
        for p in PUBLISHED
    ]  # fmt: skip
    rows += [
        {"table": "published", "layer_type": "network", "target": target, "model": "NeuralPower, accuracy", "rmspe": None,
         "rmspe_low": None, "rmspe_high": None, "median_ape": None, "terms": None, "unit": "1", "accuracy": accuracy}
        for target, accuracy in (("runtime", 0.8824), ("power", 0.8834), ("energy", 0.9721))
    ]  # fmt: skip
    cells: list[list[console.Cell]] = [
        [r["model"], r["layer_type"], r["target"], r["terms"], percent(r["rmspe"]), percent(r.get("accuracy"))]
        for r in rows
    ]
    title = "For context: published, other hardware and other layers, never a pass mark"
    console.table(title, ["source", "type", "target", "terms", "RMSPE", "accuracy"], cells)
    print()
    return rows


def show(title: str, rows: Iterable[Row], table: str, simulated: bool = False) -> None:
    """Print the rows of tables whose name begins with `table`."""
    lines: list[list[console.Cell]] = []
    for row in rows:
        if row["table"].startswith(table):
            number = percent if row["unit"] == "1" else _times
            spread = f"{number(row['rmspe_low'])} to {number(row['rmspe_high'])}"
            kind = f"{row['layer_type']} {row['target']}"
            worst = percent(row.get("without_worst"))
            bias = row.get("sum_bias")
            lines.append([row["table"], kind, row["model"], number(row["rmspe"]), spread, worst, percent(row["median_ape"]),
                          percent(row.get("geometric")), None if bias is None else f"{bias:.3f}", row["terms"],
                          percent(row.get("coverage"))])  # fmt: skip
    columns = [
        "table",
        "what",
        "model",
        "median RMSPE",
        "over seeds",
        "but ten worst",
        "median error",
        "geometric error",
        "sum",
        "terms",
        "interval holds",
    ]
    console.table(title, columns, lines, simulated=simulated)
    print()


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def _times(ratio: float | None) -> str | None:
    return None if ratio is None else f"{ratio:.2f}"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.models", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_arguments(parser)
    run(parser.parse_args())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
