"""Writing a recording: a write-ahead log synced each second, turned into Parquet segments a minute at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from neuralpower_wire import Kind, PackedRecords, Record, TickColumns, encode, records_to_batch
from neuralpower_wire.files import LEFT, replace_file, sync_folder

from .. import __version__
from ..errors import InputError
from ..subscriber import messages
from . import layout, lost, segments
from .entries import columns_of, rows_of
from .wal import Message, Wal, read

SEGMENT_S = 60.0
"""A minute: small enough to hold in memory (11 MB at 1 kHz with six readings), large enough for Parquet to pay."""
SEGMENT_BYTES = 64 * 1024 * 1024
"""A recorder that fetches ten minutes of the past, or runs faster than 1 kHz, turns over by size: a bound on memory."""
FACTS_STREAM = bytes(16)
"""The stream that facts are filed under: they belong to no log."""

Notice = Callable[[str], None]


class Writer:
    """The one writer of a recording. Opening repairs what a crash left; see :mod:`neuralpower.recordings.recorder`.

    Args:
        folder: made if missing; a folder with other things in it is refused.
        address: of the daemon, for the document.
        notice: told one line for each thing that had to be repaired.

    Raises:
        InputError: another recorder has it, or the folder is no recording.
        OSError: the disk.
    """

    def __init__(self, folder: Path, address: str, notice: Notice = lambda line: None) -> None:
        self.folder = folder
        self.ticks = self.records = self.inferences = 0
        """Written by this writer."""
        self._notice = notice
        _make(folder)
        self._lock = _lock(folder)
        try:
            self._document = self._open_document(address)
            self._recover()
            self._facts = self._open_wal(folder / layout.FACTS)
            self._number = max([number for number, _ in layout.wals(folder)], default=0) + 1
            self._wal = self._open_wal(layout.wal_path(folder, self._number))
        except BaseException:
            os.close(self._lock)
            raise
        self._began = time.monotonic()

    def _open_document(self, address: str) -> layout.Document:
        if (self.folder / layout.DOCUMENT).exists():
            return layout.read_document(self.folder)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        document = layout.Document(address, created, __version__)
        layout.write_document(self.folder, document)
        return document

    def _open_wal(self, path: Path) -> Wal:
        wal = Wal(path)
        if wal.bytes_cut:
            self._notice(f"{path}: cut {wal.bytes_cut} bytes of a half-written end; what comes before them is kept")
        return wal

    def _recover(self) -> None:
        """Turn the write-ahead logs of a recorder that was killed into segments."""
        for aside in self.folder.rglob(LEFT):
            aside.unlink()
        for _, path in layout.wals(self.folder):
            self._open_wal(path).close()
            self._compact(path)

    @property
    def simulated(self) -> bool:
        """Whether anything recorded so far comes from the chip in software."""
        return bool(self._document.simulated)

    def resume(self) -> dict[str, dict[bytes, int]]:
        """Log -> stream -> the first index not yet recorded, of the segments; streams that are known to have ended are left out."""
        logs: dict[str, dict[bytes, int]] = {"ticks": {}, "journal": {}}
        ended = self._ended()
        for log, nexts in logs.items():
            for segment in layout.segments(self.folder, log):
                if (log, segment.stream) not in ended:
                    nexts[segment.stream] = max(nexts.get(segment.stream, 0), segment.last + 1)
        return logs

    def _ended(self) -> set[tuple[str, bytes]]:
        """Log and stream of those of which a recorder before heard that they have ended."""
        rows = [rows_of(message) for message in read(self.folder / layout.FACTS).messages]
        facts = [record for log, _, _, records in rows if log == "journal" for record in records]
        return {(told.log, told.stream) for told in lost.of_records(facts) if isinstance(told, messages.Ended)}

    def keep(self, message: messages.Message) -> None:
        """Append what belongs into a recording; safe after the next :meth:`sync`."""
        if isinstance(message, messages.Ticks):
            self._wal.append(encode(message.batch()))
            self.ticks += len(message)
            self._saw(message.stream, message.epoch.simulated if message.epoch else None)
        elif isinstance(message, messages.Records):
            records = PackedRecords.of(message.records)
            self._wal.append(encode(records_to_batch(message.stream, message.first, records)))
            self.records += len(records)
            self.inferences += records.count(Kind.INFERENCE)
        elif isinstance(message, messages.Found):
            self._keep_fact(message.record)
        elif isinstance(message, (messages.Lost, messages.Ended)):
            self._keep_fact(lost.to_record(message))

    def _keep_fact(self, record: Record) -> None:
        self._facts.append(encode(records_to_batch(FACTS_STREAM, 0, [record])))

    def _saw(self, stream: bytes, simulated: bool | None) -> None:
        document = self._document
        known = stream.hex() in document.streams
        if known and (simulated is None or document.simulated in (simulated, True)):
            return
        if not known:
            document.streams.append(stream.hex())
        if simulated is not None:
            document.simulated = bool(document.simulated) or simulated
        layout.write_document(self.folder, document)

    def sync(self) -> None:
        """Return once everything kept is on the disk; turns the log over when it is a minute old."""
        self._facts.sync()  # first: why something is missing is known wherever it is seen to be
        self._wal.sync()
        if time.monotonic() - self._began >= SEGMENT_S or self._wal.size >= SEGMENT_BYTES:
            self.turn_over()

    def turn_over(self) -> None:
        """Begin a new write-ahead log and turn the one before into segments."""
        full = self._wal
        self._number += 1
        self._wal = self._open_wal(layout.wal_path(self.folder, self._number))
        self._began = time.monotonic()
        full.close()
        self._compact(full.path)

    def _compact(self, path: Path) -> None:
        """Turn a closed log into segments, then remove it. Doing it twice writes the same files again."""
        for (log, stream, _), table in _tables(read(path).messages):
            index = table.column("index")
            target = layout.segment_path(self.folder, log, stream, index[0].as_py(), index[-1].as_py())
            target.parent.mkdir(parents=True, exist_ok=True)
            about = {"format": layout.FORMAT, "version": layout.VERSION, "log": log, "stream": stream.hex()}
            replace_file(target, segments.to_parquet(table, about))
            sync_folder(target.parent.parent)
        sync_folder(self.folder)
        path.unlink()
        sync_folder(path.parent)

    def finish(self) -> None:
        """Sync, turn everything into segments, close."""
        self._wal.close()
        self._compact(self._wal.path)
        self._facts.close()
        self._unlock()

    def abandon(self) -> None:
        """Close without turning anything into segments, after an error; everything synced stays readable."""
        for wal in (self._wal, self._facts):
            try:
                wal.close()
            except OSError:
                continue  # the disk said no already; the error that brought us here is the one to report
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; a recording is a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / layout.DOCUMENT).exists():
        strange = sorted(path.name for path in folder.iterdir() if path.name not in (layout.LOCK, "wal"))
        if strange:
            raise InputError(f"{folder}: holds {strange[0]!r} and is no recording; name a new or empty folder")
    (folder / "wal").mkdir(parents=True, exist_ok=True)


def _lock(folder: Path) -> int:
    """Take the folder for this process: the lock goes with the process, however it ends."""
    descriptor = os.open(folder / layout.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise InputError(f"{folder}: another recorder writes here (process {owner or 'unknown'})") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _tables(log: Iterable[Message]) -> Iterator[tuple[tuple[str, bytes, int], Any]]:
    """(log, stream, readings in a tick) and the Arrow table of each run in the messages of a write-ahead log, column by column."""
    ticks: dict[tuple[str, bytes, int], list[TickColumns]] = {}
    records: dict[tuple[str, bytes, int], list[tuple[int, PackedRecords]]] = {}
    for message in log:
        name, stream, first, entries = columns_of(message)
        if isinstance(entries, TickColumns):
            ticks.setdefault((name, stream, entries.width), []).append(entries)
        else:
            records.setdefault((name, stream, 0), []).append((first, entries))
    yield from ((key, segments.columns_to_table(parts)) for key, parts in ticks.items())
    yield from ((key, segments.records_to_table(parts)) for key, parts in records.items())
