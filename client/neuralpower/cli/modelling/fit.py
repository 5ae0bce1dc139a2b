"""``neuralpower fit``: the six models of a dataset."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from neuralpower import console
from neuralpower.cli.outputs import OutputFile
from neuralpower.errors import InputError
from neuralpower.show.dataset import with_power
from neuralpower.show.models import print_formulas, print_models, print_published, print_whole

if TYPE_CHECKING:
    from neuralpower.dataset import Dataset

HELP = """Fit runtime and power models of convolutions, pools and fully connected layers.

Each is a sparse sum of polynomial terms; its degree and its number of terms are chosen by cross-validation. The errors
shown come from folds that took no part in fitting or choosing; networks are kept whole.

examples:
  neuralpower fit layers.parquet -o model.json
  neuralpower fit few.parquet --from h200-cudnn -o model.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="datasets (Parquet); rows of all are joined"
    )
    parser.add_argument(
        "-o", "--output", action=OutputFile, metavar="MODEL.json", type=Path, required=True, help="the models to write"
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL.json",
        type=Path,
        help="start from another device's models: few layers then do (the models' own file, or a name that comes with the package)",
    )
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation (5)")
    parser.add_argument("--seed", type=int, default=0, help="which rows go into which fold (0)")
    parser.add_argument(
        "--loss",
        choices=("relative", "log-ratio", "relative-y", "squared"),
        default="relative",
        help="what is made small: logarithms of the ratio, times what makes sums come out right (relative); these logarithms alone (log-ratio); "
        "errors relative to the measurement, RMSPE, which guess low where layers scatter (relative-y); or squared errors as in the original",
    )
    parser.add_argument("--formula", action="store_true", help="print each model as a formula with its units")
    parser.add_argument("--json", action="store_true", help="print the models as JSON")


def run(args: argparse.Namespace) -> int:
    if not 2 <= args.folds <= 1000:
        raise InputError(f"--folds {args.folds}: from 2 to 1000")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}: 0 or more")
    from neuralpower.dataset import concat, read_dataset
    from neuralpower.models import store
    from neuralpower.models.regression.transfer import OtherQuantities
    from neuralpower.models.rows import left_out
    from neuralpower.models.six import SixModels

    dataset = concat([read_dataset(path) for path in args.files])
    start = store.load(args.start) if args.start else None
    with console.progress("fitting", 6) as advance:
        try:
            models = SixModels(args.folds, args.seed, args.loss).fit(dataset, advance=advance, start=start)
        except OtherQuantities as error:
            raise InputError(f"{args.start}: {error}; fit it again to data with the same columns") from None
    store.save(models, args.output)
    if args.json:
        console.print_json(store.document(models))
        return 0
    print_models(models, "The six models")
    if start:
        print(f"started from {args.start}: {start.rows_} rows of {', '.join(start.devices_) or 'a device not named'}")
    if several := devices(dataset):
        print(f"warning: rows of several devices ({several}): one model of them all tells none of them")
    for reason, count in left_out(dataset).items():
        print(f"left out: {count} of {len(dataset)} rows: {reason}")
    if dataset.withheld:
        print(f"rows {with_power(dataset)}; rows without power are in no power model")
    print_whole(models)
    if args.formula:
        print_formulas(models)
    print_published(models)
    print(f"wrote {args.output}")
    return 0


def devices(dataset: Dataset) -> str:
    """How many rows each device has, measured and simulated ones apart; "" where all are of one."""
    told = zip(dataset["device"].tolist(), dataset["simulated"].tolist(), strict=True)
    counts = Counter(
        (name or "a device not named") + (", simulated" if simulated and name != "simulated" else "")
        for name, simulated in told
    )
    return "; ".join(f"{name}: {count} rows" for name, count in counts.items()) if len(counts) > 1 else ""
