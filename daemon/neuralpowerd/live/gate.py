"""Who comes in over TCP, and what he may do: answers libzmq's questions (ZAP), and cuts a connection whose key was taken back.

The answer to each handshake names the connection; libzmq gives that name back with every message of it, topics too, and the
descriptor. So a message's sender is known by its key, and a standing connection can be ended.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from ..logs.roles import Role
from .keys import ALLOWED, allowed_keys, answer_zap
from .zmtp import MOST_TOPIC, MOST_TOPICS

log = logging.getLogger(__name__)

AT_A_TIME = 32
"""Handshakes and topics taken in a round, as questions are."""
TELL_AGAIN_S = 60.0
"""A refused client comes again each second: its key is told of once in this time."""
MOST_TOLD = 64
"""Refused keys kept in mind: anybody can make any number of them."""


@dataclass
class _Connection:
    """A connection that has said something. `topics` are those it wants."""

    name: str
    key: bytes
    topics: set[bytes] = field(default_factory=set)


class Gate:
    """The daemon's end of the handshakes at its TCP sockets. `refused` counts handshakes with keys that are not allowed."""

    def __init__(
        self, folder: Path, zap: zmq.Socket[bytes], live: zmq.Socket[bytes], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.zap, self.live = zap, live
        self.refused = 0
        self._folder, self._now_s = folder, now_s
        self._roles: dict[bytes, Role] = {}
        self._seen: tuple[int, ...] | None = ()
        self._numbers = itertools.count(1)
        self._connections: dict[int, _Connection] = {}
        self._told: OrderedDict[bytes, float] = OrderedDict()
        self._read()

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """Those to wait for; :meth:`attend` takes what they have."""
        return [self.zap, self.live]

    def _read(self) -> bool:
        """Read the allow-list where it was changed; returns whether it was."""
        seen = _stamp(self._folder / ALLOWED)
        if seen == self._seen:
            return False
        self._seen, self._roles = seen, allowed_keys(self._folder)
        return True

    def attend(self) -> None:
        """Answer handshakes, and take notice of topics. Never waits."""
        with contextlib.suppress(zmq.Again):
            for _ in range(AT_A_TIME):
                request = self.zap.recv_multipart(zmq.NOBLOCK)
                self.zap.send_multipart(self._answer(request))
        with contextlib.suppress(zmq.Again):
            for _ in range(AT_A_TIME):
                self._topic(self.live.recv(zmq.NOBLOCK, copy=False))

    def _answer(self, request: list[bytes]) -> list[bytes]:
        self._read()
        answer, key = answer_zap(request, self._roles, next(self._numbers))
        if key and key not in self._roles:
            self.refused += 1
            self._tell(key)
        return answer

    def _tell(self, key: bytes) -> None:
        now_s = self._now_s()
        if now_s - self._told.get(key, -TELL_AGAIN_S) < TELL_AGAIN_S:
            return
        self._told[key] = now_s
        self._told.move_to_end(key)
        if len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        text = key.decode()
        log.warning(
            "a client was refused over TCP: its key is not allowed; to let it in: neuralpowerd allow '%s'", text
        )

    def _topic(self, frame: zmq.Frame) -> None:
        found = self._connection(frame)
        if found is None:
            return
        descriptor, connection = found
        wanted, topic = frame.bytes[:1] == b"\1", frame.bytes[1:]
        (connection.topics.add if wanted else connection.topics.discard)(topic)
        if len(topic) > MOST_TOPIC or len(connection.topics) > MOST_TOPICS:
            log.warning("a TCP client was cut: more than %d topics, or one of %d bytes", MOST_TOPICS, len(topic))
            self._cut(descriptor)

    def role(self, frame: zmq.Frame) -> Role | None:
        """The role of who sent this part of a message; None where he may not come any more, and is cut."""
        found = self._connection(frame)
        return self._roles.get(found[1].key) if found else None

    def _connection(self, frame: zmq.Frame) -> tuple[int, _Connection] | None:
        try:
            name, descriptor = str(frame.get("User-Id")), int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:  # libzmq's own word that a connection ended
            return None
        known = self._connections.get(descriptor)
        if known is None or known.name != name:
            known = self._connections[descriptor] = _Connection(name, name.partition(" ")[2].encode())
        if known.key not in self._roles:
            self._cut(descriptor)
            return None
        return descriptor, known

    def look(self) -> int:
        """Cut every connection whose key is allowed no more; returns how many. To be called about once a second."""
        if not self._read():
            return 0
        gone = [number for number, each in self._connections.items() if each.key not in self._roles]
        for descriptor in gone:
            self._cut(descriptor)
        return len(gone)

    def _cut(self, descriptor: int) -> None:
        """End a connection. libzmq may have closed it by now, so that the descriptor is another's: what is no local socket is left alone."""
        del self._connections[descriptor]
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as end:
            if end.family == socket.AF_UNIX and end.getsockname():
                end.shutdown(socket.SHUT_RDWR)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
