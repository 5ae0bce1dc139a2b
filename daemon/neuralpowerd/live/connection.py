"""A connection that passes through the process before the sockets (front.py): its two ends, what is on its way, and what it may send."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import Any

from .zmtp import Incoming, Outgoing, PeerBounds

QUESTIONS_UNDER_WAY = 4
"""Of one peer: the next is taken when one is answered, and no more answers than these wait for who does not read."""


@dataclass
class Bucket:
    """Bytes that may come: `burst` at once, and `rate` a second."""

    rate: float
    burst: float
    level: float = 0.0
    at_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.level = self.burst

    def take(self, size: int, now_s: float) -> bool:
        """Take `size` bytes out, which came already; False where it is empty after that."""
        self.level = min(self.burst, self.level + (now_s - self.at_s) * self.rate) - size
        self.at_s = now_s
        return self.level > 0


@dataclass
class Listener:
    """A socket at which connections are taken, and the daemon's own behind it."""

    name: str
    socket: socket.socket
    inner: str
    bounds: PeerBounds
    most: int
    most_of_peer: int
    most_pending: int
    pool: str
    rate: float
    burst: float
    all: Bucket


class Connection:
    """A peer's socket, the daemon's, and what is on its way between them."""

    def __init__(
        self,
        listener: Listener,
        client: socket.socket,
        server: socket.socket,
        peer: str,
        process: int | None,
        now_s: float,
    ) -> None:
        self.listener, self.client, self.server, self.peer, self.process = listener, client, server, peer, process
        self.incoming, self.outgoing = Incoming(listener.bounds), Outgoing(listener.bounds)
        self.up = self.down = self.kept = memoryview(b"")
        """On its way to the daemon, to the peer, and not looked at yet."""
        self.begun_s = self.moved_s = now_s
        self.bucket = Bucket(listener.rate, listener.burst, at_s=now_s)
        self.paused = self.gone = False
        """`gone`: the peer takes nothing any more; what it sent before is passed on."""
        self.answers = self.bytes_in = self.bytes_out = 0

    @property
    def shaken(self) -> bool:
        """Whether the handshake is over, on both sides."""
        return self.incoming.shaken and self.outgoing.shaken

    @property
    def waits(self) -> bool:
        """Whether as many questions are under way as may be."""
        return bool(self.listener.bounds.unanswered) and self.incoming.messages - self.answers >= QUESTIONS_UNDER_WAY

    def told(self, now_s: float) -> list[Any]:
        """The fields of :class:`neuralpowerd.live.front_process.ConnectedPeer`."""
        waiting_s = round(now_s - self.moved_s, 1) if self.down else 0.0
        questions = self.incoming.messages if self.listener.bounds.unanswered else None
        told = [
            self.listener.name,
            self.peer,
            self.process,
            round(now_s - self.begun_s, 1),
            self.bytes_in,
            self.bytes_out,
        ]
        return [*told, questions, len(self.down), waiting_s]
