"""A table of layers from what scikit-learn's users hold: a frame of pandas, polars or Arrow, or a mapping of columns. Columns go by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import COLUMNS, MEASURED, Dataset, dataset_of, row
from neuralpower.errors import InputError
from neuralpower.features.layers import MODELLED, ImpossibleLayer, Layer

FEATURES = ("kind", "batch", "in_c", "in_h", "in_w", "out_c", "out_h", "out_w", "kernel_h", "kernel_w", "stride_h", "stride_w",
            "pad_h", "pad_w", "dilation_h", "dilation_w", "groups", "precision")  # fmt: skip
"""The columns that the models see of a layer."""
NEEDED = ("kind", "batch", "in_c", "out_c")
"""What no layer goes without."""
WINDOWED = ("in_h", "in_w", "out_h", "out_w", "kernel_h", "kernel_w", "stride_h", "stride_w")
"""What convolutions and pools need beside. Sides of others are 1, and further sizes as in ``Layer``, where a frame has no such column."""
_SIDES = ("in_h", "in_w", "out_h", "out_w")
_DEFAULTS = {each.name: each.default for each in fields(Layer) if each.default is not MISSING} | dict.fromkeys(
    _SIDES, 1
)
_OF_LAYERS = {"layer", *(each.name for each in fields(Layer)[1:])}


def varied_of(dataset: Dataset) -> set[str]:
    """Further columns that the models see where a dataset varies them: what is fused, how a pool pools, the clock."""
    modelled = np.isin(dataset["kind"], MODELLED)
    rows = {"fused": modelled, "gpu_mhz": modelled, "layer_type": dataset["kind"] == "pool"}
    return {name for name, mine in rows.items() if len(set(dataset[name][mine].tolist())) > 1}


def names_of(X: Any) -> list[str]:
    """The names of the columns of a table, in its order. InputError where it has none."""
    if isinstance(X, Dataset):
        return list(X.table)
    for attribute in ("column_names", "columns"):  # pyarrow's columns are the values
        if hasattr(X, attribute):
            return [str(name) for name in getattr(X, attribute)]
    if isinstance(X, Mapping):
        return [str(name) for name in X]
    raise InputError(
        f"X is {type(X).__name__}, which has no named columns: give a Dataset, a frame, or a mapping of columns (docs/python.md)"
    )


def as_dataset(X: Any, y: Any = None) -> Dataset:
    """The table as a dataset; runtimes and powers from `y`, (rows, 2), where that is given.

    Raises InputError, one line, on a column that is missing, unknown, there twice, of another length, or holds what it cannot.
    """
    dataset = X if isinstance(X, Dataset) else _read(X)
    if y is None:
        return dataset
    given = np.asarray(y, dtype=np.float64)
    if given.shape != (len(dataset), 2):
        raise InputError(f"y of shape {given.shape}: runtimes, s, and powers, W, are ({len(dataset)}, 2)")
    told = dict.fromkeys(MEASURED, np.full(len(dataset), np.nan)) | {"runtime_s": given[:, 0], "power_w": given[:, 1]}
    return Dataset({**dataset.table, **told}, dataset.provenance)


def _read(X: Any) -> Dataset:
    names = names_of(X)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"X has two columns {twice[0]}")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise InputError(
            f"X has a column {unknown[0]!r}, which no table of layers has: drop or rename it (docs/dataset.md)"
        )
    if missing := [name for name in NEEDED if name not in names]:
        raise InputError(f"X lacks the column {missing[0]}")
    columns = {name: _values(name, X[name]) for name in names}
    windowed = [kind for kind in ("conv", "pool") if kind in columns["kind"]]
    if windowed and (missing := [name for name in WINDOWED if name not in names]):
        raise InputError(f"X lacks the column {missing[0]}, which a {windowed[0]} layer needs")
    if len({len(values) for values in columns.values()}) > 1:
        raise InputError("X has columns of different lengths")
    return dataset_of(
        [_row(place, names, values) for place, values in enumerate(zip(*columns.values(), strict=True))], {}
    )


def _values(name: str, column: Any) -> Sequence[Any]:
    """A column's values in the type that it is to have."""
    kind = COLUMNS[name]
    values: NDArray[Any] = np.asarray(column)
    if values.ndim != 1:
        raise InputError(f"column {name} of X has {values.ndim} dimensions")
    if kind == "str":
        return ["" if each is None else str(each) for each in values.tolist()]
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"column {name} of X holds what is no number") from None
    if kind == "float":
        return list(numbers.tolist())
    wrong = np.flatnonzero(~(np.abs(numbers) < 2**53) | (numbers != np.round(numbers)))
    if wrong.size:
        raise InputError(f"column {name} of X, row {wrong[0]}: {numbers[wrong[0]]:g} is no whole number")
    whole = numbers.astype(np.int64).tolist()
    return [bool(each) for each in whole] if kind == "bool" else whole


def _row(place: int, names: Sequence[str], values: Sequence[Any]) -> dict[str, object]:
    told = dict(zip(names, values, strict=True))
    sizes = {name: told.pop(name) for name in names if name in _OF_LAYERS and name != "layer"}
    try:
        layer = Layer(**{**_DEFAULTS, "name": told.pop("layer", f"row {place}"), **sizes})
    except ImpossibleLayer as error:
        raise InputError(f"X, row {place}: {error}") from None
    network, origin = told.pop("network", ""), told.pop("origin", "import")
    return row(layer, network=network, origin=origin, **told)
