"""``neuralpower attribute``: power, energy and interval per layer of a recording."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.cli.analysing.device import add_device, opened
from neuralpower.cli.analysing.span import add_span, chosen
from neuralpower.cli.outputs import OutputFile
from neuralpower.errors import Failure, InputError
from neuralpower.show.attribution import print_attribution

if TYPE_CHECKING:
    from neuralpower.attribution import Attribution, EngineAttribution, Unprofiled
    from neuralpower.recordings.recording import Recording

HELP = """Power, energy and runtime of each layer of a recording, with 95 % intervals.

An engine whose powers cannot be believed has one line that says why; --json lists the runtimes of its layers.

  least-squares  layers are told apart by how much of each sensor window they filled; the sensor's delay, lag and scan,
                 stalls and drift are fitted with them; neighbours that cannot be told apart are one group; engines of one
                 repeated layer are read directly
  window-mean    a baseline: the mean of the readings that fall into a layer's window; most layers get none

example:
  neuralpower attribute run1 --engine resnet18 --plot resnet18.svg
  neuralpower attribute monday --from 2h --to 3h"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the recording")
    parser.add_argument("--method", default="least-squares", help="least-squares (default) or window-mean")
    parser.add_argument("--rail", metavar="NAME", help="this rail instead of the board's total")
    parser.add_argument("--engine", metavar="NAME", help="only this engine, by name or the start of its hash")
    add_device(parser)
    add_span(parser)
    parser.add_argument(
        "--plot",
        action=OutputFile,
        metavar="FILE",
        type=Path,
        help="draw the layers of each network (.svg, .png, .pdf)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    from neuralpower.attribution.asked import check

    recording = chosen(opened(args.directory, args), args)
    check(recording, args.method, args.rail, args.engine)
    if args.plot:
        from neuralpower.report.plots import check_ending

        check_ending(args.plot)
    attribution = attributed(recording, args.method, rail=args.rail)
    engines = choose(attribution, args.engine)
    if args.plot:
        _plot(engines, args.plot, attribution)
    if args.json:
        console.print_json(document(attribution, engines))
        return 0
    print_attribution(attribution, engines)
    if args.plot:
        print(f"wrote {args.plot}")
    return 0


def attributed(recording: Recording, method: str, *, rail: str | None = None) -> Attribution:
    """The recording's attribution, as kept or made now; how far that is shows on stderr."""
    from neuralpower import attribution

    with console.progress("attributing", 1.0) as advance:
        return attribution.attributed(
            recording, method, rail=rail, told=lambda share: advance(share, ""), say=console.note
        )


def choose(attribution: Attribution, name: str | None) -> list[EngineAttribution]:
    """The engines called `name`, or whose hash starts with it; all where it is None. InputError where there is none."""
    from neuralpower.attribution.asked import called, no_engine

    engines = list(attribution.engines.values())
    if name is None:
        return engines
    chosen = [engine for engine in engines if called(name, engine.name, engine.hash)]
    if not chosen:
        raise no_engine(name, [engine.name for engine in engines])
    return chosen


def document(attribution: Attribution, engines: list[EngineAttribution]) -> dict[str, Any]:
    """Everything as plain values."""
    from neuralpower.attribution.agreement import most_missed, pairs

    balance, twice = attribution.balance, pairs(attribution)
    return {
        "method": attribution.method,
        "board": attribution.board,
        "simulated": attribution.simulated,
        "delay_s": attribution.delay_s,
        "lag_s": attribution.lag_s,
        "scan_period_s": attribution.scan_period_s,
        "launch_gap_s": attribution.launch_gap_s,
        "idle_power_w": attribution.idle_power_w,
        "residual_w": attribution.residual_w,
        "rails": list(attribution.rails),
        "baselines": {name: vars(level) for name, level in vars(attribution.baselines).items()},
        "systematic": attribution.systematic and vars(attribution.systematic),
        "withheld": attribution.withheld,
        "balance": balance and {**vars(balance), "unattributed_j": balance.unattributed_j},
        "repeated_layers": {
            "compared": len(twice),
            "agree": sum(pair.agrees for pair in twice),
            "may_miss": most_missed(len(twice)),
            "pairs": [
                {"network": pair.network, "layer": pair.attributed.name, "off_w": pair.off_w, "se_w": pair.se_w}
                for pair in twice
            ],
        },
        "notes": list(attribution.notes),
        "engines": [_engine(engine) for engine in engines],
    }


def _engine(engine: EngineAttribution) -> dict[str, Any]:
    derived = ("units", "repeated", "runtime_s", "power_w", "energy_per_inference_j", "resolved_time_share")
    layers = [
        {
            **{name: value for name, value in vars(layer).items() if name != "geometry"},
            "energy_j": layer.energy_j,
            "energy_se_j": layer.energy_se_j,
        }
        for layer in engine.layers
    ]
    levels = {name: vars(getattr(engine, name)) for name in ("launch", "tail", "gap")}
    simple = {name: getattr(engine, name) for name in derived}
    without = engine.unprofiled and _unprofiled(engine.unprofiled)
    whole = engine.whole and vars(engine.whole)
    return {**vars(engine), **simple, **levels, "layers": layers, "unprofiled": without, "whole": whole}


def _unprofiled(found: Unprofiled) -> dict[str, Any]:
    ratios = {
        name: dict(zip(("value", "se"), getattr(found, name), strict=True)) for name in ("time_ratio", "energy_ratio")
    }
    return {"profiled": vars(found.profiled), "unprofiled": vars(found.unprofiled), **ratios}


def _plot(engines: list[EngineAttribution], path: Path, attribution: Attribution) -> None:
    from neuralpower.report.network_plot import layer_power
    from neuralpower.report.plots import save

    networks = [engine for engine in engines if not engine.repeated]
    if not networks:
        raise InputError("nothing to plot: only networks have layers in a row, and none was chosen")
    try:
        save(layer_power(networks, simulated=attribution.simulated, baselines=attribution.baselines), path)
    except OSError as error:
        raise Failure(f"{path}: cannot write the plot: {error.strerror or error}") from None
