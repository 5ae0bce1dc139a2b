"""Parquet files: the one place that hands a file to Arrow.

Arrow reads and writes with threads of its own. Where such a thread is the last to hold a Python file it needs the interpreter
to let go of it, and if the interpreter is ending by then the process aborts: "terminate called without an active exception".
So Arrow opens paths itself, and is never given an object of Python's that reads or writes. A rule of ruff's, in pyproject.toml,
keeps Arrow's readers and writers out of all other modules.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """The table in the file, all columns or those named.

    Raises:
        OSError: it cannot be opened or read.
        pyarrow.ArrowException: it is not Parquet, or damaged.
        UnicodeDecodeError: the name of a column is no text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(path, "rb"):
        pass  # what is wrong with a path Python says more plainly than Arrow
    with pa.OSFile(os.fsencode(path)) as file:
        return pq.read_table(file, columns=list(columns) if columns else None, page_checksum_verification=True)


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Rows and columns of the table in the file, by its footer alone. Raises as `read_table` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(os.fsencode(path)) as file:
        footer = pq.read_metadata(file)
        return footer.num_rows, footer.num_columns


def schema(path: str | os.PathLike[str]) -> pa.Schema:
    """Names, types and metadata of the table in the file, by its footer alone. Raises as `read_table` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(os.fsencode(path)) as file:
        return pq.read_schema(file)


def pack(table: pa.Table, **options: Any) -> memoryview:
    """The bytes of a Parquet file (zstd, a checksum for each page) that holds the table; further `options` as `pyarrow.parquet.write_table` has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True, **options)
    return memoryview(sink.getvalue())


def groups_of(packed: memoryview) -> list[tuple[int, int]]:
    """Where the bytes of each row group of a Parquet file begin and end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    footer = pq.read_metadata(pa.BufferReader(pa.py_buffer(packed)))
    begins = []
    for group in range(footer.num_row_groups):
        columns = [footer.row_group(group).column(at) for at in range(footer.num_columns)]
        begins.append(min(each.dictionary_page_offset or each.data_page_offset for each in columns))
    at = footer_at(packed)
    sealed = packed[at - SEAL_BYTES : at - 4] == _MARK
    return list(zip(begins, [*begins[1:], at - SEAL_BYTES if sealed else at], strict=True))


def footer_at(packed: memoryview) -> int:
    """Where the footer of a Parquet file begins; less than nothing where its length cannot be right."""
    return len(packed) - _FOOTER - int.from_bytes(packed[-_FOOTER:-4], "little")


def read_groups(data: bytes | memoryview, groups: Sequence[int]) -> pa.Table:
    """These row groups of a Parquet file that is given as its bytes. Raises pyarrow.ArrowException where it is not Parquet, or damaged there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = pa.allocate_buffer(len(data))  # Arrow's own memory, see above
    memoryview(held).cast("B")[:] = data
    with pq.ParquetFile(pa.BufferReader(held), page_checksum_verification=True) as file:
        return file.read_row_groups(list(groups), use_threads=False)


def read_range(path: str | os.PathLike[str], column: str, low: int, high: int) -> pa.Table:
    """The row groups of the file that may hold a value of `column` from `low` on and before `high`. Raises as `read_table` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(os.fsencode(path)) as file, pq.ParquetFile(file, page_checksum_verification=True) as opened:
        place = opened.schema_arrow.get_field_index(column)
        kept = []
        for group in range(opened.num_row_groups):
            known = opened.metadata.row_group(group).column(place).statistics if place >= 0 else None
            if known is None or not known.has_min_max or (known.min < high and known.max >= low):
                kept.append(group)
        return opened.read_row_groups(kept)


_MARK = b"NPCRC32\0"
SEAL_BYTES = len(_MARK) + 4
"""Of the checksum and its mark."""
_FOOTER = 8
"""Bytes at the end of a Parquet file: the footer's length and the magic."""


def sealed(packed: memoryview) -> memoryview:
    """The bytes of a Parquet file with a checksum of them all, of pages, their headers and the footer, put before the footer.

    Parquet has checksums of pages only. Nothing in the file names a place behind its pages, so it stays a Parquet file to every reader.
    """
    at = footer_at(packed)
    seal = _MARK + zlib.crc32(packed).to_bytes(4, "little")
    return memoryview(b"".join([packed[:at], seal, packed[at:]]))


def seal_of(path: str | os.PathLike[str]) -> bool | None:
    """Whether the file is as :func:`sealed` made it; None where it bears no checksum. OSError where it cannot be read."""
    with open(path, "rb") as file:
        whole = memoryview(file.read())
    at = footer_at(whole)
    if len(whole) < SEAL_BYTES + _FOOTER or not SEAL_BYTES <= at <= len(whole) - _FOOTER:
        return None
    if whole[at - SEAL_BYTES : at - 4] != _MARK:
        return None
    return zlib.crc32(whole[at:], zlib.crc32(whole[: at - SEAL_BYTES])) == int.from_bytes(whole[at - 4 : at], "little")
