"""Sections about a recording: how it was sampled, what the rails did, what each layer took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from neuralpower.attribution import Attribution, EngineAttribution, LayerPower
from neuralpower.attribution.agreement import most_missed, pairs
from neuralpower.interval import Z95
from neuralpower.recordings.recording import Recording
from neuralpower.recordings.statistics import lateness_ns, missing
from neuralpower.report import plots
from neuralpower.report.blocks import (
    DASH,
    Block,
    Facts,
    Figure,
    Heading,
    Notes,
    Row,
    Section,
    Table,
    fixed,
    known_to,
    number,
    percent,
    plus_minus,
)
from neuralpower.report.energy_plot import energy_bars, measured_stack
from neuralpower.report.network_plot import layer_power

ENERGY_COLUMNS = ("runtime, µs", "±", "power, W", "±", "energy, mJ", "±")


def sampling(recording: Recording) -> Section:
    """Tick statistics of each stream, its lateness, and what was lost."""
    rows: list[Row] = []
    blocks: list[Block] = []
    for stream in recording.streams:
        s = recording.tick_statistics(stream)
        fresh = f"{number(s.fresh_rate_hz)} ({s.freshness})" if s.fresh_rate_hz else s.freshness
        cells = [
            stream.hex()[:8],
            f"{s.ticks}",
            number(s.duration_s),
            fixed(s.rate_hz, 1),
            fresh,
            fixed(s.lateness_p50_us, 1),
        ]
        rows.append(Row([*cells, fixed(s.lateness_p99_us, 1), f"{s.missed_slots}", f"{s.lost}"]))
    columns = ["stream", "ticks", "s", "rate, Hz", "fresh, Hz", "late p50, µs", "late p99, µs", "missed slots", "lost"]
    caption = (
        "Fresh is how often the chip has something new, with how that is known. A missed slot is a deadline that passed without "
        "a tick; lost are ticks that were taken and are not held here."
    )
    blocks.append(Table(columns, rows, range(1, 9), caption))
    longest = max(recording.streams, key=lambda each: recording.tick_summary(each).ticks, default=None)
    text = ""
    if longest is not None and len(recording.ticks(longest)) > 100:
        late = lateness_ns(recording.ticks(longest), recording.epochs(longest)) / 1e3
        if late.size:
            svg = plots.inline(plots.lateness(late), "lateness", "share of ticks by lateness")
            blocks.append(Figure(Markup(svg), "Share of ticks that began later than so long after their deadline."))
        else:
            text = "The recording holds no epoch of these ticks: their deadlines, and so their lateness, are not known."
    return Section("Ticks", blocks, text)


def losses(recording: Recording) -> Section:
    """What is missing in both logs."""
    found = recording.losses()
    if not found.holes:
        return Section("Losses", [], "Nothing is missing between the first and the last index of either log.")
    rows = [
        Row([log, stream.hex()[:8], f"{hole.start}", f"{hole.stop - 1}", f"{missing(hole)}"])
        for (log, stream), holes in found.holes.items()
        for hole in holes[:50]
    ]
    text = f"{found.ticks_lost} ticks and {found.records_lost} journal records are missing."
    return Section("Losses", [Table(["log", "stream", "first", "last", "missing"], rows, range(2, 5))], text)


def rails(recording: Recording, attribution: Attribution | None) -> Section | None:
    """Power of the rails over time; None for a recording without power."""
    stream = max(recording.streams, key=lambda each: recording.tick_summary(each).ticks, default=None)
    if stream is None or len(recording.ticks(stream)) < 2:
        return None
    t_ns = recording.ticks(stream)["t_ns"]
    power = {name: watts for name, watts in recording.rail_power_w(stream).items() if np.isfinite(watts).any()}
    if not power:
        return None
    names = {key: body["name"] for key, body in recording.engines().items()}
    spans: list[tuple[float, float, str]] = []
    for inference in sorted(recording.inferences(), key=lambda each: each.begin_ns):
        begin, end = ((at - int(t_ns[0])) * 1e-9 for at in (inference.begin_ns, inference.end_ns))
        name = names.get(inference.engine, inference.engine[:8])
        if spans and spans[-1][2] == name and begin - spans[-1][1] < 1.0:
            spans[-1] = (spans[-1][0], end, name)
        else:
            spans.append((begin, end, name))
    t_s = (t_ns - t_ns[0]) * 1e-9
    svg = plots.inline(plots.rails(t_s, power, spans), "rails", "power of each rail over time")
    rows = []
    for name, watts in power.items():
        known = watts[np.isfinite(watts)]
        quantiles = np.quantile(known, [0.01, 0.5, 0.99])
        rows.append(
            Row(
                [
                    name,
                    *(fixed(float(v), 3) for v in (known.mean(), *quantiles)),
                    percent(1 - known.size / watts.size, 2),
                ]
            )
        )
    caption = "Mean of each bin as a line, its lowest and highest reading as a band; above, when engines ran."
    table = Table(["rail", "mean, W", "p1", "median", "p99", "missing"], rows, range(1, 6))
    return Section("Rails", [Figure(Markup(svg), caption), table])


def layers(attribution: Attribution, true_w: Mapping[str, Sequence[float]] | None = None) -> list[Section]:
    """The networks' layers with plots, the repeated layers, and how the numbers came about.

    `true_w`: engine's hash -> the true power of each layer, W, where somebody knows it.
    """
    networks = [engine for engine in attribution.engines.values() if not engine.repeated]
    repeated = [engine for engine in attribution.engines.values() if engine.repeated]
    sections = []
    if networks:
        bars = plots.inline(
            energy_bars([measured_stack(engine) for engine in networks]), "energy", "energy by kind of layer"
        )
        caption = "Where the energy of one inference goes, gaps between inferences left out."
        blocks: list[Block] = [_networks(networks), Figure(Markup(bars), caption)]
        for engine in networks:
            blocks += _network(engine, attribution, true_w)
        text = (
            "Layers stand in the order in which they run. What the data cannot tell apart is one unit, drawn paler: its layers share "
            "the unit's power. The grey band is the 95 % interval, dashed lines are power outside of layers."
        )
        sections.append(Section("Networks, layer by layer", blocks, text))
    if repeated:
        told = [engine for engine in repeated if not engine.layers_withheld]
        rows = [
            Row([_name(e.layers[0]), e.layers[0].kind, f"{e.layers[0].repeats}", *_cells(e.layers[0])]) for e in told
        ]
        silent = Counter(e.layers[0].withheld for e in repeated if e.layers_withheld)
        rows += [Row([f"withheld, {count} layers: {reason}"], "context") for reason, count in silent.items()]
        folded = f"{len(repeated)} repeated layers" + (f", {len(repeated) - len(told)} withheld" if silent else "")
        table = Table(["layer", "kind", "copies", *ENERGY_COLUMNS], rows, range(2, 9), folded=folded)
        text = "Engines of one layer, repeated until the sensor settles: their power is read directly."
        sections.append(Section("Repeated layers", [table], text))
    sections.append(_method(attribution))
    return sections


def _networks(networks: Sequence[EngineAttribution]) -> Table:
    rows = []
    for e in networks:
        counts = [e.name, f"{e.inferences}", f"{len(e.layers)}"]
        energy = known_to(e.energy_per_inference_j * 1e3, Z95 * e.energy_se_j * 1e3)
        cells = [
            *counts,
            DASH if e.withheld else f"{e.units}",
            percent(e.resolved_time_share, 0),
            fixed(e.runtime_s * 1e3, 3),
            fixed(e.power_w, 2),
            *energy,
            fixed(e.gap_power_w, 2),
        ]
        rows.append(Row(cells, "same" if e.withheld else ""))
        if e.withheld:
            rows.append(Row([f"withheld: {e.withheld}"], "context"))
    columns = [
        "network",
        "runs",
        "layers",
        "units",
        "resolved",
        "runtime, ms",
        "power, W",
        "energy, mJ",
        "±",
        "gaps, W",
    ]
    caption = (
        "Per inference, over the time its layers run. Resolved: share of that time in layers told apart from all others, their 95 % "
        f"half-width at most 20 %. {_withheld(networks, 'networks')}"
    ).rstrip()
    return Table(columns, rows, range(1, 10), caption)


def _withheld(engines: Sequence[EngineAttribution], what: str) -> str:
    """How many have no power, as a sentence; "" where all have."""
    count = sum(bool(engine.withheld) for engine in engines)
    return f"Withheld: {count} of {len(engines)} {what} have no power, and no energy." if count else ""


def _network(
    engine: EngineAttribution, attribution: Attribution, true_w: Mapping[str, Sequence[float]] | None
) -> list[Block]:
    baselines, simulated = attribution.baselines, attribution.simulated
    figure = layer_power([engine], simulated=simulated, true_w=true_w, baselines=baselines, titled=False)
    svg = plots.inline(
        figure, f"layers-{engine.hash[:12]}", f"power, runtime and energy of each layer of {engine.name}"
    )
    rows = []
    for at, layer in enumerate(engine.layers):
        joined = at + 1 < len(engine.layers) and engine.layers[at + 1].unit == layer.unit
        unit = f"{layer.unit + 1}" if not at or engine.layers[at - 1].unit != layer.unit else ""
        rows.append(Row([f"{at + 1}", _name(layer), layer.kind, unit, *_cells(layer)], "same" if joined else ""))
    known = "" if engine.withheld else f" in {engine.units} units"
    caption = f"{engine.inferences} inferences, {len(engine.layers)} layers{known}. {_around(engine)}".rstrip()
    if true_w and engine.hash in true_w and not engine.withheld:
        caption += " Points are the true power, which no part of the estimate has seen."
    columns = ["#", "layer", "kind", "unit", *ENERGY_COLUMNS]
    table = Table(columns, rows, (0, *range(3, 10)), _not_told(engine), f"all {len(engine.layers)} layers")
    return [Heading(engine.name), Figure(Markup(svg), caption), table]


def _not_told(engine: EngineAttribution) -> str:
    """Why layers of the table have no power, as a sentence."""
    reasons = list(dict.fromkeys(layer.withheld for layer in engine.layers_withheld))
    return f"Without power: {'; '.join(reasons)}." if reasons else ""


def _around(engine: EngineAttribution) -> str:
    """Power before the first layer, after the last, and between inferences, where it was found, as a sentence."""
    levels = [
        ("before the first layer", engine.launch),
        ("after the last", engine.tail),
        ("between inferences", engine.gap),
    ]
    told = [
        f"{plus_minus(level.power_w, Z95 * level.se_w, 'W')} {where}"
        for where, level in levels
        if np.isfinite(level.power_w) and np.isfinite(level.se_w)
    ]
    return f"Power outside of layers: {', '.join(told)}." if told else ""


def _name(layer: LayerPower) -> str:
    return layer.name if len(layer.name) <= 70 else f"{layer.name[:69]}…"


def _cells(layer: LayerPower) -> list[str]:
    scaled = (
        (1e6, layer.runtime_s, layer.runtime_se_s),
        (1.0, layer.power_w, layer.power_se_w),
        (1e3, layer.energy_j, layer.energy_se_j),
    )
    return [cell for scale, value, error in scaled for cell in known_to(scale * value, scale * Z95 * error)]


def _method(attribution: Attribution) -> Section:
    a = attribution
    facts = [("method", a.method)]
    if a.method == "least-squares":
        scan = f"{number(a.scan_period_s * 1e6, 6)} µs" if a.scan_period_s else "not recovered"
        facts += [
            ("sensor delay", f"{number(a.delay_s * 1e6, 3)} µs"),
            ("sensor lag", f"{number(a.lag_s * 1e6, 3)} µs"),
            ("scan of the chip", scan),
            ("launch gap", f"{number(a.launch_gap_s * 1e6, 3)} µs"),
            ("idle power", f"{number(a.idle_power_w)} W"),
            ("residual", f"{number(a.residual_w * 1e3, 3)} mW rms"),
        ]
    levels = [("device idle", a.baselines.device_idle), ("context idle", a.baselines.context_idle)]
    facts += [(name, plus_minus(x.power_w, Z95 * x.se_w, "W")) for name, x in levels if np.isfinite(x.power_w)]
    if twice := pairs(a):
        agree = sum(pair.agrees for pair in twice)
        text = f"{agree} of {len(twice)} layers agree with what was attributed to them within networks; {most_missed(len(twice))} may miss by chance"
        facts.append(("layers measured repeated", text))
    if a.systematic:
        s = a.systematic
        text = (
            f"gain {percent(s.gain, 2)} typical, {percent(s.largest_gain, 2)} at most; offset {number(s.offset_w * 1e3, 2)} mW typical, "
            f"{number(s.largest_offset_w * 1e3, 2)} mW at most: common to all powers, and in no interval above"
        )
        facts.append(("tolerance of the chip", text))
    if a.balance:
        b = a.balance
        parts = [("layers", b.layers_j), ("gaps", b.gaps_j), ("idle", b.idle_j), ("unattributed", b.unattributed_j)]
        shares = ", ".join(f"{name} {number(joules)} J" for name, joules in parts if np.isfinite(joules))
        shares += "; how much is layers and gaps is withheld" if a.withheld else ""
        facts.append((f"energy measured: {number(b.measured_j, 5)} J", shares))
    return Section("How power was attributed", [Facts(facts), Notes(list(a.notes))])
