"""``neuralpower dataset``: layers with features and measurements, as Parquet."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from neuralpower import console
from neuralpower.cli.outputs import OutputFile
from neuralpower.show.dataset import print_doubts, with_power

HELP = """Make a dataset of measured layers from recordings: geometry, runtime, power and energy of each layer.

A network has a row for each of its layers, an engine of one repeated layer one row. A layer whose power is withheld keeps its runtime, and the
reason stands in the column `withheld`.

example:
  neuralpower dataset run1 run2 -o layers.parquet"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directories", metavar="DIR", type=Path, nargs="+", help="recordings, or folders of several")
    parser.add_argument(
        "-o",
        "--output",
        action=OutputFile,
        metavar="FILE",
        type=Path,
        required=True,
        help="the dataset to write (Parquet)",
    )
    parser.add_argument("--method", default="least-squares", help="of the attribution: least-squares or window-mean")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from neuralpower.attribution.asked import check
    from neuralpower.collect import collect
    from neuralpower.dataset import write_dataset
    from neuralpower.recordings.devices.folder import devices_in
    from neuralpower.recordings.recording import Recording

    folders = [path for each in args.directories for path in devices_in(each).values() or [each]]
    recordings = [Recording(folder) for folder in folders]
    for recording in recordings:
        check(recording, args.method)
    with console.progress("attributing", 1.0) as advance:
        dataset = collect(recordings, args.method, told=lambda share: advance(share, ""), say=console.note)
    write_dataset(dataset.table, args.output, dataset.provenance)
    kinds = Counter(dataset["kind"].tolist())
    powered = int(np.isfinite(dataset["power_w"]).sum())
    if args.json:
        console.print_json(
            {
                "written": str(args.output),
                "layers": len(dataset),
                "with_power": powered,
                "withheld": dataset.withheld,
                "implausible": dataset.implausible,
                "kinds": dict(kinds),
                "networks": sorted(set(dataset["network"].tolist())),
                "simulated": dataset.simulated,
                "provenance": dataset.provenance,
            }
        )
        return 0
    rows: list[list[console.Cell]] = []
    for kind, count in kinds.most_common():
        of_kind = dataset.where(kind=kind)
        origins = Counter(of_kind["origin"].tolist())
        rows.append([kind, count, origins["network"], origins["sweep"], int(np.isfinite(of_kind["power_w"]).sum())])
    columns = ["kind", "layers", "of networks", "of the sweep", "with power"]
    console.table(f"wrote {args.output}", columns, rows, simulated=dataset.simulated)
    print(with_power(dataset))
    print_doubts(dataset)
    return 0
