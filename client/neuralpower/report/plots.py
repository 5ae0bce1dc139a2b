"""Plots, for files and for the page: the same figures, where colours of the page follow its light or dark theme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower.errors import InputError

Floats = npt.NDArray[np.float64]
Figure = Any

INK, MUTED, GRID = "#22262b", "#737a82", "#dfe2e5"
COLOURS = {"conv": "#3c6e9f", "pool": "#c27a3a", "fc": "#5b8c5a", "other": "#9a93a8", "unclassified": "#9a93a8"}
TRUTH = "#b0303a"
SERIES = ("#3c6e9f", "#c27a3a", "#5b8c5a", "#8a6aa8", "#a85f6a", "#5f9aa0", "#8f8a4a", "#7a7f87")
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule", **{c: f"--c{i + 1}" for i, c in enumerate(SERIES)}}
_VARIABLES |= {COLOURS["other"]: "--c9", TRUTH: "--truth"}


@dataclass(frozen=True)
class PredictionPair:
    """A value measured, with the half-width of its 95 % interval, and predicted, with the ends of its interval; nan: not known."""

    kind: str
    measured: float
    predicted: float
    measured_half: float = float("nan")
    predicted_low: float = float("nan")
    predicted_high: float = float("nan")


def rails(
    t_s: Floats, power_w: Mapping[str, Floats], spans: Sequence[tuple[float, float, str]], *, bins: int = 700
) -> Figure:
    """Power of each rail over time: mean of each bin, and its least and largest reading as a band; what ran, above."""
    with styled():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(8, 3.2))
        edges = np.linspace(t_s[0], t_s[-1], bins + 1)
        bounds = np.searchsorted(t_s, edges)
        middle = (edges[:-1] + edges[1:]) / 2
        for colour, (rail, watts) in zip(SERIES, power_w.items(), strict=False):
            low, mean, high = _envelope(watts, bounds)
            axes.fill_between(middle, low, high, color=colour, alpha=0.22, linewidth=0)
            axes.plot(middle, mean, color=colour, linewidth=1.0, label=rail)
        top = axes.get_ylim()[1]
        shown = sorted(spans, key=lambda span: span[0] - span[1])[:14]
        for begin, end, _ in spans:
            axes.plot([begin, end], [top, top], color=MUTED, linewidth=2.0, solid_capstyle="butt")
        for begin, end, name in shown:
            if end - begin > 0.02 * (t_s[-1] - t_s[0]):
                axes.text((begin + end) / 2, top * 1.02, name, fontsize=6.5, rotation=40, color=MUTED)
        axes.set(xlabel="time, s", ylabel="power, W", xlim=(t_s[0], t_s[-1]), ylim=(0, None))
        axes.legend(ncols=4, loc="upper right", bbox_to_anchor=(1.0, -0.18))
        figure.tight_layout()
        return figure


def _envelope(watts: Floats, bounds: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    low, mean, high = (np.full(len(bounds) - 1, np.nan) for _ in range(3))
    for i, (a, b) in enumerate(pairwise(bounds)):
        part = watts[a:b][np.isfinite(watts[a:b])]
        if part.size:
            low[i], mean[i], high[i] = part.min(), part.mean(), part.max()
    return low, mean, high


def lateness(late_us: Floats) -> Figure:
    """How late ticks began, as the share that was later: its tail shows what a histogram hides."""
    with styled():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(8, 2.4))
        ordered = np.sort(np.maximum(late_us, 0.1))
        share = 1 - np.arange(ordered.size) / max(ordered.size, 1)
        keep = np.unique(
            np.concatenate([np.linspace(0, ordered.size - 1, 400), ordered.size - np.geomspace(1, ordered.size, 400)])
        )
        at = np.clip(keep.astype(int), 0, ordered.size - 1)
        axes.plot(ordered[at], 100 * share[at], color=SERIES[0], linewidth=1.4)
        axes.set(xscale="log", yscale="log", xlabel="lateness, µs", ylabel="share of ticks later, %")
        for axis in (axes.xaxis, axes.yaxis):
            plain_decades(axis, np.inf)
        figure.tight_layout()
        return figure


def scatter(panels: Mapping[str, Sequence[PredictionPair]]) -> Figure:
    """Predicted against measured on equal logarithmic axes, a panel for each quantity; lines at equal and plus-minus 20 %.

    Thin lines through a point are intervals; one wider than its value is left out. They do not widen the axes.
    """
    with styled():
        import matplotlib.pyplot as plt

        figure, row = plt.subplots(1, len(panels), figsize=(8, 8 / max(len(panels), 2) - 0.1), squeeze=False)
        for axes, (title, pairs) in zip(row[0], panels.items(), strict=True):
            good = [p for p in pairs if p.measured > 0 and p.predicted > 0]
            values = [v for p in good for v in (p.measured, p.predicted)] or [1.0]
            low, high = min(values) / 1.3, max(values) * 1.3
            line = np.array([low, high])
            axes.fill_between(line, line * 0.8, line * 1.2, color=GRID, alpha=0.6, linewidth=0)
            axes.plot(line, line, color=MUTED, linewidth=0.8)
            for kind in ("conv", "pool", "fc"):
                of_kind = [p for p in good if p.kind == kind]
                x, y = [p.measured for p in of_kind], [p.predicted for p in of_kind]
                for p in of_kind:
                    if p.measured_half < p.measured:
                        reach = [p.measured - p.measured_half, p.measured + p.measured_half]
                        axes.plot(reach, [p.predicted] * 2, color=COLOURS[kind], linewidth=0.6, alpha=0.25)
                    if p.predicted_low > 0:
                        reach = [p.predicted_low, p.predicted_high]
                        axes.plot([p.measured] * 2, reach, color=COLOURS[kind], linewidth=0.6, alpha=0.25)
                axes.scatter(x, y, s=9, color=COLOURS[kind], alpha=0.75, linewidths=0, label=kind)
            axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), xlabel="measured", title=title)
            axes.set_aspect("equal")
            for axis in (axes.xaxis, axes.yaxis):
                plain_decades(axis, high / low)
        row[0][0].set_ylabel("predicted")
        row[0][0].legend(loc="upper left")
        figure.tight_layout()
        return figure


def plain_decades(axis: Any, span: float) -> None:
    """Ticks of a logarithmic axis as plain numbers: more in each decade, the fewer decades the axis spans (highest/lowest)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    subs = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if span < 6 else (1.0, 2.0, 5.0) if span < 30 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> None:
    """Write a figure as .svg, .png or .pdf. Raises ValueError on another ending, OSError as files do."""
    check_ending(path)
    with styled():
        figure.savefig(path, facecolor="white", dpi=200)
    _close(figure)


def check_ending(path: Path) -> None:
    """Raises InputError where no plot can be written with such an ending."""
    ending = path.suffix.lower()
    if ending not in (".svg", ".png", ".pdf"):
        raise InputError(f"{path}: a plot ends in .svg, .png or .pdf, not in {ending or 'nothing'}")


def inline(figure: Figure, name: str, description: str) -> str:
    """The figure as SVG to be put into a page: text stays text, colours are the page's, `description` for who cannot see it."""
    with styled(salt=name):
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    _close(figure)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)  # each text once more, unescaped
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    if size:
        svg = svg.replace(size.group(0), f'role="img" aria-label="{escape(description, quote=True)}"', 1)
    return svg


@contextmanager
def styled(salt: str = "neuralpower") -> Iterator[None]:
    """Every figure's look: fonts, thin lines, no frames. `salt` keeps the identifiers of figures on one page apart."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    settings: Any = {
        "font.family": "sans-serif",
        "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans"],
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "text.color": INK,
        "text.parse_math": False,  # a layer's name may hold dollar signs
        "legend.frameon": False,
        "legend.fontsize": 7.5,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
    }
    import logging

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # one of the fonts above is enough
    with matplotlib.rc_context(settings):
        yield


def _close(figure: Figure) -> None:
    import matplotlib.pyplot as plt

    plt.close(figure)


def short_name(name: str) -> str:
    """A layer's name as an axis can hold it: its first node, without what it was fused with."""
    name = name.split(" + ")[0].strip("/")
    return name if len(name) <= 22 else f"{name[:21]}…"
