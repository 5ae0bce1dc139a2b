"""Writing a recording: a write-ahead log synced each second, turned into Parquet segments a minute at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from neuralpower_wire import EpochBegun, Kind, PackedRecords, Record, encode, records_to_batch
from neuralpower_wire.files import LEFT, sync_folder

from .. import __version__
from ..errors import InputError
from ..subscriber import messages
from ..subscriber.comparison import ClockComparison
from . import lost
from .devices import comparisons
from .files import compaction, layout
from .files.entries import rows_of
from .files.space import (
    DROP_OLDEST,
    FACTS_STREAM,
    FULL,
    STOP,
    Space,
)
from .files.wal import Wal, read

SEGMENT_S = 60.0
"""A minute: small enough to hold in memory (11 MB at 1 kHz with six readings), large enough for Parquet to pay."""
SEGMENT_BYTES = 64 * 1024 * 1024
"""A recorder that fetches ten minutes of the past, or runs faster than 1 kHz, turns over by size: a bound on memory."""
Notice = Callable[[str], None]
T = TypeVar("T")


class Writer:
    """The one writer of a recording. Opening repairs what a crash left; see :mod:`neuralpower.recordings.recorder`.

    Args:
        folder: made if missing; a folder with other things in it is refused.
        address: of the daemon, for the document.
        notice: told one line for each thing that had to be repaired, or dropped.
        when_full: "stop", where a full disk is an OSError, or "drop-oldest", where the oldest segments are removed as long as there are any.

    Raises:
        InputError: another recorder has it, or the folder is no recording.
        OSError: the disk.
    """

    def __init__(self, folder: Path, address: str, notice: Notice = lambda line: None, when_full: str = STOP) -> None:
        self.folder = folder
        self.ticks = self.records = self.inferences = 0
        """Written by this writer."""
        self._notice = notice
        self._unwritten = False
        self._space = Space(folder, notice) if when_full == DROP_OLDEST else None
        _make(folder)
        self._lock = take_lock(folder)
        self._epochs = compaction.KnownEpochs(folder)
        try:
            self._document = self._open_document(address)
            self._facts = self._open_wal(folder / layout.FACTS)
            self._recover()
            self._list_streams()
            self._number = max([number for number, _ in layout.wals(folder)], default=0) + 1
            self._wal = self._open_wal(layout.wal_path(folder, self._number))
        except BaseException:
            os.close(self._lock)
            raise
        self._clock: Wal | None = None
        self._narrowest = comparisons.Narrowest()
        self._began = time.monotonic()

    def _open_document(self, address: str) -> layout.Document:
        if (self.folder / layout.DOCUMENT).exists():
            return layout.read_document(self.folder)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        document = layout.Document(address, created, __version__)
        layout.write_document(self.folder, document)
        return document

    def _list_streams(self) -> None:
        """A recorder that was killed may have left ticks of a stream that the document does not list yet."""
        for segment in layout.segments(self.folder, "ticks"):
            self._saw(segment.stream, None)
        self._write_document()

    def _open_wal(self, path: Path) -> Wal:
        wal = Wal(path)
        if wal.bytes_cut:
            self._notice(f"{path}: cut {wal.bytes_cut} bytes of a half-written end; what comes before them is kept")
        for hole in wal.holes:
            self._notice(f"{path}: {len(hole)} bytes from byte {hole.start} on are damaged; what they held is lost")
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
            self._append(self._wal, encode(message.batch()))
            self.ticks += len(message)
            if message.epoch:
                self._epochs.add(message.stream, message.epoch)
            self._saw(message.stream, message.epoch.simulated if message.epoch else None)
        elif isinstance(message, messages.Records):
            records = PackedRecords.of(message.records)
            self._append(self._wal, encode(records_to_batch(message.stream, message.first, records)))
            self.records += len(records)
            self.inferences += records.count(Kind.INFERENCE)
        elif isinstance(message, messages.Found):
            if isinstance(begun := message.record.body, EpochBegun):
                self._epochs.add(begun.stream, begun.epoch)
            self._keep_fact(message.record)
        elif isinstance(message, (messages.Lost, messages.Ended)):
            self._keep_fact(lost.to_record(message))

    def compared(self, comparison: ClockComparison | None) -> None:
        """Keep, of each ten seconds, the comparison of the device's clock with this machine's that says most; None at the end, for the last."""
        narrowest = self._narrowest.rest() if comparison is None else self._narrowest.take(comparison)
        if narrowest is not None:
            if self._clock is None:
                self._clock = self._with_room(lambda: self._open_wal(comparisons.path_of(self.folder)))
            batch = records_to_batch(FACTS_STREAM, 0, [comparisons.to_record(narrowest)])
            self._append(self._clock, encode(batch))

    def _keep_fact(self, record: Record) -> None:
        self._append(self._facts, encode(records_to_batch(FACTS_STREAM, 0, [record])))

    def _append(self, wal: Wal, frames: list[bytes]) -> None:
        self._with_room(lambda: wal.append(frames))

    def _with_room(self, step: Callable[[], T]) -> T:
        """Do something that needs room on the disk, and may be done again; where there is none, as it was asked for."""
        while True:
            try:
                return step()
            except OSError as error:
                if error.errno not in FULL or not self._space or not self._space.free(self._facts, self._document):
                    raise

    def _saw(self, stream: bytes, simulated: bool | None) -> None:
        document = self._document
        known = stream.hex() in document.streams
        if known and (simulated is None or document.simulated in (simulated, True)):
            return
        if not known:
            document.streams.append(stream.hex())
        if simulated is not None:
            document.simulated = bool(document.simulated) or simulated
        self._unwritten = True

    def _write_document(self) -> None:
        """Only behind the ticks that it tells of: the document is never ahead of what is on the disk."""
        if self._unwritten:
            self._with_room(lambda: layout.write_document(self.folder, self._document))
            self._unwritten = False

    def sync(self) -> None:
        """Return once everything kept is on the disk; turns the log over when it is a minute old."""
        if self._clock is not None:
            self._clock.sync()
        self._facts.sync()  # first: why something is missing is known wherever it is seen to be
        self._wal.sync()
        self._write_document()
        if time.monotonic() - self._began >= SEGMENT_S or self._wal.size >= SEGMENT_BYTES:
            self.turn_over()

    def turn_over(self) -> None:
        """Begin a new write-ahead log and turn the one before into segments."""
        full = self._wal
        self._number += 1
        self._wal = self._with_room(lambda: self._open_wal(layout.wal_path(self.folder, self._number)))
        self._began = time.monotonic()
        full.close()
        self._write_document()
        self._compact(full.path)

    def _compact(self, path: Path) -> None:
        self._with_room(lambda: compaction.compact(self.folder, path, self._epochs))

    def finish(self) -> None:
        """Sync, turn everything into segments, close."""
        self.compared(None)
        self._close_clock()
        self._wal.close()
        self._write_document()
        self._compact(self._wal.path)
        self._facts.close()
        self._unlock()

    def abandon(self) -> None:
        """Close without turning anything into segments, after an error; everything synced stays readable."""
        for step in (self._wal.close, self._facts.close, self._close_clock, self._write_document):
            try:
                step()
            except OSError:
                continue  # the disk said no already; the error that brought us here is the one to report
        self._unlock()

    def _close_clock(self) -> None:
        if self._clock is not None:
            self._clock.close()

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
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    (folder / "wal").mkdir(parents=True, exist_ok=True)
    for each in (folder, *made):
        sync_folder(each.parent)
    sync_folder(folder)


def take_lock(folder: Path) -> int:
    """Take the folder for this process: the lock goes with the process, however it ends. InputError where another has it."""
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
