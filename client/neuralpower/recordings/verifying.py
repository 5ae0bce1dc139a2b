"""Every byte of a recording read and held against its checksums; and what is damaged mended as far as it can be.

Mending loses nothing that can still be read, and removes nothing that was damaged: the files as they were go into the folder `damaged`.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower_wire import WireError
from neuralpower_wire.files import LEFT, sync_folder

from .. import __version__
from ..errors import DamagedFile, InputError
from .devices.comparisons import path_of
from .files import (
    compaction,
    layout,
    segments,
    summaries,
)
from .files.entries import columns_of
from .files.layout import Segment
from .files.wal import Content, Wal, read
from .recording import Recording
from .writer import take_lock

ASIDE = "damaged"
"""Folder for files as they were before they were mended."""


@dataclass(frozen=True)
class Damage:
    """Something that is not as a recorder leaves it. `lost`: entries are gone; where not, it can be made of the rest without loss."""

    path: Path
    what: str
    lost: bool


def verify(folder: Path) -> list[Damage]:
    """Everything in a recording's folder that is damaged, missing or left over; nothing is changed. InputError where it is no recording."""
    document = _document(folder)
    return [*document, *_logs(folder), *(each for one in _segments(folder) for each in _segment(one)), *_strays(folder)]


def repair(folder: Path) -> list[Damage]:
    """Mend what :func:`verify` finds, and give what it found. A recorder may not be at work.

    Sound row groups of a damaged segment become a segment; write-ahead logs become segments; summaries are made anew.
    Raises InputError: another process writes here, or the folder is no recording. OSError: the disk.
    """
    found = verify(folder)
    lock = take_lock(folder)
    try:
        for path in folder.rglob(LEFT):
            path.unlink()
        epochs = compaction.KnownEpochs(folder)
        for each in _segments(folder):
            _mend_segment(folder, each, epochs)
        for _, path in layout.wals(folder):
            _mend_log(folder, path)
            compaction.compact(folder, path, epochs)
        for path in (folder / layout.FACTS, path_of(folder)):
            if path.exists():
                _mend_log(folder, path)
        for each in _segments(folder):
            _sum_up(each, epochs)
        for path in _orphans(folder):
            path.unlink()
        if _document(folder):
            _mend_document(folder)
    finally:
        os.close(lock)
    return found


def _segments(folder: Path) -> list[Segment]:
    return [each for log in ("ticks", "journal") for each in layout.segments(folder, log)]


def _document(folder: Path) -> list[Damage]:
    told: list[str] = []
    layout.read_document(folder, told.append)
    return [Damage(folder / layout.DOCUMENT, line.split(": ", 1)[1], False) for line in told]


def _logs(folder: Path) -> Iterator[Damage]:
    for path in [*(path for _, path in layout.wals(folder)), folder / layout.FACTS, path_of(folder)]:
        try:
            content = read(path)
            for message in content.messages:
                columns_of(message)
        except FileNotFoundError:
            continue
        except (InputError, WireError) as error:
            yield Damage(path, error.what if isinstance(error, DamagedFile) else str(error), True)
            continue
        for fault in content.faults:
            yield Damage(path, fault, True)


def _segment(segment: Segment) -> Iterator[Damage]:
    """What is wrong with a segment and with its summary."""
    path, beside = segment.path, summaries.path_of(segment.path)
    try:
        _checked(segment)
    except InputError as error:
        reason = error.reason if isinstance(error, DamagedFile) else str(error)
        try:
            table, lost = segments.salvaged(path, summaries.read(path, whole=True)["frames"])
            yield Damage(path, f"{reason}; {table.num_rows} entries are sound, {lost} row groups are lost", lost > 0)
        except (InputError, KeyError, summaries.Unusable):
            yield Damage(path, f"{reason}; entries {segment.first} to {segment.last} are lost", True)
        return
    try:
        body = summaries.read(path, whole=True)
    except summaries.Unusable as error:
        yield Damage(beside, error.reason, False)
        return
    if body["segment"] != _size_and_checksum(path):
        yield Damage(beside, "is of another segment", False)


def _checked(segment: Segment) -> Any:
    """The table of a segment. InputError where it is damaged, or is not what its name says."""
    table = segments.read_ticks(segment.path) if segment.log == "ticks" else segments.read_parquet(segment.path)
    if segment.log == "journal":
        segments.read_records(segment.path)
    index = table.column("index").to_numpy()
    if not len(index) or (int(index[0]), int(index[-1])) != (segment.first, segment.last):
        raise segments.damaged(segment.path, ValueError("its entries are not those that its name says"))
    if np.any(index[1:] <= index[:-1]):
        raise segments.damaged(segment.path, ValueError("its entries are out of order"))
    return table


def _size_and_checksum(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    return len(data), zlib.crc32(data)


def _strays(folder: Path) -> Iterator[Damage]:
    for path in sorted(folder.rglob(LEFT)):
        yield Damage(path, "left half-written by a recorder that was killed", False)
    for path in _orphans(folder):
        yield Damage(path, "sums up a segment that is not there", False)


def _orphans(folder: Path) -> list[Path]:
    known = {summaries.path_of(each.path) for each in _segments(folder)}
    return sorted(
        path
        for log in ("ticks", "journal")
        for path in (folder / log).rglob(f"*{summaries.SUFFIX}")
        if path not in known
    )


def _put_aside(folder: Path, path: Path) -> None:
    """Keep a copy of a file as it is."""
    target = folder / ASIDE / path.relative_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)


def _mend_segment(folder: Path, segment: Segment, epochs: compaction.KnownEpochs) -> None:
    try:
        _checked(segment)
        return
    except InputError:
        _put_aside(folder, segment.path)
    try:
        table, _ = segments.salvaged(segment.path, summaries.read(segment.path, whole=True)["frames"])
        width = (table.num_columns - len(segments.TICK_WORDS)) // len(segments.READING_WORDS)
        key = segment.log, segment.stream, width if segment.log == "ticks" else 0
        written = compaction.write_segment(folder, key, table, epochs)
    except (InputError, KeyError, summaries.Unusable):
        written = None
    if written is None or written.path != segment.path:
        for path in (segment.path, summaries.path_of(segment.path)):
            path.unlink(missing_ok=True)
        sync_folder(segment.path.parent)


def _mend_log(folder: Path, path: Path) -> None:
    """Leave the messages that are sound and that a recording can have, and nothing else."""
    try:
        content = read(path)
    except InputError:
        content = Content([], 0, path.stat().st_size)
    sound = [message for message in content.messages if _belongs(message)]
    if sound == content.messages and not content.holes and not content.damaged_bytes:
        return
    _put_aside(folder, path)
    path.unlink()
    wal = Wal(path)
    for message in sound:
        wal.append(message)
    wal.close()


def _belongs(message: list[bytes]) -> bool:
    try:
        columns_of(message)
    except WireError:
        return False
    return True


def _sum_up(segment: Segment, epochs: compaction.KnownEpochs) -> None:
    """Make a summary anew where there is none to go by, or one that did not know an epoch."""
    table = _checked(segment)
    try:
        body = summaries.read(segment.path, whole=True)
        if body["segment"] == _size_and_checksum(segment.path) and "frames" in body and not body.get("unexplained"):
            return
    except summaries.Unusable:
        pass
    packed = memoryview(segment.path.read_bytes())
    compaction.write_summary(segment.path, packed, compaction.summary_of(segment.log, segment.stream, table, epochs))


def _mend_document(folder: Path) -> None:
    path = folder / layout.DOCUMENT
    if path.exists():
        _put_aside(folder, path)
    recording = Recording(folder, skip_damaged=True)
    streams = [stream.hex() for stream in recording.streams]
    document = layout.Document("unknown", "unknown", __version__, recording.simulated or None, streams)
    layout.write_document(folder, document)
