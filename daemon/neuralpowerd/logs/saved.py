"""The flight recorder's folder: incidents as files of both logs, whole or not there, the oldest first out."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neuralpower_sampler import RingReader, SamplerError
from neuralpower_wire import (
    Batch,
    Engine,
    Epoch,
    EpochBegun,
    Kind,
    PackedRecord,
    PackedRecords,
    Record,
    Ticks,
    WireError,
    by_epoch,
    decode,
    encode,
    records_to_batch,
    ticks_to_frames,
)
from neuralpower_wire.batch import unpack
from neuralpower_wire.files import LEFT, replacing
from neuralpower_wire.history import MAX_RECORDS, MAX_REPLY, MAX_TICKS
from neuralpower_wire.saved import END, FOUND, MAGIC, MOST_CHUNK, SAVED, pack_entry, unpack_entries

from ..errors import ConfigError, DaemonError
from .journal import JournalReader

SUFFIX = ".saved"
_NAME = re.compile(r"\d{8}T\d{6}Z-\d{1,20}\.saved")
MOST_FILES = 256
"""However small they are: the list of them is one answer."""
_HEAD_BYTES = 64 * 1024
"""Of a file: the first entry, which has what the list tells, is some hundred, and with reasons of the longest words 15 kB."""
NOWHERE = bytes(16)
"""The stream of records that are no run of a log."""


@dataclass(frozen=True)
class SavedFile:
    """One file: its name, its bytes, and what its first entry says."""

    name: str
    bytes: int
    told: dict[str, Any]


class SavedFolder:
    """Holds at most `most_bytes` of files, the one that is written included. Safe between the loop's thread and the one that saves.

    Raises:
        ConfigError: the folder cannot be made, or is not this daemon's own.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            raise ConfigError(
                f"{folder}: {error.strerror}", "name a folder that this user can make", key="recorder.folder"
            ) from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigError(
                f"{folder}: not a folder that is this user's and that nobody else may write",
                "name another",
                key="recorder.folder",
            )
        for left in folder.glob(LEFT):
            left.unlink()
        names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))
        self._files = {each.name: each for name in names if (each := self._known(name))}
        self.drop_for(0)

    def _known(self, name: str) -> SavedFile | None:
        """What a file of this folder says of itself, nothing where it is damaged; None where it is no file, which is left alone."""
        try:
            with self._open(name) as file:
                size, head = os.fstat(file.fileno()).st_size, file.read(_HEAD_BYTES)
        except OSError:
            return None
        try:
            return SavedFile(name, size, decode(next(unpack_entries(_first_entry(head)))).header)
        except (WireError, StopIteration):
            return SavedFile(name, size, {})  # it takes room, and goes when its turn comes

    def _open(self, name: str) -> BinaryIO:
        descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{name}: no file")
        return open(descriptor, "rb")

    @property
    def files(self) -> list[SavedFile]:
        """The oldest first."""
        with self._lock:
            return list(self._files.values())

    def read(self, name: str, first: int, count: int) -> tuple[int, bytes]:
        """The size of a file, and up to `count` of its bytes from `first` on; WireError where there is no such file (any more).

        A name is looked up among the files that are there, and leads nowhere else.
        """
        with self._lock:
            known = self._files.get(name)
        if known is None:
            raise WireError(f"no file {name[:64]!r} is saved here (any more)")
        try:
            with self._open(known.name) as file:
                file.seek(min(first, known.bytes))
                return known.bytes, file.read(min(count, MOST_CHUNK))
        except OSError as error:
            raise WireError(f"{known.name}: {error.strerror}") from None

    def drop_for(self, size: int) -> bool:
        """Remove the oldest until `size` bytes more fit; False where they never will."""
        with self._lock:
            while self._files and (
                sum(each.bytes for each in self._files.values()) + size > self.most_bytes
                or len(self._files) >= MOST_FILES
            ):
                oldest = next(iter(self._files))
                del self._files[oldest]
                with suppress(FileNotFoundError):
                    (self.folder / oldest).unlink()
        return size <= self.most_bytes

    def save(self, name: str, told: dict[str, Any], messages: Iterator[list[bytes]]) -> SavedFile:
        """Write a file of these messages behind what it says of itself: aside, synced, renamed. One that would not fit ends early.

        Raises OSError; nothing is left then.
        """
        head = {**told, "first": 0, "count": 0}
        with replacing(self.folder / name, 0o600) as file:
            file.write(MAGIC + pack_entry(encode(Batch(SAVED, head, {}))))
            size, written, whole = file.tell(), 0, True
            last = pack_entry(encode(Batch(END, {"first": 0, "count": 2**31, "whole": True}, {})))
            for frames in messages:
                entry = pack_entry(frames)
                if not self.drop_for(size + len(entry) + len(last)):
                    whole = False
                    break
                file.write(entry)
                size, written = size + len(entry), written + 1
            end = pack_entry(encode(Batch(END, {"first": 0, "count": written, "whole": whole}, {})))
            self.drop_for(size + len(end))
            file.write(end)
            size = file.tell()
        made = SavedFile(name, size, head)
        with self._lock:
            self._files[name] = made
        return made


def _first_entry(data: bytes) -> bytes:
    """As much of a file's begin as is its first entry."""
    size = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    return data[: len(MAGIC) + 8 + size]


def incident(runtime: Path, begin_ns: int, end_ns: int) -> Iterator[list[bytes]]:
    """The messages of what both logs hold of a stretch of time: epochs and engines that explain it, records, ticks.

    It reads by readers of its own, beside the daemon and its writers.

    Raises:
        OSError, DaemonError, SamplerError: a log cannot be read.
    """
    with RingReader(runtime / "ticks.ring") as ring:
        journal = JournalReader(runtime / "journal.ring")
        try:
            yield from _records(
                journal, [_epoch(ring.stream, document) for _, _, document in ring.epochs()], begin_ns, end_ns
            )
            yield from _ticks(ring, begin_ns, end_ns)
        finally:
            journal.close()


def _epoch(stream: bytes, document: bytes) -> PackedRecord:
    """An epoch of the ring as the journal has it."""
    return Record(Kind.EPOCH, 0, EpochBegun(stream, Epoch.from_dict(unpack(document)))).packed()


def _records(
    journal: JournalReader, found: Sequence[PackedRecord], begin_ns: int, end_ns: int
) -> Iterator[list[bytes]]:
    engines: dict[str, PackedRecord] = {}
    used: set[str] = set()
    for first, records in _portions(journal):
        for at in np.flatnonzero(records.kind == Kind.ENGINE).tolist():
            record = records[at]
            if isinstance(record.body, Engine):
                engines[record.body.hash] = records.packed(at)
        inside = np.flatnonzero((records.t_ns >= begin_ns) & (records.t_ns < end_ns))
        if len(inside):
            used |= set(records.engines(inside))
            run = records[int(inside[0]) : int(inside[-1]) + 1]
            yield encode(records_to_batch(journal.stream, first + int(inside[0]), run))
    explaining = [*found, *(engines[engine] for engine in sorted(used) if engine in engines)]
    for each in explaining:
        yield [FOUND, *encode(records_to_batch(NOWHERE, 0, [each]))[1:]]


def _portions(journal: JournalReader) -> Iterator[tuple[int, PackedRecords]]:
    """All that a journal holds, in portions: the first index, and the records."""
    first = journal.oldest
    while True:
        got = journal.read_packed(first, MAX_RECORDS, MAX_REPLY)
        if not got.records:
            return
        yield got.first, PackedRecords.of(got.records)
        first = got.first + len(got.records)


def _ticks(ring: RingReader, begin_ns: int, end_ns: int) -> Iterator[list[bytes]]:
    following = _first_since(ring, begin_ns)
    while True:
        got = ring.read(following, MAX_TICKS)
        if not len(got.ticks):
            return
        inside: Ticks = got.ticks[(got.ticks["t_ns"] >= begin_ns) & (got.ticks["t_ns"] < end_ns)]
        for run in by_epoch(inside):
            yield ticks_to_frames(ring.stream, run)
        if got.ticks["t_ns"][-1] >= end_ns:
            return
        following = got.first + len(got.ticks)


def _first_since(ring: RingReader, t_ns: int) -> int:
    """The index of the first tick that the ring holds of this time or later: times rise with the index."""
    low, high = ring.oldest, ring.next_index
    while low < high:
        middle = (low + high) // 2
        got = ring.read(middle, 1)
        if len(got.ticks) and got.ticks["t_ns"][0] < t_ns:
            low = middle + 1
        else:
            high = middle
    return low


FAULTS = (OSError, WireError, SamplerError, DaemonError)
"""What may go wrong when logs are read and a file is written."""
