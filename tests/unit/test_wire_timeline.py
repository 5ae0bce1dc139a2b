"""The power timeline: written ahead of time, read by index and checksum."""

from __future__ import annotations

import mmap
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from neuralpower_wire import Timeline, TimelineWriter, WireError, close_if_abandoned, create_timeline
from neuralpower_wire.timeline import CAPACITY, FILE_BYTES, HEADER_BYTES, RECORD, checksum, make_records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed timeline of two rails."""
    create_timeline(tmp_path / "timeline", ["VDD_IN", "VDD_SOC"], [1000, 200])
    return tmp_path / "timeline"


def is_open(path: Path) -> bool:
    """Whether the file says that a writer is ahead of the time."""
    with closing(Timeline(path)) as timeline:
        return timeline.open


def test_a_new_timeline_idles(path: Path) -> None:
    """Rails and idle power are in the header; there is no record and no writer."""
    with closing(Timeline(path)) as timeline:
        assert (timeline.rails, timeline.idle_uw) == (["VDD_IN", "VDD_SOC"], [1000, 200])
        assert (timeline.count, timeline.open, timeline.latest()) == (0, False, None)
    assert path.stat().st_size == FILE_BYTES == HEADER_BYTES + CAPACITY * 96


def test_the_checksum_is_fnv_1a_over_the_words_before_it() -> None:
    """The definition of docs/wire.md, word by word in plain Python."""
    record = make_records(7, [10], [20], [[3, 4]])
    value = 0xCBF29CE484222325
    for word in record.view("<u8")[:11].tolist():
        value = ((value ^ word) * 0x100000001B3) % 2**64
    assert int(record["check"][0]) == value == int(checksum(record)[0])


def test_records_go_round_the_file_and_stay_valid(path: Path) -> None:
    """After more records than the file holds, each slot has its newest record with a good checksum."""
    writer = TimelineWriter(path)
    for batch in range(5):
        start = 100 + 2 * (np.arange(CAPACITY // 2) + batch * (CAPACITY // 2))
        writer.append(start, start + 2, np.ones((len(start), 2), int))
    assert writer.open
    raw = np.frombuffer(path.read_bytes(), RECORD, offset=HEADER_BYTES)
    assert np.array_equal(raw["check"], checksum(raw))
    assert sorted(raw["index"].tolist()) == list(range(3 * CAPACITY // 2, 5 * CAPACITY // 2))
    writer.close()
    assert not is_open(path)


@pytest.mark.parametrize(
    ("start", "end", "power", "message"),
    [
        ([10], [10], [[1]], "follow one another"),
        ([10, 15], [20, 30], [[1], [1]], "follow one another"),
        ([10], [20], [[-1]], "not negative"),
        ([10], [20], [[1] * 9], "rails"),
        ([5], [9], [[1]], "do not follow"),
    ],
)
def test_a_record_that_cannot_be_is_refused(path: Path, start: list, end: list, power: list, message: str) -> None:
    """Records follow one another, and power is not negative."""
    with closing(TimelineWriter(path)) as writer:
        writer.append([6], [9], [[1, 1]])
        with pytest.raises(WireError, match=message):
            writer.append(start, end, power)
        assert writer.count == 1


def test_there_is_one_writer(path: Path) -> None:
    """A second virtual device is refused in one line."""
    writer = TimelineWriter(path)
    with pytest.raises(WireError, match="another virtual device"):
        TimelineWriter(path)
    writer.close()
    TimelineWriter(path).close()


def test_the_timeline_of_a_dead_writer_is_closed(path: Path) -> None:
    """A timeline that says open without a writer is closed once, one with a writer is left alone."""
    writer = TimelineWriter(path)
    writer.append([6], [9], [[1, 1]])
    assert not close_if_abandoned(path)
    Timeline.close(writer)
    assert is_open(path)
    assert close_if_abandoned(path)
    assert not close_if_abandoned(path)
    assert not is_open(path)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\0" * FILE_BYTES])
def test_what_is_no_timeline_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty, short or foreign file gives one clear line."""
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(WireError, match="not a power timeline"):
        Timeline(tmp_path / "t")
    with pytest.raises(WireError, match="source sim"):
        Timeline(tmp_path / "missing")


def test_a_rail_whose_name_does_not_fit_is_refused(tmp_path: Path) -> None:
    """A name is never cut short, perhaps in the middle of a letter."""
    with pytest.raises(WireError, match="at most 32 bytes"):
        create_timeline(tmp_path / "timeline", ["é" * 17], [0])


def test_a_file_that_cannot_be_mapped_is_not_left_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory for the map: one line, and no descriptor left."""

    def no(*_: object, **__: object) -> None:
        raise OSError(12, "cannot allocate memory")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(mmap, "mmap", no)
    with pytest.raises(WireError, match="cannot be mapped"):
        Timeline(path)
    assert len(os.listdir("/proc/self/fd")) == before
