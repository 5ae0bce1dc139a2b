"""The files of a recording as a reader finds them: segments with their summaries, and what still waits in write-ahead logs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from neuralpower_wire import WireError

from ..errors import InputError
from .files import layout, summaries, wal
from .files.entries import rows_of
from .files.layout import Segment

T = TypeVar("T")
Span = tuple[int, int]
"""Nanoseconds of a stream's clock, the second not itself inside."""
KEPT = 4096
"""Bound: summaries of the journal that are kept once read, about 1 KB each: three days of minutes."""
LATE_NS = 60_000_000_000
"""Bound: records of the journal may come so much before or behind what they tell of."""
_NEVER = 1 << 63


@dataclass(frozen=True)
class Run:
    """Segments and waiting batches whose indices overlap, so that they are to be read together. Most runs are one segment."""

    segments: list[Segment]
    pending: list[tuple[int, Any]]
    """First index and entries of each batch."""

    @property
    def alone(self) -> Segment | None:
        """The one segment, where there is nothing else."""
        return self.segments[0] if len(self.segments) == 1 and not self.pending else None


class HeldFiles:
    """What lies in a recording's folder. `damaged` takes a line for each file that was skipped, cut or gone round."""

    def __init__(self, folder: Path, skip_damaged: bool) -> None:
        self.folder, self.skip_damaged = folder, skip_damaged
        self.damaged: list[str] = []
        self._segments: dict[str, dict[bytes, list[Segment]]] = {}
        self._spans: dict[Path, Span | None] = {}
        self._bodies: dict[Path, dict[str, Any]] = {}
        self._last: tuple[Path, dict[str, Any] | None] | None = None

    @cached_property
    def pending(self) -> dict[str, dict[bytes, list[tuple[int, Any]]]]:
        """Log -> stream -> batches that are still in write-ahead logs.

        Always read before the segments: what a recorder at work moves meanwhile is then seen twice rather than not at all.
        """
        logs: dict[str, dict[bytes, list[tuple[int, Any]]]] = {"ticks": {}, "journal": {}}
        for _, path in layout.wals(self.folder):
            for entries in self.read(self.unpacked, path):
                for log, stream, first, items in entries:
                    logs[log].setdefault(stream, []).append((first, items))
        return logs

    def unpacked(self, path: Path) -> list[tuple[str, bytes, int, Any]]:
        """Log, stream, first index and entries of each message of a write-ahead log; InputError where it is none."""
        try:
            content = wal.read(path)
        except FileNotFoundError:  # there are no facts, or a recorder at work has just turned it into segments
            return []
        for line in content.told(path):
            self.tell(line)
        try:
            return [rows_of(message) for message in content.messages]
        except WireError as error:
            raise InputError(f"{path}: not written by this version of neuralpower ({error})") from None

    def streams(self, log: str) -> set[bytes]:
        """All streams of a log."""
        return {*self.pending[log], *self._listed(log)}

    def _listed(self, log: str) -> dict[bytes, list[Segment]]:
        """Stream -> its segments by their first index, as they were when they were first asked for: behind :attr:`pending`."""
        if log not in self._segments:
            self.pending  # noqa: B018  # first of all, as it says
            found: dict[bytes, list[Segment]] = {}
            for segment in layout.segments(self.folder, log):
                found.setdefault(segment.stream, []).append(segment)
            self._segments[log] = {name: sorted(each, key=lambda one: one.first) for name, each in found.items()}
        return self._segments[log]

    def reach(self, log: str, stream: bytes) -> range:
        """From the first index of a stream to the last."""
        ends = [(first, first + len(items)) for first, items in self.pending[log].get(stream, [])]
        ends += [(each.first, each.last + 1) for each in self.segments(log, stream)]
        return range(min((first for first, _ in ends), default=0), max((end for _, end in ends), default=0))

    def segments(self, log: str, stream: bytes, within: Span | None = None) -> list[Segment]:
        """The segments of a stream by their first index; of a span of time those that may have something in it."""
        found = self._listed(log).get(stream, [])
        if within is None:
            return found
        late = LATE_NS if log == "journal" else 0
        first = bisect_left(range(len(found)), within[0] - late, key=lambda at: self._ends(found, at)[1])
        last = bisect_left(range(len(found)), within[1] + late, key=lambda at: self._ends(found, at)[0])
        return found[first:last]

    def _ends(self, found: Sequence[Segment], at: int) -> Span:
        """When the segment at `at` begins and ends, or the next one that can be read."""
        return next((span for each in found[at:] if (span := self.span(each))), (_NEVER, _NEVER))

    def span(self, segment: Segment) -> Span | None:
        """Times of the earliest and the latest entry; None of a damaged segment that may be skipped."""
        if segment.path not in self._spans:
            self._spans[segment.path] = self._span(segment)
        return self._spans[segment.path]

    def _span(self, segment: Segment) -> Span | None:
        body = self.summary(segment)
        if body is not None:
            return summaries.span_ns(body, segment.log)
        from .files.segments import span_ns

        return next(iter(self.read(span_ns, segment.path)), None)

    def runs(self, log: str, stream: bytes, within: Span | None = None) -> Iterator[Run]:
        """All runs of a stream by index, or those that may have something in a span of time. Waiting batches always come too."""
        pending = self.pending[log].get(stream, [])
        pieces: list[tuple[int, int, Segment | None]] = [
            (segment.first, segment.last, segment) for segment in self.segments(log, stream, within)
        ]
        if pending:
            ends = [first + len(items) - 1 for first, items in pending]
            pieces.append((min(first for first, _ in pending), max(ends), None))
        run: list[Segment | None] = []
        reach = -1
        for first, last, piece in sorted(pieces, key=lambda each: each[0]):
            if run and first > reach:
                yield Run([each for each in run if each], pending if None in run else [])
                run = []
            run, reach = [*run, piece], max(reach, last)
        if run:
            yield Run([each for each in run if each], pending if None in run else [])

    def summary(self, segment: Segment, whole: bool = False) -> dict[str, Any] | None:
        """The summary beside a segment, with the level of seconds if it is to be `whole`; None where there is none that can be used.

        That is told where it is damaged.
        """
        if not whole and segment.path in self._bodies:
            return self._bodies[segment.path]
        if not whole and self._last and self._last[0] == segment.path:
            return self._last[1]
        try:
            body = summaries.read(segment.path, whole)
        except summaries.Unusable as reason:
            if str(reason):
                self.tell(str(reason))
            body = None
        if segment.log == "ticks":
            self._last = segment.path, body
        elif body is not None and len(self._bodies) < KEPT:
            self._bodies[segment.path] = body
        return body

    def read(self, reader: Callable[[Path], T], path: Path) -> list[T]:
        """What `reader` makes of `path`: one thing, or none if it is damaged and may be skipped."""
        try:
            return [reader(path)]
        except InputError as error:
            if not self.skip_damaged:
                raise
            self.tell(str(error))
            return []

    def table(self, segment: Segment, whole: Callable[[Path], T], rest: Callable[[Any], T]) -> list[T]:
        """What `whole` makes of a segment's file; of a damaged one that may be skipped what `rest` makes of the table of its sound row groups."""
        found = self.read(whole, segment.path)
        if found or not self.skip_damaged:
            return found
        try:
            from .files.segments import salvaged

            table, lost = salvaged(segment.path, summaries.read(segment.path, whole=True).get("frames", {}))
            found = [rest(table)]
        except (summaries.Unusable, InputError, WireError, ValueError, KeyError, TypeError):
            return []
        self.tell(
            f"{segment.path}: {table.num_rows} entries in its sound row groups are read, {lost} row groups are lost"
        )
        return found

    def tell(self, line: str) -> None:
        """Add a line to :attr:`damaged`, once."""
        if line not in self.damaged:
            self.damaged.append(line)
