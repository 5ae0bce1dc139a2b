"""What a recorder was told of entries that cannot be had any more, as it keeps it among the facts of a recording: event records."""

from __future__ import annotations

from collections.abc import Iterable

from neuralpower_wire import Event, Kind, Record, WireError
from neuralpower_wire.batch import header_bytes, header_count, header_text
from neuralpower_wire.ticks import STREAM_BYTES

from ..subscriber.messages import Ended, Lost

LOST, ENDED = "entries-lost", "stream-ended"
"""Names of the events."""
NOT_TOLD = "nobody told: a file was damaged or removed"
LOGS = ("ticks", "journal")
Told = Lost | Ended
_MOST = 2**63 - 1


def to_record(told: Told) -> Record:
    """As a fact."""
    about = {"log": told.log, "stream": told.stream}
    if isinstance(told, Lost):
        return Record(
            Kind.EVENT, 0, {"name": LOST, "text": told.why[:1000], **about, "first": told.first, "count": told.count}
        )
    return Record(Kind.EVENT, 0, {"name": ENDED, "text": str(told), **about, "next": told.next, "known": told.known})


def of_records(facts: Iterable[Record]) -> list[Told]:
    """All that the facts tell; what is none of it, or breaks the form, is passed over."""
    found = []
    for record in facts:
        if isinstance(record.body, Event) and (told := _of_event(record.body)) is not None:
            found.append(told)
    return found


def _of_event(event: Event) -> Told | None:
    more = dict(event.more)
    try:
        log, stream = header_text(more, "log"), header_bytes(more, "stream", STREAM_BYTES)
        if log not in LOGS:
            return None
        if event.name == LOST:
            return Lost(log, stream, header_count(more, "first", _MOST), header_count(more, "count", _MOST), event.text)
        if event.name == ENDED:
            return Ended(log, stream, header_count(more, "next", _MOST), bool(more.get("known")))
    except WireError:
        return None
    return None


def explained(
    log: str, stream: bytes, held: range, holes: Iterable[range], told: Iterable[Told]
) -> list[tuple[range, str]]:
    """What is missing of a log, each range with why: the holes between the ends of what is `held`, cut where the reason changes, and what is
    told lost beyond these ends. What was told twice counts once, and what came after all does not count."""
    reasons = sorted(
        (
            (range(each.first, each.last + 1), each.why)
            for each in told
            if isinstance(each, Lost) and (each.log, each.stream) == (log, stream)
        ),
        key=lambda reason: reason[0].start,
    )
    within = [(hole, True) for hole in holes]
    beyond = [(range(0, held.start), False), (range(held.stop, max(held.stop, _MOST)), False)]
    out: list[tuple[range, str]] = []
    for absent, is_hole in sorted([*within, *beyond], key=lambda each: each[0].start):
        at = absent.start
        for known, why in reasons:
            start, stop = max(known.start, at), min(known.stop, absent.stop)
            if start < stop:
                if is_hole and at < start:
                    out.append((range(at, start), NOT_TOLD))
                out.append((range(start, stop), why))
                at = stop
        if is_hole and at < absent.stop:
            out.append((range(at, absent.stop), NOT_TOLD))
    return out
