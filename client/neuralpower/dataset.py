"""The dataset: one Parquet table with a row per measured layer, and where it came from.

Columns are listed in ``COLUMNS`` and explained in docs/dataset.md. What was not measured is nan.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from neuralpower import parquet
from neuralpower.documents import HEAD, foreign
from neuralpower.errors import InputError
from neuralpower.features.layers import KINDS, LARGEST, MOST_MHZ, MOST_TOLD, POSITIVE, SIZED, TOLD, Layer
from neuralpower.files import write_whole

SCHEMA = 1
MOST_ROWS = 5_000_000
"""A fit of a million takes minutes and 2.4 GB; a few bytes of Parquet can stand for any number of rows."""
METADATA_KEY = b"neuralpower"
ORIGINS = ("network", "sweep", "import")

_LAYER_FIELDS = {field.name: field.type for field in fields(Layer)}
_LAYER_COLUMNS = {"layer" if name == "name" else name: str(kind) for name, kind in _LAYER_FIELDS.items()}
MEASURED = ("runtime_s", "runtime_se_s", "power_w", "power_se_w", "energy_j", "energy_se_j")

MOST = {"runtime_s": 3600.0, "power_w": 3000.0, "energy_j": 3600.0 * 3000.0}
"""What no layer or inference takes: an hour, and more than any one accelerator with its board draws (a shunt or a unit is wrong then)."""

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
    "clock_hz": "float",
    "temperature_c": "float",
    "throttled": "str",
}
"""Column name -> ``str``, ``int``, ``float`` or ``bool``, in file order."""

AT_ONCE = 8
"""Columns that are read together: Arrow's are beside ours in memory for so many alone."""

LATER = (
    "withheld",
    "told_flops",
    "told_weights",
    "told_accesses",
    "fused",
    "gpu_mhz",
    "clock_hz",
    "temperature_c",
    "throttled",
)
"""Columns that files of earlier versions do not have; in those they are empty, 0 or nan."""

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

    @overload
    def __getitem__(self, chosen: str) -> Column: ...
    @overload
    def __getitem__(self, chosen: NDArray[Any] | Sequence[int] | slice | tuple[Any, ...]) -> Dataset: ...
    def __getitem__(self, chosen: Any) -> Column | Dataset:
        """A column by its name; rows by a mask, indices or a slice, as scikit-learn divides a table."""
        if isinstance(chosen, str):
            return self.table[chosen]
        rows = chosen[0] if isinstance(chosen, tuple) else chosen  # (rows, ...)
        return self.take(rows if isinstance(rows, slice) else np.asarray(rows))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self), len(self.table)

    @property
    def simulated(self) -> bool:
        """Whether any row was made by the simulated chip or device."""
        return bool(self.table["simulated"].any())

    @property
    def withheld(self) -> dict[str, int]:
        """Why rows have no power though it was looked for -> how many, the most first."""
        return dict(Counter(filter(None, self.table["withheld"].tolist())).most_common())

    @property
    def implausible(self) -> dict[str, int]:
        """Why rows hold a measurement that cannot be, such as ``power_w negative`` -> how many rows, the most first. ``fit`` leaves them out."""
        found: Counter[str] = Counter()
        for column, most in MOST.items():
            values = self.table[column].astype(np.float64)
            found[f"{column} negative"] = int((values < 0).sum())
            found[f"{column} not finite"] = int((values == np.inf).sum())
            found[f"{column} above {most:g}"] = int((np.isfinite(values) & (values > most)).sum())
        modelled = np.isin(self.table["kind"], ("conv", "pool", "fc"))
        found["runtime_s 0 of a modelled layer"] = int((modelled & (self.table["runtime_s"] == 0)).sum())
        return {reason: count for reason, count in found.most_common() if count}

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

    def take(self, rows: NDArray[Any] | slice) -> Dataset:
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


def why_implausible(column: str, value: float) -> str:
    """What is wrong with a measured runtime_s, power_w or energy_j; "" where it can be. nan, which stands for not measured, is wrong here."""
    if not isfinite(value):
        return "not a finite number"
    if value < 0:
        return "negative"
    return f"above {MOST[column]:g}, more than is believed" if value > MOST[column] else ""


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
    source = Path(path)
    _check_ends(source)
    try:
        rows, _ = parquet.size(source)
        if rows > MOST_ROWS:
            raise InputError(f"{source}: {rows:,} rows, at most {MOST_ROWS:,} are read")
        schema = parquet.schema(source)
        names = schema.names
    except InputError:
        raise
    except _unreadable() as error:  # Arrow's own are kinds of ValueError too
        raise InputError(f"{source}: cannot be read as Parquet: {_first_line(error)}") from None
    provenance = _provenance(source, schema.metadata or {})
    missing = [name for name in COLUMNS if name not in names]
    if set(missing) - set(LATER):
        raise InputError(f"{source}: not a neuralpower dataset, it lacks the columns {', '.join(missing)}")
    there = [name for name in COLUMNS if name not in missing]
    for name in there:
        if schema.field(name).type != _arrow_type(COLUMNS[name]):
            raise InputError(f"{source}: column {name} holds {schema.field(name).type}, not {COLUMNS[name]}")
    table = {name: np.full(rows, _BLANK[COLUMNS[name]], dtype=_NUMPY[COLUMNS[name]]) for name in missing}
    for at in range(0, len(there), AT_ONCE):
        table |= _read_columns(source, there[at : at + AT_ONCE])
    table = {name: table[name] for name in COLUMNS}
    try:
        check_layers(table)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None
    return Dataset(table, provenance)


def _unreadable() -> tuple[type[Exception], ...]:
    """What Arrow raises on a file that it cannot read; the last where names of columns are no text."""
    import pyarrow as pa

    return pa.ArrowException, OSError, MemoryError, UnicodeDecodeError


def _read_columns(source: Path, names: list[str]) -> dict[str, Column]:
    try:
        arrow = parquet.read_table(source, names)
    except _unreadable() as error:
        raise InputError(f"{source}: cannot be read as Parquet: {_first_line(error)}") from None
    for name in names:
        if arrow.column(name).null_count:
            raise InputError(f"{source}: column {name} has empty cells; measured columns use nan for what is not known")
    return {name: _numpy(arrow.column(name), COLUMNS[name]) for name in names}


def _numpy(column: Any, kind: str) -> Column:
    """A column of Arrow's; texts that are equal are one object, of which a million take no more room than one."""
    if kind != "str":
        return np.asarray(column.to_numpy().astype(_NUMPY[kind]))
    encoded = column.combine_chunks().dictionary_encode()
    words = np.array(encoded.dictionary.to_pylist(), dtype=np.object_)
    return words[encoded.indices.to_numpy()] if len(words) else np.zeros(len(column), dtype=np.object_)


def check_layers(table: Mapping[str, Column]) -> None:
    """Raises ValueError, as ``Layer`` does, on the first row that is no layer."""
    suspect = ~np.isin(table["kind"], list(KINDS))
    sized = np.isin(table["kind"], SIZED)
    for name in POSITIVE:
        suspect |= sized & ((table[name] < 1) | (table[name] >= LARGEST))
    for name in TOLD:
        suspect |= (table[name] < 0) | (table[name] >= MOST_TOLD)
    suspect |= (table["gpu_mhz"] < 0) | (table["gpu_mhz"] >= MOST_MHZ)
    if suspect.any():
        Dataset(dict(table), {}).take(np.flatnonzero(suspect)[:1]).layers()


def _check_ends(source: Path) -> None:
    """A Parquet file begins and ends with PAR1; what only begins so was cut off."""
    head, end = _ends(source)
    if not head:
        raise InputError(f"{source}: an empty file")
    if not head.startswith(b"PAR1"):
        told = foreign(head)
        raise InputError(
            f"{source}: not a Parquet file{f', but {told}' if told else ''}; `neuralpower dataset` writes datasets"
        )
    if end != b"PAR1":
        raise InputError(f"{source}: truncated Parquet file, its end is missing; write it again")


def _ends(source: Path) -> tuple[bytes, bytes]:
    """The first bytes and the last four behind the first four; empty of an empty file."""
    try:
        mode = source.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InputError(f"{source}: a device, a pipe or a socket, not a dataset file")
        with source.open("rb") as file:
            head = file.read(HEAD)
            if head:
                file.seek(max(4, source.stat().st_size - 4))
            return head, file.read(4)
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
