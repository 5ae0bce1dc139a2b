"""Answers questions about the past: ranges of both logs, epochs, engines, status; and takes marks. Every reply is bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from neuralpower_sampler import RingReader
from neuralpower_wire import Kind, VersionError, WireError, by_epoch, records_to_batch, tick_dtype, ticks_to_batch
from neuralpower_wire.batch import unpack
from neuralpower_wire.history import MAX_RECORDS, MAX_REPLY, MAX_TICKS, Reply, Request

from .ledger import Ledger
from .roles import NEEDED, Role
from .saved import SavedFolder

MARKS_S = 300.0
MARK_BYTES = 64
"""What a record costs beside its words."""
MOST_MARKERS = 1024
"""Peers kept in mind: whoever comes under ever new names is bounded by what all may."""


class MarkLimit:
    """How many marks are taken: nobody's evict what others wrote within the last minutes.

    All peers together may fill an eighth of the journal at once and again in five minutes, each a quarter of that.
    """

    def __init__(self, capacity: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._share = capacity / 8
        self._now_s = now_s
        self._used: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, peer: bytes, size: int) -> None:
        """Count a mark of `size` bytes. WireError where the peer has to wait."""
        size += MARK_BYTES
        for name, most in ((b"", self._share), (peer, self._share / 4)):
            used, when_s = self._used.get(name, (0.0, 0.0))
            left = max(0.0, used - (self._now_s() - when_s) * most / MARKS_S)
            if left + size > most:
                wait_s = (left + size - most) * MARKS_S / most
                raise WireError(
                    f"too many marks: they would push out of the journal what others wrote; wait {wait_s:.1f} s"
                )
        for name, most in ((b"", self._share), (peer, self._share / 4)):
            used, when_s = self._used.pop(name, (0.0, 0.0))
            left = max(0.0, used - (self._now_s() - when_s) * most / MARKS_S)
            self._used[name] = left + size, self._now_s()
        while len(self._used) > MOST_MARKERS:
            self._used.popitem(last=False)


class History:
    """Serves the rings that `readers()` gives (the newest first), the ledger's journal, and what `status()` says.

    `foreign(peer, error)` hears of a peer that speaks another version of the wire: it is answered in this one's, and so knows it too. `saved` is the flight recorder's folder, if it has one.
    """

    def __init__(
        self,
        readers: Callable[[], list[RingReader]],
        ledger: Ledger,
        status: Callable[[], dict[str, Any]],
        foreign: Callable[[bytes, WireError], None] = lambda peer, error: None,
        saved: SavedFolder | None = None,
    ) -> None:
        self._readers = readers
        self._ledger = ledger
        self._status = status
        self._foreign = foreign
        self._saved = saved
        self._marks = MarkLimit(ledger.journal.capacity)

    def answer(self, frame: bytes, role: Role = Role.CONTROL, peer: bytes = b"") -> Reply:
        """The reply to a request, which may be hostile, of a peer that may do what `role` may."""
        identity = 0
        try:
            request = Request.decode(frame)
            identity = request.id
            needed = NEEDED.get(request.do, Role.SUBSCRIBE)
            if role < needed:
                raise WireError(
                    f"this key may {role.word} and no more; on the device run: neuralpowerd allow KEY --role {needed.word}"
                )
            if request.do == "mark":
                self._marks.take(peer, len(request.name) + len(request.text))
            return _ANSWERS[request.do](self, request)
        except VersionError as error:
            self._foreign(peer, error)
            return Reply(identity, error=str(error))
        except WireError as error:
            return Reply(identity, error=str(error)[:1000])

    def _ticks(self, request: Request) -> Reply:
        readers = self._readers()
        reader = next((each for each in readers if each.stream == request.stream), readers[0])
        stream, oldest, following = reader.stream, reader.oldest, reader.next_index
        if request.stream not in (None, stream):
            return Reply(request.id, "this stream of ticks is no longer held", stream, oldest, following, request.count)
        wanted = min(request.count, MAX_TICKS, max(1, MAX_REPLY // tick_dtype(reader.readings).itemsize))
        got = reader.read(request.first, max_ticks=wanted) if wanted else None
        if got is None or got.first >= request.first + wanted or not len(got.ticks):
            lost = min(wanted, max(0, oldest - request.first))
            return Reply(request.id, "", stream, oldest, following, lost)
        run = by_epoch(got.ticks[: wanted - (got.first - request.first)])[0]
        return Reply(
            request.id,
            "",
            stream,
            reader.oldest,
            following,
            got.first - request.first,
            batch=ticks_to_batch(stream, run),
        )

    def _journal(self, request: Request) -> Reply:
        journal = self._ledger.journal
        stream, oldest, following = journal.stream, journal.oldest, journal.next_index
        if request.stream not in (None, stream):
            return Reply(
                request.id, "this stream of the journal is no longer held", stream, oldest, following, request.count
            )
        wanted = min(request.count, MAX_RECORDS)
        lost = min(wanted, max(0, oldest - request.first))
        got = journal.read_packed(request.first + lost, wanted - lost, MAX_REPLY)
        batch = records_to_batch(stream, got.first, got.records) if got.records else None
        return Reply(request.id, "", stream, oldest, following, lost, batch=batch)

    def _status_now(self, request: Request) -> Reply:
        return Reply(request.id, stream=self._readers()[0].stream, body=self._status())

    def _clock(self, request: Request) -> Reply:
        """The time now, on the clock of all ticks: who asks holds it against when it asked and when it heard."""
        return Reply(request.id, stream=self._readers()[0].stream, body={"monotonic_ns": time.monotonic_ns()})

    def _epochs(self, request: Request) -> Reply:
        reader = self._readers()[0]
        epochs = [unpack(document) for _, _, document in reader.epochs()]
        return Reply(request.id, stream=reader.stream, body={"stream": reader.stream, "epochs": epochs})

    def _engine(self, request: Request) -> Reply:
        packed = self._ledger.packed_engine(request.hash)
        if packed is None:
            return Reply(request.id, f"no engine {request.hash[:64]!r} is described in the journal")
        return Reply(request.id, stream=self._ledger.journal.stream, packed_body=packed)

    def _mark(self, request: Request) -> Reply:
        index = self._ledger.write(Kind.MARK, {"name": request.name, "text": request.text})
        return Reply(request.id, stream=self._ledger.journal.stream, body={"index": index})

    def _list_saved(self, request: Request) -> Reply:
        files = self._saved.files if self._saved else []
        told = [{"name": each.name, "bytes": each.bytes, **_said(each.told)} for each in files]
        return Reply(request.id, body={"on": self._saved is not None, "files": told})

    def _fetch(self, request: Request) -> Reply:
        if self._saved is None:
            raise WireError("the flight recorder is off: it has no recorder.folder")
        size, data = self._saved.read(request.name, request.first, request.count)
        return Reply(request.id, body={"bytes": size, "data": data})


def _said(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a list tells of a file."""
    return {name: told.get(name) for name in ("at", "begin_ns", "end_ns", "board", "simulated", "reasons")}


_ANSWERS: dict[str, Callable[[History, Request], Reply]] = {
    "ticks": History._ticks,
    "journal": History._journal,
    "status": History._status_now,
    "epochs": History._epochs,
    "engine": History._engine,
    "mark": History._mark,
    "saved": History._list_saved,
    "fetch": History._fetch,
    "clock": History._clock,
}
