"""Where the energy of networks goes: a stacked bar for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from neuralpower.attribution import EngineAttribution
from neuralpower.models.network import NetworkPrediction
from neuralpower.report import plots
from neuralpower.report.network_plot import Z95
from neuralpower.report.plots import COLOURS, INK, MUTED, Figure

KINDS = ("conv", "pool", "fc", "other")


@dataclass(frozen=True)
class Stack:
    """One bar: energy by kind of layer, J, and the half-width of the 95 % interval of their sum, nan where not known."""

    label: str
    energy_j: Mapping[str, float]
    half_j: float = float("nan")
    faint: bool = False

    @property
    def total_j(self) -> float:
        return sum(self.energy_j.values())


def measured_stack(engine: EngineAttribution) -> Stack:
    """What the layers of one inference took."""
    found = dict.fromkeys(KINDS, 0.0)
    for layer in engine.layers:
        if isfinite(layer.energy_j):
            found[layer.kind if layer.kind in found else "other"] += layer.energy_j * layer.repeats
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
        for row, stack in enumerate(stacks):
            left, total = 0.0, stack.total_j
            for kind in KINDS:
                share = 100 * stack.energy_j.get(kind, 0.0) / total if total > 0 else 0.0
                axes.barh(
                    row,
                    share,
                    left=left,
                    height=0.72,
                    color=COLOURS[kind],
                    alpha=0.45 if stack.faint else 0.9,
                    linewidth=0,
                )
                if share >= 6:
                    axes.text(left + share / 2, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=INK)
                left += share
            interval = f" ± {1e3 * stack.half_j:.2g}" if isfinite(stack.half_j) else ""
            axes.text(101, row, f"{_millijoules(total)}{interval} mJ", va="center", fontsize=7.5, color=MUTED)
        axes.set_yticks(range(len(stacks)), [stack.label for stack in stacks])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel="share of the energy of one inference, %")
        for kind in KINDS:
            axes.barh(0, 0, color=COLOURS[kind], alpha=0.9, label=kind)
        axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))
        return figure


def _millijoules(joules: float) -> str:
    value = joules * 1e3
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
