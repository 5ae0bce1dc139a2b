"""Marks and windows in the daemon's journal: what a stretch of time was, said by whoever made it.

A window is a mark whose text is JSON: `{"kind": ..., "begin_ns": ..., "end_ns": ..., ...}`. It is journaled when it has
ended, so the record's own time says nothing; the two moments in it do. Sending never waits: a daemon that is away
costs the mark, which is kept (the newest :data:`KEPT`) until it has been acknowledged, and counted when it is given up.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import zmq

from neuralpower_wire import Kind, Record, WireError
from neuralpower_wire.history import Reply, Request

from ..address import DEFAULT, AddressLike, parse_local

KEPT = 1024
UNANSWERED = 64
"""Marks under way without an answer; the rest waits."""
AGAIN_NS = 2_000_000_000
LEAVE_S = 0.2
"""The end of a process waits so long for its last marks to be acknowledged."""
MOST_TEXT = 4000
"""Characters of a mark's text; the journal takes 4096 bytes of plain ones."""
WINDOW = "window"
"""Kind of a window around a piece of code; the profile command's own kinds are in `experiment.py`."""


@dataclass(frozen=True)
class Span:
    """A stretch of time that somebody declared: what it was (`kind`), its name, and all else that was said of it."""

    kind: str
    name: str
    begin_ns: int
    end_ns: int
    more: dict[str, Any]


def spans(records: Iterable[Record], *kinds: str) -> list[Span]:
    """The declared stretches among journal records, of `kinds` if any are named, in the order of time, each once.

    Marks that are no windows, and text that is broken, are passed over.
    """
    found: dict[tuple[int, int, str, str], Span] = {}
    for record in records:
        span = _span(record) if record.kind is Kind.MARK else None
        if span is not None and (not kinds or span.kind in kinds):
            found.setdefault((span.begin_ns, span.end_ns, span.kind, span.name), span)
    return [found[key] for key in sorted(found)]


def _span(record: Record) -> Span | None:
    try:
        body = json.loads(record.body["text"])
        kind, begin, end = body.pop("kind"), body.pop("begin_ns"), body.pop("end_ns")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    sound = isinstance(kind, str) and type(begin) is int and type(end) is int and 0 <= begin <= end
    return Span(kind, record.body["name"], begin, end, body) if sound else None


class Marks:
    """Sends marks to the daemon's history socket; no call but `close` waits.

    `sent` counts what was handed over, `acknowledged` what the daemon journaled, `dropped` what was given up.
    Raises InputError for an address that is none, or not of this device.
    """

    def __init__(self, address: AddressLike = DEFAULT) -> None:
        where = parse_local(address).history
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._asked: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._number = 0
        self.offered = self.acknowledged = self.refused = self.dropped = 0
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.IMMEDIATE, 1), (zmq.SNDHWM, 2 * UNANSWERED)):
            self._socket.setsockopt(option, value)
        self._socket.connect(where)

    @property
    def pending(self) -> int:
        """Marks that the daemon has not acknowledged."""
        return len(self._waiting) + len(self._asked)

    def mark(self, name: str, text: str = "") -> None:
        """Put a mark into the journal.

        Raises:
            ValueError: a name or text that no journal takes.
        """
        if not name or len(name) > 256 or len(text) > MOST_TEXT:
            raise ValueError(f"a mark needs a name of 1 to 256 characters and at most {MOST_TEXT} of text")
        self._number += 1
        self.offered += 1
        self._waiting.append((self._number, Request(self._number, "mark", name=name, text=text).encode()))
        while self.pending > KEPT:
            self._waiting.popleft() if self._waiting else self._asked.popitem(last=False)
            self.dropped += 1
        self.poll()

    def span(self, kind: str, name: str, begin_ns: int, end_ns: int, **more: Any) -> None:
        """Declare what the time from `begin_ns` to `end_ns` was."""
        self.mark(name, json.dumps({"kind": kind, "begin_ns": begin_ns, "end_ns": end_ns, **more}))

    def poll(self) -> None:
        """Take answers, and send what may be sent."""
        self._receive()
        now = time.monotonic_ns()
        while self._asked and now - next(iter(self._asked.values()))[0] > AGAIN_NS:
            number, (_, request) = self._asked.popitem(last=False)  # its daemon died: the same mark once more
            self._waiting.appendleft((number, request))
        while self._waiting and len(self._asked) < UNANSWERED:
            number, request = self._waiting[0]
            try:
                self._socket.send(request, zmq.NOBLOCK)
            except zmq.Again:
                return
            self._waiting.popleft()
            self._asked[number] = now, request

    def _receive(self) -> None:
        for _ in range(UNANSWERED):
            try:
                reply = Reply.decode(self._socket.recv_multipart(zmq.NOBLOCK)[:1])
            except zmq.Again:
                return
            except WireError:
                continue
            if self._asked.pop(reply.id, None):
                self.refused += bool(reply.error)
                self.acknowledged += not reply.error

    def close(self, timeout_s: float = 1.0) -> None:
        """Wait until all is journaled, at most `timeout_s`; what is left then counts as dropped."""
        if self._socket.closed:
            return
        deadline = time.monotonic() + timeout_s
        self.poll()
        while self.pending and time.monotonic() < deadline:
            self._socket.poll(20)
            self.poll()
        self.dropped += self.pending
        self._waiting.clear()
        self._asked.clear()
        self._socket.close(0)


class Window:
    """A named stretch of code, whose energy can be asked for when it has ended.

    `energy_j` and `power_w` ask the daemon's history and may wait for it, so read them after what you measure.
    """

    def __init__(
        self,
        name: str,
        address: AddressLike = DEFAULT,
        marks: Marks | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        self.begin_ns = self.end_ns = 0
        self._address, self._marks, self._clock_ns = address, marks, clock_ns
        self._energy_j: float | None = None

    def __enter__(self) -> Window:
        if self._marks is None:
            self._marks = marks_to(self._address)
        self.begin_ns = self._clock_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_ns = self._clock_ns()
        assert self._marks is not None
        failed = {} if kind is None else {"failed": kind.__name__}
        self._marks.span(WINDOW, self.name, self.begin_ns, self.end_ns, **failed)

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end_ns - self.begin_ns) * 1e-9

    @property
    def energy_j(self) -> float:
        """Joules of the whole board between begin and end; nan where the daemon cannot tell.

        What the chip's setting says of how late it shows power is removed; what lies before the chip (a millisecond or two) is not,
        so a window should be long beside it (a tenth of a second or more).
        """
        if self._energy_j is None:
            from ..subscriber.spent import energy_between_moments

            self._energy_j = energy_between_moments(self._address, self.begin_ns, self.end_ns)
        return self._energy_j

    @property
    def power_w(self) -> float:
        """Energy over time."""
        return self.energy_j / self.seconds if self.end_ns > self.begin_ns else float("nan")


_mine = threading.local()


def marks_to(address: AddressLike) -> Marks:
    """This thread's link for marks to the daemon at `address`, made when it is first asked for: a socket is one thread's."""
    links: dict[tuple[int, str], Marks] = _mine.__dict__.setdefault("links", {})
    key = os.getpid(), str(parse_local(address))
    if key not in links:
        links[key] = Marks(address)
        atexit.register(_leave, key[0], links[key])
    return links[key]


def _leave(process: int, marks: Marks) -> None:
    """At the end of the process that made it: the last marks may still go out, shortly."""
    if os.getpid() == process:
        marks.close(LEAVE_S)


def window(name: str, *, address: AddressLike = DEFAULT) -> Window:
    """Measure a piece of code::

    with neuralpower.window("preprocess") as pre:
        ...
    print(pre.energy_j)
    """
    return Window(name, address)


def mark(name: str, text: str = "", *, address: AddressLike = DEFAULT) -> None:
    """Put a named moment into the daemon's journal; never waits.

    Raises:
        ValueError: a name or text that no journal takes.
    """
    marks_to(address).mark(name, text)
