"""``neuralpower import``: other tools' measurements as a dataset."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from neuralpower import console
from neuralpower.cli.outputs import OutputFile
from neuralpower.errors import InputError
from neuralpower.importers import FORMATS, MAPPED
from neuralpower.show.dataset import print_doubts

if TYPE_CHECKING:
    from neuralpower.importers.imported import Imported

HELP = """Turn other tools' measurements into a dataset of layers.

  table            a table of your own, CSV or Parquet: columns kind, in_c, ..., runtime_ms, power_w (docs/dataset.md); --map names them
  networks         a table of whole networks: columns network, runtime_ms, power_w or energy_mj, file
  edgeprofiler     a folder with its raw, preprocessed or desktop files, at any depth
  trtexec          NET.graph.json beside NET.profile.json, or a folder with such pairs; runtime only
  tegrastats       a folder as edgeprofiler's with a log of tegrastats in it, or such a log alone, whose rails are printed
  neurstrucenergy  conv2d.txt, 999 measured convolutions
  measured         JSON of single layers and whole networks that ran in CUDA graphs

examples:
  neuralpower import table layers.csv --map latency=runtime_ms -o layers.parquet
  neuralpower import neurstrucenergy conv2d.txt -o layers.parquet"""

SHOWN = 40
KEY = "networks"
"""Of the provenance, where whole networks are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("path", metavar="PATH", type=Path, help="the file or folder to read")
    parser.add_argument(
        "-o", "--output", action=OutputFile, metavar="FILE", type=Path, help="the dataset to write (Parquet)"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="of table and networks: a column of theirs and ours with its unit; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print what was read as JSON, every layer in it")


def run(args: argparse.Namespace) -> int:
    if args.format not in FORMATS:
        raise InputError(f"{args.format}: no such format; known are {', '.join(FORMATS)}")
    imported = _read(args)
    if args.output:
        from neuralpower.dataset import write_dataset

        if not len(imported.dataset) and KEY not in imported.dataset.provenance:
            reasons = "; ".join(each.removeprefix(f"{args.path}: ") for each in imported.skipped[:3])
            raise InputError(f"{args.path}: no measured layer to write{': ' + reasons if reasons else ''}")
        write_dataset(imported.dataset.table, args.output, imported.dataset.provenance)
    if args.json:
        console.print_json(_document(args, imported))
    else:
        _print(args, imported)
    return 0


def _read(args: argparse.Namespace) -> Imported:
    reader = importlib.import_module(f"neuralpower.importers.{args.format}")
    if args.format in MAPPED:
        from neuralpower.importers.columns import mapping_of

        return cast("Imported", reader.read(args.path, mapping_of(args.map)))
    if args.map:
        raise InputError(f"--map: {args.format} has columns of its own; it is for {' and '.join(MAPPED)}")
    return cast("Imported", reader.read(args.path))


def _document(args: argparse.Namespace, imported: Imported) -> dict[str, object]:
    table = imported.dataset.table
    names = ("network", "layer", "kind", "runtime_s", "power_w", "energy_j", "count")
    layers = [dict(zip(names, cells, strict=True)) for cells in zip(*(table[name] for name in names), strict=True)]
    return {
        "read": imported.read,
        "skipped": imported.skipped,
        "implausible": imported.dataset.implausible,
        "provenance": imported.dataset.provenance,
        "layers": layers,
        "written": str(args.output) if args.output else None,
    }


def _print(args: argparse.Namespace, imported: Imported) -> None:
    for line in imported.read:
        print(f"read {line}")
    if not args.output:
        if len(imported.dataset):
            _print_layers(imported)
        _print_networks(imported)
    for line in imported.skipped[:SHOWN]:
        print(f"skipped {line}")
    if len(imported.skipped) > SHOWN:
        print(f"skipped {len(imported.skipped) - SHOWN} more; --json lists them")
    if args.output:
        mark = " (simulated)" if imported.dataset.simulated else ""
        print(f"wrote {args.output}: {len(imported.dataset)} layers{mark}")
    else:
        print("nothing written; -o FILE writes a dataset")
    print_doubts(imported.dataset)
    sys.stdout.flush()


def _print_networks(imported: Imported) -> None:
    """Whole networks, which stand in the provenance and not in the rows."""
    rows: list[list[console.Cell]] = []
    for each in imported.dataset.provenance.get(KEY, [])[:SHOWN]:
        seconds, joules = each["runtime_s"], each["energy_j"]
        power = joules / seconds if joules is not None else None
        rows.append([each["network"], seconds * 1e3, power, None if joules is None else joules * 1e3])
    if rows:
        console.table(
            f"{len(imported.dataset.provenance[KEY])} whole networks",
            ["network", "runtime ms", "power W", "energy mJ"],
            rows,
            simulated=imported.dataset.simulated,
        )


def _print_layers(imported: Imported) -> None:
    table = imported.dataset.table
    shown = min(len(imported.dataset), SHOWN)
    rows: list[list[console.Cell]] = [
        [
            str(table["network"][i]),
            console.shortened(str(table["layer"][i])),
            str(table["kind"][i]),
            float(table["runtime_s"][i] * 1e3),
            float(table["power_w"][i]),
            float(table["energy_j"][i] * 1e3),
            int(table["count"][i]),
        ]
        for i in range(shown)
    ]
    columns = ["network", "layer", "kind", "runtime ms", "power W", "energy mJ", "inferences"]
    title = f"{len(imported.dataset)} layers" + (f", the first {shown}" if shown < len(imported.dataset) else "")
    console.table(title, columns, rows, simulated=imported.dataset.simulated)
    for network, watts in imported.dataset.provenance.get("idle_power_w", {}).items():
        print(f"{network}: idle power {watts:g} W, included in the powers above")
