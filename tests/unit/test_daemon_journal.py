"""The journal keeps its promises at every byte."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_wire import Kind, Record, WireError
from neuralpowerd.errors import DaemonError
from neuralpowerd.logs.journal import HEADER_BYTES, Journal, JournalReader

BOOT = bytes(range(16))


def mark(number: int, size: int = 0) -> Record:
    """A record that says which it is."""
    return Record(Kind.MARK, number, {"name": str(number), "text": "x" * size})


def names(journal: JournalReader) -> list[int]:
    """What the journal holds, by the records' own account."""
    return [int(record.body["name"]) for record in journal.read(0, 1 << 30).records]


@given(st.lists(st.integers(0, 900), max_size=40))
@settings(max_examples=40, deadline=None)
def test_holds_the_newest_records_in_order(sizes: list[int]) -> None:
    """However the area wraps, a writer and a reader see one contiguous run that ends with the last record."""
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "j", 4096, BOOT)
        reader = JournalReader(journal.path)
        for number, size in enumerate(sizes):
            assert journal.append(mark(number, size)) == number
            reader.refresh()
            assert names(reader) == names(journal) == list(range(journal.oldest, number + 1))
        assert not sizes or journal.oldest <= len(sizes) - 1


class Recording(Journal):
    """A journal that notes each write before it makes it."""

    writes: list[tuple[int, bytes]]

    def _put(self, at: int, data: bytes) -> None:
        if hasattr(self, "writes"):
            self.writes.append((at, data))
        super()._put(at, data)


@given(st.lists(st.integers(0, 900), max_size=12), st.integers(0, 900), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_killed_at_any_byte(before: list[int], size: int, share: float) -> None:
    """A writer killed at any byte of an append leaves the log as before it or after it, with the same stream and indices."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        journal = Recording(path, 4096, BOOT)
        for number, length in enumerate(before):
            journal.append(mark(number, length))
        image, kept = bytearray(path.read_bytes()), names(journal)
        journal.writes = []
        journal.append(mark(len(before), size))
        after = names(journal)
        left = round(share * sum(len(data) for _, data in journal.writes))
        for at, data in journal.writes:
            part = data[:left]
            image[at : at + len(part)] = part
            left -= len(part)
        journal.close()
        path.write_bytes(image)
        again = Journal(path, 4096, BOOT)
        assert again.resumed and again.stream == journal.stream
        found = names(again)
        assert found == after or found == [number for number in kept if number >= again.oldest]
        assert again.next_index in (len(before), len(before) + 1)
        assert again.append(mark(again.next_index)) == again.next_index - 1
        again.close()


@given(st.integers(HEADER_BYTES, HEADER_BYTES + 2000), st.binary(min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_damage_never_goes_unnoticed(at: int, noise: bytes) -> None:
    """Bytes overwritten by others cost records, never a wrong record or a reused index."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        journal = Journal(path, 4096, BOOT)
        for number in range(20):
            journal.append(mark(number, 30))
        journal.close()
        image = bytearray(path.read_bytes())
        image[at : at + len(noise)] = noise
        path.write_bytes(image)
        again = Journal(path, 4096, BOOT)
        assert names(again) in ([], list(range(again.oldest, 20)))
        assert again.next_index == 20


def test_a_lapped_reader_learns_its_loss(tmp_path: Path) -> None:
    """A reader that asks for overwritten records is told how many it lost and gets those that are left."""
    journal = Journal(tmp_path / "j", 4096, BOOT)
    for number in range(100):
        journal.append(mark(number, 100))
    entries = journal.read(10, 1000)
    assert entries.lost == journal.oldest - 10 > 0
    assert entries.first == journal.oldest and len(entries.records) == 100 - journal.oldest


def test_replies_are_bounded(tmp_path: Path) -> None:
    """A read ends at the count or the bytes asked for, but gives at least one record."""
    journal = Journal(tmp_path / "j", 65536, BOOT)
    for number in range(10):
        journal.append(mark(number, 1000))
    assert len(journal.read(0, 3).records) == 3
    assert len(journal.read(0, 10, 2500).records) == 2
    assert len(journal.read(0, 10, 1).records) == 1
    assert journal.read(50, 5).records == []


def test_an_unknown_record_hides_nothing(tmp_path: Path) -> None:
    """A kind of a newer version, or a body that cannot be read, is UNKNOWN in its place: those behind it are read."""
    journal = Journal(tmp_path / "j", 4096, BOOT)
    journal.append(mark(0))
    for kind, packed in ((8, b"\x80"), (int(Kind.MARK), b"\xc1")):
        journal.append(Record(Kind.UNKNOWN, 1, {"kind": kind, "packed": packed}))
    journal.append(mark(3))
    found = journal.read(0, 10)
    assert [record.kind for record in found.records] == [Kind.MARK, Kind.UNKNOWN, Kind.UNKNOWN, Kind.MARK]
    assert found.lost == 0 and found.records[3].body["name"] == "3"
    assert [record.packed().kind for record in found.records] == [Kind.MARK, 8, Kind.MARK, Kind.MARK]


def test_another_boot_or_size_is_another_stream(tmp_path: Path) -> None:
    """Times of another boot mean nothing, so a new stream begins and names the old; a reader of the old file is not harmed."""
    first = Journal(tmp_path / "j", 4096, BOOT)
    first.append(mark(0))
    reader = JournalReader(first.path)
    first.close()
    second = Journal(tmp_path / "j", 4096, bytes(16))
    assert not second.resumed and second.previous == first.stream != second.stream and second.next_index == 0
    assert names(reader) == [0]
    second.close()
    assert Journal(tmp_path / "j", 8192, bytes(16)).previous == second.stream


def test_one_writer_and_a_record_that_fits(tmp_path: Path) -> None:
    """A second writer and a record over half the area are refused in one line."""
    journal = Journal(tmp_path / "j", 4096, BOOT)
    with pytest.raises(DaemonError, match="already written by another process"):
        Journal(tmp_path / "j", 4096, BOOT)
    with pytest.raises(WireError, match="does not fit"):
        journal.append(mark(0, 3000))
    with pytest.raises(DaemonError, match="not a journal"):
        (tmp_path / "k").write_bytes(bytes(8192))
        JournalReader(tmp_path / "k")


@pytest.mark.parametrize("fails", ["mmap", "posix_fallocate", "replace"])
def test_what_cannot_be_made_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """No memory or no room: one line, no descriptor and no lock left, so that the next try may succeed."""

    def no(*_: object, **__: object) -> None:
        raise OSError(28, "no space left on device")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(*{"mmap": (mmap, "mmap"), "posix_fallocate": (os, fails), "replace": (Path, fails)}[fails], no)
        with pytest.raises(DaemonError, match="no space left on device"):
            Journal(tmp_path / "j", 4096, BOOT)
    assert len(os.listdir("/proc/self/fd")) == before and not (tmp_path / "j.new").exists()
    Journal(tmp_path / "j", 4096, BOOT).close()
