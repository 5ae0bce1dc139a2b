"""The profiler's end of the inference link: never blocks, needs no thread, and survives the daemon's restarts.

States: down (no connection) -> greeting (hello sent) -> up (the daemon answered with credit). Whatever the daemon has
not acknowledged stays here, bounded, and goes out again after the next greeting; the daemon ignores what it has.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from neuralpower_wire import Batch, VersionError, WireError, decode, encode
from neuralpower_wire.link import (
    CREDIT,
    DESCRIBE,
    INITIAL_CREDIT,
    REFUSED,
    Credit,
    Describe,
    Engine,
    Hello,
    Inference,
    RefusedInference,
)

from ..address import AddressLike, parse_local

KEPT = 4096
KEPT_BYTES = 32 << 20
"""Most inferences, and bytes of them, held until the daemon has journaled them: a daemon's restart takes some seconds, in
which a busy service makes 500 inferences a second."""
SILENCE_NS = 1_000_000_000
"""After so long without an answer the link greets again, which also recovers from a lost credit."""
_RECEIVE_AT_MOST = 64
_MOST_CREDIT = 4 * INITIAL_CREDIT
_POLL_MS = 20
LINGER_MS = 1000
"""After close, what is under way (a description that was asked for with the last acknowledgement) may still go out for so
long. Nothing waits for it but the end of the process."""


class LinkState(Enum):
    """Where the conversation with the daemon stands."""

    DOWN = auto()
    GREETING = auto()
    UP = auto()


@dataclass
class Counts:
    """Inferences of the session: offered = acknowledged + refused + dropped + pending; `forgotten` were sent, and made
    room before the daemon had acknowledged them."""

    offered: int = 0
    acknowledged: int = 0
    refused: int = 0
    dropped: int = 0
    forgotten: int = 0


class Carrier(Protocol):
    """What a session sends its inferences by: a link to a daemon, or something that stands for both."""

    counts: Counts
    last_refusal: str

    @property
    def pending(self) -> int:
        """Inferences not acknowledged yet."""
        ...

    def add_engine(self, engine: Engine) -> None:
        """Be ready to describe `engine`."""
        ...

    def offer(self, inference: Inference) -> None:
        """Send an inference; returns at once."""
        ...

    def poll(self) -> None:
        """Take what has arrived and send what may be sent."""
        ...

    def close(self, timeout_s: float = 1.0) -> None:
        """Wait for what is under way, at most `timeout_s`."""
        ...


class Link:
    """One session. Call :meth:`poll` now and then (each :meth:`offer` does); all calls return at once but `close`.

    Raises InputError for an address that is none, or not of this device.
    """

    def __init__(self, address: AddressLike, hello: Hello) -> None:
        where = parse_local(address).inferences
        self._hello = encode(hello.batch())
        self._engines: dict[str, list[bytes]] = {}
        self._waiting: deque[tuple[int, list[bytes]]] = deque()
        self._sent: deque[tuple[int, list[bytes]]] = deque()
        self._credit = 0
        self._heard_ns = 0
        self.state = LinkState.DOWN
        self.counts = Counts()
        self.last_refusal = ""
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        # IMMEDIATE: nothing is queued for a connection that does not stand, so a send tells whether the daemon is there.
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.IMMEDIATE, 1),
            (zmq.SNDHWM, 2 * _MOST_CREDIT),
            (zmq.RECONNECT_IVL_MAX, 1000),
        ):
            self._socket.setsockopt(option, value)
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._socket.connect(where)

    @property
    def pending(self) -> int:
        """Inferences not acknowledged yet, sent or not."""
        return len(self._waiting) + len(self._sent)

    def add_engine(self, engine: Engine) -> None:
        """Be ready to describe `engine` when the daemon asks; WireError where its description is too large."""
        self._engines[engine.hash] = encode(engine.batch())

    def offer(self, inference: Inference) -> None:
        """Send `inference` when there is credit, keep it until it is acknowledged; the oldest makes room."""
        self.counts.offered += 1
        frames = encode(inference.batch())
        most = max(1, min(KEPT, KEPT_BYTES // sum(map(len, frames))))
        while self.pending >= most:
            self._make_room()
        self._waiting.append((inference.seq, frames))
        self.poll()

    def poll(self) -> None:
        """Take what has arrived and send what may be sent."""
        self._receive()
        self._watch_connection()
        unanswered = self.state is LinkState.GREETING or (self.state is LinkState.UP and self.pending)
        if unanswered and time.monotonic_ns() - self._heard_ns > SILENCE_NS:
            self._greet()
        while self.state is LinkState.UP and self._credit and self._waiting and self._send(self._waiting[0][1]):
            self._sent.append(self._waiting.popleft())
            self._credit -= 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Wait until all is acknowledged, at most `timeout_s`; what is left then counts as dropped."""
        if self._socket.closed:
            return
        deadline = time.monotonic() + timeout_s
        self.poll()
        while self.pending and time.monotonic() < deadline:
            self._socket.poll(_POLL_MS)
            self.poll()
        self.counts.dropped += len(self._waiting)
        self.counts.forgotten += len(self._sent)
        self._waiting.clear()
        self._sent.clear()
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(LINGER_MS)

    def _make_room(self) -> None:
        if self._sent:
            self._sent.popleft()
            self.counts.forgotten += 1
        else:
            self._waiting.popleft()
            self.counts.dropped += 1

    def _watch_connection(self) -> None:
        while _readable(self._monitor):
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._greet()
            elif event == zmq.EVENT_DISCONNECTED:
                self.state = LinkState.DOWN

    def _greet(self) -> None:
        """Say hello, and send nothing else before the daemon has told what it has: the order of a session must hold."""
        self._credit = 0
        self._heard_ns = time.monotonic_ns()
        self.state = LinkState.GREETING
        self._send(self._hello)

    def _send(self, frames: list[bytes]) -> bool:
        try:
            self._socket.send_multipart(frames, flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _receive(self) -> None:
        for _ in range(_RECEIVE_AT_MOST):
            if not _readable(self._socket):  # asking costs a third of the exception that says no
                return
            try:
                frames = self._socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._answer(decode(frames))
            except VersionError as error:
                self.last_refusal = str(error)
                continue
            except WireError:
                continue  # nothing in a message is trusted; one that breaks the format says nothing
            self._heard_ns = time.monotonic_ns()

    def _answer(self, batch: Batch) -> None:
        if batch.topic == CREDIT:
            self._credited(Credit.of(batch))
        elif batch.topic == DESCRIBE:
            frames = self._engines.get(Describe.of(batch).engine)
            if frames:
                self._send(frames)
        elif batch.topic == REFUSED:
            refused = RefusedInference.of(batch)
            kept = deque(entry for entry in self._sent if entry[0] != refused.seq)
            self.counts.refused += len(self._sent) - len(kept)
            self._sent, self.last_refusal = kept, refused.reason

    def _credited(self, credit: Credit) -> None:
        if self.state is LinkState.GREETING:
            self._waiting = self._sent + self._waiting
            self._sent = deque()
            self.state = LinkState.UP
        for queue in (self._sent, self._waiting):
            while queue and queue[0][0] <= credit.upto:
                queue.popleft()
                self.counts.acknowledged += 1
        self._credit = min(self._credit + credit.grant, _MOST_CREDIT)


def _readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a whole message waits; at once."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
