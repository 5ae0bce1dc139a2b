"""`neuralpower profile`: run a network with the profiler attached, against a running daemon."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from ..console import Cell, print_json, progress, table
from ..errors import Failure, InputError

if TYPE_CHECKING:
    from ..virtual.truth import Truth

HELP = """Run a network with the profiler attached, against a running neuralpowerd.

Under TensorRT, NETWORK is an ONNX model or a serialized engine (this way is not yet verified on a device). Where there is
no TensorRT, and with --virtual, a simulated device runs a network of the zoo (--list), engine JSON, or `sweep`: many
single layers, each repeated for 20 ms.

Example: neuralpower profile resnet18 --seconds 5 --address /run/neuralpower"""

DEFAULT_ADDRESS = "/run/neuralpower"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "network", nargs="*", metavar="NETWORK", help="zoo name, engine JSON, sweep; ONNX or engine file"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--runs", type=int, metavar="N", help="inferences of each network")
    length.add_argument("--seconds", type=float, default=5.0, metavar="S", help="time for each network (default 5)")
    parser.add_argument(
        "--address", default=DEFAULT_ADDRESS, help=f"the daemon's directory (default {DEFAULT_ADDRESS})"
    )
    parser.add_argument("--virtual", action="store_true", help="use the simulated device even where TensorRT is")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated device (default 1)")
    parser.add_argument("--truth", metavar="FILE", help="store what really happened on the simulated device")
    parser.add_argument("--list", action="store_true", help="list the zoo")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 where inferences were lost on the way to the daemon."""
    if args.list:
        return _list_zoo(args.json)
    if not args.network:
        raise InputError("name a network; neuralpower profile --list shows the zoo")
    if not 0 < (args.runs if args.runs is not None else args.seconds) < float("inf") or args.seed < 0:
        raise InputError("--runs and --seconds must be positive, and --seed not negative")
    rundir = args.address.removeprefix("ipc://")
    if "://" in rundir:
        raise InputError(f"{args.address}: the profiler must run on the device itself; give the daemon's directory")
    from ..profiler.tensorrt_run import why_not

    reason = "asked for" if args.virtual else why_not()
    return _simulate(args, rundir, reason) if reason else _measure(args, rundir)


def _list_zoo(as_json: bool) -> int:
    from ..virtual.networks import NETWORKS, build

    rows: list[list[Cell]] = []
    for name in NETWORKS:
        layers = build(name)["Layers"]
        weights = sum(layer["Weights"]["Count"] for layer in layers if "Weights" in layer)
        rows.append([name, len(layers), round(weights / 1e6, 2)])
    if as_json:
        print_json([{"name": name, "layers": layers, "weights_millions": weights} for name, layers, weights in rows])
    else:
        table("Networks of the virtual device", ["network", "layers", "weights, millions"], rows)
    return 0


def _simulate(args: argparse.Namespace, rundir: str, reason: str) -> int:
    from ..virtual.run import run_virtual

    print(f"simulated device ({reason}), seed {args.seed}", file=sys.stderr)
    with progress("running", None) as advance:

        def show(done: int, total: int, name: str) -> None:
            advance(done, f"{done} of {total} {name}")

        truth = run_virtual(args.network, rundir, args.seed, args.seconds, show, runs=args.runs, truth_path=args.truth)
    _print_simulated(truth, args.json)
    if truth.lost:
        raise Failure(f"{truth.lost} inferences never reached the daemon at {rundir}")
    return 0


def _print_simulated(truth: Truth, as_json: bool) -> None:
    rows: list[list[Cell]] = [[e.name, len(e.layers) * e.repeats, e.runs] for e in truth.engines.values()]
    if as_json:
        engines = [{"name": name, "layers": layers, "inferences": runs} for name, layers, runs in rows]
        print_json({"simulated": True, "seed": truth.seed, "engines": engines, "lost": truth.lost,
                    "late_writes": truth.late_writes, "least_lead_ms": truth.least_lead_ms})  # fmt: skip
        return
    table("Networks run", ["engine", "layers", "inferences"], rows, simulated=True)


def _measure(args: argparse.Namespace, rundir: str) -> int:
    from ..profiler.tensorrt_run import run_tensorrt

    described = [name for name in args.network if not os.path.exists(name) or name.endswith(".json")]
    if described:
        raise InputError(f"{described[0]}: TensorRT runs ONNX models and engine files; --virtual runs descriptions")
    outcomes = [run_tensorrt(path, rundir, args.runs, args.seconds) for path in args.network]
    if args.json:
        print_json([vars(outcome) for outcome in outcomes])
        return 0
    heads = ["engine", "layers", "inferences", "acknowledged", "ms unprofiled", "ms profiled", "ratio"]
    rows: list[list[Cell]] = [
        [
            o.name,
            o.layers,
            o.inferences,
            o.acknowledged,
            o.unprofiled_s * 1e3,
            o.profiled_s * 1e3,
            o.profiled_s / o.unprofiled_s,
        ]
        for o in outcomes
    ]
    table("Networks run", heads, rows)
    return 0
