"""Reading a recording back: ticks and journal as numpy and Arrow, what is missing, and power."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import neuralpower_wire as wire
from neuralpower_wire import (
    Engine,
    Epoch,
    EpochBegun,
    Kind,
    PackedRecords,
    Record,
    Ticks,
    WireError,
    explained,
    rail_power_w,
    tick_dtype,
    total_power_w,
)

from ..errors import InputError
from . import layout, wal
from .entries import in_order, journal_in_order, rows_of
from .lost import Told, of_records
from .lost import explained as explained_by
from .statistics import JournalContents, Losses, TickStatistics, TickSummary

if TYPE_CHECKING:
    import pyarrow as pa

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Inference:
    """One inference: `index` in the journal, host anchors on CLOCK_MONOTONIC, durations of the layers in execution order."""

    index: int
    engine: str
    session: bytes
    seq: int
    begin_ns: int
    end_ns: int
    durations_ns: npt.NDArray[np.int64]


class Recording:
    """A recording, also one that is still being written or whose recorder was killed.

    Nothing is read before it is asked for; what was read is kept. Ticks of different streams (after a reboot of the device or
    a change of the set of readings) have different clocks and layouts and are never joined: name a stream where there are
    several.

    Args:
        directory: the recording's folder.
        skip_damaged: read past damaged files; :attr:`damaged` then lists them. Otherwise the first one raises InputError.

    Raises:
        InputError: the folder is no recording. Later, from any method: a damaged file, named.
    """

    def __init__(self, directory: str | os.PathLike[str], skip_damaged: bool = False) -> None:
        self.directory = Path(directory)
        self.document = layout.read_document(self.directory)
        self.damaged: list[str] = []
        """One line for each file that was skipped or cut."""
        self._skip_damaged = skip_damaged
        self._ticks: dict[bytes, Ticks] = {}
        self._summaries: dict[bytes, TickSummary] = {}

    # Ticks

    @cached_property
    def streams(self) -> list[bytes]:
        """The tick streams (16 bytes each), in the order they began."""
        found = set(self._pending["ticks"]) | {segment.stream for segment in self._segments("ticks")}
        listed = [stream for stream in map(_stream_bytes, self.document.streams) if stream in found]
        return listed + sorted(found - set(listed))

    def ticks(self, stream: bytes | None = None) -> Ticks:
        """The (n,) ticks of a stream in the order of their index: a structured array of `neuralpower_wire.tick_dtype`.

        The readings are as the chip gave them; :meth:`epochs` explains them. A recording without ticks gives an empty array.
        """
        chosen = self._chosen(stream)
        if chosen is None:
            return np.zeros(0, tick_dtype(0))
        if chosen not in self._ticks:
            self._ticks[chosen] = self._load(chosen)
        return self._ticks[chosen]

    def _load(self, stream: bytes) -> Ticks:
        import pyarrow as pa

        from .segments import read_ticks, table_to_ticks

        parts = [ticks for _, ticks in self._pending["ticks"].get(stream, [])]
        paths = [segment.path for segment in self._segments("ticks") if segment.stream == stream]
        tables = [table for path in paths for table in self._read(read_ticks, path)]
        if len({table.num_columns for table in tables}) == 1:
            parts.insert(0, table_to_ticks(pa.concat_tables(tables)))
        if len({part.dtype for part in parts}) > 1 or len({table.num_columns for table in tables}) > 1:
            raise InputError(f"{self.directory}: stream {stream.hex()} mixes ticks of different layouts")
        return in_order(parts) if parts else np.zeros(0, tick_dtype(0))

    def tick_parts(self, stream: bytes) -> Iterator[Ticks]:
        """The same ticks a segment at a time, in order: about a minute and 64 MiB each. Nothing is kept."""
        from .segments import read_ticks, table_to_ticks

        for paths, pending in self._runs("ticks", stream):
            parts = [table_to_ticks(table) for path in paths for table in self._read(read_ticks, path)]
            parts += [ticks for _, ticks in pending]
            if len({part.dtype for part in parts}) > 1:
                raise InputError(f"{self.directory}: stream {stream.hex()} mixes ticks of different layouts")
            if parts:
                yield in_order(parts)

    def record_parts(self, *kinds: Kind) -> Iterator[list[Record]]:
        """The journal's records of these kinds, or all, a segment at a time, in the order they were written. Nothing is kept."""
        from .segments import read_journal

        for stream in self._journals():
            for paths, pending in self._runs("journal", stream):
                parts: list[tuple[int, list[Record]]] = list(pending)
                for path in paths:
                    for journal in self._read(lambda each: read_journal(each, kinds), path):
                        parts += [(index, [record]) for index, record in journal]
                yield [record for _, record in journal_in_order(parts) if not kinds or record.kind in kinds]

    def _journals(self) -> list[bytes]:
        """The streams of the journal."""
        return sorted(set(self._pending["journal"]) | {segment.stream for segment in self._segments("journal")})

    def _runs(self, log: str, stream: bytes) -> Iterator[tuple[list[Path], list[tuple[int, Any]]]]:
        """Segments and pending batches of one stream by index; those whose indices overlap come together."""
        pending = self._pending[log].get(stream, [])
        pieces: list[tuple[int, int, Path | None]] = [
            (segment.first, segment.last, segment.path) for segment in self._segments(log) if segment.stream == stream
        ]
        if pending:
            ends = [first + len(items) - 1 for first, items in pending]
            pieces.append((min(first for first, _ in pending), max(ends), None))
        run: list[Path | None] = []
        reach = -1
        for first, last, path in sorted(pieces, key=lambda piece: piece[0]):
            if run and first > reach:
                yield [each for each in run if each], pending if None in run else []
                run = []
            run, reach = [*run, path], max(reach, last)
        if run:
            yield [each for each in run if each], pending if None in run else []

    def arrow_ticks(self, stream: bytes | None = None) -> pa.Table:
        """The ticks as an Arrow table: index, slot, t_ns, epoch, then value_0, begin_ns_0, end_ns_0, state_0, error_0, …"""
        from .segments import ticks_to_table

        return ticks_to_table(self.ticks(stream))

    def rail_power_w(self, stream: bytes | None = None) -> dict[str, Series]:
        """Watts of each rail at each tick of :meth:`ticks`; nan where a reading, or the epoch, is missing. Ticks are not kept for it."""
        parts = [
            (len(ticks), rail_power_w(epoch, ticks) if epoch else {}) for epoch, ticks in self._epoch_parts(stream)
        ]
        rails = dict.fromkeys(rail for _, power in parts for rail in power)
        return {
            rail: np.concatenate([power[rail] if rail in power else np.full(count, np.nan) for count, power in parts])
            for rail in rails
        }

    def total_power_w(self, stream: bytes | None = None) -> Series:
        """Watts of the whole board at each tick of :meth:`ticks`; nan where it is not known. Ticks are not kept for it."""
        parts = [np.zeros(0)]
        for epoch, ticks in self._epoch_parts(stream):
            parts.append(total_power_w(epoch, ticks) if epoch else np.full(len(ticks), np.nan))
        return np.concatenate(parts)

    def tick_statistics(self, stream: bytes | None = None) -> TickStatistics:
        """Rate, lateness, missed slots, losses and freshness of a stream."""
        return self.tick_summary(stream).statistics()

    def tick_summary(self, stream: bytes | None = None) -> TickSummary:
        """What is told of a stream as a whole, mean powers too. Ticks are read once for it, a segment at a time, and not kept."""
        chosen = self._chosen(stream)
        if chosen is None:
            return TickSummary([])
        if chosen not in self._summaries:
            summary = TickSummary(self.epochs(chosen))
            for ticks in self._parts(chosen):
                summary.take(ticks)
            self._summaries[chosen] = summary
        return self._summaries[chosen]

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last tick, summed over the streams."""
        return float(sum(self.tick_summary(stream).duration_s for stream in self.streams))

    def _parts(self, stream: bytes) -> Iterable[Ticks]:
        """The ticks of a stream, in portions where they are not loaded."""
        return [self._ticks[stream]] if stream in self._ticks else self.tick_parts(stream)

    def _epoch_parts(self, stream: bytes | None) -> Iterator[tuple[Epoch | None, Ticks]]:
        """The ticks cut where their epoch changes, each run with its epoch where it is known."""
        chosen = self._chosen(stream)
        if chosen is None:
            return
        known = self.epochs(chosen)
        for part in self._parts(chosen):
            yield from explained(part, known)

    # Journal

    @cached_property
    def _journal(self) -> dict[bytes, list[tuple[int, Record]]]:
        """Stream -> its records by index."""
        from .segments import read_journal

        parts = {stream: list(pending) for stream, pending in self._pending["journal"].items()}
        for segment in self._segments("journal"):
            for journal in self._read(read_journal, segment.path):
                parts.setdefault(segment.stream, []).extend((index, [record]) for index, record in journal)
        return {stream: journal_in_order(found) for stream, found in parts.items()}

    @cached_property
    def _facts(self) -> list[Record]:
        """Engines and epochs that had to be asked for."""
        path = self.directory / layout.FACTS
        return [record for records in self._read(self._told, path) for record in records]

    def _told(self, path: Path) -> list[Record]:
        entries = self._unpacked(path)
        if any(log != "journal" for log, _, _, _ in entries):
            raise InputError(f"{path}: ticks, where engines and epochs are kept; move it out of the folder")
        return [record for _, _, _, items in entries for record in items]

    def records(self, kind: Kind | None = None) -> list[Record]:
        """The journal's records of a kind, or all, in the order they were written."""
        every = [record for journal in self._journal.values() for _, record in journal]
        return [record for record in every if kind is None or record.kind is kind]

    @cached_property
    def _inferences(self) -> list[Inference]:
        found = []
        for journal in self._journal.values():
            for index, record in journal:
                if isinstance(each := record.body, wire.Inference):
                    anchors = each.begin_ns, each.end_ns
                    found.append(Inference(index, each.engine, each.session, each.seq, *anchors, each.durations_ns))
        return found

    def inferences(self) -> list[Inference]:
        """All inferences, in the order of the journal."""
        return list(self._inferences)

    @cached_property
    def _described(self) -> list[Record]:
        """All engines and epochs, those that had to be asked for first; found without the inferences between them."""
        if "_journal" in self.__dict__:
            return [*self._facts, *(r for r in self.records() if r.kind in (Kind.ENGINE, Kind.EPOCH))]
        return [*self._facts, *(r for part in self.record_parts(Kind.ENGINE, Kind.EPOCH) for r in part)]

    def engines(self) -> dict[str, dict[str, Any]]:
        """Hash -> description (hash, name, inspector, layers, simulated) of every engine described or asked for."""
        return {record.body.hash: dict(record.body) for record in self._described if isinstance(record.body, Engine)}

    def epochs(self, stream: bytes | None = None) -> list[Epoch]:
        """The epochs of a stream, by number; like :meth:`ticks`, a stream must be named where there are several."""
        chosen = self._chosen(stream)
        begun = [record.body for record in self._described if isinstance(record.body, EpochBegun)]
        epochs = [body.epoch for body in begun if body.stream == chosen]
        return sorted({epoch.number: epoch for epoch in epochs}.values(), key=lambda epoch: epoch.number)

    @cached_property
    def journal_contents(self) -> dict[bytes, JournalContents]:
        """Stream -> how much its journal holds of what. The journal is read once for it, a segment at a time, and not kept."""
        from .segments import read_records

        found: dict[bytes, JournalContents] = {}
        for stream in self._journals():
            found[stream] = JournalContents()
            for paths, pending in self._runs("journal", stream):
                parts = [part for path in paths for part in self._read(read_records, path)]
                parts += [(first + np.arange(len(items)), PackedRecords.of(items)) for first, items in pending]
                found[stream].take(parts)
        return found

    def clock_maps(self) -> npt.NDArray[np.int64]:
        """(n, 4) monotonic, boottime, realtime and bracket width in ns, a row each second: what maps ticks to wall time."""
        rows = [[r.body[name] for name in _CLOCK_FIELDS] for part in self.record_parts(Kind.CLOCK) for r in part]
        return np.array(rows, dtype=np.int64).reshape(-1, len(_CLOCK_FIELDS))

    # What it is, and what is missing

    @property
    def simulated(self) -> bool:
        """Whether any of it was made by the chip or the device in software."""
        marked = any(epoch.simulated for stream in self.streams for epoch in self.epochs(stream))
        return marked or bool(self.document.simulated) or any(body["simulated"] for body in self.engines().values())

    def losses(self) -> Losses:
        """The holes in both logs: indices between the first and the last held of a stream that are not there."""
        found = {("ticks", stream): self.tick_summary(stream).holes for stream in self.streams}
        found |= {("journal", stream): contents.holes for stream, contents in self.journal_contents.items()}
        return Losses({key: ranges for key, ranges in found.items() if ranges})

    @cached_property
    def told(self) -> list[Told]:
        """What the recorder was told of entries that cannot be had any more, and of streams that ended."""
        return of_records(self._facts)

    def explained_losses(self) -> dict[tuple[str, bytes], list[tuple[range, str]]]:
        """(log, stream) -> ranges of indices that are missing, each with why: :meth:`losses`, and what is told lost before and after it."""
        holes, keys = self.losses().holes, [("ticks", stream) for stream in self.streams]
        keys += [("journal", stream) for stream in self._journals()]
        keys += [(each.log, each.stream) for each in self.told]
        found = {
            (log, stream): explained_by(log, stream, self._held(log, stream), holes.get((log, stream), []), self.told)
            for log, stream in dict.fromkeys(keys)
        }
        return {key: ranges for key, ranges in found.items() if ranges}

    def _held(self, log: str, stream: bytes) -> range:
        """From the first index held to the last."""
        ends = [(first, first + len(items)) for first, items in self._pending[log].get(stream, [])]
        ends += [(each.first, each.last + 1) for each in self._segments(log) if each.stream == stream]
        return range(min((first for first, _ in ends), default=0), max((end for _, end in ends), default=0))

    # Files

    def _chosen(self, stream: bytes | None) -> bytes | None:
        if stream is not None:
            return stream
        if len(self.streams) > 1:
            names = ", ".join(each.hex() for each in self.streams)
            raise InputError(f"{self.directory}: holds {len(self.streams)} tick streams, name one of {names}")
        return self.streams[0] if self.streams else None

    def _segments(self, log: str) -> list[layout.Segment]:
        return layout.segments(self.directory, log)

    @cached_property
    def _pending(self) -> dict[str, dict[bytes, list[tuple[int, Any]]]]:
        """Log -> stream -> batches that are still in write-ahead logs.

        Always read before the segments: what a recorder at work moves meanwhile is then seen twice rather than not at all.
        """
        logs: dict[str, dict[bytes, list[tuple[int, Any]]]] = {"ticks": {}, "journal": {}}
        for _, path in layout.wals(self.directory):
            for entries in self._read(self._unpacked, path):
                for log, stream, first, items in entries:
                    logs[log].setdefault(stream, []).append((first, items))
        return logs

    def _unpacked(self, path: Path) -> list[tuple[str, bytes, int, Any]]:
        try:
            content = wal.read(path)
        except FileNotFoundError:  # there are no facts, or a recorder at work has just turned it into segments
            return []
        if content.damaged_bytes:
            self.damaged.append(f"{path}: {content.damaged_bytes} bytes of a half-written end left out")
        try:
            return [rows_of(message) for message in content.messages]
        except WireError as error:
            raise InputError(f"{path}: not written by this version of neuralpower ({error})") from None

    def _read(self, reader: Any, path: Path) -> list[Any]:
        """What `reader` makes of `path`: one thing, or none if it is damaged and may be skipped."""
        try:
            return [reader(path)]
        except InputError as error:
            if not self._skip_damaged:
                raise
            if str(error) not in self.damaged:
                self.damaged.append(str(error))
            return []


_CLOCK_FIELDS = ("monotonic_ns", "boottime_ns", "realtime_ns", "bracket_ns")


def _stream_bytes(name: str) -> bytes:
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
