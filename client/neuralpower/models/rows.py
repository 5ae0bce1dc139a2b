"""Which rows of a dataset a model is fitted to, and which of them belong together."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import COLUMNS, LATER, Dataset
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.models.others import means
from neuralpower.models.regression.design import KINDS, dictionary_of, with_clock
from neuralpower.models.regression.folds import configurations_of, labels, relabelled
from neuralpower.models.regression.merged import Merged
from neuralpower.models.regression.quantities import SIZES, measure_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

COLUMN = {"runtime": "runtime_s", "power": "power_w", "energy": "energy_j"}
SMALLEST, LARGEST = 1e-100, 1e9
"""In s, W and J: beyond what any layer takes, and within them squares are still numbers."""
LARGEST_RELATIVE_SE = 0.25
"""A value whose standard error is more than this share of it was not resolved: it is no ground to fit or score on."""
STRANGER_SPREAD = 0.15
"""How far, as a share, the power of a unit's layers of another type may be from the unit's: typical of layers in a network."""


@dataclass(frozen=True)
class LayerRows:
    """The rows of one layer type that have a usable target.

    `x` (rows, columns of the dictionary), `y` (rows,) and its standard error as a share of it, `relative_se` (rows,), 0 where
    it is not known, as the estimator takes them; `configurations` numbers equal rows of `x`; `networks` names; `index` tells
    the rows in the dataset; `unresolved` counts rows left out for their standard error. Rows that were measured together have
    one number in `units` (rows,), one value, and count by `shares` (rows,).
    """

    dataset: Dataset
    x: Floats
    y: Floats
    relative_se: Floats
    configurations: Ints
    networks: NDArray[np.object_]
    index: NDArray[np.intp]
    unresolved: int
    units: Ints
    shares: Floats

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def layers(self) -> list[Layer]:
        """The rows as layers, made when they are asked for: a million of them are a gigabyte."""
        return self.dataset.take(self.index).layers()

    @property
    def merged(self) -> Merged:
        return Merged.of(len(self), self.units, self.shares)

    def where(self, chosen: Bools) -> LayerRows:
        """Some of the rows, shape (rows,)."""
        arrays = ("x", "y", "relative_se", "configurations", "networks", "index", "units", "shares")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


@dataclass(frozen=True)
class Geometry:
    """All rows of one layer type: where they are in the dataset (rows,), the quantities (rows, columns) of their models, and a number for each
    distinct row of these."""

    index: NDArray[np.intp]
    x: Floats
    configurations: Ints

    @classmethod
    def of(cls, dataset: Dataset, kind: str) -> Geometry:
        """Runtime, power and energy have the same quantities, so this serves all of them."""
        index = np.flatnonzero(dataset["kind"] == kind)
        dictionary = dictionary_of(kind, "runtime")
        columns = (with_clock(dictionary) if clocks(dataset, kind) else dictionary).columns
        x = measure_rows(dataset.table, index, kind, columns)
        return cls(index, x, configurations_of(x))

    def taken(self, places: NDArray[np.intp]) -> Floats:
        """Some of the quantities, (places, columns); where all are taken no copy, since three targets of a million rows have one geometry."""
        return self.x if len(places) == len(self.index) else self.x[places]


def clocks(dataset: Dataset, *kinds: str) -> dict[int, int]:
    """The GPU's clocks, MHz, of the layers of the kinds -> how many; empty where it is not varied or not known of all."""
    found = Counter(dataset["gpu_mhz"][np.isin(dataset["kind"], kinds)].tolist())
    return dict(sorted(found.items())) if len(found) > 1 and 0 not in found else {}


def rows_of(dataset: Dataset, kind: str, target: str, geometry: Geometry | None = None) -> LayerRows:
    """The rows to fit or score the model of a layer type and target: ``runtime``, ``power``, or ``energy``.

    A unit of attribution of several layers has one power, its energy over its time: Σ P_j·t_j = E. Its layers of this type
    enter together, weighted by their time (for energy: alike, each with the mean); none is left out for being short. What its
    layers of other types drew is taken to be the unit's power too, with an error of :data:`STRANGER_SPREAD`.
    """
    value, error, strange, unit, share = _values(dataset, kind, target)
    measured = (dataset["kind"] == kind) & _usable(value)
    _check_sizes(dataset, COLUMN[target], np.flatnonzero(measured), value)
    resolved = ~(error > LARGEST_RELATIVE_SE * value)
    error = np.where(strange > 0, np.hypot(error, strange), error)
    index = np.flatnonzero(measured & resolved)
    known = geometry or Geometry.of(dataset, kind)
    at = np.searchsorted(known.index, index)
    x = known.taken(at)
    configurations = relabelled(known.configurations[at])
    relative_se = np.nan_to_num(error[index] / value[index], nan=0.0)
    return LayerRows(
        dataset, x, value[index], relative_se, configurations, dataset["network"][index], index,
        int((measured & ~resolved).sum()), unit[index], share[index],
    )  # fmt: skip


def _check_sizes(dataset: Dataset, column: str, rows: NDArray[np.intp], value: Floats) -> None:
    """InputError for a size that no layer has, with which no fit can do."""
    wrong = rows[(value[rows] < SMALLEST) | (value[rows] > LARGEST)]
    if wrong.size:
        network, layer = (str(dataset[name][wrong[0]]) for name in ("network", "layer"))
        raise InputError(
            f"dataset: {column} is {value[wrong[0]]:g} for layer {layer} of {network}, which no layer takes; "
            "what is not known is nan"
        )


def no_power(dataset: Dataset) -> str:
    """Why no power of a modelled layer can be used, as a line, though powers were looked for; "" where one can, or none was measured at all."""
    modelled = np.isin(dataset["kind"], KINDS)
    power, error = (dataset[name].astype(np.float64) for name in ("power_w", "power_se_w"))
    withheld, known = modelled & (dataset["withheld"] != ""), modelled & np.isfinite(power)
    if not (withheld | known).any() or (known & (power > 0) & ~(error > LARGEST_RELATIVE_SE * power)).any():
        return ""
    # A unit is known better than its layers.
    if any(len(rows_of(dataset, kind, "power")) for kind in KINDS):
        return ""
    parts = [
        f"{int(known.sum())} are not known to {100 * LARGEST_RELATIVE_SE:.0f} %" if known.any() else "",
        f"{int(withheld.sum())} are withheld ({next(iter(dataset.take(withheld).withheld))})" if withheld.any() else "",
    ]
    listed = " and ".join(filter(None, parts))
    return f"no power of {int(modelled.sum())} layers can be used: {listed}; record longer, or on a quieter machine"


def left_out(dataset: Dataset) -> dict[str, int]:
    """What of a dataset no model is fitted to -> how many rows; values that are withheld or not resolved are told elsewhere."""
    modelled = np.isin(dataset["kind"], KINDS)
    found: dict[str, int] = {}
    for target in ("runtime", "power"):
        value = dataset[COLUMN[target]].astype(np.float64)
        absent = modelled & np.isnan(value) & ((dataset["withheld"] == "") | (target == "runtime"))
        lost = f"in no {target} model"
        found[f"no {target}, {lost}"] = int(absent.sum())
        found[f"{target} not a positive finite number, {lost}"] = int(
            (modelled & ~np.isnan(value) & ~_usable(value)).sum()
        )
    for kind in dict.fromkeys(dataset["kind"].tolist()):
        if kind not in (*KINDS, "other"):
            found[f"{kind}, of which there is no model"] = int((dataset["kind"] == kind).sum())
    products = (dataset["kind"] == "other") & ~means(dataset)
    for name in dict.fromkeys(dataset["layer_type"][products].tolist()):
        found[f"{name}, of which there is no model"] = int((products & (dataset["layer_type"] == name)).sum())
    others = dataset["runtime_s"].astype(np.float64)[means(dataset)]
    found["other, without a runtime to count in their mean"] = int((~np.isfinite(others) | (others < 0)).sum())
    return {reason: count for reason, count in found.items() if count}


def _usable(value: Floats) -> Bools:
    return np.isfinite(value) & (value > 0)


def _values(dataset: Dataset, kind: str, target: str) -> tuple[Floats, Floats, Floats, Ints, Floats]:
    """Values, standard errors, what the errors do not know of layers of other types, units and shares, for all rows."""
    column = COLUMN[target]
    value = dataset[column].astype(np.float64)
    error = dataset[column.replace("_", "_se_", 1)].astype(np.float64)
    unit, share, unknown = np.arange(len(dataset)), np.ones(len(dataset)), np.zeros(len(dataset))
    if target == "runtime":
        return value, error, unknown, unit, share
    seconds, power = dataset["runtime_s"].astype(np.float64), dataset["power_w"].astype(np.float64)
    mine = dataset["kind"] == kind
    for members in _units(dataset):
        together = members[mine[members]]
        if not len(together):
            continue
        time, all_time = seconds[together], float(seconds[members].sum())
        se = _unit_error(dataset, members)
        strange = STRANGER_SPREAD * power[members[0]] * (all_time - time.sum()) / time.sum()
        unit[together] = together[0]
        if target == "power":
            share[together] = time
        else:
            mean_s = float(time.mean())
            value[together], se, strange = power[members[0]] * mean_s, se * mean_s, strange * mean_s
        error[together], unknown[together] = se, strange
    return value, error, unknown, unit, share


def _units(dataset: Dataset) -> list[NDArray[np.intp]]:
    """The rows of each unit that has several: neighbours in an engine with the very same power, which says so."""
    if not any("unit of" in method for method in set(dataset["method"].tolist())):
        return []
    runs: list[list[int]] = []
    last: tuple[object, ...] | None = None
    columns = (dataset[name].tolist() for name in ("engine", "network", "power_w", "method", "runtime_s"))
    for row, (engine, network, power, method, seconds) in enumerate(zip(*columns, strict=True)):
        key = (engine, network, power, method) if "unit of" in method and seconds > 0 and power > 0 else None
        if key is not None and key == last:
            runs[-1].append(row)
        elif key is not None:
            runs.append([row])
        last = key
    return [np.array(run, dtype=np.intp) for run in runs if len(run) > 1]


def _unit_error(dataset: Dataset, members: NDArray[np.intp]) -> float:
    """The standard error of a unit's power, from those of its layers.

    A layer's is widened by how far it may be from the unit, e_i² = e² + R·(1 - 2w_i + Σw²) with w_i its share of the time
    (``neuralpower.attribution``); e² is what is left where that is zero.
    """
    error = dataset["power_se_w"].astype(np.float64)[members]
    share = dataset["runtime_s"].astype(np.float64)[members]
    share = share / share.sum()
    if not np.isfinite(error).all():
        return 0.0
    freedom = 1 - 2 * share + np.sum(share**2)
    if np.ptp(freedom) < 1e-6:
        return float(error.min())
    slope, level = np.polyfit(freedom, error**2, 1)
    return float(np.sqrt(np.clip(level, 0.0, error.min() ** 2))) if slope > 0 else float(error.min())


def groups_of(dataset: Dataset, rows: LayerRows, folds: int) -> tuple[Ints, str]:
    """What is kept on one side of a fold, as a number per row, and its name: ``network`` or ``configuration``.

    A row belongs to its network, or to its configuration where its network has one layer only, however often (a sweep), or no
    name. When that makes fewer groups than folds, all rows go by configuration, and layers that share a unit stay together:
    they share its power, which would tell one side of a fold about the other.
    """
    networks = networks_of(dataset)
    if not networks:
        return _sharing(dataset, rows), "configuration"
    keys: list[object] = [
        name if name in networks else number
        for name, number in zip(rows.networks.tolist(), rows.configurations.tolist(), strict=True)
    ]
    group = labels(keys)
    if len(np.unique(group)) < folds or all(isinstance(key, int) for key in keys):
        return _sharing(dataset, rows), "configuration"
    return group, "network"


def _sharing(dataset: Dataset, rows: LayerRows) -> Ints:
    """A number per row: its unit where rows of its engine have the very same power, otherwise its configuration."""
    if not any(dataset["engine"][rows.index].tolist()):
        return relabelled(rows.configurations)
    units = list(zip(dataset["engine"][rows.index].tolist(), dataset["power_w"][rows.index].tolist(), strict=True))
    shared = Counter(unit for unit in units if unit[0])
    return labels([u if shared[u] > 1 else c for u, c in zip(units, rows.configurations.tolist(), strict=True)])


def networks_of(dataset: Dataset) -> set[str]:
    """The networks that hold at least two different modelled layers."""
    rows = np.flatnonzero((dataset["network"] != "") & np.isin(dataset["kind"], KINDS))
    if not len(rows):
        return set()
    names = dataset["network"][rows].tolist()
    words = [labels(names), labels(dataset["kind"][rows].tolist()), labels(dataset["precision"][rows].tolist())]
    sizes = [dataset[name][rows].astype(np.float64) for name in SIZES]
    different = configurations_of(np.column_stack([*words, *sizes]).astype(np.float64))
    _, first = np.unique(different, return_index=True)
    counts = Counter(names[place] for place in first.tolist())
    return {network for network, count in counts.items() if count > 1}


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of all rows in their order; equal data has equal folds.

    A column that earlier versions did not have counts where it says something: models know the data that they were fitted to then.
    """
    digest = hashlib.sha256()
    for name in COLUMNS:
        values = dataset[name].tolist()
        if name in LATER and not any(value and value == value for value in values):
            continue
        digest.update(json.dumps([name, values]).encode())
    return digest.hexdigest()
