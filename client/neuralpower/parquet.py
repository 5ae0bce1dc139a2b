"""Parquet files: the one place that hands a file to Arrow.

Arrow reads and writes with threads of its own. Where such a thread is the last to hold a Python file it needs the interpreter
to let go of it, and if the interpreter is ending by then the process aborts: "terminate called without an active exception".
So Arrow opens paths itself, and is never given an object of Python's that reads or writes. A rule of ruff's, in pyproject.toml,
keeps Arrow's readers and writers out of all other modules.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """The table in the file, all columns or those named.

    Raises:
        OSError: it cannot be opened or read.
        pyarrow.ArrowException: it is not Parquet, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(path, "rb"):
        pass  # what is wrong with a path Python says more plainly than Arrow
    with pa.OSFile(os.fsencode(path)) as file:
        return pq.read_table(file, columns=list(columns) if columns else None)


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
    """The bytes of a Parquet file (zstd) that holds the table; further `options` as `pyarrow.parquet.write_table` has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return memoryview(sink.getvalue())
