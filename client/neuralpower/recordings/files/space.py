"""What a recorder does when the disk is full: end, or let the oldest minutes go for the newest."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from neuralpower_wire import Kind, PackedRecord, WireError, encode, records_to_batch
from neuralpower_wire.files import sync_folder

from ...errors import InputError
from . import layout, segments, summaries
from .entries import rows_of
from .layout import Document, Segment
from .wal import Wal, read

STOP, DROP_OLDEST = "stop", "drop-oldest"
POLICIES = (STOP, DROP_OLDEST)
"""What `when_full` may be. Ending is the default: only who records knows whether the past or the future is dearer."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that mean the disk, the quota or the allowed file size is used up."""
FACTS_STREAM = bytes(16)
"""The stream that facts are filed under: they belong to no log."""


class Space:
    """Frees some by removing the oldest segment of a recording. The newest of each stream stays: by it a recorder knows where to go on.

    Engines and epochs that a segment describes are kept among the facts first. The document says up to which index a stream was dropped.
    """

    def __init__(self, folder: Path, notice: Callable[[str], None]) -> None:
        self._folder, self._notice = folder, notice
        self._told: set[tuple[int, bytes]] | None = None

    def free(self, facts: Wal, document: Document) -> bool:
        """Remove the oldest segment; False where there is none to remove. Raises OSError other than a full disk."""
        for segment in self._oldest():
            if segment.log == "journal" and not self._kept(segment, facts):
                continue  # not even its descriptions have room: some ticks must go before it
            log = document.dropped.setdefault(segment.log, {})
            log[segment.stream.hex()] = max(segment.last + 1, log.get(segment.stream.hex(), 0))
            self._write(document)
            for path in (segment.path, summaries.path_of(segment.path)):
                path.unlink(missing_ok=True)
            sync_folder(segment.path.parent)
            self._write(document)
            self._notice(
                f"{self._folder}: the disk is full: dropped {segment.log} {segment.first} to {segment.last}, the oldest; free some space"
            )
            return True
        return False

    def _write(self, document: Document) -> None:
        with suppress(OSError):  # it is small, and is written again once something has gone
            layout.write_document(self._folder, document)

    def _oldest(self) -> Iterator[Segment]:
        """What may go, in the order in which it was written."""
        found: list[tuple[int, Segment]] = []
        for log in ("ticks", "journal"):
            every = layout.segments(self._folder, log)
            newest = {each.stream: each.last for each in sorted(every, key=lambda each: each.last)}
            found += [(each.path.stat().st_mtime_ns, each) for each in every if each.last != newest[each.stream]]
        return (each for _, each in sorted(found, key=lambda pair: (pair[0], pair[1].first)))

    def _kept(self, segment: Segment, facts: Wal) -> bool:
        """Have what a segment describes among the facts; False where there is no room for it."""
        if self._told is None:
            self._told = set(_facts(facts.path))
        try:
            told = summaries.described(summaries.read(segment.path))
        except summaries.Unusable:
            told = None
        if told is None:
            with suppress(InputError):  # a damaged segment tells nothing
                records = segments.read_records(segment.path)[1]
                told = [
                    records.packed(at) for at in range(len(records)) if records.kind[at] in (Kind.ENGINE, Kind.EPOCH)
                ]
        missing = [each for each in told or [] if (each.kind, each.body) not in self._told]
        try:
            for each in missing:
                facts.append(encode(records_to_batch(FACTS_STREAM, 0, [PackedRecord(each.kind, 0, each.body)])))
                self._told.add((each.kind, each.body))
            facts.sync()
        except OSError as error:
            if error.errno not in FULL:
                raise
            return False
        return True


def _facts(path: Path) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each fact there is."""
    with suppress(InputError, OSError):
        for message in read(path).messages:
            with suppress(WireError):
                log, _, _, records = rows_of(message)
                yield from ((int(each.kind), each.packed().body) for each in records if log == "journal")
