"""The recorder passes on what it received: no body is looked into, no tick is made a row, and nothing grows with the recording."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, T0_NS, engine, epoch, ticks

from neuralpower import Recording, parquet
from neuralpower.cli.analysing.info import recording_facts
from neuralpower.recordings.files import layout
from neuralpower.recordings.files.wal import Wal
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.follower import JOURNAL, TICKS
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower_wire import (
    Inference,
    Kind,
    PackedRecord,
    Record,
    TickColumns,
    batch_to_records,
    decode,
    encode,
    records_to_batch,
    tick_dtype,
    ticks_to_batch,
)
from neuralpower_wire.batch import pack

SEGMENT_TICKS, SEGMENT_INFERENCES = 4000, 400


def inferences(first: int, count: int) -> list[Record]:
    """Inferences of 60 layers, one a millisecond."""
    durations = np.full(60, 10_000)
    begin = [T0_NS + seq * 1_000_000 for seq in range(first, first + count)]
    return [
        Record(Kind.INFERENCE, t + 900_000, Inference(bytes(16), first + at, "abc", t, t + 800_000, durations))
        for at, t in enumerate(begin)
    ]


def described() -> list[Record]:
    """What explains the rest."""
    return [Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM}), engine()]


def received(frames: list[bytes]) -> Records | Ticks:
    """The message as a client hands it out."""
    batch = decode(frames)
    log = JOURNAL if frames[0] == b"inferences" else TICKS
    message = log.deliver(*log.decode(batch))
    assert isinstance(message, Records | Ticks)
    return message


def test_nothing_is_unpacked_or_made_a_row_on_its_way_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives in a frame is in the Parquet file, byte for byte; bodies that this version cannot read too."""
    strange = [PackedRecord(77, 5, b"\xc1"), PackedRecord(Kind.MARK, 6, pack({"newer": 1}))]
    sent = [*(each.packed() for each in [*described(), *inferences(0, 50)]), *strange]
    rails = [encode(ticks_to_batch(STREAM, ticks(first, 50))) for first in (100, 0, 50)]
    journal = [encode(records_to_batch(JOURNAL_STREAM, first, sent[first : first + 20])) for first in (20, 0, 40)]
    writer = Writer(tmp_path / "rec", "")
    with monkeypatch.context() as patched:
        for kind, name in ((Record, "unpack"), (TickColumns, "rows")):
            patched.setattr(kind, name, lambda *_: pytest.fail("it was opened on its way"))
        for frames in [*rails, *journal, journal[1]]:
            writer.keep(received(frames))
        writer.finish()
    table = parquet.read_table(next((tmp_path / "rec" / "journal").rglob("*.parquet")))
    assert table.column("index").to_pylist() == list(range(len(sent)))
    columns = [table.column(name).to_pylist() for name in ("kind", "t_ns", "body")]
    assert [PackedRecord(*row) for row in zip(*columns, strict=True)] == sent
    recording = Recording(tmp_path / "rec")
    assert np.array_equal(recording.ticks(), ticks(0, 150))
    assert [record.kind for record in recording.records()][-2:] == [Kind.UNKNOWN, Kind.UNKNOWN]


def test_a_log_of_two_layouts_loses_nothing(tmp_path: Path) -> None:
    """Ticks with and without the columns of a scan come together; those of another width, which no daemon sends, are kept apart."""
    scans, wide = ticks(10, 10), np.zeros(5, tick_dtype(3))
    scans["readings"]["flags"], scans["readings"]["scan"] = 2, 9
    wide["index"] = 20 + np.arange(5)
    writer = Writer(tmp_path / "rec", "")
    for made in (ticks(0, 10), scans):
        writer.keep(received(encode(ticks_to_batch(STREAM, made))))
    writer.turn_over()
    assert np.array_equal(Recording(tmp_path / "rec").ticks(), np.concatenate([ticks(0, 10), scans]))
    for made in (ticks(18, 2), wide):
        writer.keep(received(encode(ticks_to_batch(STREAM, made))))
    writer.finish()
    names = sorted(path.name for path in (tmp_path / "rec" / "ticks").rglob("*.parquet"))
    assert names == [f"{first:012d}-{last:012d}.parquet" for first, last in ((0, 19), (18, 19), (20, 24))]


def test_recordings_of_the_first_version_open(tmp_path: Path) -> None:
    """Inferences without `profiled`, and logs and segments as they were written then."""
    old = {"session": bytes(16), "seq": 0, "engine": "abc", "begin_ns": 5, "end_ns": 9}
    old_body = pack({**old, "durations_ns": np.array([1, 2], "<i8").tobytes()})
    Writer(tmp_path / "rec", "").abandon()
    records = [*(each.packed() for each in described()), PackedRecord(Kind.INFERENCE, 9, old_body)]
    batch = records_to_batch(JOURNAL_STREAM, 0, records)
    assert len(batch_to_records(decode(encode(batch)))[2]) == 3
    table = pa.table(
        {
            "index": pa.array([0, 1, 2], pa.uint64()),
            "t_ns": pa.array([each.t_ns for each in records], pa.int64()),
            "kind": pa.array([int(each.kind) for each in records], pa.uint8()),
            "body": pa.array([each.body for each in records], pa.binary()),
        }
    )
    path = layout.segment_path(tmp_path / "rec", "journal", JOURNAL_STREAM, 0, 2)
    path.parent.mkdir(parents=True)
    path.write_bytes(parquet.pack(table))
    wal = Wal(layout.wal_path(tmp_path / "rec", 1))
    wal.append(encode(records_to_batch(JOURNAL_STREAM, 3, [PackedRecord(Kind.INFERENCE, 10, old_body)])))
    wal.close()
    recording = Recording(tmp_path / "rec")
    assert [(each.index, each.durations_ns.tolist()) for each in recording.inferences()] == [(2, [1, 2]), (3, [1, 2])]
    assert list(recording.engines()) == ["abc"] and recording_facts(recording)["records"]["inference"] == 2


def write(folder: Path, segments: int) -> None:
    """A recording of so many equal segments, from messages as they come."""
    writer = Writer(folder, "")
    writer.keep(Records(JOURNAL_STREAM, 0, described()))
    for segment in range(segments):
        first = segment * SEGMENT_TICKS
        for at in range(first, first + SEGMENT_TICKS, 500):
            message = received(encode(ticks_to_batch(STREAM, ticks(at, 500))))
            assert isinstance(message, Ticks)
            writer.keep(Ticks(message.stream, message.held, epoch()))
        first = 2 + segment * SEGMENT_INFERENCES
        records = inferences(first, SEGMENT_INFERENCES)
        writer.keep(received(encode(records_to_batch(JOURNAL_STREAM, first, records))))
        writer.turn_over()
    writer.finish()


def read(folder: Path, segments: int) -> None:
    """All that `neuralpower info` says."""
    facts = recording_facts(Recording(folder))
    assert (facts["inferences"], facts["ticks_lost"]) == (segments * SEGMENT_INFERENCES, 0)
    assert facts["streams"][0]["ticks"] == segments * SEGMENT_TICKS


@pytest.mark.parametrize("what", [write, read], ids=["recorder", "info"])
def test_memory_does_not_grow_with_the_recording(tmp_path: Path, what: object) -> None:
    """Six times as long a recording takes no more to write; and to sum it up, not more than a few names for each segment."""
    peaks = {}
    for segments in (2, 2, 12):  # the first warms up what is made once
        folder = tmp_path / f"{what.__name__}{segments}{len(peaks)}"  # type: ignore[attr-defined]  # it is a function
        if what is read:
            write(folder, segments)
        tracemalloc.start()
        (write if what is write else read)(folder, segments)
        peaks[segments] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[12] < 1.3 * peaks[2] + 10 * 4096
    assert what is write or peaks[12] < SEGMENT_TICKS * 88  # what one segment takes in rows
