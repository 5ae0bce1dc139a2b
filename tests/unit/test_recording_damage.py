"""One bit of a recording's files turned over, at any byte: what is read is what was written, or one line says that it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from test_recording_folder import STREAM, recorded

from neuralpower import InputError, Recording
from neuralpower.recordings import layout


def contents(folder: Path) -> tuple[Any, ...]:
    """All that a recording holds, or the line of why it cannot be read, or what it says is damaged."""
    try:
        recording = Recording(folder)
        ticks = recording.ticks(STREAM)
        records = [(record.kind, record.t_ns, bytes(record.body.packed)) for record in recording.records()]
        return recording.document, ticks.tobytes(), records, tuple(recording.damaged)
    except InputError as error:
        return (str(error),)


@pytest.mark.parametrize("killed", [False, True])
def test_a_bit_turned_over_is_told(tmp_path: Path, killed: bool) -> None:
    """In segments, write-ahead logs and the document, paddings, page headers and footers too."""
    recorded(tmp_path, killed=killed, segments=2)
    sound = contents(tmp_path)
    assert len(sound) == 4 and not sound[3]
    silent = []
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.name != layout.LOCK]
    assert {path.suffix for path in files} == {".json", ".parquet", ".summary", ".wal"}
    for path in files:
        whole = path.read_bytes()
        for at in (
            range(len(whole)) if len(whole) < 1000 else [*range(0, len(whole), 37), *range(len(whole) - 60, len(whole))]
        ):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            found = contents(tmp_path)
            if len(found) == 4 and not found[3] and found != sound:
                silent.append((path.name, at))
        path.write_bytes(whole)
    assert not silent


def test_a_segment_is_a_parquet_file_to_others(tmp_path: Path) -> None:
    """The checksum behind the pages is in nobody's way."""
    recorded(tmp_path)
    (segment, *_) = layout.segments(tmp_path, "ticks")
    assert pq.ParquetFile(segment.path).read(["index"]).num_rows == 100


def test_a_document_without_a_checksum_is_read(tmp_path: Path) -> None:
    """As the first versions wrote it; one that somebody edited is not taken for it."""
    recorded(tmp_path)
    path = tmp_path / layout.DOCUMENT
    body = json.loads(path.read_text())
    del body[layout.CHECKSUM]
    path.write_text(json.dumps(body))
    assert layout.read_document(tmp_path).streams == [STREAM.hex()]
    path.write_text(json.dumps({**body, layout.CHECKSUM: "00000000"}))
    with pytest.raises(InputError, match="checksum"):
        layout.read_document(tmp_path)
