"""What the daemon keeps, and how: one place that writes the journal and remembers where its engines lie."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from neuralpower_wire import Body, Kind, Record

from .journal import Journal

MAX_EVENT_TEXT = 1000


class Ledger:
    """The journal with a clock and an index of the engines in it.

    Engine descriptions can be megabytes, so none is kept in memory: `engines` maps a hash to the record that describes
    it. Once that record is overwritten the engine is unknown again, and whoever uses it is asked to describe it anew.
    """

    def __init__(self, journal: Journal, now_ns: Callable[[], int], max_engines: int) -> None:
        self.journal = journal
        self.now_ns = now_ns
        self.max_engines = max_engines
        self._engines: OrderedDict[str, int] = OrderedDict()

    def write(self, kind: Kind, body: Body | Mapping[str, Any]) -> int:
        """Append a record made now, of a body or its keys; returns its index. WireError where they break the format."""
        index = self.journal.append(Record(kind, self.now_ns(), body))
        if kind is Kind.ENGINE:
            self.note_engine(body["hash"], index)
        return index

    def event(self, name: str, text: str, **more: Any) -> int:
        """Journal an event: a short name for machines, a line for people, and numbers."""
        return self.write(Kind.EVENT, {"name": name, "text": text[:MAX_EVENT_TEXT], **more})

    def note_engine(self, engine: str, index: int) -> None:
        """Remember where the engine is described; the one described longest ago is forgotten for it."""
        self._engines[engine] = index
        self._engines.move_to_end(engine)
        while len(self._engines) > self.max_engines:
            self._engines.popitem(last=False)

    def knows_engine(self, engine: str) -> bool:
        """Whether the engine's description is still held."""
        return self._engines.get(engine, -1) >= self.journal.oldest

    def packed_engine(self, engine: str) -> bytes | None:
        """The body of the engine's record as msgpack, or None."""
        if not self.knows_engine(engine):
            return None
        found = self.journal.read_packed(self._engines[engine], 1).records
        return found[0].body if found and found[0].kind == Kind.ENGINE else None
