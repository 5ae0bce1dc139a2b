"""Which rows of a dataset a model is fitted to, and which of them belong together."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import COLUMNS, Dataset
from neuralpower.features.layers import Layer
from neuralpower.models.design import DICTIONARIES
from neuralpower.models.folds import labels
from neuralpower.models.quantities import measure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMN = {"runtime": "runtime_s", "power": "power_w"}
LARGEST_RELATIVE_SE = 0.25
"""A value whose standard error is more than this share of it was not resolved: it is no ground to fit or score on."""


@dataclass(frozen=True)
class Rows:
    """The rows of one layer type that have a usable target.

    `x` (rows, columns of the dictionary), `y` (rows,) and its standard error as a share of it, `relative_se` (rows,), 0 where
    it is not known, as the estimator takes them; `configurations` numbers equal rows of
    `x`; `networks` names; `index` tells the rows in the dataset; `unresolved` counts rows left out for their standard error.
    """

    layers: list[Layer]
    x: Floats
    y: Floats
    relative_se: Floats
    configurations: Ints
    networks: list[str]
    index: NDArray[np.intp]
    unresolved: int

    def __len__(self) -> int:
        return len(self.y)


def rows_of(dataset: Dataset, kind: str, target: str) -> Rows:
    """The rows to fit or score the model of a layer type and target."""
    column = COLUMN[target]
    value = dataset[column].astype(np.float64)
    error = dataset[column.replace("_", "_se_", 1)].astype(np.float64)
    measured = (dataset["kind"] == kind) & np.isfinite(value) & (value > 0)
    resolved = ~(error > LARGEST_RELATIVE_SE * value)
    index = np.flatnonzero(measured & resolved)
    chosen = dataset.take(index)
    layers = chosen.layers()
    x = measure(layers, DICTIONARIES[kind, target].columns)
    configurations = labels([row.tobytes() for row in x])
    relative_se = np.nan_to_num(error[index] / value[index], nan=0.0)
    return Rows(
        layers, x, value[index], relative_se, configurations, chosen["network"].tolist(), index,
        int((measured & ~resolved).sum()),
    )  # fmt: skip


def groups_of(dataset: Dataset, rows: Rows, folds: int) -> tuple[Ints, str]:
    """What is kept on one side of a fold, as a number per row, and its name: ``network`` or ``configuration``.

    A row belongs to its network, or to its configuration where its network has one layer only, however often (a sweep), or no
    name. When that makes fewer groups than folds, all rows go by configuration, and layers that share a unit stay together:
    they share its power, which would tell one side of a fold about the other.
    """
    networks = networks_of(dataset)
    keys: list[object] = [
        name if name in networks else number
        for name, number in zip(rows.networks, rows.configurations.tolist(), strict=True)
    ]
    group = labels(keys)
    if len(np.unique(group)) < folds or all(isinstance(key, int) for key in keys):
        return _units(dataset, rows), "configuration"
    return group, "network"


def _units(dataset: Dataset, rows: Rows) -> Ints:
    """A number per row: its unit where rows of its engine have the very same power, otherwise its configuration."""
    units = list(zip(dataset["engine"][rows.index].tolist(), dataset["power_w"][rows.index].tolist(), strict=True))
    shared = Counter(unit for unit in units if unit[0])
    return labels([u if shared[u] > 1 else c for u, c in zip(units, rows.configurations.tolist(), strict=True)])


def networks_of(dataset: Dataset) -> set[str]:
    """The networks that hold at least two different modelled layers."""
    named = zip(dataset["network"].tolist(), dataset.layers(), strict=True)
    shapes = {(network, layer.shape) for network, layer in named if layer.modelled}
    counts = Counter(network for network, _ in shapes)
    return {network for network, count in counts.items() if network and count > 1}


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of all rows in their order; equal data has equal folds."""
    digest = hashlib.sha256()
    for name in COLUMNS:
        digest.update(json.dumps([name, dataset[name].tolist()]).encode())
    return digest.hexdigest()
