"""Arrow is never handed a Python file: a thread of its own that lets go of one while the interpreter ends aborts the process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuralpower import parquet
from neuralpower.dataset import AT_ONCE, COLUMNS, read_dataset, write_dataset
from neuralpower.recordings.files import segments
from neuralpower_wire import PackedRecords, tick_dtype

NATIVE = (str, bytes, pa.OSFile, pa.MemoryMappedFile, pa.BufferOutputStream, pa.FixedSizeBufferWriter)
"""Files that Arrow opens itself, and memory of its own."""


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All that Arrow's reader and writer of Parquet are given as a file."""
    seen: list[Any] = []

    def noting(call: Callable[..., Any], position: int) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            seen.append(arguments[position])
            return call(*arguments, **options)

        return noted

    monkeypatch.setattr(pq, "read_table", noting(pq.read_table, 0))
    monkeypatch.setattr(pq, "write_table", noting(pq.write_table, 1))
    return seen


def test_arrow_is_handed_no_python_file(tmp_path: Path, handed: list[Any]) -> None:
    """Datasets and segments are read and written by files that are Arrow's own."""
    write_dataset({name: [] for name in COLUMNS}, tmp_path / "layers.parquet", {})
    read_dataset(tmp_path / "layers.parquet")
    ticks = segments.ticks_to_table(np.zeros(3, tick_dtype(2)))
    (tmp_path / "ticks.parquet").write_bytes(segments.to_parquet(ticks, {}))
    segments.read_ticks(tmp_path / "ticks.parquet")
    (tmp_path / "journal.parquet").write_bytes(
        segments.to_parquet(segments.records_to_table([(0, PackedRecords.of([]))]), {})
    )
    segments.read_journal(tmp_path / "journal.parquet")
    written, segments_read, dataset_read = 3, 2, math.ceil(len(COLUMNS) / AT_ONCE)
    assert len(handed) == written + segments_read + dataset_read
    assert [type(file) for file in handed if not isinstance(file, NATIVE)] == []


def test_any_name_of_a_file_is_read(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, and folders that look like a partition, are names as others are: no column comes of them."""
    folder = tmp_path / "run=3"
    folder.mkdir()
    for name in (b"a b.parquet", b"\xff.parquet"):
        path = folder / os.fsdecode(name)
        path.write_bytes(parquet.pack(pa.table({"x": [1, 2]})))
        assert parquet.read_table(path).column_names == ["x"]


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path: Path) -> None:
    """A missing file and a folder are told as Python's own open tells them."""
    with pytest.raises(FileNotFoundError):
        parquet.read_table(tmp_path / "none.parquet")
    with pytest.raises(IsADirectoryError):
        parquet.read_table(tmp_path)
