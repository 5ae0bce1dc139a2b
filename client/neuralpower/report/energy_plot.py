"""Where the energy of networks goes: a stacked bar for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from neuralpower.attribution import EngineAttribution
from neuralpower.interval import Z95, plus_minus
from neuralpower.models.network import NetworkPrediction
from neuralpower.report import plots
from neuralpower.report.plots import COLOURS, GRID, INK, MUTED, Figure

KINDS = ("conv", "pool", "fc", "other")
NOT_TOLD = "not told"
"""Energy of layers of which nobody knows how much each took."""


@dataclass(frozen=True)
class Stack:
    """One bar: energy by kind of layer, J, and the half-width of the 95 % interval of their sum, nan where not known.

    `unknown`: why there is no energy, "" if there is.
    """

    label: str
    energy_j: Mapping[str, float]
    half_j: float = float("nan")
    faint: bool = False
    unknown: str = ""

    @property
    def total_j(self) -> float:
        return sum(self.energy_j.values())


def measured_stack(engine: EngineAttribution) -> Stack:
    """What the layers of one inference took."""
    whole = engine.energy_per_inference_j
    if not isfinite(whole):
        return Stack(engine.name, {}, unknown="withheld" if engine.withheld else "not known of all layers")
    found = dict.fromkeys(KINDS, 0.0)
    for layer in engine.layers:
        if isfinite(layer.energy_j):
            found[layer.kind if layer.kind in found else "other"] += layer.energy_j * layer.repeats
    if any(layer.withheld for layer in engine.layers):
        found[NOT_TOLD] = max(whole - sum(found.values()), 0.0)
    return Stack(engine.name, found, Z95 * engine.energy_se_j)


def predicted_stack(predicted: NetworkPrediction, label: str) -> Stack:
    """What the models say; the remainder stands for layers without a model."""
    found = dict.fromkeys(KINDS, 0.0)
    for layer in predicted.covered:
        found[layer.layer.kind] += layer.energy_j or 0.0
    found["other"] += predicted.remainder_energy_j
    return Stack(label, found, faint=True)


def energy_bars(stacks: Sequence[Stack]) -> Figure:
    """A bar for each stack, as long as its shares of its own total, with the total beside it: networks differ a thousandfold."""
    with plots.styled():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(8, 0.62 + 0.27 * len(stacks)), layout="constrained")
        kinds = [*KINDS, *([NOT_TOLD] if any(NOT_TOLD in stack.energy_j for stack in stacks) else [])]
        colours = {**COLOURS, NOT_TOLD: GRID}
        for row, stack in enumerate(stacks):
            left, total = 0.0, stack.total_j
            for kind in kinds:
                share = 100 * stack.energy_j.get(kind, 0.0) / total if total > 0 else 0.0
                axes.barh(
                    row,
                    share,
                    left=left,
                    height=0.72,
                    color=colours[kind],
                    alpha=0.45 if stack.faint else 0.9,
                    linewidth=0,
                )
                if share >= 6:
                    axes.text(left + share / 2, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=INK)
                left += share
            known = isfinite(stack.half_j)
            said = plus_minus(1e3 * total, 1e3 * stack.half_j, "mJ") if known else f"{_millijoules(total)} mJ"
            axes.text(101, row, stack.unknown or said, va="center", fontsize=7.5, color=MUTED)
        axes.set_yticks(range(len(stacks)), [stack.label for stack in stacks])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel="share of the energy of one inference, %")
        for kind in kinds:
            axes.barh(0, 0, color=colours[kind], alpha=0.9, label=kind)
        axes.legend(ncols=len(kinds), loc="lower right", bbox_to_anchor=(1.0, 1.0))
        return figure


def _millijoules(joules: float) -> str:
    value = joules * 1e3
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
