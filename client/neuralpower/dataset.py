"""The dataset: one Parquet table with a row per measured layer, and where it came from.

Columns are listed in ``COLUMNS`` and explained in docs/dataset.md. What was not measured is nan.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from neuralpower import parquet
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.files import write_whole

SCHEMA = 1
METADATA_KEY = b"neuralpower"
ORIGINS = ("network", "sweep", "import")

_LAYER_FIELDS = {field.name: field.type for field in fields(Layer)}
_LAYER_COLUMNS = {"layer" if name == "name" else name: str(kind) for name, kind in _LAYER_FIELDS.items()}
MEASURED = ("runtime_s", "runtime_se_s", "power_w", "power_se_w", "energy_j", "energy_se_j")

COLUMNS: dict[str, str] = {
    "network": "str",
    "position": "int",
    **_LAYER_COLUMNS,
    **dict.fromkeys(MEASURED, "float"),
    "count": "int",
    "origin": "str",
    "method": "str",
    "withheld": "str",
    "engine": "str",
    "device": "str",
    "simulated": "bool",
}
"""Column name -> ``str``, ``int``, ``float`` or ``bool``, in file order."""

LATER = ("withheld", "told_flops", "told_weights", "told_accesses")
"""Columns that files of earlier versions do not have; in those they are empty, or 0."""

_BLANK: dict[str, object] = {"str": "", "int": 0, "float": float("nan"), "bool": False}
_NUMPY: dict[str, Any] = {"str": np.object_, "int": np.int64, "float": np.float64, "bool": np.bool_}

Column = NDArray[Any]


@dataclass(frozen=True)
class Dataset:
    """Measured layers as numpy columns of one length (``COLUMNS``), and the provenance they were written with."""

    table: dict[str, Column]
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.table["layer"])

    def __getitem__(self, column: str) -> Column:
        return self.table[column]

    @property
    def simulated(self) -> bool:
        """Whether any row was made by the simulated chip or device."""
        return bool(self.table["simulated"].any())

    @property
    def withheld(self) -> dict[str, int]:
        """Why rows have no power though it was looked for -> how many, the most first."""
        return dict(Counter(filter(None, self.table["withheld"].tolist())).most_common())

    def layers(self) -> list[Layer]:
        """The rows as layers, without their measurements."""
        columns = [self.table["layer" if name == "name" else name].tolist() for name in _LAYER_FIELDS]
        return [Layer(*values) for values in zip(*columns, strict=True)]

    def where(self, **equal: object) -> Dataset:
        """The rows whose columns equal the given values; a list, tuple or set accepts any of its members.

        ``dataset.where(kind="conv", origin=("sweep", "network"))``
        """
        keep = np.ones(len(self), dtype=bool)
        for column, wanted in equal.items():
            values = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
            keep &= np.array([value in values for value in self.table[column].tolist()], dtype=bool)
        return self.take(keep)

    def take(self, rows: NDArray[Any]) -> Dataset:
        """The rows chosen by a boolean mask or by indices."""
        return Dataset({name: values[rows] for name, values in self.table.items()}, self.provenance)


def row(layer: Layer, *, network: str, position: int = 0, origin: str, **measured: object) -> dict[str, object]:
    """One row of the table. ``measured`` holds any further columns; those not given are nan, 0, empty or False.

    Raises ValueError on a column that does not exist or an unknown origin.
    """
    unknown = set(measured) - (set(COLUMNS) - set(_LAYER_COLUMNS))
    if unknown or origin not in ORIGINS:
        raise ValueError(f"no such columns: {sorted(unknown)}" if unknown else f"no such origin: {origin!r}")
    geometry = {column: getattr(layer, "name" if column == "layer" else column) for column in _LAYER_COLUMNS}
    given = {**geometry, "network": network, "position": position, "origin": origin, **measured}
    return {column: given.get(column, _BLANK[kind]) for column, kind in COLUMNS.items()}


def dataset_of(rows: Iterable[Mapping[str, object]], provenance: Mapping[str, Any]) -> Dataset:
    """A dataset from rows made by :func:`row`."""
    listed = list(rows)
    table = {column: [line[column] for line in listed] for column in COLUMNS}
    return Dataset(_as_columns(table), dict(provenance))


def concat(datasets: Sequence[Dataset]) -> Dataset:
    """All rows in order; the provenance lists each part's. One dataset is returned as it is."""
    if not datasets:
        raise ValueError("nothing to concatenate")
    if len(datasets) == 1:
        return datasets[0]
    table = {name: np.concatenate([dataset.table[name] for dataset in datasets]) for name in COLUMNS}
    return Dataset(table, {"parts": [dataset.provenance for dataset in datasets]})


def write_dataset(table: Mapping[str, Any], path: str | os.PathLike[str], provenance: Mapping[str, Any]) -> None:
    """Write the table as Parquet (zstd); ``path`` is replaced only once the new file is whole and on the disk.

    ``table`` holds every column of ``COLUMNS``, all of one length (those of ``LATER`` may lack); ``provenance`` is anything JSON can hold.
    Raises ValueError on a missing or odd column, Failure when the file cannot be written.
    """
    import pyarrow as pa

    columns = _as_columns(table)
    metadata = {METADATA_KEY: json.dumps({"schema": SCHEMA, **provenance})}
    arrow = pa.table({name: pa.array(columns[name], type=_arrow_type(kind)) for name, kind in COLUMNS.items()})
    write_whole(path, parquet.pack(arrow.replace_schema_metadata(metadata)), "the dataset")


def read_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Read what :func:`write_dataset` wrote. Raises InputError, one line, on anything that is not a whole dataset."""
    import pyarrow as pa

    source = Path(path)
    _check_ends(source)
    try:
        arrow = parquet.read_table(source)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source}: cannot be read as Parquet: {_first_line(error)}") from None
    provenance = _provenance(source, arrow.schema.metadata or {})
    missing = [name for name in COLUMNS if name not in arrow.column_names]
    if set(missing) - set(LATER):
        raise InputError(f"{source}: not a neuralpower dataset, it lacks the columns {', '.join(missing)}")
    for name in missing:
        blank = [_BLANK[COLUMNS[name]]] * len(arrow)
        arrow = arrow.append_column(name, pa.array(blank, type=_arrow_type(COLUMNS[name])))
    for name, kind in COLUMNS.items():
        if arrow.schema.field(name).type != _arrow_type(kind):
            raise InputError(f"{source}: column {name} holds {arrow.schema.field(name).type}, not {kind}")
        if arrow.column(name).null_count:
            raise InputError(f"{source}: column {name} has empty cells; measured columns use nan for what is not known")
    table = {name: arrow.column(name).to_numpy().astype(_NUMPY[kind]) for name, kind in COLUMNS.items()}
    dataset = Dataset(table, provenance)
    try:
        dataset.layers()
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None
    return dataset


def _check_ends(source: Path) -> None:
    """A Parquet file begins and ends with PAR1; what only begins so was cut off."""
    content_ends = _ends(source)
    if not content_ends:
        raise InputError(f"{source}: an empty file")
    if content_ends[:4] != b"PAR1":
        raise InputError(f"{source}: not a Parquet file")
    if content_ends[4:] != b"PAR1":
        raise InputError(f"{source}: truncated Parquet file, its end is missing; write it again")


def _ends(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            head = file.read(4)
            if head:
                file.seek(max(4, source.stat().st_size - 4))
            return head + file.read(4)
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{source}: a folder, not a dataset file") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None


def _provenance(source: Path, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    try:
        provenance = json.loads(metadata.get(METADATA_KEY, b"null"))
    except ValueError:
        provenance = None
    if not isinstance(provenance, dict):
        raise InputError(f"{source}: a Parquet file, but not a neuralpower dataset")
    schema = provenance.pop("schema", None)
    if schema != SCHEMA:
        raise InputError(f"{source}: dataset schema {schema}, this version reads {SCHEMA}")
    return cast("dict[str, Any]", provenance)


def _as_columns(table: Mapping[str, Any]) -> dict[str, Column]:
    """Every column as a 1-D numpy array of its type. Raises ValueError on a missing column or differing lengths."""
    missing = [name for name in COLUMNS if name not in table]
    if set(missing) - set(LATER):
        raise ValueError(f"the table lacks the columns {', '.join(missing)}")
    table = {**table, **{name: [_BLANK[COLUMNS[name]]] * len(table["layer"]) for name in missing}}
    columns = {name: np.asarray(table[name], dtype=_NUMPY[kind]) for name, kind in COLUMNS.items()}
    if len({column.shape for column in columns.values()}) != 1 or columns["layer"].ndim != 1:
        raise ValueError("the table's columns differ in length")
    return columns


def _arrow_type(kind: str) -> Any:
    import pyarrow as pa

    return {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}[kind]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
