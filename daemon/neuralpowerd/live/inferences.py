"""Takes inferences from inference processes: checks them, journals each once, asks for engines, returns credit.

No socket in here: messages come in with the peer they came from, answers go out as (peer, batch).

A session's id is what its process proves itself by when it comes again after a broken connection. So the journal, which everybody
reads, gets a name that follows from the id and not the id from it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from neuralpower_wire import Batch, Kind, Record, WireError
from neuralpower_wire.bodies import SESSION_BYTES
from neuralpower_wire.link import (
    ENGINE,
    HELLO,
    INFERENCE,
    Credit,
    Describe,
    EngineHead,
    Hello,
    Inference,
    RefusedInference,
)

from .. import config
from ..logs.ledger import Ledger

log = logging.getLogger(__name__)

FUTURE_NS = 1_000_000
"""How far ahead of this clock an anchor may lie: two processes read one clock, so only a foreign one is further."""
ASK_AGAIN_NS = 2_000_000_000
"""An engine that was asked for and not described is asked for again after this time."""
MIN_TOLERANCE_NS = 100_000
"""Durations are multiples of 1.024 µs and rounded per layer: a short inference is given this much room."""

MAX_HOLE = 1 << 32
"""A hole of more inferences than this is a broken number, not a loss."""

_SESSION_FIRST = b"\xa7session\xc4\x10"
"""The key "session" and the head of 16 bytes, as msgpack writes them behind the first byte of a map."""

Send = Callable[[bytes, Batch], None]


@dataclass
class Session:
    """One inference process: what of it is journaled, and what it may still send."""

    name: str = ""
    peer: bytes = b""
    upto: int = -1
    seen: int = -1
    last_end_ns: int = 0
    credit: int = 0
    """May go below zero by as much again: a process that reconnects may have counted a grant twice."""
    owed: int = 0
    complained: bool = False


@lru_cache(1024)
def public_session(session: bytes) -> bytes:
    """The 16 bytes that the journal calls a session by its id."""
    return hashlib.sha256(b"neuralpower session" + session).digest()[:SESSION_BYTES]


def _session_of(body: bytes) -> bytes | None:
    """The session of a packed inference that this daemon, or one like it, journaled: it comes first; None where it does not."""
    return body[11:27] if body[1:11] == _SESSION_FIRST else None


class Ingest:
    """The inference link's end in the daemon. `on_inference(index, inference)` hears of each that was journaled."""

    def __init__(
        self, ledger: Ledger, limits: config.InferencesTable, send: Send, on_inference: Callable[[int, Inference], None]
    ) -> None:
        self.ledger = ledger
        self.limits = limits
        self.taken = self.refused = self.lost = 0
        self._send = send
        self._on_inference = on_inference
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._peers: OrderedDict[bytes, bytes] = OrderedDict()
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._restore()

    @property
    def sessions(self) -> int:
        """Connected inference processes that have greeted."""
        return sum(1 for session in self._sessions.values() if session.peer)

    def _restore(self) -> None:
        """Learn from the journal what a daemon before this one took, so that nothing sent again is taken twice.

        From its end: of each session the last inference says all, and no other is unpacked.
        """
        journal, end = self.ledger.journal, self.ledger.journal.next_index
        engines: list[tuple[str, int]] = []
        last: dict[bytes, Inference] = {}
        while end > journal.oldest:
            entries = journal.read_packed(max(journal.oldest, end - 1024), min(1024, end - journal.oldest))
            for index, record in reversed([*enumerate(entries.records, entries.first)]):
                if record.kind == Kind.ENGINE:
                    with suppress(WireError):
                        engines.append((EngineHead.unpack(record.body).hash, index))
                elif record.kind == Kind.INFERENCE and _session_of(record.body) not in last:
                    body = Record.unpack(record.kind, record.t_ns, record.body).body
                    if isinstance(body, Inference):
                        last.setdefault(body.session, body)
            end = entries.first
        for name, body in reversed(last.items()):
            session = self._session(name)
            session.upto = session.seen = body.seq
            session.last_end_ns = body.end_ns
        for engine, index in reversed(engines):
            self.ledger.note_engine(engine, index)

    def _session(self, name: bytes) -> Session:
        """The session, made the newest; a silent one makes room for a new one."""
        session = self._sessions.setdefault(name, Session())
        self._sessions.move_to_end(name)
        while len(self._sessions) > self.limits.max_sessions:
            self._sessions.popitem(last=False)
        return session

    def handle(self, peer: bytes, batch: Batch) -> None:
        """Act on a message. WireError where it is none of the link's; whoever sent it, the daemon goes on."""
        if batch.topic == HELLO:
            self._hello(peer, Hello.of(batch))
        elif batch.topic == INFERENCE:
            self._inference(peer, Inference.of(batch))
        elif batch.topic == ENGINE:
            self._engine(peer, EngineHead.of(batch))
        else:
            raise WireError(f"no message of the inference link is called {batch.topic[:20]!r}")

    def _hello(self, peer: bytes, hello: Hello) -> None:
        public = public_session(hello.session)
        session = self._session(public)
        self._peers.pop(session.peer, None)
        if peer in self._peers:
            self._forget_peer(self._peers[peer])
        self._peers[peer] = public
        while len(self._peers) > self.limits.max_sessions:
            self._forget_peer(self._peers.popitem(last=False)[1])
        session.peer, session.name, session.owed, session.credit = peer, hello.name, 0, self.limits.credit
        log.info("inference process %s (pid %d) connected", hello.name, hello.pid)
        self._send(peer, Credit(session.credit, session.upto).batch())

    def _forget_peer(self, name: bytes) -> None:
        if name in self._sessions:
            self._sessions[name].peer = b""

    def _inference(self, peer: bytes, inference: Inference) -> None:
        public = public_session(inference.session)
        session = self._sessions.get(public)
        if session is None or session.peer != peer:
            self._refuse(peer, None, inference.seq, "say hello first")
            return
        if session.credit <= -self.limits.credit:
            self._refuse(peer, session, inference.seq, "sent without credit; wait for more")
            return
        session.credit -= 1
        session.owed += 1
        if inference.seq <= session.upto:
            return
        inference = replace(inference, session=public)
        reason = self._fault(session, inference)
        if inference.seq - session.seen <= MAX_HOLE:
            self._note_hole(session, inference)
        if reason:
            self._refuse(peer, session, inference.seq, reason)
            return
        index = self.ledger.write(Kind.INFERENCE, inference)
        session.upto, session.last_end_ns = inference.seq, inference.end_ns
        self.taken += 1
        self._on_inference(index, inference)
        self._ask_for(peer, inference.engine)

    def _fault(self, session: Session, inference: Inference) -> str:
        """Why the inference cannot be true, or nothing. Its form is already checked."""
        begin, end = inference.begin_ns, inference.end_ns
        if inference.seq - session.seen > MAX_HOLE:
            return f"its number is {inference.seq}, the one before was {session.seen}"
        if end > self.ledger.now_ns() + FUTURE_NS:
            return "it ended in the future: its process reads another clock (a container with its own time namespace?)"
        if begin < session.last_end_ns:
            return f"it began {session.last_end_ns - begin} ns before the session's last one ended"
        window = end - begin
        total = sum(inference.durations_ns.tolist())
        if total > window + max(MIN_TOLERANCE_NS, int(window * self.limits.durations_tolerance)):
            return f"its layers last {total} ns in a window of {window} ns"
        return ""

    def _note_hole(self, session: Session, inference: Inference) -> None:
        lost = inference.seq - session.seen - 1
        if lost > 0:
            self.lost += lost
            text = f"{session.name}: {lost} inferences from number {session.seen + 1} never arrived"
            self.ledger.event("inferences-lost", text, session=inference.session, first=session.seen + 1, count=lost)
        session.seen = max(session.seen, inference.seq)

    def _refuse(self, peer: bytes, session: Session | None, seq: int, reason: str) -> None:
        self.refused += 1
        self._send(peer, RefusedInference(seq, reason).batch())
        if session is not None and not session.complained:
            session.complained = True
            log.warning("inference %d of %s refused: %s (told once)", seq, session.name, reason)
            self.ledger.event("inference-refused", f"{session.name}: number {seq}: {reason}", seq=seq)

    def _ask_for(self, peer: bytes, engine: str) -> None:
        if self.ledger.knows_engine(engine) or self._asked.get(engine, 0) > self.ledger.now_ns():
            return
        self._asked[engine] = self.ledger.now_ns() + ASK_AGAIN_NS
        self._asked.move_to_end(engine)
        while len(self._asked) > self.limits.max_engines:
            self._asked.popitem(last=False)
        self._send(peer, Describe(engine).batch())

    def _engine(self, peer: bytes, engine: EngineHead) -> None:
        if peer not in self._peers or self.ledger.knows_engine(engine.hash):
            return
        self.ledger.write(Kind.ENGINE, engine)
        self._asked.pop(engine.hash, None)
        log.info("engine %s described: %d layers", engine.name, engine.layer_count)

    def acknowledge(self) -> None:
        """Return credit to every session that used some; to be called after each round of messages."""
        for peer, name in self._peers.items():
            session = self._sessions.get(name)
            if session is not None and session.owed:
                session.credit += session.owed
                self._send(peer, Credit(session.owed, session.upto).batch())
                session.owed = 0
