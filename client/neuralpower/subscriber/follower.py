"""Following one log of a daemon: live batches in, ordered entries out, and the questions that fill what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuralpower_wire import Batch, WireError, batch_to_records
from neuralpower_wire.history import MAX_RECORDS, MAX_TICKS
from neuralpower_wire.ticks import batch_to_columns

from .asking import Answer
from .continuity import Continuity
from .messages import GONE, OLDER, UNREADABLE, Ended, Lost, Message, Records, Refused, Short, Ticks

RETRY_S = 0.5
"""After an answer that brought nothing (the daemon is starting, or the entry is not there yet) ask again this much later."""

SHORT_NS = 1_500_000_000
"""By so much less than was asked for may be held without a word: something is journaled each second only."""

Past = bool | float | None
"""How much from before joining is wanted: nothing (None, False), all that is still held (True), or seconds."""


@dataclass(frozen=True)
class Log:
    """One of the two logs: what its question is called, how much one answer may hold, and how a batch of it is read."""

    name: str
    most: int
    decode: Callable[[Batch], tuple[bytes, int, Any]]
    deliver: Callable[[bytes, int, Any], Message]


def _ticks(batch: Batch) -> tuple[bytes, int, Any]:
    stream, ticks = batch_to_columns(batch)
    return stream, ticks.first, ticks


TICKS = Log("ticks", MAX_TICKS, _ticks, lambda stream, first, ticks: Ticks(stream, ticks))
JOURNAL = Log("journal", MAX_RECORDS, batch_to_records, Records)


@dataclass
class _Search:
    """Looking for the first entry that is not older than `target_ns`, in [low, high); the newest entry is read first."""

    low: int
    high: int
    target_ns: int | None = None
    found_ns: int | None = None
    """The time of entry `high`, once one was read."""
    passed: bool = False
    """Whether an older entry was seen."""

    def probe(self) -> int:
        return self.high - 1 if self.target_ns is None else (self.low + self.high) // 2


class Follower:
    """The state of one log as a client sees it. No socket and no clock in here: answers and times are handed in.

    Until the history has said where the log stands, live batches are ignored; they are asked for afterwards. A stream that
    appears later (another ring after a reboot or a changed stride) is wanted from its beginning, where all streams count from 0,
    and the stream before it is asked for to its end, which :class:`Ended` then tells.

    Args:
        past: what to take from before joining.
        resume: stream -> first index wanted, of a recording that goes on; `past` then counts only if it is empty.
    """

    def __init__(self, log: Log, past: Past = None, resume: dict[bytes, int] | None = None) -> None:
        self.log = log
        self.lost = 0
        self.stream: bytes | None = None
        """The newest stream, once known."""
        self._past = past
        self._resume = dict(resume or {})
        self._streams: dict[bytes, Continuity[Any]] = {}
        self._ending: set[bytes] = set()
        """Those before the newest of which the end is still to be asked for."""
        self._joined: bytes | None = None
        self._joined_at = 0
        """The stream that was joined, and the index that it had reached: what came before is not lost if it is not there."""
        self._where = True
        self._search: _Search | None = None
        self._most = log.most
        self._not_before = 0.0

    @property
    def started(self) -> bool:
        """Whether it is known where to begin."""
        return bool(self._streams)

    def locate(self) -> None:
        """Ask anew how far the log goes; everything up to there is then missing until it has arrived."""
        self._where = True
        self._not_before = 0.0

    def live(self, batch: Batch) -> list[Message]:
        """Take a live batch.

        Raises:
            WireError: it breaks the format; nothing of it was taken.
        """
        stream, first, items = self.log.decode(batch)
        if stream not in self._streams:
            self._where = self._where or self.started
            return []
        return self._deliver(stream, self._streams[stream].offer(first, items))

    def question(self, now: float) -> dict[str, Any] | None:
        """The stream, first and count to ask the history for at time `now` (seconds, any origin); None if nothing is missing."""
        if now < self._not_before:
            return None
        if self._where:
            return {"first": 0, "count": 0}
        if self._search:
            return {"stream": self.stream, "first": self._search.probe(), "count": 1}
        for stream, continuity in self._streams.items():
            if gap := continuity.gap(self._most):
                return {"stream": stream, "first": gap[0], "count": gap[1]}
            if stream in self._ending:
                return {"stream": stream, "first": continuity.next, "count": 1}
        return None

    def answered(self, question: dict[str, Any], answer: Answer | None, now: float) -> list[Message]:
        """Take the history's answer to `question`, or None if it gave none."""
        if answer is None:
            self._not_before = now + RETRY_S
            return []
        if question["count"] == 0:
            self._located(answer, now)
            return []
        if answer.reply.error or answer.reply.stream != question["stream"]:
            return self._not_served(question["stream"], answer.reply.error, now)
        if self._search:
            return self._searched(answer)
        return self._filled(question, answer, now)

    def _located(self, answer: Answer, now: float) -> None:
        reply = answer.reply
        if reply.error or not reply.stream:
            self._not_before = now + RETRY_S
            return
        self._where = False
        if reply.stream not in self._streams:
            self._begin(reply.stream, reply.oldest, reply.next)
        self._streams[reply.stream].reaches(reply.next)

    def _begin(self, stream: bytes, oldest: int, end: int) -> None:
        joining = self.stream is None and not self._resume
        if joining:
            self._joined, self._joined_at = stream, end
        start, self._search = 0, None
        if joining:
            start = oldest if self._past else end
            if self._past and self._past is not True and oldest < end:
                self._search = _Search(oldest, end)
        if self.stream is None:
            self._streams = {each: Continuity(first) for each, first in self._resume.items() if each != stream}
        self._ending |= self._streams.keys()
        self.stream = stream
        self._streams[stream] = Continuity(self._resume.get(stream, start))

    def _not_served(self, stream: bytes, reason: str, now: float) -> list[Message]:
        """The history refuses this stream: if it is not the newest, what is missing of it is lost, else ask anew where it is."""
        if stream == self.stream:
            self._where = True
            self._not_before = now + RETRY_S
            return [Refused(self.log.name.encode(), reason)] if reason else []
        continuity = self._streams.pop(stream)
        self._ending.discard(stream)
        out: list[Message] = []
        while continuity.gap(1):
            lost, ready = continuity.gone(continuity.head)
            out += self._losses(stream, lost, GONE) + self._deliver(stream, ready)
        return [*out, Ended(self.log.name, stream, continuity.next, known=False)]

    def _searched(self, answer: Answer) -> list[Message]:
        search, stream = self._search, self.stream
        assert search is not None and stream is not None
        t_ns, index = _first_time(self.log, answer)
        if search.target_ns is None:
            if t_ns is None:
                self._search = None
                return []
            search.found_ns = t_ns
            search.target_ns = t_ns - int(float(self._past or 0) * 1e9)
        elif t_ns is None or index is None or index > search.probe():  # overwritten meanwhile: what is wanted is newer
            search.low = max(search.probe() + 1, answer.reply.oldest)
        elif t_ns < search.target_ns:
            search.low, search.passed = index + 1, True
        else:
            search.high, search.found_ns = index, t_ns
        if search.low < search.high:
            return []
        begun = Continuity[Any](search.low)
        begun.reaches(self._streams[stream].head)
        self._streams[stream], self._search = begun, None
        short_ns = (search.found_ns or 0) - search.target_ns
        wanted_s = float(self._past or 0)
        if search.passed or short_ns < SHORT_NS:
            return []
        return [Short(self.log.name, wanted_s, wanted_s - short_ns * 1e-9)]

    def _filled(self, question: dict[str, Any], answer: Answer, now: float) -> list[Message]:
        stream = question["stream"]
        continuity, before = self._streams[stream], self._streams[stream].next
        first, items, damage = answer.reply.oldest, None, answer.damaged
        if answer.batch is not None and not damage:
            try:
                _, first, items = self.log.decode(answer.batch)
            except WireError as error:
                damage = str(error)
        if damage:
            return self._damaged(question, damage)
        self._most = self.log.most
        lost, ready = continuity.gone(first)
        if stream == self._joined and lost.start == continuity.start:
            # Of the past that was there when joining, the oldest end is overwritten while one asks for it.
            continuity.start = lost.stop
            lost = range(min(max(lost.start, self._joined_at), lost.stop), lost.stop)
        out = self._losses(stream, lost, OLDER) + self._deliver(stream, ready)
        if items is not None:
            out += self._deliver(stream, continuity.offer(first, items))
        if continuity.next == before:
            self._not_before = now + RETRY_S
        if stream in self._ending:
            self._ending.discard(stream)
            continuity.reaches(answer.reply.next)
        if stream != self.stream and not continuity.gap(1):
            del self._streams[stream]
            out.append(Ended(self.log.name, stream, continuity.next, known=True))
        return out

    def _damaged(self, question: dict[str, Any], reason: str) -> list[Message]:
        """An unreadable answer: narrow it down by halves to the one entry that cannot be read, which then counts as lost."""
        if question["count"] > 1:
            self._most = question["count"] // 2
            return []
        self._most = self.log.most
        stream = question["stream"]
        lost, ready = self._streams[stream].gone(question["first"] + 1)
        refused = Refused(self.log.name.encode(), reason)
        return [refused, *self._losses(stream, lost, f"{UNREADABLE}: {reason}"), *self._deliver(stream, ready)]

    def _losses(self, stream: bytes, lost: range, why: str) -> list[Message]:
        self.lost += len(lost)
        return [Lost(self.log.name, stream, lost.start, len(lost), why)] if lost else []

    def _deliver(self, stream: bytes, ready: list[tuple[int, Any]]) -> list[Message]:
        return [self.log.deliver(stream, first, items) for first, items in ready]


def _first_time(log: Log, answer: Answer) -> tuple[int | None, int | None]:
    """Time and index of the one entry in an answer, or None twice."""
    if answer.batch is None or answer.damaged:
        return None, None
    try:
        _, first, items = log.decode(answer.batch)
    except WireError:
        return None, None
    if not len(items):
        return None, None
    return int(items.t_ns[0]), first
