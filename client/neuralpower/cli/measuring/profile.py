"""`neuralpower profile`: run networks with the profiler attached, in a designed experiment, against a running daemon."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower.address import DEFAULT, parse_local
from neuralpower.console import Cell, print_json, progress, table
from neuralpower.errors import Failure, InputError

if TYPE_CHECKING:
    from neuralpower.experiment.around import Around
    from neuralpower.experiment.experiment import Outcome
    from neuralpower.experiment.stopping import Stop
    from neuralpower.runtimes.build import Options

HELP = """Run networks with the profiler attached, in a designed experiment, against a running neuralpowerd.

NETWORK is an ONNX model, torch:module:callable, hub:repository:model, or a serialized engine; it is built for measuring (no auxiliary
streams, every detail for the inspector) and run in rounds: random idle gaps and back to back, with the profiler and without.
Where there is no TensorRT, and with --virtual, a simulated device runs ONNX, PyTorch, engine JSON, a network of the zoo
(--list), or `sweep`: many single layers, each repeated for 20 ms.
--zoo runs 21 classic networks (torch.hub's, or those of the virtual device), a recording of each; run again, it goes on
where it ended, and passes over what did not fit.

Examples:
  neuralpower profile model.onnx --until 2 --address /run/neuralpower
  neuralpower profile --zoo -o zoo --seconds 60"""

SWEEP = "sweep"
SECONDS = 5.0


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
    parser.add_argument("--virtual", action="store_true", help="use the simulated device even where TensorRT is")
    parser.add_argument("--seed", type=int, default=1, help="of the experiment and the simulated device (default 1)")
    parser.add_argument("--truth", metavar="FILE", help="store what really happened on the simulated device")
    parser.add_argument("--list", action="store_true", help="list the networks of the virtual device")
    parser.add_argument(
        "--zoo", action="store_true", help="run the 21 networks of the zoo, or those named, into -o DIR"
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="with --zoo: a folder for the recordings")
    parser.add_argument("--again", action="store_true", help="with --zoo: try again what was skipped")
    parser.add_argument(
        "--hub", metavar="REPOSITORY", help="with --zoo: torch.hub's, or a folder, if not pytorch/vision"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 where inferences were lost on the way to the daemon."""
    if args.list:
        return _list_zoo(args.json)
    rundir = _checked(args)
    from neuralpower.runtimes.cuda import why_not

    reason = "asked for" if args.virtual else why_not()
    if args.zoo:
        from . import zoo

        return zoo.run(args, rundir, bool(reason))
    if reason:
        print(f"simulated device ({reason}), seed {args.seed}", file=sys.stderr)
    outcomes = list((_simulated if reason else _measured)(args, rundir))
    _print(outcomes, args.json)
    lost = sum(outcome.inferences + outcome.unprofiled - outcome.acknowledged for outcome in outcomes)
    if lost:
        raise Failure(f"{lost} inferences never reached the daemon at {rundir}")
    return 0


def _checked(args: argparse.Namespace) -> str:
    """The daemon's directory; InputError where arguments do not go together."""
    if not args.network and not args.zoo:
        raise InputError("name a network; neuralpower profile --list shows the zoo")
    if not args.zoo and (args.output or args.again):
        raise InputError("-o and --again go with --zoo; neuralpower record makes other recordings")
    wanted = next((each for each in (args.runs, args.until, args.seconds) if each is not None), SECONDS)
    if not 0 < wanted < float("inf") or args.seed < 0:
        raise InputError("--runs, --seconds and --until must be positive, and --seed not negative")
    if args.recording and args.until is None:
        raise InputError("--recording says what --until looks at; give --until PERCENT too")
    return parse_local(args.address).folder


def _options(args: argparse.Namespace) -> Options:
    from neuralpower.runtimes.build import Options

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


def _simulated(args: argparse.Namespace, rundir: str) -> Iterator[Outcome]:
    """Each network on the virtual device, one after another."""
    from neuralpower.virtual.bench import load_of, repeated_loads, run_loads
    from neuralpower.virtual.device.device import VirtualDevice
    from neuralpower.virtual.device.hardware import Hardware
    from neuralpower.virtual.run import check_writable, preferred, run_virtual

    options, hardware = _options(args), Hardware.drawn(args.seed)
    if SWEEP in args.network:
        if len(args.network) > 1:
            raise InputError("run the sweep by itself")
        yield from _sweep(args, rundir, run_virtual)
        return
    if args.truth is not None:
        check_writable(args.truth)
    loads = []
    for spec in args.network:
        if args.repeat_layers:
            with tempfile.TemporaryDirectory() as folder:
                loads += repeated_loads(spec, hardware, options.precision, options.batch, Path(folder))
        else:
            loads.append(load_of(spec, hardware, options.precision, options.batch))
    with preferred(), VirtualDevice(Path(rundir) / "timeline", args.seed) as device:
        try:
            with device.kept_ahead(), _around(args, rundir, device.idle) as around:
                yield from run_loads(device, loads, around, rundir)
        finally:
            device.close()
            if args.truth is not None:
                device.truth.write(args.truth)


def _sweep(args: argparse.Namespace, rundir: str, run_virtual: Callable[..., Any]) -> Iterator[Outcome]:
    """Single layers of the zoo's domain, with the pauses of a service and no experiment around them."""
    from neuralpower.experiment.experiment import Outcome

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


def _measured(args: argparse.Namespace, rundir: str) -> Iterator[Outcome]:
    """Each network under TensorRT, one after another."""
    from neuralpower.experiment import repeat
    from neuralpower.runtimes import clocks, sources, tensorrt_bench

    options = _options(args)
    described = [name for name in args.network if name.endswith(".json") or name == SWEEP]
    if described:
        raise InputError(
            f"{described[0]}: TensorRT runs ONNX models, PyTorch networks and engine files; --virtual runs this"
        )
    found = clocks.look()
    print(found.sentence(), file=sys.stderr)
    with _around(args, rundir, time.sleep) as around:
        around.notes.append(found.sentence())
        for spec in args.network:
            if not args.repeat_layers:
                with around.aside(f"loading {spec}"):
                    loaded = tensorrt_bench.load(spec, options)
                    bench = tensorrt_bench.TensorrtBench(loaded, rundir)
                yield around.experiment(bench, loaded.notes)
                continue
            with sources.onnx_of(spec, options.batch) as path, tempfile.TemporaryDirectory() as folder:

                def time_of(trial: Path) -> float:
                    return tensorrt_bench.time_of(tensorrt_bench.load_repeated(trial, options, "trial"))

                for name, file, _ in repeat.engines(path, options.batch, Path(folder), time_of):
                    with around.aside(f"loading {name}"):
                        loaded = tensorrt_bench.load_repeated(file, options, name)
                        bench = tensorrt_bench.TensorrtBench(loaded, rundir)
                    yield around.experiment(bench, loaded.notes)


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
