"""The comparisons of a recording's clocks on the disk: `clock.wal`, written as facts are, read by whoever wants a mapping."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neuralpower_wire import Event, Kind, Record, WireError
from neuralpower_wire.batch import header_bytes, header_count
from neuralpower_wire.ticks import STREAM_BYTES

from ...subscriber.comparison import ClockComparison
from .clock import ClockMapping, pieces_of

NAME = "clock-compared"
"""Name of the event."""
EVERY_NS = 10_000_000_000
"""Of all comparisons of so long the one with the narrowest bracket is kept."""
_NUMBERS = ("asked_ns", "device_ns", "answered_ns", "wall_ns")
_MOST = 2**63 - 1


class Narrowest:
    """Takes comparisons as they come, gives the narrowest of each ten seconds."""

    def __init__(self) -> None:
        self._best: ClockComparison | None = None
        self._begun_ns = 0

    def take(self, new: ClockComparison) -> ClockComparison | None:
        """The narrowest of the ten seconds that are over, if they are; of another stream or boot, too."""
        best = self._best
        changed = best is not None and (best.stream, best.boot) != (new.stream, new.boot)
        if best is None or changed or new.answered_ns - self._begun_ns >= EVERY_NS:
            self._best, self._begun_ns = new, new.answered_ns
            return best
        if new.bracket_ns < best.bracket_ns:
            self._best = new
        return None

    def rest(self) -> ClockComparison | None:
        """That of the ten seconds under way, which are then over."""
        best, self._best = self._best, None
        return best


def to_record(comparison: ClockComparison) -> Record:
    """As it is kept."""
    numbers: dict[str, Any] = {name: getattr(comparison, name) for name in _NUMBERS}
    names = {"stream": comparison.stream, "boot": comparison.boot}
    return Record(Kind.EVENT, comparison.device_ns, {"name": NAME, "text": "", **names, **numbers})


def of_records(records: Iterable[Record]) -> list[ClockComparison]:
    """All that records tell; what is none, or cannot be, is passed over."""
    found = []
    for record in records:
        if isinstance(record.body, Event) and record.body.name == NAME:
            more = dict(record.body.more)
            try:
                asked, device, answered, wall = (header_count(more, name, _MOST) for name in _NUMBERS)
                names = header_bytes(more, "stream", STREAM_BYTES), header_bytes(more, "boot", STREAM_BYTES)
            except WireError:
                continue
            if answered >= asked:
                found.append(ClockComparison(*names, asked, device, answered, wall))
    return found


def mappings(comparisons: Iterable[ClockComparison]) -> dict[tuple[bytes, bytes], ClockMapping]:
    """(stream of the device's ticks, boot of the recorder) -> its mapping."""
    sorted_out: dict[tuple[bytes, bytes], list[ClockComparison]] = {}
    for each in comparisons:
        sorted_out.setdefault((each.stream, each.boot), []).append(each)
    return {key: ClockMapping(pieces_of(some)) for key, some in sorted_out.items()}


def path_of(folder: Path) -> Path:
    """Where a recording keeps them."""
    return folder / "clock.wal"
