"""Reading a recording back: ticks and journal as numpy and Arrow, what is missing, and power."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import neuralpower_wire as wire
from neuralpower_wire import (
    Engine,
    Epoch,
    EpochBegun,
    Event,
    Kind,
    PackedRecords,
    Record,
    Ticks,
    explained,
    rail_power_w,
    tick_dtype,
    total_power_w,
)

from ..errors import InputError
from . import levels
from .begun import epochs_begun
from .devices import comparisons
from .devices.clock import ClockMapping
from .files import layout, summaries
from .files.entries import Journal, in_order, journal_in_order
from .held import HeldFiles, Run, Span
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


@dataclass(frozen=True)
class SpanEnergy:
    """Joules of each rail and of the whole board, and the seconds they are of: without lost ticks, missing readings and changes of epoch."""

    rails_j: dict[str, float]
    covered_s: dict[str, float]
    total_j: float
    total_covered_s: float


class Recording:
    """A recording, also one that is still being written or whose recorder was killed.

    Nothing is read before it is asked for, and of months only what a question needs: see :meth:`between`, :meth:`power_levels`
    and :meth:`energy`. Ticks of different streams (after a reboot of the device or
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
        self._held = HeldFiles(self.directory, skip_damaged)
        self.document = layout.read_document(self.directory, self._held.tell if skip_damaged else None)
        self._within: Span | None = None
        self._ticks: dict[bytes, Ticks] = {}
        self._summaries: dict[bytes, TickSummary] = {}
        self._begun: dict[tuple[bytes, int], Epoch] = {}

    @property
    def damaged(self) -> list[str]:
        """One line for each file that was skipped, cut, or gone round because it can be made of others."""
        return self._held.damaged

    @property
    def within(self) -> Span | None:
        """The span of :meth:`between`; None of a whole recording."""
        return self._within

    def between(self, begin_ns: int, end_ns: int) -> Recording:
        """The same recording, as if there were nothing before `begin_ns` and from `end_ns` on, in ns of the device's CLOCK_MONOTONIC.

        Only segments that may have something in between are opened. Inferences count if they lie wholly in between; all engines and
        epochs stay known. ValueError where the span ends before it begins.
        """
        if end_ns < begin_ns:
            raise ValueError(f"a span from {begin_ns} to {end_ns} ns ends before it begins")
        low, high = self._within or (begin_ns, end_ns)
        part = copy(self)
        for name in ("_journal", "_inferences", "journal_contents"):
            part.__dict__.pop(name, None)
        part._within = max(low, begin_ns), max(min(high, end_ns), low, begin_ns)
        part._ticks, part._summaries = {}, {}
        return part

    # Ticks

    @cached_property
    def streams(self) -> list[bytes]:
        """The tick streams (16 bytes each), in the order they began."""
        found = self._held.streams("ticks")
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
            self._ticks[chosen] = self._load(chosen) if self._within is None else _all(list(self.tick_parts(chosen)))
        return self._ticks[chosen]

    def _load(self, stream: bytes) -> Ticks:
        import pyarrow as pa

        from .files.segments import table_to_ticks

        parts = [ticks for _, ticks in self._held.pending["ticks"].get(stream, [])]
        tables = self._tables(self._held.segments("ticks", stream))
        if len({table.num_columns for table in tables}) == 1:
            parts.insert(0, table_to_ticks(pa.concat_tables(tables)))
        if len({part.dtype for part in parts}) > 1 or len({table.num_columns for table in tables}) > 1:
            raise self._mixed(stream)
        return in_order(parts) if parts else np.zeros(0, tick_dtype(0))

    def tick_parts(self, stream: bytes) -> Iterator[Ticks]:
        """The same ticks a segment at a time, in order: about a minute and 64 MiB each. Nothing is kept."""
        for run in self._held.runs("ticks", stream, self._within):
            yield from self._ticks_of(run, stream)

    def _ticks_of(self, run: Run, stream: bytes) -> list[Ticks]:
        """The ticks of a run that are in the span, as one array, or none at all."""
        from .files.segments import table_to_ticks

        tables = self._tables(run.segments)
        parts = [table_to_ticks(table) for table in tables] + [ticks for _, ticks in run.pending]
        if len({part.dtype for part in parts}) > 1:
            raise self._mixed(stream)
        found = in_order(parts) if parts else np.zeros(0, tick_dtype(0))
        if self._within is not None:
            begin_ns, end_ns = self._within
            found = found[(found["t_ns"] >= begin_ns) & (found["t_ns"] < end_ns)]
        return [found] if len(found) else []

    def _tables(self, held: Sequence[layout.Segment]) -> list[pa.Table]:
        """Ticks of these segments, as far as they may be in the span."""
        from .files.segments import as_ticks, read_ticks

        def whole(path: Path) -> pa.Table:
            return read_ticks(path, self._within)

        return [table for each in held for table in self._held.table(each, whole, partial(as_ticks, each.path))]

    def _mixed(self, stream: bytes) -> InputError:
        return InputError(f"{self.directory}: stream {stream.hex()} mixes ticks of different layouts")

    def _portions(self, stream: bytes, whole: bool = False) -> Iterator[Ticks | dict[str, Any]]:
        """What a stream holds, in order: a segment's summary where that says it all, else ticks."""
        if stream in self._ticks:
            yield from [self._ticks[stream]] if len(self._ticks[stream]) else []
            return
        for run in self._held.runs("ticks", stream, self._within):
            body = self._held.summary(run.alone, whole) if run.alone and self._inside(run.alone) else None
            if body is not None and self._still_holds(body, stream):
                yield body
            else:
                yield from self._ticks_of(run, stream)

    def _still_holds(self, body: dict[str, Any], stream: bytes) -> bool:
        """Whether none of the epochs that a summary of ticks lacked is known by now."""
        lacked = summaries.unexplained(body)
        return not lacked or lacked.isdisjoint(epoch.number for epoch in self.epochs(stream))

    def _inside(self, segment: layout.Segment) -> bool:
        """Whether all of a segment is in the span."""
        span = self._held.span(segment)
        return self._within is None or (span is not None and self._within[0] <= span[0] and span[1] < self._within[1])

    def record_parts(self, *kinds: Kind) -> Iterator[list[Record]]:
        """The journal's records of these kinds, or all, a segment at a time, in the order they were written. Nothing is kept."""
        for stream in sorted(self._held.streams("journal")):
            for run in self._held.runs("journal", stream, self._within):
                found = [record for _, record in self._records_of(run, kinds)]
                yield [record for record in found if self._spans(record)]

    def _records_of(self, run: Run, kinds: Sequence[Kind] = ()) -> Journal:
        from .files.segments import read_journal, table_to_journal

        parts: list[tuple[int, list[Record]]] = list(run.pending)
        for each in run.segments:
            for journal in self._held.table(
                each, lambda path: read_journal(path, kinds), lambda table: table_to_journal(table, kinds)
            ):
                parts += [(index, [record]) for index, record in journal]
        return [(at, record) for at, record in journal_in_order(parts) if not kinds or record.kind in kinds]

    def _spans(self, record: Record) -> bool:
        """Whether a record tells of the span: an inference that lies in it, anything else at a time in it."""
        if self._within is None:
            return True
        begin_ns, end_ns = self._within
        if isinstance(each := record.body, wire.Inference):
            return begin_ns <= each.begin_ns and each.end_ns <= end_ns
        return begin_ns <= record.t_ns < end_ns

    def arrow_ticks(self, stream: bytes | None = None) -> pa.Table:
        """The ticks as an Arrow table: index, slot, t_ns, epoch, then value_0, begin_ns_0, end_ns_0, state_0, error_0, …"""
        from .files.segments import ticks_to_table

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

    def power_levels(self, seconds: int = levels.MINUTE, stream: bytes | None = None) -> levels.PowerLevel:
        """Count, least, greatest and mean power and energy of each rail in rows of 1, 60 or 3600 s. Made of summaries where there are any.

        Raises ValueError for other lengths.
        """
        if seconds not in levels.LEVELS:
            raise ValueError(f"rows of {seconds} s: there are {', '.join(map(str, levels.LEVELS))} s")
        parts: list[levels.PowerLevel] = []
        ends: list[levels.Edge] = []
        chosen = self._chosen(stream)
        for portion in [] if chosen is None else self._portions(chosen, seconds == levels.SECOND):
            if isinstance(portion, dict):
                ends += summaries.edges(portion)
                parts.append(summaries.level(portion, seconds))
            else:
                names, watts = levels.watts_of(portion, self._epochs_of(portion, chosen))
                ends += levels.edges_of(portion, names, watts)
                parts.append(levels.seconds_of(portion, names, watts).coarser(seconds))
        across = levels.between(list(zip(ends[1:-1:2], ends[2::2], strict=True)))
        return levels.together([*parts, across.coarser(seconds)])

    def energy(self, stream: bytes | None = None) -> SpanEnergy:
        """Joules of each rail from the first to the last tick, by :mod:`neuralpower.recordings.levels`, and of how many seconds they are."""
        found = self.power_levels(levels.HOUR, stream).energy_j()
        total = found.pop(levels.TOTAL, (0.0, 0.0))
        return SpanEnergy(
            {rail: joules for rail, (joules, _) in found.items()}, {r: s for r, (_, s) in found.items()}, *total
        )

    def tick_statistics(self, stream: bytes | None = None) -> TickStatistics:
        """Rate, lateness, missed slots, losses and freshness of a stream."""
        return self.tick_summary(stream).statistics()

    def tick_summary(self, stream: bytes | None = None) -> TickSummary:
        """What is told of a stream as a whole, mean powers too: of summaries, and of the ticks, not kept, where there is none."""
        chosen = self._chosen(stream)
        if chosen is None:
            return TickSummary([])
        if chosen not in self._summaries:
            summary = TickSummary(self.epochs(chosen))
            for portion in self._portions(chosen):
                summaries.join(summary, portion) if isinstance(portion, dict) else summary.take(portion)
            self._summaries[chosen] = summary
        return self._summaries[chosen]

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last tick, summed over the streams."""
        return float(sum(self.tick_summary(stream).duration_s for stream in self.streams))

    def _epoch_parts(self, stream: bytes | None) -> Iterator[tuple[Epoch | None, Ticks]]:
        """The ticks cut where their epoch changes, each run with its epoch where it is known."""
        chosen = self._chosen(stream)
        if chosen is None:
            return
        known = self.epochs(chosen)
        for part in [self._ticks[chosen]] if chosen in self._ticks else self.tick_parts(chosen):
            yield from explained(part, known)

    # Journal

    @cached_property
    def _journal(self) -> dict[bytes, Journal]:
        """Stream -> its records by index."""
        found: dict[bytes, Journal] = {}
        for stream in sorted(self._held.streams("journal")):
            runs = self._held.runs("journal", stream, self._within)
            found[stream] = [each for run in runs for each in self._records_of(run) if self._spans(each[1])]
        return found

    @cached_property
    def _facts(self) -> list[Record]:
        """Engines and epochs that had to be asked for."""
        path = self.directory / layout.FACTS
        return [record for records in self._held.read(self._told, path) for record in records]

    def _told(self, path: Path) -> list[Record]:
        entries = self._held.unpacked(path)
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
        """All engines, epochs and events, those that had to be asked for first; found without the inferences between them."""
        found = list(self._facts)
        for stream in sorted(self._held.streams("journal")):
            for run in self._held.runs("journal", stream):
                body = self._held.summary(run.alone) if run.alone else None
                told = summaries.described(body) if body is not None else None
                if told is None:
                    found += [record for _, record in self._records_of(run, summaries.DESCRIBED)]
                else:
                    found += [Record.unpack(each.kind, each.t_ns, each.body) for each in told]
        return found

    def engines(self) -> dict[str, dict[str, Any]]:
        """Hash -> description (hash, name, inspector, layers, simulated) of every engine described or asked for."""
        return {record.body.hash: dict(record.body) for record in self._described if isinstance(record.body, Engine)}

    def events(self) -> list[Event]:
        """What the daemon told of itself, in the order it was written."""
        found = [record for record in self._described if self._spans(record)]
        return [record.body for record in found if isinstance(record.body, Event)]

    def epochs(self, stream: bytes | None = None) -> list[Epoch]:
        """The epochs of a stream, by number; like :meth:`ticks`, a stream must be named where there are several."""
        chosen = self._chosen(stream)
        begun = [record.body for record in self._described if isinstance(record.body, EpochBegun)]
        epochs = [body.epoch for body in begun if body.stream == chosen]
        return sorted({epoch.number: epoch for epoch in epochs}.values(), key=lambda epoch: epoch.number)

    def _epochs_of(self, ticks: Ticks, stream: bytes | None) -> list[Epoch]:
        """Those of :meth:`epochs` that explain these ticks."""
        if stream is None or "_described" in self.__dict__:
            return self.epochs(stream)
        lacking = set(np.unique(ticks["epoch"]).tolist()) - {number for known, number in self._begun if known == stream}
        found = epochs_begun(self._held, stream, lacking, self._facts) if lacking else []
        if found is None:
            return self.epochs(stream)
        self._begun |= {(stream, epoch.number): epoch for epoch in found}
        return [epoch for (known, _), epoch in self._begun.items() if known == stream]

    @cached_property
    def journal_contents(self) -> dict[bytes, JournalContents]:
        """Stream -> how much its journal holds of what: of summaries, and of the records, not kept, where there is none.

        Of a span all is counted whose record is at a time in it, inferences too.
        """
        found: dict[bytes, JournalContents] = {}
        for stream in sorted(self._held.streams("journal")):
            found[stream] = JournalContents()
            for run in self._held.runs("journal", stream, self._within):
                body = self._held.summary(run.alone) if run.alone and self._inside(run.alone) else None
                if body is None:
                    found[stream].take(self._packed_of(run), self._within)
                else:
                    summaries.join(found[stream], body)
        return found

    def _packed_of(self, run: Run) -> list[tuple[npt.NDArray[np.uint64], PackedRecords]]:
        """Indices and records of a run, not unpacked."""
        from .files.segments import read_records, table_to_records

        parts = [part for each in run.segments for part in self._held.table(each, read_records, table_to_records)]
        waiting = ((first + np.arange(len(items), dtype=np.uint64), items) for first, items in run.pending)
        return parts + [(index, PackedRecords.of(items)) for index, items in waiting]

    def clock_maps(self) -> npt.NDArray[np.int64]:
        """(n, 4) monotonic, boottime, realtime and bracket width in ns, a row each second: what maps ticks to wall time."""
        rows = [
            [r.body[name] for name in summaries.CLOCK_FIELDS] for part in self.record_parts(Kind.CLOCK) for r in part
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, len(summaries.CLOCK_FIELDS))

    @cached_property
    def clock_mappings(self) -> dict[tuple[bytes, bytes], ClockMapping]:
        """(tick stream, boot of the recorder) -> what maps the device's clock to the recorder's; of the whole recording, also of a span.

        Empty where nothing was compared: a recording of an earlier version, or of a daemon that does not know the question.
        """
        return comparisons.mappings(
            comparisons.of_records(
                record
                for records in self._held.read(self._told, comparisons.path_of(self.directory))
                for record in records
            )
        )

    def recorder_clock(self, stream: bytes | None = None, boot: bytes | None = None) -> ClockMapping:
        """What maps times of a stream to the clock of the recorder, of this `boot` of it or of that with the most comparisons; empty where there were none."""
        chosen = self._chosen(stream)
        found = {key[1]: each for key, each in self.clock_mappings.items() if key[0] == chosen}
        if boot is not None:
            return found.get(boot, ClockMapping([]))
        return max(found.values(), key=lambda each: sum(p.comparisons for p in each.pieces), default=ClockMapping([]))

    def clock_points(self) -> npt.NDArray[np.int64]:
        """The same, but the first and the last of each segment alone, a minute apart: of summaries where there are any. Not cut to a span."""
        rows: list[list[int]] = []
        for stream in sorted(self._held.streams("journal")):
            for run in self._held.runs("journal", stream):
                body = self._held.summary(run.alone) if run.alone else None
                if body is None:
                    told = [record.body for _, record in self._records_of(run, (Kind.CLOCK,))]
                    found = [[each[name] for name in summaries.CLOCK_FIELDS] for each in told]
                else:
                    found = summaries.clocks(body)
                rows += [*found[:1], *found[1:][-1:]]
        return np.array(rows, dtype=np.int64).reshape(-1, len(summaries.CLOCK_FIELDS))

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

    def files(self) -> list[Path]:
        """What it is read from, or of a span what may hold something of it; without summaries, which are made of these."""
        waiting = [path for _, path in layout.wals(self.directory)]
        logs = [
            segment.path
            for log in ("ticks", "journal")
            for stream in sorted(self._held.streams(log))
            for segment in self._held.segments(log, stream, self._within)
        ]
        every = [self.directory / layout.DOCUMENT, self.directory / layout.FACTS, *waiting, *logs]
        return [path for path in every if path.is_file()]

    @cached_property
    def told(self) -> list[Told]:
        """What the recorder was told of entries that cannot be had any more, and of streams that ended."""
        return of_records(self._facts)

    def explained_losses(self) -> dict[tuple[str, bytes], list[tuple[range, str]]]:
        """(log, stream) -> ranges of indices that are missing, each with why: :meth:`losses`, and what is told lost before and after it."""
        holes, keys = self.losses().holes, [("ticks", stream) for stream in self.streams]
        keys += [("journal", stream) for stream in sorted(self._held.streams("journal"))]
        keys += [(each.log, each.stream) for each in self.told]
        found = {
            (log, stream): explained_by(
                log, stream, self._held.reach(log, stream), holes.get((log, stream), []), self.told
            )
            for log, stream in dict.fromkeys(keys)
        }
        return {key: ranges for key, ranges in found.items() if ranges}

    def _chosen(self, stream: bytes | None) -> bytes | None:
        if stream is not None:
            return stream
        if len(self.streams) > 1:
            names = ", ".join(each.hex() for each in self.streams)
            raise InputError(f"{self.directory}: holds {len(self.streams)} tick streams, name one of {names}")
        return self.streams[0] if self.streams else None


def _all(parts: list[Ticks]) -> Ticks:
    if len({part.dtype for part in parts}) > 1:
        raise InputError("the span has ticks of different layouts; choose one within which they are alike")
    return np.concatenate(parts) if parts else np.zeros(0, tick_dtype(0))


def _stream_bytes(name: str) -> bytes:
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
