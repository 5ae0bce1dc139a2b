"""``neuralpower attribute``: power, energy and interval per layer of a recording."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.cli.outputs import OutputFile
from neuralpower.errors import Failure, InputError
from neuralpower.interval import MEANING, UNKNOWN, Z95, cells, plus_minus

if TYPE_CHECKING:
    from neuralpower.attribution import Attribution, EngineAttribution, LayerPower, Unprofiled, WholeInference
    from neuralpower.recordings.recording import Recording
    from neuralpower_align.layer_power import Level

HELP = """Power, energy and runtime of each layer of a recording, with 95 % intervals.

An engine whose powers cannot be believed has one line that says why; --json lists the runtimes of its layers.

  least-squares  layers are told apart by how much of each sensor window they filled; the sensor's delay, lag and scan,
                 stalls and drift are fitted with them; neighbours that cannot be told apart are one group; engines of one
                 repeated layer are read directly
  window-mean    a baseline: the mean of the readings that fall into a layer's window; most layers get none

example:
  neuralpower attribute run1 --engine resnet18 --plot resnet18.svg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the recording")
    parser.add_argument("--method", default="least-squares", help="least-squares (default) or window-mean")
    parser.add_argument("--rail", metavar="NAME", help="this rail instead of the board's total")
    parser.add_argument("--engine", metavar="NAME", help="only this engine, by name or the start of its hash")
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
    from neuralpower.recordings.recording import Recording

    recording = Recording(args.directory)
    check(recording, args.method, args.rail, args.engine)
    if args.plot:
        _check_ending(args.plot)
    attribution = attributed(recording, args.method, rail=args.rail)
    chosen = choose(attribution, args.engine)
    if args.plot:
        _plot(chosen, args.plot, attribution)
    if args.json:
        console.print_json(document(attribution, chosen))
        return 0
    print_attribution(attribution, chosen)
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


def print_attribution(attribution: Attribution, engines: list[EngineAttribution]) -> None:
    """Print the tables: each network's layers, one line for each repeated layer, the sensor and the balance."""
    for engine in engines:
        if not engine.repeated:
            print_engine(engine, simulated=attribution.simulated)
    repeated = [engine for engine in engines if engine.repeated]
    told = [engine for engine in repeated if not engine.layers_withheld]
    if told:
        rows: list[list[console.Cell]] = []
        for engine in told:
            layer = engine.layers[0]
            named: list[console.Cell] = [console.shortened(layer.name), layer.kind, layer.repeats, layer.count]
            rows.append([*named, *_numbers(layer), engine.method])
        columns = ["repeated layer", "kind", "copies", "runs", *_HEADINGS, "how"]
        console.table("Repeated layers", columns, rows, simulated=attribution.simulated)
        for engine in told:
            for line in _without_profiler(engine):
                print(f"  {engine.name}: {line}")
    for reason, count in Counter(engine.layers[0].withheld for engine in repeated if engine not in told).items():
        print(f"withheld, {count} of {len(repeated)} repeated layers: {reason}")
    for line in summary(attribution):
        print(line)


def print_engine(engine: EngineAttribution, truth_w: Mapping[str, float] | None = None, *, simulated: bool) -> None:
    """Print one network's layers; `truth_w` (layer name -> W) adds what really was, where a simulation knows it.

    Of one that is withheld: why, and what of it is known without its powers.
    """
    title = f"{engine.name}: {engine.inferences} inferences, {len(engine.layers)} layers"
    if engine.withheld:
        print(f"{title}, withheld{' (simulated)' if simulated else ''}")
    else:
        rows: list[list[console.Cell]] = []
        for layer in engine.layers:
            row: list[console.Cell] = [console.shortened(layer.name), layer.kind, _told(layer), *_numbers(layer)]
            rows.append([*row, truth_w.get(layer.name)] if truth_w is not None else row)
        columns = ["layer", "kind", "told", *_HEADINGS, *(["true W"] if truth_w is not None else [])]
        console.table(f"{title} in {engine.units} units", columns, rows, simulated=simulated)
    for line in _beside(engine):
        print(f"  {line}")
    print()


def _told(layer: LayerPower) -> str:
    """How a layer is told: for itself, or only with others."""
    if layer.withheld:
        return "not told"
    if layer.members > 1:
        return f"group {layer.unit + 1} of {layer.members}"
    return "resolved" if layer.resolved else "not resolved"


def _beside(engine: EngineAttribution) -> list[str]:
    """Lines under the layers: all of them together, and what is no layer."""
    if engine.withheld:
        read = f"; the readings alone give {_millijoules(engine)} an inference" if _millijoules(engine) else ""
        return [f"withheld: {engine.withheld}", f"its layers take {engine.runtime_s * 1e3:.4g} ms{read}",
                *_without_profiler(engine)]  # fmt: skip
    energy = plus_minus(engine.energy_per_inference_j * 1e3, Z95 * engine.energy_se_j * 1e3, "mJ")
    drawn = (
        f"{engine.power_w:.4g} W, {energy} in its layers" if energy != UNKNOWN else "energy not known of all its layers"
    )
    lines = [f"an inference: {engine.runtime_s * 1e3:.4g} ms, {drawn}"]
    if engine.resolved_time_share > 0:
        lines[0] += f"; {engine.resolved_time_share:.0%} of their time is resolved"
    if engine.layers_withheld:
        silent = sum(layer.runtime_s for layer in engine.layers_withheld) / engine.runtime_s
        reasons = ", ".join(dict.fromkeys(layer.withheld for layer in engine.layers_withheld))
        count = f"{len(engine.layers_withheld)} of {len(engine.layers)} layers"
        lines.append(f"not told: {count}, {silent:.0%} of the time: {reasons}")
    named = (("launch", engine.launch), ("tail", engine.tail), ("gap", engine.gap))
    known = [f"{name} {_level(level)}" for name, level in named if level.power_w == level.power_w]
    if known:
        lines.append("beside layers: " + ", ".join(known))
    elif engine.gap_power_w == engine.gap_power_w:
        lines.append(f"beside layers: gap {engine.gap_power_w:.4g} W")
    return lines + _without_profiler(engine)


def _millijoules(engine: EngineAttribution) -> str:
    """The energy of an inference that nothing was attributed to; "" where it was not measured."""
    measured = engine.measured_energy_j
    return f"{measured * 1e3:.4g} mJ" if measured == measured else ""


def _without_profiler(engine: EngineAttribution) -> list[str]:
    """What the profiler costs, where inferences ran without it."""
    found = engine.unprofiled
    if found is None:
        return []
    one, other = found.profiled, found.unprofiled
    time, energy = (plus_minus(value, Z95 * error) for value, error in (found.time_ratio, found.energy_ratio))
    lines = [
        f"from anchor to anchor: {_whole(one)} with the profiler, {_whole(other)} in {other.inferences} inferences without; "
        f"time × {time}" + (f", energy × {energy}" if energy != UNKNOWN else "")
    ]
    if other.withheld and not engine.withheld:
        lines.append(f"energy without the profiler is withheld: {other.withheld}")
    return lines


def _whole(each: WholeInference) -> str:
    time = plus_minus(each.runtime_s * 1e3, Z95 * each.runtime_se_s * 1e3, "ms")
    if each.energy_j != each.energy_j:
        return time if each.withheld else f"{time}, energy not told"
    return f"{time}, {plus_minus(each.energy_j * 1e3, Z95 * each.energy_se_j * 1e3, 'mJ')}"


def _level(level: Level) -> str:
    return plus_minus(level.power_w, Z95 * level.se_w, "W")


def summary(attribution: Attribution) -> list[str]:
    """The sensor that was found, baselines, where the energy went, and what to know about the intervals."""
    from neuralpower.attribution.agreement import pairs, sentence

    lines = []
    if attribution.method == "least-squares":
        scan = f"{attribution.scan_period_s * 1e6:.2f} µs" if attribution.scan_period_s else "not recovered"
        lines.append(
            f"sensor: delay {attribution.delay_s * 1e6:.0f} µs, lag {attribution.lag_s * 1e6:.0f} µs, scan {scan}; "
            f"launch gap {attribution.launch_gap_s * 1e6:.2f} µs; residual {attribution.residual_w * 1e3:.0f} mW rms"
        )
    baselines = attribution.baselines
    named = (("device idle", baselines.device_idle), ("context idle", baselines.context_idle))
    known = [f"{name} {_level(level)}" for name, level in named if level.power_w == level.power_w]
    if known:
        lines.append(f"baselines: {', '.join(known)}")
    if attribution.balance:
        b = attribution.balance
        parts = f" = layers {b.layers_j:.5g} + gaps {b.gaps_j:.5g} + idle {b.idle_j:.5g} + unattributed {b.unattributed_j:.3g}"
        if attribution.withheld:
            parts = f", idle {b.idle_j:.5g} of it; how much is layers and gaps is withheld"
        lines.append(f"energy: measured {b.measured_j:.5g} J{parts}")
    if attribution.withheld:
        lines.append(f"withheld: {len(attribution.withheld)} of {len(attribution.engines)} engines have no power")
    if told := sentence(pairs(attribution)):
        lines.append(told)
    lines.append(MEANING)
    s = attribution.systematic
    if s and s.offset_w == s.offset_w:
        lines.append(
            f"beside the intervals, the chip's tolerance moves all powers together: gain {s.gain:.1%} (at most "
            f"{s.largest_gain:.2%}), offset {s.offset_w * 1e3:.0f} mW (at most {s.largest_offset_w * 1e3:.0f} mW)"
        )
    return lines + [f"note: {note}" for note in attribution.notes]


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


def _check_ending(path: Path) -> None:
    from neuralpower.report.plots import check_ending

    try:
        check_ending(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


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


_HEADINGS = ["runtime µs", "±", "power W", "± ", "energy mJ", "±  "]


def _numbers(layer: LayerPower) -> list[console.Cell]:
    scaled = (
        (1e6, layer.runtime_s, layer.runtime_se_s),
        (1.0, layer.power_w, layer.power_se_w),
        (1e3, layer.energy_j, layer.energy_se_j),
    )
    return [cell for scale, value, error in scaled for cell in cells(scale * value, scale * Z95 * error)]
