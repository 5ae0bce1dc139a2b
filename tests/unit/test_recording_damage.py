"""One bit of a recording's files turned over, at any byte: what is read is what was written, or one line says that it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_recording_folder import STREAM, recorded, ticks

from neuralpower import InputError, Recording
from neuralpower.cli import main
from neuralpower.recordings.files import layout, segments, summaries
from neuralpower.recordings.verifying import repair, verify
from neuralpower.recordings.writer import Writer


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


def read_past(folder: Path) -> tuple[set[int], set[tuple[int, int, bytes]], list[str]]:
    """Indices of the ticks, the records, and what is said to be damaged, reading past all damage; ticks must be as they were made."""
    recording = Recording(folder, skip_damaged=True)
    rows = recording.ticks(STREAM)
    assert not len(rows) or np.array_equal(rows, ticks(0, 200)[rows["index"].astype(int)])
    records = {(int(record.kind), record.t_ns, bytes(record.body.packed)) for record in recording.records()}
    return set(rows["index"].tolist()), records, recording.damaged


def flips(path: Path, whole: bytes) -> Iterator[int]:
    """Bytes all over a file, each flipped when it is given; a step that is prime to eight meets every bit of a byte."""
    step = max(len(whole) // 24, 1) | 1
    for at in [*range(0, len(whole), step), *range(max(len(whole) - 10, 0), len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        yield at


@pytest.mark.parametrize("killed", [False, True])
def test_a_bit_costs_the_frame_it_lies_in(tmp_path: Path, killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group of a segment, a message of a log, and nothing of anything else; `verify` finds it, and what is lost is told."""
    monkeypatch.setattr(segments, "GROUP_ROWS", 25)
    recorded(tmp_path, killed=killed, segments=2)
    every = read_past(tmp_path)
    assert every[0] == set(range(200)) and len(every[1]) == 3 and not every[2] and not verify(tmp_path)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.name != layout.LOCK]
    for path in files:
        whole, most = path.read_bytes(), 0
        for at in flips(path, whole):
            held, records, told = read_past(tmp_path)
            lost = len(every[0] - held) + len(every[1] - records)
            most = max(most, lost)
            findings = verify(tmp_path)
            assert findings and all(each.path == path for each in findings), (path, at)
            assert (not lost or told) and (not lost or findings[0].lost), (path, at)
            assert path.suffix not in (".json", ".summary") or not lost, (path, at)
        path.write_bytes(whole)
        assert most <= {".parquet": 25, ".wal": 100}.get(path.suffix, 0) or path.parent.parent.name == "journal"


def test_repair_leaves_all_that_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of damage at once: what could be read before is read without --skip-damaged, and the files as they were are kept."""
    monkeypatch.setattr(segments, "GROUP_ROWS", 25)
    recorded(tmp_path, killed=True, segments=3)
    (tmp_path / "ticks" / "half.parquet.12345678.tmp").write_bytes(b"PAR1")
    (_, log), *_ = layout.wals(tmp_path)
    first, second = (each.path for each in layout.segments(tmp_path, "ticks"))
    damage = [
        (first, 100),
        (tmp_path / layout.DOCUMENT, 5),
        (summaries.path_of(second), 50),
        (log, log.stat().st_size - 9),
    ]
    for path, at in damage:
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    before = Recording(tmp_path, skip_damaged=True).ticks(STREAM)
    assert before["index"].tolist() == [*range(25, 200)]
    found = repair(tmp_path)
    assert {each.path for each in found} >= {path for path, _ in damage} and len(found) == 5
    assert not verify(tmp_path) and not layout.wals(tmp_path)
    after = Recording(tmp_path)
    assert np.array_equal(after.ticks(STREAM), before) and len(after.records()) == 3 and not after.damaged
    assert after.document.streams == [STREAM.hex()]
    kept = {path.name for path in (tmp_path / "damaged").rglob("*") if path.is_file()}
    assert kept == {first.name, layout.DOCUMENT, log.name}
    assert repair(tmp_path) == []
    Writer(tmp_path, "").finish()


def test_an_old_recording_gets_summaries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As earlier versions wrote it: read as it is, and mended without loss."""
    recorded(tmp_path, segments=2)
    whole = Recording(tmp_path).ticks().tobytes()
    for path in tmp_path.rglob(f"*{summaries.SUFFIX}"):
        path.unlink()
    assert Recording(tmp_path).ticks().tobytes() == whole and Recording(tmp_path).tick_statistics().ticks == 200
    assert main(["info", str(tmp_path), "--verify"]) == 1
    assert "no loss" in capsys.readouterr().out
    assert main(["info", str(tmp_path), "--repair"]) == 0
    assert main(["info", str(tmp_path), "--verify", "--json"]) == 0
    assert main(["info", str(tmp_path / layout.DOCUMENT), "--verify"]) == 2


def test_a_recorder_at_work_is_not_disturbed(tmp_path: Path) -> None:
    """Repair asks for the same lock."""
    writer = Writer(tmp_path, "")
    with pytest.raises(InputError, match="another recorder"):
        repair(tmp_path)
    writer.finish()


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
