"""What an importer hands back, and the one way in which layers and measurements of the same name are joined."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from neuralpower.dataset import Dataset, row, why_implausible
from neuralpower.documents import printable
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer

MOST_FOLDERS = 100_000
"""Folders below the one that is named. Published data have some hundred; a whole disk is a mistake."""


@dataclass(frozen=True)
class Imported:
    """A dataset, a line per source that was read, and a line per thing that was left out, with its reason."""

    dataset: Dataset
    read: list[str]
    skipped: list[str]


@dataclass(frozen=True)
class MeasuredLayer:
    """A layer's measurements over its inferences; what was not measured is an empty sequence.

    ``runtimes_s`` has one entry per inference, ``powers_w`` one per inference whose power is known.
    ``count`` is the number of inferences, where that is more than the runtimes listed.
    """

    runtimes_s: Sequence[float] = ()
    powers_w: Sequence[float] = ()
    count: int = 0

    def plausible(self) -> tuple[MeasuredLayer, list[str]]:
        """These without what cannot be, and a reason for each kind of value that was left out, with how many there were.

        A single runtime of 0 may be a timer's step and counts.
        """
        reasons: list[str] = []
        kept = []
        for column, what, values in (("runtime_s", "runtimes", self.runtimes_s), ("power_w", "powers", self.powers_w)):
            wrong = Counter(filter(None, (why_implausible(column, value) for value in values)))
            reasons += [f"{count} of {len(values)} {what} {why}" for why, count in wrong.items()]
            kept.append([value for value in values if not why_implausible(column, value)])
        return replace(self, runtimes_s=kept[0], powers_w=kept[1]), reasons

    def columns(self) -> dict[str, object]:
        """Dataset columns: means and their standard errors; energy is mean power times mean runtime."""
        runtime, runtime_se = mean_and_error(self.runtimes_s)
        power, power_se = mean_and_error(self.powers_w)
        return {
            "runtime_s": runtime,
            "runtime_se_s": runtime_se,
            "power_w": power,
            "power_se_w": power_se,
            "energy_j": power * runtime,
            "energy_se_j": float(np.hypot(power * runtime_se, runtime * power_se)),
            "count": self.count or len(self.runtimes_s),
        }


@dataclass
class NetworkJoin:
    """Rows of one network: its layers in order, with the measurements of the same name. ``engine`` is the engine's content hash."""

    network: str
    method: str
    engine: str = ""
    rows: list[dict[str, object]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, layers: Sequence[Layer], measured: Sequence[tuple[str, MeasuredLayer]]) -> None:
        """Join by name, and layers of one name in the order in which they run: the first has the first measurement of that name.

        A layer without a measurement, one measured but not listed, and what cannot be are left out with a reason; so are all layers of
        a name where their number and that of the measurements differ, for nobody knows which is whose.
        """
        listed, timed = (Counter(names) for names in ((layer.name for layer in layers), (name for name, _ in measured)))
        left: dict[str, list[MeasuredLayer]] = {name: [] for name in listed if timed[name] == listed[name]}
        for name, each in measured:
            if name in left:
                left[name].append(each)
        for position, layer in enumerate(layers):
            if layer.name in left:
                self._row(position, layer, left[layer.name].pop(0))
            elif not timed[layer.name]:
                self._skip(layer.name, "no measurement")
            else:
                counts = f"{listed[layer.name]} layers and {timed[layer.name]} measurements of this name"
                self._skip(layer.name, f"{counts}, and nothing tells which is whose")
        for name in timed:
            if name not in listed:
                self._skip(name, "measured, but not a layer of the engine")

    def _row(self, position: int, layer: Layer, found: MeasuredLayer) -> None:
        kept, reasons = found.plausible()
        for reason in reasons:
            self._skip(layer.name, f"{reason}: left out")
        columns = kept.columns()
        if not kept.runtimes_s:
            self._skip(layer.name, "no runtime")
        elif layer.modelled and columns["runtime_s"] == 0:
            self._skip(layer.name, f"a runtime of 0, which no {layer.kind} has")
        else:
            about = {"origin": "import", "method": self.method, "engine": self.engine}
            self.rows.append(row(layer, network=self.network, position=position, **about, **columns))  # type: ignore[arg-type]  # mixed columns

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.append(f"{self.network}: {name}: {reason}")


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error s/sqrt(n); nan where there are too few values."""
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean()) if known.size else float("nan")
    error = float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else float("nan")
    return mean, error


def folders_below(path: Path) -> list[Path]:
    """``path`` and every folder below it, in order of their names; links are not followed. InputError beyond `MOST_FOLDERS`."""
    found: list[Path] = []
    for here, below, _ in os.walk(path):
        below.sort()
        found.append(Path(here))
        if len(found) > MOST_FOLDERS:
            raise InputError(f"{path}: more than {MOST_FOLDERS:,} folders; name the one that holds the data")
    return found


def distinct(sources: Sequence[Path], root: Path, *namings: Callable[[Path], str]) -> list[str]:
    """A name for each source, shortest first: the first of ``namings`` that tells those of one name apart, then with the folders from
    ``root`` before it. Two networks never share a name."""

    def placed(naming: Callable[[Path], str], source: Path) -> str:
        folders = source.parent.relative_to(root).parts if source.is_relative_to(root) else source.parent.parts
        return "/".join([*folders, naming(source)])

    ways: list[Callable[[Path], str]] = [*namings, *(partial(placed, naming) for naming in namings), str]
    names = [printable(ways[0](source)) for source in sources]
    for name in [name for name, count in Counter(names).items() if count > 1]:
        mine = [at for at, each in enumerate(names) if each == name]
        for way in ways[1:]:
            told = [printable(way(sources[at])) for at in mine]
            if len(set(told)) == len(mine) and not set(told) & set(names):
                break
        for at, each in zip(mine, told, strict=True):
            names[at] = each
    return names
