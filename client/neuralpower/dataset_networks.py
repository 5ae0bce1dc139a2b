"""Whole networks beside their layers: a mean inference from anchor to anchor, and what errors of its units have in common.

They stand in the dataset's provenance under ``networks`` (docs/dataset.md), since a row is a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralpower.attribution.results import EngineAttribution
from neuralpower.dataset import Dataset
from neuralpower.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KEY = "networks"


@dataclass(frozen=True)
class WholeNetwork:
    """A mean inference of one network from anchor to anchor, s and J, with standard errors; nan where it is not known.

    `unprofiled`: whether these are inferences without the profiler, which slows small layers. `unit` (layers,), by position, and
    `covariance_w2` (units, units): errors of neighbouring units are opposed, so a sum of energies is known better than its parts.
    """

    network: str
    engine: str
    unprofiled: bool
    inferences: int
    runtime_s: float
    runtime_se_s: float
    energy_j: float
    energy_se_j: float
    unit: Ints
    covariance_w2: Floats

    def layers_energy_se_j(self, position: Ints, runtime_s: Floats) -> float:
        """Standard error of Σ P_i·t_i over layers at `position` (k,) that take `runtime_s` (k,), s; nan where it is not known."""
        if not len(self.covariance_w2) or not len(self.unit):
            return float("nan")
        seconds = np.bincount(self.unit[position], runtime_s, len(self.covariance_w2))
        variance = float(seconds @ self.covariance_w2 @ seconds)
        return sqrt(max(variance, 0.0))


def described(engine: EngineAttribution) -> dict[str, Any] | None:
    """What the provenance keeps of a network; None of a repeated layer, and where nothing is known of a whole inference.

    One that is withheld has its time, and the reason instead of energy, units and covariance.
    """
    whole = engine.unprofiled.unprofiled if engine.unprofiled else engine.whole
    if engine.repeated or whole is None:
        return None
    rows = [[_short(value) for value in row[: place + 1]] for place, row in enumerate(engine.unit_covariance_w2)]
    return {
        "network": engine.name,
        "engine": engine.hash,
        "unprofiled": engine.unprofiled is not None,
        "inferences": whole.inferences,
        "runtime_s": _short(whole.runtime_s),
        "runtime_se_s": _short(whole.runtime_se_s),
        "energy_j": _short(whole.energy_j),
        "energy_se_j": _short(whole.energy_se_j),
        "withheld": whole.withheld,
        "unit": [] if engine.withheld else [layer.unit for layer in engine.layers],
        "unit_covariance_w2": rows,
    }


def measured_whole(
    network: str,
    engine: str,
    inferences: int,
    runtime_s: float,
    energy_j: float,
    runtime_se_s: float = float("nan"),
    energy_se_j: float = float("nan"),
) -> dict[str, Any]:
    """What the provenance keeps of a network that others measured whole and without a profiler, s and J; nan where it is not known.

    ``engine`` is what its rows have in the column of that name.
    """
    return {
        "network": network,
        "engine": engine,
        "unprofiled": True,
        "inferences": inferences,
        "runtime_s": _short(runtime_s),
        "runtime_se_s": _short(runtime_se_s),
        "energy_j": _short(energy_j),
        "energy_se_j": _short(energy_se_j),
        "withheld": "",
        "unit": [],
        "unit_covariance_w2": [],
    }


def whole_networks(dataset: Dataset) -> list[WholeNetwork]:
    """The networks of which layers are in the dataset, in the order they were written. InputError where they are not as they should be."""
    present = set(dataset["engine"].tolist()) - {""}
    try:
        return [_network(entry) for entry in _entries(dataset.provenance) if entry["engine"] in present]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"dataset: networks in its provenance are not as they should be: {error!r}") from None


def _short(value: float) -> float | None:
    """JSON has no nan; a covariance needs no more than six digits."""
    return float(f"{value:.6g}") if isfinite(value) else None


def _entries(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in provenance.get("parts", []):
        yield from _entries(part)
    yield from provenance.get(KEY, [])


def _network(entry: Mapping[str, Any]) -> WholeNetwork:
    lower = entry["unit_covariance_w2"]
    covariance = np.zeros((len(lower), len(lower)))
    for place, row in enumerate(lower):
        covariance[place, : place + 1] = covariance[: place + 1, place] = [_known(value) for value in row]
    unit = np.asarray(entry["unit"], dtype=np.int64)
    if len(unit) and not (unit.min() >= 0 and unit.max() < max(len(lower), 1)):
        raise ValueError(f"units of {entry['network']} without a covariance")
    return WholeNetwork(
        network=str(entry["network"]),
        engine=str(entry["engine"]),
        unprofiled=bool(entry["unprofiled"]),
        inferences=int(entry["inferences"]),
        runtime_s=_known(entry["runtime_s"]),
        runtime_se_s=_known(entry["runtime_se_s"]),
        energy_j=_known(entry["energy_j"]),
        energy_se_j=_known(entry["energy_se_j"]),
        unit=unit,
        covariance_w2=covariance,
    )


def _known(value: float | None) -> float:
    return float("nan") if value is None else float(value)
