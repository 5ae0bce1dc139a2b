"""The epochs that explain some ticks, found without the rest of the journal: of a month, a few summaries are read instead of all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from neuralpower_wire import Epoch, EpochBegun, Kind, Record

from .files import summaries
from .files.layout import Segment
from .held import HeldFiles


def epochs_begun(held: HeldFiles, stream: bytes, numbers: Iterable[int], known: Sequence[Record]) -> list[Epoch] | None:
    """The epochs of a stream with these numbers, by number; None where one is not found in this way, so that all is to be looked through.

    An epoch is journaled within moments of its first tick, and numbers never fall: the segment of ticks in which one begins is found by
    halves, and the journal is read around that time. `known`: records that had to be asked for, which a journal does not have.
    """
    found = _of(stream, [*known, *_waiting(held)])
    segments = held.segments("ticks", stream)
    for number in sorted(set(numbers) - found.keys()):
        span = _beginning(held, segments, number)
        if span is None:
            return None
        for journal in held.streams("journal"):
            for segment in held.segments("journal", journal, span):
                body = held.summary(segment)
                told = None if body is None else summaries.described(body)
                if told is None:
                    return None
                records = [Record.unpack(each.kind, each.t_ns, each.body) for each in told if each.kind == Kind.EPOCH]
                found |= _of(stream, records)
        if number not in found:
            return None
    return [found[number] for number in sorted(set(numbers))]


def _of(stream: bytes, records: Iterable[Record]) -> dict[int, Epoch]:
    begun = [record.body for record in records if isinstance(record.body, EpochBegun)]
    return {body.epoch.number: body.epoch for body in begun if body.stream == stream}


def _waiting(held: HeldFiles) -> list[Record]:
    """Records that are still in write-ahead logs."""
    return [record for parts in held.pending["journal"].values() for _, items in parts for record in items]


def _beginning(held: HeldFiles, segments: Sequence[Segment], number: int) -> tuple[int, int] | None:
    """The span of the first segment that has ticks of an epoch; None where there is none, or a summary on the way to it cannot be used."""
    ends: dict[Segment, int | None] = {}

    def last(segment: Segment) -> int:
        body = held.summary(segment)
        ends[segment] = None if body is None else summaries.last_epoch(body)
        return ends[segment] or 0

    at = bisect_left(segments, number, key=last)
    if at == len(segments) or None in ends.values():
        return None
    return held.span(segments[at])
