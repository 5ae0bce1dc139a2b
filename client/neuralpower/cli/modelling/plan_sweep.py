"""``neuralpower plan-sweep``: the next layers worth measuring."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from neuralpower import console
from neuralpower.cli.modelling.features import add_input_shape, input_shape
from neuralpower.cli.outputs import OutputFile
from neuralpower.errors import InputError

if TYPE_CHECKING:
    from neuralpower.models.sweep_plan import Planned

HELP = """Name the layers of some networks that are most worth measuring next.

Each is the layer of which those measured, and those named before it, say least (leverage under a small model of the sizes). A leverage
below 1 says that measuring it once tells less than is known. With -o the list is a table for `neuralpower import table`: fill in runtime_s
and power_w.

examples:
  neuralpower plan-sweep resnet18.onnx mobilenet_v2.onnx --measured layers.parquet
  neuralpower plan-sweep resnet18.onnx --measured layers.parquet --batch 1,8 --precision FP16 --count 30 -o plan.csv"""

COLUMNS = ("layer", "kind", "batch", "in_c", "in_h", "in_w", "out_c", "out_h", "out_w", "kernel_h", "kernel_w", "stride_h", "stride_w",
           "pad_h", "pad_w", "dilation_h", "dilation_w", "groups", "precision")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("networks", metavar="NETWORK", nargs="+", help="engine JSON, ONNX, or torch:module:callable")
    parser.add_argument(
        "--measured",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="a dataset of what is measured; repeatable",
    )
    parser.add_argument("--count", type=int, default=20, metavar="N", help="layers to name (20)")
    parser.add_argument("--batch", default="1", metavar="N,...", help="batch sizes where the model leaves it open (1)")
    parser.add_argument("--precision", default="", metavar="P,...", help="FP32, FP16, INT8, ... for ONNX and torch")
    add_input_shape(parser)
    parser.add_argument(
        "-o", "--output", action=OutputFile, metavar="PLAN.csv", type=Path, help="write the list as CSV"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the list, write it."""
    from neuralpower.cli.modelling.rank import precisions_asked, sizes_asked
    from neuralpower.dataset import concat, read_dataset
    from neuralpower.features.network import load_network
    from neuralpower.files import write_whole
    from neuralpower.models.conditions import with_precision
    from neuralpower.models.sweep_plan import plan

    if not 1 <= args.count <= 10_000:
        raise InputError(f"--count {args.count}: from 1 to 10000")
    batches, precisions = sizes_asked(args.batch), precisions_asked(args.precision)
    measured = concat([read_dataset(path) for path in args.measured]) if args.measured else None
    candidates = []
    for spec in args.networks:
        for batch in batches:
            network = load_network(spec, batch, input_shape(args.input_shape))
            forms = [""] if network.source == "engine" else precisions
            candidates += [
                layer
                for precision in forms
                for layer in (with_precision(network.layers, precision) if precision else network.layers)
            ]
            if network.source == "engine":
                break
    found = plan(measured, candidates, args.count)
    if not found:
        raise InputError(f"{', '.join(args.networks)}: no convolution, pool or fully connected layer to measure")
    if args.output:
        write_whole(args.output, _csv(found).encode(), "the plan")
    if args.json:
        console.print_json(
            [
                {**{name: _cell(each, name) for name in COLUMNS}, "leverage": each.leverage, "times": each.times}
                for each in found
            ]
        )
        return 0
    _print(found, len(measured) if measured else 0)
    if args.output:
        print(
            f"wrote {args.output}: measure these layers, fill in runtime_s and power_w, then neuralpower import table {args.output} -o FILE"
        )
    return 0


def _cell(each: Planned, name: str) -> object:
    return each.layer.name if name == "layer" else getattr(each.layer, name)


def _csv(found: list[Planned]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "runtime_s", "power_w"])
    writer.writerows([*(_cell(each, name) for name in COLUMNS), "", ""] for each in found)
    return text.getvalue()


def _print(found: list[Planned], known: int) -> None:
    rows: list[list[console.Cell]] = [
        [
            place,
            console.shortened(each.layer.name),
            each.layer.kind,
            each.layer.batch,
            f"{each.layer.in_c}x{each.layer.in_h}x{each.layer.in_w}",
            f"{each.layer.out_c}x{each.layer.out_h}x{each.layer.out_w}",
            f"{each.layer.kernel_h}x{each.layer.kernel_w}/{each.layer.stride_h}",
            each.layer.groups,
            each.layer.precision or None,
            each.times,
            each.leverage,
        ]
        for place, each in enumerate(found, 1)
    ]
    columns = ["#", "layer", "type", "batch", "in", "out", "kernel", "groups", "precision", "times", "leverage"]
    console.table(f"Layers to measure next, beside {known} measured", columns, rows)
    telling = sum(each.leverage > 1 for each in found)
    print(f"{telling} of {len(found)} tell more than the measured layers say of them (leverage above 1)")
