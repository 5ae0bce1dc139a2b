"""The plot of one network: its layers in order, with power and interval, runtime, and share of the energy."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite, nan
from typing import Any

import numpy as np

from neuralpower.attribution import Baselines, EngineAttribution
from neuralpower.interval import Z95
from neuralpower.report import plots
from neuralpower.report.plots import COLOURS, GRID, INK, MUTED, Figure

HEIGHT, WITHHELD_HEIGHT = 4.9, 2.9
"""Inches of one network's panels, and of those of one without power."""
SURE = 0.3
"""Half-width over power up to which a unit has a say in how high the axis goes."""
MOST_NAMES = 48
"""Layers beyond which names give way to numbers."""


@dataclass(frozen=True)
class PlottedUnit:
    """Adjacent layers from `first` to `last` (positions) that the data could not tell apart, or one that it could.

    `power_w` of the unit with the half-width of its 95 % interval; nan where nothing is known.
    """

    first: int
    last: int
    power_w: float
    half_w: float


def units(engine: EngineAttribution) -> list[PlottedUnit]:
    """The units of an engine's layers, in order. A layer that took no time belongs to none.

    Where the attribution gives no interval of a unit, its longest layer's stands for it.
    """
    timed = [(at, layer) for at, layer in enumerate(engine.layers) if layer.runtime_s > 0]
    found = []
    for unit, run in groupby(timed, key=lambda pair: pair[1].unit):
        members = list(run)
        longest = max(members, key=lambda pair: pair[1].runtime_s)[1]
        power, error = longest.power_w, longest.power_se_w
        if unit < len(engine.unit_power_w):
            power, error = engine.unit_power_w[unit], engine.unit_se_w[unit]
        found.append(PlottedUnit(members[0][0], members[-1][0], power, Z95 * error))
    return found


def layer_power(
    engines: Sequence[EngineAttribution],
    *,
    simulated: bool,
    true_w: Mapping[str, Sequence[float]] | None = None,
    baselines: Baselines | None = None,
    titled: bool = True,
) -> Figure:
    """Three panels for each engine, over its layers in order: power, runtime, share of the energy of one inference.

    A unit is a block as wide as its layers: a line at its power within the band of its 95 % interval. Layers that share a unit
    are paler, those that are not told an empty block. An engine that is withheld has runtimes, and the reason for power. `true_w`: engine's hash -> a value for each layer, drawn as points where it is known. Dashed lines are the
    power between inferences and, with `baselines`, of context idle and device idle. A page that has headings of its own draws without titles.
    """
    with plots.styled():
        import matplotlib.pyplot as plt

        heights = [WITHHELD_HEIGHT if engine.withheld else HEIGHT for engine in engines]
        figure = plt.figure(figsize=(8, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(engines), 1, squeeze=False, hspace=0.04, height_ratios=heights)[:, 0]
        for part, engine in zip(parts, engines, strict=True):
            rows = part.subplots(*((2, 1) if engine.withheld else (3, 1)), sharex=True,
                                 height_ratios=[1, 1] if engine.withheld else [3.2, 1, 1])  # fmt: skip
            if engine.withheld:
                _reason(rows[0], engine)
            else:
                _power(rows[0], engine, (true_w or {}).get(engine.hash), baselines)
                _bars(rows[2], engine, [100 * share for share in _shares(engine)], "energy, %")
            _bars(rows[1], engine, [layer.runtime_s * 1e6 for layer in engine.layers], "runtime, µs")
            _names(rows[-1], engine)
            if titled:
                rows[0].set_title(f"{engine.name}{'  (simulated)' if simulated else ''}", loc="left", pad=19)
            for axes in rows:
                axes.tick_params(axis="x", length=0)
            part.align_ylabels(rows)
        return figure


def _bars(axes: Any, engine: EngineAttribution, values: Sequence[float], label: str) -> None:
    colours = [COLOURS[_kind(layer.kind)] for layer in engine.layers]
    axes.bar(np.arange(len(values)), np.nan_to_num(values), width=0.8, color=colours, alpha=0.8, linewidth=0)
    axes.set_ylabel(label)


def _reason(axes: Any, engine: EngineAttribution) -> None:
    """Why there is no power, where it would be."""
    reason = f"power withheld: {engine.withheld}"
    lines = len(textwrap.wrap(reason, 105))
    reason = textwrap.fill(reason, min(len(reason) // lines + 10, 105))  # no word alone in the last line
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=7.5)
    axes.set_yticks([])
    axes.set_ylabel("power, W")
    axes.set_xlim(-0.7, len(engine.layers) - 0.3)


def _power(axes: Any, engine: EngineAttribution, true_w: Sequence[float] | None, baselines: Baselines | None) -> None:
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    found = units(engine)
    sure = [unit.power_w for unit in found if unit.half_w <= SURE * unit.power_w]
    highest = 1.6 * max(sure) if sure else float("inf")  # what is hardly known must not flatten the rest
    tops = [0.0]
    # Drawn together: an artist for each layer is what would make a page slow.
    bars: list[tuple[int, float, float, tuple[str, float]]] = []
    bands: list[list[tuple[float, float]]] = []
    lines: list[list[tuple[float, float]]] = []
    for unit in found:
        left, right = unit.first - 0.42, unit.last + 0.42
        members = [layer for layer in engine.layers[unit.first : unit.last + 1] if layer.runtime_s > 0]
        alone = len(members) == 1
        if not isfinite(unit.power_w):
            axes.axvspan(left, right, color=GRID, alpha=0.5, linewidth=0)
            continue
        half = unit.half_w if isfinite(unit.half_w) else 0.0
        shade = 0.5 if alone else 0.2
        for at in range(unit.first, unit.last + 1):
            bars.append((at, unit.power_w, 0.84 if alone else 1.0, (COLOURS[_kind(engine.layers[at].kind)], shade)))
        bands.append(
            [
                (left, unit.power_w - half),
                (left, unit.power_w + half),
                (right, unit.power_w + half),
                (right, unit.power_w - half),
            ]
        )
        lines.append([(left, unit.power_w), (right, unit.power_w)])
        tops += [min(unit.power_w, highest), min(unit.power_w + half, 1.6 * unit.power_w, highest)]
    if bars:
        places, heights, widths, colours = zip(*bars, strict=True)
        axes.bar(places, heights, width=widths, color=colours, linewidth=0)
    axes.add_collection(PolyCollection(bands, facecolors=(INK, 0.13), linewidths=0))
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=1.3, capstyle="butt"))
    if true_w is not None:
        known = [(i, w) for i, w in enumerate(true_w) if isfinite(w) and engine.layers[i].runtime_s > 0]
        axes.plot(*zip(*known, strict=True), ".", color=plots.TRUTH, markersize=4.5, zorder=5) if known else None
        tops += [w for _, w in known]
    levels = [level for level in _levels(engine, baselines) if isfinite(level[1])]
    for _, watts, dashes in levels:
        axes.axhline(watts, color=MUTED, linewidth=0.8, linestyle=(0, dashes))
    axes.set_ylabel("power, W")
    axes.set_ylim(0, 1.06 * max(tops) or 1.0)
    axes.set_xlim(-0.7, len(engine.layers) - 0.3)
    kinds = dict.fromkeys(_kind(layer.kind) for layer in engine.layers if layer.runtime_s > 0)
    handles: list[Any] = [
        Patch(color=COLOURS[kind], alpha=0.75, linewidth=0, label=kind) for kind in COLOURS if kind in kinds
    ]
    handles.append(Line2D([], [], color=INK, linewidth=1.3, label="estimate, 95 %"))
    if any(not isfinite(unit.power_w) for unit in found):
        handles.append(Patch(color=GRID, alpha=0.5, linewidth=0, label="not told"))
    if true_w is not None:
        handles.append(Line2D([], [], color=plots.TRUTH, marker=".", linestyle="", label="true"))
    handles += [Line2D([], [], color=MUTED, linewidth=0.8, linestyle=(0, d), label=label) for label, _, d in levels]
    place = {"loc": "lower right", "bbox_to_anchor": (1.005, 0.995)}
    axes.legend(handles=handles, ncols=len(handles), handlelength=1.4, columnspacing=1.4, **place)


def _levels(engine: EngineAttribution, baselines: Baselines | None) -> list[tuple[str, float, tuple[float, ...]]]:
    """Powers of what is no layer: what to call them, W, dashes."""
    found: list[tuple[str, float, tuple[float, ...]]] = [("between", engine.gap_power_w, (4, 3))]
    if baselines is not None:
        found.append(("context idle", baselines.context_idle.power_w, (1, 2)))
        found.append(("device idle", baselines.device_idle.power_w, (1, 5)))
    return found


def _shares(engine: EngineAttribution) -> list[float]:
    """Each layer's share of the energy of an inference's layers; nan where it is not known."""
    whole = engine.energy_per_inference_j
    return [layer.energy_j / whole if whole > 0 else nan for layer in engine.layers]


def _names(axes: Any, engine: EngineAttribution) -> None:
    count = len(engine.layers)
    if count <= MOST_NAMES:
        labels = [plots.short_name(layer.name) for layer in engine.layers]
        axes.set_xticks(range(count), labels, rotation=90, fontsize=6.2)
    else:
        step = next(step for step in (10, 20, 50, 100, 500, 1000, 10_000) if count / step <= 20)
        axes.set_xticks(range(0, count, step), [f"{at + 1}" for at in range(0, count, step)])
        axes.set_xlabel("layer, in order")
    axes.tick_params(axis="x", length=0)


def _kind(kind: str) -> str:
    return kind if kind in ("conv", "pool", "fc") else "other"
