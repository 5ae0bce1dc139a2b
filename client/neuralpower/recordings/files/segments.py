"""Runs of ticks and journal records as Parquet, and back.

Columns are flat because that is what numpy reads fastest: a tick's four words, then five columns for each reading.
"""

from __future__ import annotations

import gc
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neuralpower_wire import READING, Kind, PackedRecords, TickColumns, Ticks, WireError, tick_dtype
from neuralpower_wire.tick import MAX_READINGS

from ... import parquet
from ...errors import DamagedFile, InputError
from .entries import Journal

T = TypeVar("T")
TICK_WORDS = ("index", "slot", "t_ns", "epoch")
READING_WORDS = READING.names or ()
JOURNAL_COLUMNS = ("index", "t_ns", "kind", "body")
MOST_BYTES = 1 << 30
"""Bound: of a damaged segment that is read in parts; a recorder turns over at 64 MiB."""
SEALED = "checksum"
"""Key of the metadata that says that the file bears a checksum of its own."""
GROUP_ROWS = 15_000
"""Rows of a row group, a quarter of a minute at 1 kHz: what damage costs at most, and the least that is read for a slice. Four of them
make a segment a hundredth larger than one."""
ZSTD_LEVEL = 3
"""Level 3 packs a minute of six readings in about a tenth of a second; higher levels save little and stall the recorder."""


def ticks_to_table(ticks: Ticks) -> pa.Table:
    """Ticks as columns: index, slot, t_ns, epoch, then value_0, begin_ns_0, end_ns_0, state_0, error_0, value_1, …"""
    columns = {name: np.ascontiguousarray(ticks[name]) for name in TICK_WORDS}
    for position in range(ticks["readings"].shape[1]):
        reading = ticks["readings"][:, position]
        columns |= {f"{name}_{position}": np.ascontiguousarray(reading[name]) for name in READING_WORDS}
    return pa.table(columns)


def columns_to_table(parts: Sequence[TickColumns]) -> pa.Table:
    """The same table from ticks as they travel, of one width, in the order of their indices, each index once."""
    width, count = parts[0].width, sum(map(len, parts))
    columns = {
        "index": np.concatenate([each.index for each in parts]),
        "slot": np.concatenate([each.slot for each in parts]),
        "t_ns": np.concatenate([each.t_ns for each in parts]),
        "epoch": np.concatenate([np.full(len(each), each.epoch, "<u4") for each in parts]),
    }
    nothing = {name: np.zeros(1, READING[name]) for name in READING_WORDS}
    readings = {
        name: np.concatenate(
            [each.readings.get(name, nothing[name].repeat(len(each) * width)) for each in parts]
        ).reshape(count, width)
        for name in READING_WORDS
    }
    for position in range(width):
        columns |= {
            f"{name}_{position}": np.ascontiguousarray(values[:, position]) for name, values in readings.items()
        }
    return _each_once(pa.table(columns))


def _each_once(table: pa.Table) -> pa.Table:
    """The rows in the order of their index, each index once."""
    index = table.column("index").to_numpy()
    if np.all(index[1:] > index[:-1]):
        return table
    return table.take(pa.array(np.unique(index, return_index=True)[1]))


def table_to_ticks(table: pa.Table) -> Ticks:
    """The (n,) structured ticks of such a table."""
    width = (table.num_columns - len(TICK_WORDS)) // len(READING_WORDS)
    ticks = np.zeros(table.num_rows, tick_dtype(width))
    for name in TICK_WORDS:
        ticks[name] = _numpy(table, name)
    ticks["commit"], ticks["n"] = ticks["index"] + np.uint64(1), width
    for position in range(width):
        for name in READING_WORDS:
            ticks["readings"][name][:, position] = _numpy(table, f"{name}_{position}")
    return ticks


def _numpy(table: pa.Table, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = table.column(name).to_numpy()
    return values


def records_to_table(parts: Sequence[tuple[int, PackedRecords]]) -> pa.Table:
    """Runs of journal records, each with its first index, as columns index, t_ns, kind and body (msgpack, as on the wire).

    In the order of their indices, each index once. No body is looked into.
    """
    records = PackedRecords.joined([each for _, each in parts])
    offsets = (records.edges - records.edges[0]).astype(np.int32)
    body = pa.BinaryArray.from_buffers(
        pa.binary(), len(records), [None, pa.py_buffer(offsets), pa.py_buffer(records.bodies)]
    )
    table = pa.table(
        {
            "index": np.concatenate([np.arange(first, first + len(each), dtype="<u8") for first, each in parts]),
            "t_ns": records.t_ns,
            "kind": records.kind,
            "body": body,
        }
    )
    return _each_once(table)


def table_to_records(table: pa.Table) -> tuple[npt.NDArray[np.uint64], PackedRecords]:
    """The (n,) indices and the records of such a table; ValueError or KeyError where it is none."""
    if [str(table.schema.field(name).type) for name in JOURNAL_COLUMNS] != ["uint64", "int64", "uint8", "binary"]:
        raise ValueError("not the columns of a journal")
    body = table.column("body").combine_chunks()
    _, offsets, data = body.buffers() if len(body) else (None, None, None)
    edges = np.zeros(1, np.int64)
    if offsets is not None:
        edges = np.frombuffer(offsets, np.int32)[body.offset : body.offset + len(body) + 1].astype(np.int64)
    kind, t_ns = _numpy(table, "kind"), _numpy(table, "t_ns")
    return _numpy(table, "index"), PackedRecords(kind, t_ns, edges, memoryview(data or b""))


def table_to_journal(table: pa.Table, kinds: Sequence[Kind] = ()) -> Journal:
    """The records of such a table, those of `kinds` or all; ValueError or KeyError where it is none."""
    if kinds and Kind.UNKNOWN not in kinds:
        table = table.filter(np.isin(_numpy(table, "kind"), [int(kind) for kind in kinds]))
    index, records = table_to_records(table)
    with _uncollected():
        found = list(zip(index.tolist(), records, strict=True))
    return [(index, record) for index, record in found if not kinds or record.kind in kinds]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: bodies hold no cycles, and looking for some takes four times as long as unpacking."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def to_parquet(table: pa.Table, metadata: dict[str, Any]) -> memoryview:
    """The bytes of a Parquet file with a checksum of all of them; `metadata` goes under its key "neuralpower" as JSON.

    Times and indices grow evenly, and times of reading vary little, so their differences are stored; everything else is left to zstd.
    """
    even = (*TICK_WORDS[:3], "begin_ns", "end_ns")
    encodings = {name: "DELTA_BINARY_PACKED" for name in table.column_names if name.startswith(even)}
    described = table.replace_schema_metadata({b"neuralpower": json.dumps({**metadata, SEALED: True}).encode()})
    packed = parquet.pack(
        described,
        compression_level=ZSTD_LEVEL,
        use_dictionary=False,
        column_encoding=encodings,
        row_group_size=GROUP_ROWS,
        write_statistics=["t_ns"],
    )
    return parquet.sealed(packed)


def read_parquet(path: Path, columns: Sequence[str] | None = None, within: tuple[int, int] | None = None) -> pa.Table:
    """The table in `path`, its columns or those named, or the row groups with times from the first of `within` on and before the second.

    Raises InputError, one line that says what to do, where it cannot be read.
    """
    try:
        whole = parquet.seal_of(path)
        if whole is False:
            raise ValueError("its checksum does not fit")
        table = parquet.read_table(path, columns) if within is None else parquet.read_range(path, "t_ns", *within)
        if whole is None and _says_sealed(table):
            raise ValueError("its checksum does not fit")
        return table
    except FileNotFoundError:
        raise DamagedFile(path, "no such file") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            reason = error.strerror or os.strerror(error.errno)
            raise DamagedFile(path, f"cannot be read: {reason}", "or read the rest with --skip-damaged") from None
        raise damaged(path, error) from None


def frames_of(packed: memoryview) -> dict[str, Any]:
    """What a summary keeps of its segment's bytes, so that damage costs a row group at most.

    `groups`: where each begins, ends, and the CRC-32 of its bytes. `footer`: a copy of the footer, and where it begins.
    """
    at = parquet.footer_at(packed)
    groups = [[begin, end, zlib.crc32(packed[begin:end])] for begin, end in parquet.groups_of(packed)]
    return {"groups": groups, "footer": bytes(packed[at:]), "footer_at": at}


def salvaged(path: Path, frames: Mapping[str, Any]) -> tuple[pa.Table, int]:
    """The rows of a damaged segment whose row groups are whole, and how many groups there are not. Raises InputError where there are none."""
    try:
        whole = path.read_bytes()
        at, footer = int(frames["footer_at"]), bytes(frames["footer"])
        groups = [(int(begin), int(end), int(crc)) for begin, end, crc in frames["groups"]]
        view = memoryview(whole)
        sound = [n for n, (begin, end, crc) in enumerate(groups) if zlib.crc32(view[begin:end]) == crc]
        if not sound or at > MOST_BYTES:
            raise ValueError("nothing in it is whole")
        return parquet.read_groups(whole[:at].ljust(at, b"\0") + footer, sound), len(groups) - len(sound)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from None


def _says_sealed(table: pa.Table) -> bool:
    """Whether the file was written with a checksum; those of before it are read without."""
    described = (table.schema.metadata or {}).get(b"neuralpower", b"{}")
    found = json.loads(described)
    return isinstance(found, dict) and SEALED in found


def damaged(path: Path, error: Exception) -> DamagedFile:
    """The error that names a damaged file and says what to do about it."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    advice = "restore the file, or read the rest with --skip-damaged"
    return DamagedFile(path, f"truncated or corrupt ({reason[:120]})", advice)


def read_ticks(path: Path, within: tuple[int, int] | None = None) -> pa.Table:
    """The table of a segment of ticks, or the part of it that may have some of a span; InputError where it is damaged or something else."""
    return as_ticks(path, read_parquet(path, within=within))


def as_ticks(path: Path, table: pa.Table) -> pa.Table:
    """The table of `path`, if it is one of ticks; InputError otherwise."""
    width = (table.num_columns - len(TICK_WORDS)) // len(READING_WORDS)
    if not 0 <= width <= MAX_READINGS or not table.schema.equals(_schema(width)):
        raise damaged(path, ValueError("not the columns of ticks"))
    return table


@lru_cache(8)
def _schema(width: int) -> pa.Schema:
    """Of ticks of so many readings."""
    return ticks_to_table(np.zeros(0, tick_dtype(width))).schema


def span_ns(path: Path) -> tuple[int, int]:
    """The earliest and the latest time of a segment's entries; InputError where it is damaged."""
    t_ns = read_parquet(path, ["t_ns"]).column("t_ns") if path.exists() else None
    if t_ns is None or not len(t_ns) or t_ns.type != pa.int64():
        raise damaged(path, ValueError("it has no times"))
    times = t_ns.to_numpy()
    return int(times.min()), int(times.max())


def read_journal(path: Path, kinds: Sequence[Kind] = ()) -> Journal:
    """The records of a segment, those of `kinds` or all; InputError where it is damaged."""
    return _journal(path, lambda table: table_to_journal(table, kinds))


def read_records(path: Path) -> tuple[npt.NDArray[np.uint64], PackedRecords]:
    """The (n,) indices and the records of a segment, not unpacked; InputError where it is damaged."""
    return _journal(path, table_to_records)


def _journal(path: Path, of: Callable[[pa.Table], T]) -> T:
    try:
        return of(read_parquet(path))
    except (KeyError, TypeError, pa.ArrowException, WireError) as error:
        raise damaged(path, error) from None
    except ValueError as error:
        raise (error if isinstance(error, InputError) else damaged(path, error)) from None
