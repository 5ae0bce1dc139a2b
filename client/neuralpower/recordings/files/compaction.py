"""A closed write-ahead log turned into segments and their summaries."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuralpower_wire import Epoch, EpochBegun, Kind, PackedRecords, TickColumns, WireError
from neuralpower_wire.batch import unpack
from neuralpower_wire.bodies import MAX_RECORD
from neuralpower_wire.files import replace_file, sync_folder

from ...errors import InputError
from . import layout, segments, summaries
from .entries import columns_of
from .wal import Message, read

Key = tuple[str, bytes, int]
"""Log, stream, and how many readings a tick has."""


class KnownEpochs:
    """The epochs of a folder's streams, as far as they were met: what explains the ticks of a segment when it is summed up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[bytes, dict[int, Epoch]] = {}
        self._searched = False

    def add(self, stream: bytes, epoch: Epoch) -> None:
        """Learn one."""
        self._known.setdefault(stream, {})[epoch.number] = epoch

    def learn(self, records: PackedRecords) -> None:
        """Learn those that records of the journal tell of; no other record is opened."""
        for at in (records.kind == Kind.EPOCH).nonzero()[0].tolist():
            with suppress(WireError):
                begun = EpochBegun.from_map(unpack(records.packed(at).body, MAX_RECORD))
                self.add(begun.stream, begun.epoch)

    def of(self, stream: bytes, numbers: set[int]) -> list[Epoch]:
        """All epochs known of a stream. Where one of `numbers` is not, what lies in the folder is searched for it, once."""
        if not numbers <= self._known.get(stream, {}).keys() and not self._searched:
            self._searched = True
            self._search()
        return list(self._known.get(stream, {}).values())

    def _search(self) -> None:
        facts = self._folder / layout.FACTS
        with suppress(InputError, WireError, OSError):
            for message in read(facts).messages:
                _, _, _, entries = columns_of(message)
                if isinstance(entries, PackedRecords):
                    self.learn(entries)
        for segment in layout.segments(self._folder, "journal"):
            with suppress(InputError):
                self.learn(_described(segment.path))


def _described(segment: Path) -> PackedRecords:
    try:
        told = summaries.described(summaries.read(segment))
    except summaries.Unusable:
        told = None
    return segments.read_records(segment)[1] if told is None else PackedRecords.of(told)


def compact(folder: Path, path: Path, epochs: KnownEpochs) -> None:
    """Turn a closed log into segments and summaries, then remove it. Doing it twice writes the same files again. Raises OSError."""
    for key, table in _tables(read(path).messages, epochs):
        write_segment(folder, key, table, epochs)
    sync_folder(folder)
    path.unlink()
    sync_folder(path.parent)


def write_segment(folder: Path, key: Key, table: Any, epochs: KnownEpochs) -> layout.Segment:
    """Write a table of ticks or records as a segment with its summary. Raises OSError."""
    log, stream, _ = key
    index = table.column("index")
    first, last = index[0].as_py(), index[-1].as_py()
    target = layout.segment_path(folder, log, stream, first, last)
    target.parent.mkdir(parents=True, exist_ok=True)
    about = {"format": layout.FORMAT, "version": layout.VERSION, "log": log, "stream": stream.hex()}
    packed = segments.to_parquet(table, about)
    replace_file(target, packed)
    write_summary(target, packed, summary_of(log, stream, table, epochs))
    sync_folder(target.parent.parent)
    return layout.Segment(str(target.parent), target.name, log, stream, first, last)


def write_summary(target: Path, packed: memoryview, body: dict[str, Any]) -> None:
    """Put the summary of a segment of these bytes beside it. Raises OSError."""
    summaries.write(target, {**body, "frames": segments.frames_of(packed)}, len(packed), zlib.crc32(packed))


def summary_of(log: str, stream: bytes, table: Any, epochs: KnownEpochs) -> dict[str, Any]:
    """The summary of a segment's table, at least one row."""
    if log == "journal":
        return summaries.of_records(*segments.table_to_records(table))
    ticks = segments.table_to_ticks(table)
    try:
        return summaries.of_ticks(ticks, epochs.of(stream, set(ticks["epoch"].tolist())))
    except WireError:  # ticks of another layout than their epoch tells, which no daemon sends
        return summaries.of_ticks(ticks, [])


def _tables(log: Iterable[Message], epochs: KnownEpochs) -> Iterator[tuple[Key, Any]]:
    """The Arrow table of each run in the messages of a write-ahead log, column by column; their epochs are learnt."""
    ticks: dict[Key, list[TickColumns]] = {}
    records: dict[Key, list[tuple[int, PackedRecords]]] = {}
    for message in log:
        name, stream, first, entries = columns_of(message)
        if isinstance(entries, TickColumns):
            ticks.setdefault((name, stream, entries.width), []).append(entries)
        else:
            records.setdefault((name, stream, 0), []).append((first, entries))
            epochs.learn(entries)
    yield from ((key, segments.columns_to_table(parts)) for key, parts in ticks.items())
    yield from ((key, segments.records_to_table(parts)) for key, parts in records.items())
