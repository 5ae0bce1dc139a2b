"""``neuralpower attribute``: power, energy and interval per layer of a recording."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.errors import Failure, InputError

if TYPE_CHECKING:
    from neuralpower.attribution import Attribution, EngineAttribution

HELP = """Power, energy and runtime of each layer of a recording, with standard errors.

  least-squares  layers are told apart by how much of each sensor window they filled, the sensor's delay, lag and scan
                 searched; neighbours that cannot be told apart are one unit; engines of one repeated layer are read
                 directly
  window-mean    a baseline: the mean of the readings that fall into a layer's window; most layers get none

example:
  neuralpower attribute run1 --engine resnet18 --plot resnet18.svg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the recording")
    parser.add_argument("--method", default="least-squares", help="least-squares (default) or window-mean")
    parser.add_argument("--engine", metavar="NAME", help="only this engine, by name or the start of its hash")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the layers of each network (.svg, .png, .pdf)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    from neuralpower.attribution import attribute
    from neuralpower.recordings.recording import Recording

    recording = Recording(args.directory)
    with console.progress("attributing"):
        attribution = attribute(recording, args.method)
    chosen = choose(attribution, args.engine)
    if args.plot:
        _plot(chosen, args.plot, attribution.simulated)
    if args.json:
        console.print_json(document(attribution, chosen))
        return 0
    print_attribution(attribution, chosen)
    if args.plot:
        print(f"wrote {args.plot}")
    return 0


def choose(attribution: Attribution, name: str | None) -> list[EngineAttribution]:
    """The engines called `name`, or whose hash starts with it; all where it is None. InputError where there is none."""
    engines = list(attribution.engines.values())
    if name is None:
        return engines
    chosen = [engine for engine in engines if engine.name == name or engine.hash.startswith(name)]
    if not chosen:
        known = ", ".join(engine.name for engine in engines[:12])
        raise InputError(f"no engine {name!r} in this recording; there are {known}{', …' if len(engines) > 12 else ''}")
    return chosen


def print_attribution(attribution: Attribution, engines: list[EngineAttribution]) -> None:
    """Print the tables: each network's layers, one line for each repeated layer, the sensor and the balance."""
    for engine in engines:
        if not engine.repeated:
            print_engine(engine, simulated=attribution.simulated)
    repeated = [engine for engine in engines if engine.repeated]
    if repeated:
        rows: list[list[console.Cell]] = []
        for engine in repeated:
            layer = engine.layers[0]
            cells: list[console.Cell] = [console.shortened(layer.name), layer.kind, layer.repeats, layer.count]
            rows.append([*cells, *_numbers(layer), engine.method])
        columns = ["repeated layer", "kind", "copies", "runs", *_HEADINGS, "how"]
        console.table("Repeated layers", columns, rows, simulated=attribution.simulated)
    for line in summary(attribution):
        print(line)


def print_engine(engine: EngineAttribution, truth_w: Mapping[str, float] | None = None, *, simulated: bool) -> None:
    """Print one network's layers; `truth_w` (layer name -> W) adds what really was, where a simulation knows it."""
    rows: list[list[console.Cell]] = []
    for layer in engine.layers:
        unit = f"{layer.unit + 1}" + (f" ({layer.members} layers)" if layer.members > 1 else "")
        cells: list[console.Cell] = [console.shortened(layer.name), layer.kind, unit, *_numbers(layer)]
        rows.append([*cells, truth_w.get(layer.name)] if truth_w is not None else cells)
    columns = ["layer", "kind", "unit", *_HEADINGS, *(["true W"] if truth_w is not None else [])]
    title = f"{engine.name}: {engine.inferences} inferences, {len(engine.layers)} layers in {engine.units} units"
    console.table(title, columns, rows, simulated=simulated)
    total = f"{engine.runtime_s * 1e3:.4g} ms, {engine.power_w:.4g} W, {engine.energy_per_inference_j * 1e3:.4g} mJ"
    gaps = "" if engine.gap_power_w != engine.gap_power_w else f"; {engine.gap_power_w:.4g} W between inferences"
    print(f"  an inference: {total} in its layers{gaps}\n")


def summary(attribution: Attribution) -> list[str]:
    """The sensor that was found, where the energy went, and what to know about the intervals."""
    lines = []
    if attribution.method == "least-squares":
        scan = f"{attribution.scan_period_s * 1e6:.2f} µs" if attribution.scan_period_s else "not recovered"
        lines.append(
            f"sensor: delay {attribution.delay_s * 1e6:.0f} µs, lag {attribution.lag_s * 1e6:.0f} µs, scan {scan}; "
            f"launch gap {attribution.launch_gap_s * 1e6:.2f} µs; residual {attribution.residual_w * 1e3:.0f} mW rms"
        )
    if attribution.balance:
        b = attribution.balance
        lines.append(
            f"energy: measured {b.measured_j:.5g} J = layers {b.layers_j:.5g} + gaps {b.gaps_j:.5g} + idle {b.idle_j:.5g} "
            f"+ unattributed {b.unattributed_j:.3g}"
        )
    return lines + [f"note: {note}" for note in attribution.notes]


def document(attribution: Attribution, engines: list[EngineAttribution]) -> dict[str, Any]:
    """Everything as plain values."""
    balance = attribution.balance
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
        "balance": balance and {**vars(balance), "unattributed_j": balance.unattributed_j},
        "notes": list(attribution.notes),
        "engines": [_engine(engine) for engine in engines],
    }


def _engine(engine: EngineAttribution) -> dict[str, Any]:
    derived = ("units", "repeated", "runtime_s", "power_w", "energy_per_inference_j")
    layers = [
        {
            **{name: value for name, value in vars(layer).items() if name != "geometry"},
            "energy_j": layer.energy_j,
            "energy_se_j": layer.energy_se_j,
        }
        for layer in engine.layers
    ]
    return {**vars(engine), **{name: getattr(engine, name) for name in derived}, "layers": layers}


def _plot(engines: list[EngineAttribution], path: Path, simulated: bool) -> None:
    from neuralpower.report.network_plot import layer_power
    from neuralpower.report.plots import save

    networks = [engine for engine in engines if not engine.repeated]
    if not networks:
        raise InputError("nothing to plot: only networks have layers in a row, and none was chosen")
    try:
        save(layer_power(networks, simulated=simulated), path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise Failure(f"{path}: cannot write the plot: {error.strerror or error}") from None


_HEADINGS = ["runtime µs", "±", "power W", "± ", "energy mJ", "±  "]


def _numbers(layer: Any) -> list[console.Cell]:
    return [
        f"{layer.runtime_s * 1e6:.2f}",
        f"{layer.runtime_se_s * 1e6:.2f}",
        layer.power_w if layer.power_w != layer.power_w else f"{layer.power_w:.3f}",
        layer.power_se_w if layer.power_se_w != layer.power_se_w else f"{layer.power_se_w:.3f}",
        float(layer.energy_j * 1e3),
        float(f"{layer.energy_se_j * 1e3:.2g}"),
    ]
