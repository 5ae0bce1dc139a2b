"""`neuralpower profile`: run networks with the profiler attached, in a designed experiment, against a running daemon."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from neuralpower.address import DEFAULT, parse_local
from neuralpower.console import Cell, print_json, progress, table
from neuralpower.errors import Failure, InputError

if TYPE_CHECKING:
    from neuralpower.experiment.around import Around
    from neuralpower.experiment.experiment import Outcome
    from neuralpower.experiment.stopping import Stop
    from neuralpower.runtimes.options import Options
    from neuralpower.runtimes.run import Job
    from neuralpower.runtimes.runtime import Runtime

HELP = """Run networks with the profiler attached, in a designed experiment, against a running neuralpowerd.

NETWORK is an ONNX model, torch:module:callable, hub:repository:model, or a serialized engine; it is built for measuring (no auxiliary
streams, every detail for the inspector) and run in rounds: random idle gaps and back to back, with the profiler and without.
--runtime chooses what runs it: TensorRT, TensorRT for RTX, or PyTorch on any NVIDIA GPU. Where none works, and with --virtual, a
simulated device runs ONNX, PyTorch, engine JSON, a network of the zoo (--list), or `sweep`: many single layers, each repeated for 20 ms.
--zoo runs 21 classic networks (torch.hub's, or those of the virtual device), a recording of each; run again, it goes on
where it ended, and passes over what did not fit.

Examples:
  neuralpower profile model.onnx --until 2 --address /run/neuralpower
  neuralpower profile --zoo -o zoo --seconds 60
  neuralpower profile --sweep 192 --runtime torch -o sweep --budget 30"""

SWEEP = "sweep"
SECONDS = 5.0
SWEPT = 192
"""Layers of a sweep: about half an hour, and as many convolutions as fit a first model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "network", nargs="*", metavar="NETWORK", help="ONNX, torch:, hub:, engine file; zoo name, sweep"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--runs", type=int, metavar="N", help="profiled inferences of each network")
    length.add_argument("--seconds", type=float, metavar="S", help="time for each network (default 5, zoo 30)")
    length.add_argument("--until", type=float, metavar="PERCENT", help="until energy per inference is known to so much")
    parser.add_argument("--recording", metavar="DIR", help="with --until: until the layers are, in this recording")
    parser.add_argument("--precision", default="fp16", help="fp32, fp16 or int8, for ONNX and PyTorch (default fp16)")
    parser.add_argument(
        "--batch", type=int, default=1, metavar="N", help="of a model whose batch is dynamic (default 1)"
    )
    parser.add_argument("--calibration", metavar="FILE", help=".npy of inputs for INT8; without it ranges are random")
    parser.add_argument("--repeat-layers", action="store_true", help="run each layer as an engine of its own, repeated")
    parser.add_argument("--no-unprofiled", action="store_true", help="leave the inferences without the profiler out")
    parser.add_argument("--address", default=DEFAULT.folder, help=f"the daemon's directory (default {DEFAULT.folder})")
    parser.add_argument(
        "--runtime",
        default="auto",
        metavar="NAME",
        help="tensorrt, tensorrt_rtx, torch or virtual; auto (default) takes the first that works",
    )
    parser.add_argument(
        "--virtual",
        action="store_const",
        dest="runtime",
        const="virtual",
        help="the same as --runtime virtual: the simulated device",
    )
    parser.add_argument(
        "--eager", action="store_true", help="under PyTorch: no CUDA graph, each operator from the host"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the experiment and the simulated device (default 1)")
    parser.add_argument("--truth", metavar="FILE", help="store what really happened on the simulated device")
    parser.add_argument("--list", action="store_true", help="list the networks of the virtual device")
    parser.add_argument(
        "--zoo", action="store_true", help="run the 21 networks of the zoo, or those named, into -o DIR"
    )
    parser.add_argument(
        "--sweep",
        nargs="?",
        type=int,
        const=SWEPT,
        metavar="N",
        help=f"on a GPU: run N single layers, drawn from --seed, each repeated (default {SWEPT}), into -o DIR",
    )
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="with --zoo and --sweep: begin nothing that ends later"
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="with --zoo and --sweep: a folder for the recordings")
    parser.add_argument("--again", action="store_true", help="with --zoo and --sweep: try again what was skipped")
    parser.add_argument(
        "--hub", metavar="REPOSITORY", help="with --zoo: torch.hub's, or a folder, if not pytorch/vision"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 where inferences were lost on the way to the daemon."""
    if args.list:
        return _list_zoo(args.json)
    rundir = _checked(args)
    runtime = _runtime(args)
    if campaign(args):
        from . import zoo

        return zoo.run(args, rundir, runtime)
    if runtime.simulated:
        print(runtime.about(), file=sys.stderr)
    if SWEEP in args.network and len(args.network) > 1:
        raise InputError("run the sweep by itself")
    swept = SWEEP in args.network and runtime.simulated
    outcomes = list(_sweep(args, rundir) if swept else _run(args, rundir, runtime))
    _print(outcomes, args.json)
    lost = sum(outcome.inferences + outcome.unprofiled - outcome.acknowledged for outcome in outcomes)
    if lost:
        raise Failure(f"{lost} inferences never reached the daemon at {rundir}")
    return 0


def _checked(args: argparse.Namespace) -> str:
    """The daemon's directory; InputError where arguments do not go together."""
    if not args.network and not campaign(args):
        raise InputError("name a network; neuralpower profile --list shows the zoo")
    if args.network and args.sweep is not None and not args.zoo:
        raise InputError(f"{args.network[0]}: a sweep has no network; --zoo runs those of the zoo beside it")
    if (args.sweep is not None and args.sweep < 1) or (args.budget is not None and not args.budget > 0):
        raise InputError("--sweep and --budget must be positive")
    if not campaign(args) and (args.output or args.again or args.budget):
        raise InputError(
            "-o, --again and --budget go with --zoo and --sweep; neuralpower record makes other recordings"
        )
    wanted = next((each for each in (args.runs, args.until, args.seconds) if each is not None), SECONDS)
    if not 0 < wanted < float("inf") or args.seed < 0:
        raise InputError("--runs, --seconds and --until must be positive, and --seed not negative")
    if args.recording and args.until is None:
        raise InputError("--recording says what --until looks at; give --until PERCENT too")
    return parse_local(args.address).folder


def campaign(args: argparse.Namespace) -> bool:
    """Whether many recordings are made, one after another."""
    return bool(args.zoo) or args.sweep is not None


def _options(args: argparse.Namespace) -> Options:
    from neuralpower.runtimes.options import Options

    return Options(args.precision, args.batch, args.calibration)


def _stop(args: argparse.Namespace, engine: str) -> Stop:
    from neuralpower.experiment import stopping

    if args.runs is not None:
        return stopping.Runs(args.runs)
    if args.until is None:
        return stopping.Seconds(SECONDS if args.seconds is None else args.seconds)
    if args.recording:
        return stopping.LayerIntervals(args.recording, engine, args.until)
    return stopping.EnergyInterval(args.until)


def _run(args: argparse.Namespace, rundir: str, runtime: Runtime) -> Iterator[Outcome]:
    """Each network, one after another."""
    from neuralpower.runtimes import clocks
    from neuralpower.runtimes.run import built, jobs, run

    every: Iterable[Job] = jobs(runtime, args.network, _options(args), args.repeat_layers)
    found = "" if runtime.simulated else clocks.look().sentence()
    if found:
        print(found, file=sys.stderr)
    if runtime.simulated:  # what holds the process up would hold the device up
        every = built(every)
    with runtime.opened(rundir), _around(args, rundir, runtime.idle) as around:
        around.notes += [found] if found else []
        yield from run(runtime, every, around, rundir)


def _runtime(args: argparse.Namespace) -> Runtime:
    """The one that is asked for, or the first that works; the simulated device where none does."""
    from neuralpower.runtimes.choose import VIRTUAL, choose

    chosen = choose(args.runtime, eager=args.eager) if args.runtime != VIRTUAL else None
    if chosen is not None and chosen.runtime is not None:
        for line in chosen.passed_over:
            print(f"runtime {line}", file=sys.stderr)
        print(f"runtime: {chosen.runtime.about()}", file=sys.stderr)
        if args.truth:
            raise InputError("--truth is what happened on the simulated device: give --runtime virtual too")
        return chosen.runtime
    from neuralpower.virtual.runtime import VirtualRuntime

    reason = "; ".join(chosen.passed_over) if chosen else "asked for"
    return VirtualRuntime(args.seed, None if campaign(args) else args.truth, reason)


def _sweep(args: argparse.Namespace, rundir: str) -> Iterator[Outcome]:
    """Single layers of the zoo's domain on the simulated device, with the pauses of a service and no experiment around them."""
    from neuralpower.experiment.experiment import Outcome
    from neuralpower.virtual.run import run_virtual

    with progress("running", None) as advance:

        def show(done: int, total: int, name: str) -> None:
            advance(done, f"{done} of {total} {name}")

        truth = run_virtual(
            [SWEEP], rundir, args.seed, args.seconds or SECONDS, show, runs=args.runs, truth_path=args.truth
        )
    if truth.lost:
        raise Failure(f"{truth.lost} inferences never reached the daemon at {rundir}")
    notes = [note] if (note := truth.held_up_note()) else []
    for engine in truth.engines.values():
        layers = len(engine.layers) * engine.repeats
        yield Outcome(engine.name, layers, True, engine.runs, acknowledged=engine.runs, reason="swept", notes=notes)


def _around(args: argparse.Namespace, rundir: str, idle: Callable[[float], None]) -> Around:
    from neuralpower.experiment.around import Around
    from neuralpower.experiment.power_log import PowerLog
    from neuralpower.profiler.marks import Marks

    return Around(
        Marks(rundir),
        PowerLog(rundir),
        idle,
        lambda engine: _stop(args, engine),
        seed=args.seed,
        unprofiled=not args.no_unprofiled,
    )


def _list_zoo(as_json: bool) -> int:
    from neuralpower.virtual.networks.known import LATER, NETWORKS, build

    rows: list[list[Cell]] = []
    for name in NETWORKS | LATER:
        layers = build(name)["Layers"]
        weights = sum(layer["Weights"]["Count"] for layer in layers if "Weights" in layer)
        rows.append([name, len(layers), round(weights / 1e6, 2)])
    if as_json:
        print_json([{"name": name, "layers": layers, "weights_millions": weights} for name, layers, weights in rows])
    else:
        table("Networks of the virtual device", ["network", "layers", "weights, millions"], rows)
    return 0


def _print(outcomes: list[Outcome], as_json: bool) -> None:
    from neuralpower.experiment.outcomes import document, show

    simulated = any(outcome.simulated for outcome in outcomes)
    if as_json:
        print_json({"simulated": simulated, "engines": [document(outcome) for outcome in outcomes]})
    else:
        show(outcomes, simulated)
