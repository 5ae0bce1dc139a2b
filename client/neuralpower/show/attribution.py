"""An attribution: its layers, what is beside them, and the sensor that was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from neuralpower import console
from neuralpower.interval import MEANING, UNKNOWN, Z95, cells, plus_minus

if TYPE_CHECKING:
    from neuralpower.attribution import Attribution, EngineAttribution, LayerPower, WholeInference
    from neuralpower_align.layer_power import Level


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


_HEADINGS = ["runtime µs", "±", "power W", "± ", "energy mJ", "±  "]


def _numbers(layer: LayerPower) -> list[console.Cell]:
    scaled = (
        (1e6, layer.runtime_s, layer.runtime_se_s),
        (1.0, layer.power_w, layer.power_se_w),
        (1e3, layer.energy_j, layer.energy_se_j),
    )
    return [cell for scale, value, error in scaled for cell in cells(scale * value, scale * Z95 * error)]
