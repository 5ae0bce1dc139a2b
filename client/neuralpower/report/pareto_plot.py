"""Energy against error, or against time where errors are not known: the networks, and those that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuralpower.ranking import Candidate, Limits, PredictedValue
from neuralpower.report import plots
from neuralpower.report.plots import GRID, INK, MUTED, SERIES, Figure

MOST_LABELS = 60
LETTER, LINE = 3.9, 8.0
"""Width of a letter and height of a line of a label, about, in points."""
_LIMIT: dict[str, Any] = {"fontsize": 6.8, "color": MUTED, "ha": "left"}
"""How the name of a limit is written beside its line."""


def pareto(candidates: Sequence[Candidate], best: Sequence[Candidate], limits: Limits) -> Figure:
    """A point for each candidate with its interval; those that no other one beats are joined, those beyond a limit are pale.

    A candidate in whose sums layers are missing is hollow and its label begins with "≥"; one without an energy is not drawn.
    """
    candidates = [each for each in candidates if each.energy_j is not None]
    with plots.styled():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
        known = all(each.error is not None for each in candidates)
        colours = dict(zip(dict.fromkeys(each.model for each in candidates), SERIES * len(candidates), strict=False))
        axes.plot(
            [_x(each) for each in best],
            [_y(each, known) for each in best],
            color=GRID,
            linewidth=2.0,
            drawstyle="steps-post",
            zorder=1,
        )
        for each in candidates:
            _point(axes, each, known, colours[each.model], 0.3 if limits.met(each) == "no" else 0.95)
        if limits.energy_j is not None:
            axes.axvline(limits.energy_j * 1e3, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
            told = f" limit {limits.energy_j * 1e3:g} mJ"
            axes.text(limits.energy_j * 1e3, 0.99, told, transform=axes.get_xaxis_transform(), **_LIMIT, va="top")
        if limits.runtime_s is not None and not known and all(each.batch == 1 for each in candidates):
            axes.axhline(limits.runtime_s * 1e3, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
            told = f" limit {limits.runtime_s * 1e3:g} ms"
            axes.text(0.0, limits.runtime_s * 1e3, told, transform=axes.get_yaxis_transform(), **_LIMIT, va="bottom")
        axes.set(
            xscale="log", xlabel="energy for one item, mJ", ylabel="error, %" if known else "time for one item, ms"
        )
        if not known:
            axes.set_yscale("log")
        for axis in (axes.xaxis, *(() if known else (axes.yaxis,))):
            low, high = axis.get_view_interval()
            plots.plain_decades(axis, min(high / low, 29.0) if high / low < 500 else high / low)
        _labels(figure, axes, candidates, best, known)
        if len(colours) > 1:
            for name, colour in colours.items():
                axes.plot([], [], "o", color=colour, markersize=4, label=name)
            axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))
        axes.set_title("simulated" if any(each.simulated for each in candidates) else "", loc="left")
        return figure


def _point(axes: plots.Figure, each: Candidate, known: bool, colour: str, alpha: float) -> None:
    x, y = _energy(each), each.item_runtime_s
    axes.plot(
        [1e3 * x.low, 1e3 * x.high], [_y(each, known)] * 2, color=colour, linewidth=0.9, alpha=0.45 * alpha, zorder=2
    )
    if not known:
        axes.plot(
            [_x(each)] * 2, [1e3 * y.low, 1e3 * y.high], color=colour, linewidth=0.9, alpha=0.45 * alpha, zorder=2
        )
    hollow = {"markerfacecolor": "none", "markeredgewidth": 0.9} if _least(each) else {"markeredgewidth": 0}
    axes.plot([_x(each)], [_y(each, known)], "o", color=colour, markersize=5, alpha=alpha, zorder=3, **hollow)


def _labels(
    figure: Figure, axes: plots.Figure, candidates: Sequence[Candidate], best: Sequence[Candidate], known: bool
) -> None:
    """Names beside their points, the best ones first; one that finds no free place is left out."""
    figure.canvas.draw()  # only then is it known where points lie
    points = 72 / figure.dpi
    taken: list[tuple[float, float, float, float]] = []
    for each in [*best, *(each for each in candidates if each not in best)][:MOST_LABELS]:
        text = _label(each, candidates)
        x, y = points * axes.transData.transform((_x(each), _y(each, known)))
        wide = LETTER * len(text)
        for left, low in ((5, 3), (5, -LINE - 2), (-wide - 5, 3), (-wide - 5, -LINE - 2)):
            box = (x + left, y + low, x + left + wide, y + low + LINE)
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                taken.append(box)
                colour = INK if each in best else MUTED
                told = {"xytext": (left, low), "textcoords": "offset points", "fontsize": 6.8, "color": colour}
                axes.annotate(text, (_x(each), _y(each, known)), **told)
                break


def _energy(each: Candidate) -> PredictedValue:
    energy = each.item_energy_j
    assert energy is not None  # those without are left out at the start
    return energy


def _least(each: Candidate) -> bool:
    return each.energy_least or each.runtime_least


def _x(each: Candidate) -> float:
    return 1e3 * _energy(each).value


def _y(each: Candidate, known: bool) -> float:
    return 100 * (each.error or 0.0) if known else 1e3 * each.item_runtime_s.value


def _label(each: Candidate, candidates: Sequence[Candidate]) -> str:
    """The network, and what tells it from its other forms."""
    alike = [other for other in candidates if other.network == each.network]
    parts = [*(["≥"] if _least(each) else []), plots.short_name(each.network)]
    if len({other.precision for other in alike}) > 1:
        parts.append(each.precision)
    if len({other.batch for other in alike}) > 1:
        parts.append(f"×{each.batch}")
    return " ".join(parts)
