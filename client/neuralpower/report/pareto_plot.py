"""Energy against error, or against time where errors are not known: the networks, and those that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence

from neuralpower.ranking import Candidate, Limits
from neuralpower.report import plots
from neuralpower.report.plots import GRID, INK, MUTED, SERIES, Figure

MOST_LABELS = 60
LETTER, LINE = 3.9, 8.0
"""Width of a letter and height of a line of a label, about, in points."""


def pareto(candidates: Sequence[Candidate], best: Sequence[Candidate], limits: Limits) -> Figure:
    """A point for each candidate with its interval; those that no other one beats are joined, those beyond a limit are pale."""
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
        if limits.runtime_s is not None and not known and all(each.batch == 1 for each in candidates):
            axes.axhline(limits.runtime_s * 1e3, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
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
    x, y = each.item_energy_j, each.item_runtime_s
    axes.plot(
        [1e3 * x.low, 1e3 * x.high], [_y(each, known)] * 2, color=colour, linewidth=0.9, alpha=0.45 * alpha, zorder=2
    )
    if not known:
        axes.plot(
            [_x(each)] * 2, [1e3 * y.low, 1e3 * y.high], color=colour, linewidth=0.9, alpha=0.45 * alpha, zorder=2
        )
    axes.plot([_x(each)], [_y(each, known)], "o", color=colour, markersize=5, alpha=alpha, markeredgewidth=0, zorder=3)


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


def _x(each: Candidate) -> float:
    return 1e3 * each.item_energy_j.value


def _y(each: Candidate, known: bool) -> float:
    return 100 * (each.error or 0.0) if known else 1e3 * each.item_runtime_s.value


def _label(each: Candidate, candidates: Sequence[Candidate]) -> str:
    """The network, and what tells it from its other forms."""
    alike = [other for other in candidates if other.network == each.network]
    parts = [plots.short_name(each.network)]
    if len({other.precision for other in alike}) > 1:
        parts.append(each.precision)
    if len({other.batch for other in alike}) > 1:
        parts.append(f"×{each.batch}")
    return " ".join(parts)
