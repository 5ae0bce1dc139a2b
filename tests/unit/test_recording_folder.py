"""Recordings on disk: written, killed, damaged, read back."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower import InputError, Recording
from neuralpower.cli.analysing.info import recording_facts
from neuralpower.recordings.files import layout
from neuralpower.recordings.files.segments import ticks_to_table, to_parquet
from neuralpower.recordings.statistics import TickSummary
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Found, Records, Ticks
from neuralpower_wire import Channel, Epoch, Kind, ReadingState, Record, tick_dtype
from neuralpower_wire.files import replace_file

STREAM, OTHER, JOURNAL = b"T" * 16, b"U" * 16, b"J" * 16
PERIOD_NS = 1_000_000


def epoch(number: int = 1, t0_ns: int = 0, simulated: bool = False) -> Epoch:
    """One rail of a chip that gives voltage and current."""
    channels = (Channel("VDD_IN", "bus_uv", "ina", 1), Channel("VDD_IN", "current_ua", "ina", 1))
    return Epoch(number, 0, PERIOD_NS, t0_ns, "hwmon", simulated, "nano", channels, totals=("VDD_IN",))


def ticks(first: int, count: int, number: int = 1, readings: int = 2) -> Any:
    """Ticks whose slot is their index, 5 V and 2 A, 30 µs late."""
    made = np.zeros(count, tick_dtype(readings))
    made["index"] = first + np.arange(count)
    made["commit"], made["slot"], made["epoch"], made["n"] = made["index"] + 1, made["index"], number, readings
    made["t_ns"] = made["slot"].astype(np.int64) * PERIOD_NS + 30_000
    made["readings"]["value"], made["readings"]["state"] = [5_000_000, 2_000_000][:readings], ReadingState.FRESH
    return made


def record_of(kind: Kind, body: dict[str, Any], t_ns: int = 5) -> Record:
    """A record of the journal."""
    return Record(kind, t_ns, body)


def journal(simulated: bool = False) -> list[Record]:
    """An epoch, a clock map, a mark."""
    clock = {"monotonic_ns": 1, "boottime_ns": 2, "realtime_ns": 3, "bracket_ns": 4}
    return [
        record_of(Kind.EPOCH, {**epoch(simulated=simulated).to_dict(), "stream": STREAM}),
        record_of(Kind.CLOCK, clock),
        record_of(Kind.MARK, {"name": "m", "text": ""}),
    ]


def recorded(folder: Path, killed: bool = False, segments: int = 2) -> Writer:
    """A recording of `segments` segments of 100 ticks and three journal records; `killed` leaves the last in its log."""
    writer = Writer(folder, "ipc:///run/neuralpower")
    writer.keep(Records(JOURNAL, 0, journal()))
    for number in range(segments):
        writer.keep(Ticks(STREAM, ticks(100 * number, 100), epoch()))
        if number < segments - 1:
            writer.turn_over()
    writer.abandon() if killed else writer.finish()
    return writer


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_written_is_read(tmp_path: Path, killed: bool) -> None:
    """Segments and write-ahead log together give all ticks, records, epochs and power back."""
    recorded(tmp_path / "rec", killed)
    recording = Recording(tmp_path / "rec")
    assert recording.streams == [STREAM]
    assert recording.ticks().dtype == tick_dtype(2)
    assert np.array_equal(recording.ticks(), ticks(0, 200))
    assert [record.kind for record in recording.records()] == [Kind.EPOCH, Kind.CLOCK, Kind.MARK]
    assert recording.clock_maps().tolist() == [[1, 2, 3, 4]]
    assert recording.epochs() == [epoch()]
    assert recording.rail_power_w()["VDD_IN"] == pytest.approx(10.0)
    assert recording.total_power_w() == pytest.approx(10.0)
    assert recording.duration_s == pytest.approx(0.199)
    assert not recording.simulated
    assert recording.arrow_ticks().num_rows == 200
    statistics = recording.tick_statistics()
    assert (statistics.ticks, statistics.missed_slots, statistics.lost) == (200, 0, 0)
    assert statistics.rate_hz == pytest.approx(1000.0)
    assert statistics.lateness_p99_us == pytest.approx(30.0)
    assert statistics.states == {"unknown": 0, "fresh": 400, "repeated": 0, "missing": 0}


def test_a_killed_recorder_goes_on(tmp_path: Path) -> None:
    """Opening again turns the log into segments, cuts a torn tail with one line, and resumes after the last tick."""
    recorded(tmp_path / "rec", killed=True)
    (_, wal), *_ = layout.wals(tmp_path / "rec")
    wal.write_bytes(wal.read_bytes() + b"torn")
    notices: list[str] = []
    writer = Writer(tmp_path / "rec", "ipc:///run/neuralpower", notices.append)
    assert len(notices) == 1 and "cut 4 bytes of a half-written end" in notices[0]
    assert writer.resume() == {"ticks": {STREAM: 200}, "journal": {JOURNAL: 3}}
    writer.keep(Ticks(STREAM, ticks(200, 50), epoch()))
    writer.finish()
    assert len(Recording(tmp_path / "rec").ticks()) == 250


def test_a_kill_between_segment_and_log_changes_nothing(tmp_path: Path) -> None:
    """Ticks that are in a segment and still in the write-ahead log come once."""
    recorded(tmp_path / "rec", killed=True, segments=1)
    (_, wal), *_ = layout.wals(tmp_path / "rec")
    whole = wal.read_bytes()
    Writer(tmp_path / "rec", "").finish()
    wal.write_bytes(whole)
    (layout.segments(tmp_path / "rec", "ticks")[0].path.parent / "half.parquet.tmp").write_bytes(b"PAR1")
    assert np.array_equal(Recording(tmp_path / "rec").ticks(), ticks(0, 100))
    Writer(tmp_path / "rec", "").finish()
    assert np.array_equal(Recording(tmp_path / "rec").ticks(), ticks(0, 100))
    assert not list((tmp_path / "rec").rglob("*.tmp"))


@pytest.mark.parametrize("size", [0, 3, 200])
def test_a_truncated_segment_is_named_and_can_be_skipped(tmp_path: Path, size: int) -> None:
    """One line names the damaged file; with skip_damaged the other segments are read and the hole is counted."""
    recorded(tmp_path / "rec", segments=3)
    broken = layout.segments(tmp_path / "rec", "ticks")[1].path
    whole = broken.read_bytes()
    broken.write_bytes(whole[:size])
    with pytest.raises(InputError, match=f"{broken.name}.*truncated or corrupt.*--skip-damaged") as caught:
        Recording(tmp_path / "rec").ticks()
    assert "\n" not in str(caught.value)
    recording = Recording(tmp_path / "rec", skip_damaged=True)
    assert recording.ticks()["index"].tolist() == [*range(100), *range(200, 300)]
    assert recording.losses().holes == {("ticks", STREAM): [range(100, 200)]}
    assert len(recording.damaged) == 1 and broken.name in recording.damaged[0]


def test_a_segment_without_its_last_byte_is_read_by_its_summary(tmp_path: Path) -> None:
    """Its row groups are whole, and a copy of the footer lies in the summary: nothing is lost, and two lines tell."""
    recorded(tmp_path / "rec", segments=3)
    broken = layout.segments(tmp_path / "rec", "ticks")[1].path
    broken.write_bytes(broken.read_bytes()[:-1])
    recording = Recording(tmp_path / "rec", skip_damaged=True)
    assert np.array_equal(recording.ticks(), ticks(0, 300)) and not recording.losses().holes
    assert [broken.name in line for line in recording.damaged] == [True, True]


def test_another_parquet_file_is_no_segment(tmp_path: Path) -> None:
    """A sound Parquet file of other columns is refused like a damaged one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    recorded(tmp_path / "rec")
    for log, reading in (("ticks", Recording.ticks), ("journal", Recording.records)):
        path = layout.segments(tmp_path / "rec", log)[0].path
        pq.write_table(pa.table({"x": [1]}), path)
        with pytest.raises(InputError, match=path.name):
            reading(Recording(tmp_path / "rec"))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (None, "not a recording"),
        ("{", "not the document"),
        ("[]", "not the document"),
        ('{"version": 1}', "not the doc"),
    ],
)
def test_a_folder_that_is_no_recording_is_refused(tmp_path: Path, document: str | None, reason: str) -> None:
    """One line says what is missing or wrong; a recorder does not write into it either."""
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / ("notes.txt" if document is None else layout.DOCUMENT)).write_text(document or "mine")
    with pytest.raises(InputError, match=reason):
        Recording(folder)
    with pytest.raises(InputError, match="notes.txt" if document is None else reason):
        Writer(folder, "")


def test_a_newer_format_is_refused_by_version(tmp_path: Path) -> None:
    """A recording of a later format names both versions."""
    recorded(tmp_path / "rec")
    path = tmp_path / "rec" / layout.DOCUMENT
    body = {**json.loads(path.read_text()), "version": 9}
    del body[layout.CHECKSUM]
    path.write_text(
        json.dumps({**body, layout.CHECKSUM: f"{zlib.crc32(json.dumps(body, sort_keys=True).encode()):08x}"})
    )
    with pytest.raises(InputError, match="format version 9; this neuralpower reads version 1"):
        Recording(tmp_path / "rec")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """The line says that there is no such folder."""
    with pytest.raises(InputError, match="no such folder"):
        Recording(tmp_path / "none")


def test_streams_are_never_joined(tmp_path: Path) -> None:
    """After a reboot there are two streams with clocks of their own: one must be named."""
    writer = Writer(tmp_path / "rec", "")
    writer.keep(Ticks(OTHER, ticks(0, 10, readings=1), epoch()))
    writer.keep(Ticks(STREAM, ticks(0, 20), epoch()))
    writer.finish()
    recording = Recording(tmp_path / "rec")
    assert recording.streams == [OTHER, STREAM]
    with pytest.raises(InputError, match="2 tick streams"):
        recording.ticks()
    assert (len(recording.ticks(OTHER)), len(recording.ticks(STREAM))) == (10, 20)


def test_what_was_asked_for_is_kept_apart(tmp_path: Path) -> None:
    """Epochs and engines that the journal did not bring are read from the facts."""
    body = {"hash": "e1", "name": "n", "inspector": {}, "layers": ["l"], "simulated": True}
    writer = Writer(tmp_path / "rec", "")
    writer.keep(Found(Record(Kind.EPOCH, 0, {**epoch().to_dict(), "stream": STREAM})))
    writer.keep(Found(Record(Kind.ENGINE, 0, body)))
    writer.keep(Ticks(STREAM, ticks(0, 10), epoch()))
    writer.finish()
    recording = Recording(tmp_path / "rec")
    assert recording.epochs() == [epoch()]
    assert recording.engines() == {"e1": body}
    assert recording.records() == []
    assert recording.simulated


def test_an_empty_recording_is_readable(tmp_path: Path) -> None:
    """A recorder that never met a daemon leaves a recording with nothing in it."""
    Writer(tmp_path / "rec", "").finish()
    recording = Recording(tmp_path / "rec")
    assert (len(recording.ticks()), recording.inferences(), recording.duration_s) == (0, [], 0.0)
    assert recording.tick_statistics().ticks == 0


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5), st.booleans()), min_size=1, max_size=8), st.data())
def test_missed_slots_are_exact_whatever_was_lost(runs: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    """Slots skipped on a grid count, over restarts on that grid too; a new grid and lost ticks add nothing."""
    slots, numbers, epochs, slot, skipped, grid = list[int](), list[int](), list[Epoch](), 0, 0, 0
    for number, (count, skip, same_grid) in enumerate(runs):
        if number and same_grid:
            skipped += skip
        elif number:
            grid += 1
            slot = data.draw(st.integers(0, 1000))
        slot += skip
        epochs.append(epoch(number, t0_ns=grid * 12345))
        slots += range(slot, slot + count)
        numbers += [number] * count
        slot += count
    made = ticks(0, len(slots))
    made["slot"], made["epoch"] = slots, numbers
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(slots), max_size=len(slots))))
    edges = np.flatnonzero(np.diff(made["epoch"])) + 1
    keep[[0, -1, *edges, *(edges - 1)]] = (
        True  # each epoch keeps its ends: only what lies between held ticks is knowable
    )
    summary, cut = TickSummary(epochs), data.draw(st.integers(0, int(keep.sum())))
    for part in (made[keep][:cut], made[keep][cut:]):
        summary.take(part)
    assert (summary.statistics().missed_slots, summary.statistics().lost) == (skipped, int((~keep).sum()))


@pytest.mark.parametrize("hidden", ["ticks", "journal", "wal"])
def test_a_folder_that_may_not_be_read_is_not_taken_for_empty(
    tmp_path: Path, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording with forbidden parts is refused; as an empty one it would seem to have lost everything."""
    recorded(tmp_path, killed=True)
    listed = os.listdir

    def refuse(path: Path) -> Any:
        if Path(path).name == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(InputError, match=f"{hidden}: cannot be read: Permission denied"):
        recording = Recording(tmp_path)
        recording.ticks()
        recording.inferences()


def test_a_document_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the file and the reason."""
    recorded(tmp_path)

    def refuse(path: Path, *_: Any, **__: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match=r"recording.json: cannot be read: Permission denied"):
        Recording(tmp_path)


def test_a_damaged_log_can_be_skipped_like_a_damaged_segment(tmp_path: Path) -> None:
    """A write-ahead log of random bytes is named, and with skip_damaged all the rest is read."""
    recorded(tmp_path)
    (tmp_path / "wal" / "000009.wal").write_bytes(b"?" * 100)
    with pytest.raises(InputError, match=r"000009\.wal"):
        Recording(tmp_path).ticks()
    recording = Recording(tmp_path, skip_damaged=True)
    assert len(recording.ticks()) == 200
    assert "000009.wal" in recording.damaged[0]


def test_ticks_are_no_facts(tmp_path: Path) -> None:
    """A log of ticks where engines and epochs are kept is named, and can be read past."""
    recorded(tmp_path, killed=True)
    (tmp_path / "wal" / "000002.wal").rename(tmp_path / "facts.wal")
    with pytest.raises(InputError, match=r"facts\.wal: ticks, where engines and epochs are kept"):
        Recording(tmp_path).epochs()
    recording = Recording(tmp_path, skip_damaged=True)
    assert recording.epochs() == [epoch()] and "facts.wal" in recording.damaged[0]


def test_indices_of_a_damaged_file_are_counted(tmp_path: Path) -> None:
    """A hole may be longer than Python's `len` can say."""
    recorded(tmp_path)
    far, last = ticks(0, 1), (1 << 64) - 1
    far["index"] = last
    replace_file(layout.segment_path(tmp_path, "ticks", STREAM, 200, last), to_parquet(ticks_to_table(far), {}))
    facts = recording_facts(Recording(tmp_path))
    assert facts["ticks_lost"] == facts["losses"][0]["count"] == last - 200
    assert facts["streams"][0]["lost"] == facts["ticks_lost"]
