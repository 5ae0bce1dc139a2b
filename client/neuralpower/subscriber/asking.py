"""Asking a daemon's history: one question, one answer, a bounded wait."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from neuralpower_wire import Batch, VersionError, WireError, decode
from neuralpower_wire.batch import MAX_FRAME
from neuralpower_wire.history import Reply, Request

from .keys import Keys

REQUEST_TIMEOUT_S = 2.0
"""A reply takes milliseconds; a daemon that is busy for 2 s is not waited for by who wants one thing of it."""
REPAIR_TIMEOUT_S = 5.0
"""A portion of a log is a MiB, or one engine's description, which may be 8: 5 s on a link of 2 Mbit/s, or of 15. An answer that is dropped for being late would be asked for, and dropped, for ever."""
RECONNECT_MS, RECONNECT_MAX_MS = 100, 1000
"""How soon a lost daemon is looked for again: a restart takes about a second, so it is found within the next one."""
GONE_MS = 6000
"""A peer that vanished without closing (power, cable) is noticed after this, by TCP itself, and the connection made anew. libzmq's own
heartbeat would abort this process where a daemon ends while more waits to be read than the high-water mark (4.3.5, stream_engine_base.cpp)."""
CONNECT_MS, HANDSHAKE_MS = 3000, 10_000
"""A network that was cut lets an attempt to connect hang for two minutes, in the kernel's own ever longer steps; after this it is made anew,
so that a client is back within some seconds of its network. The daemon gives a handshake as long."""


_HANDSHAKES = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH


@dataclass(frozen=True)
class Answer:
    """A reply; `damaged` says why its batch could not be read, or is empty."""

    reply: Reply
    batch: Batch | None
    damaged: str = ""


class History:
    """The history socket of one daemon. Not thread-safe: one thread asks."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: Keys | None = None) -> None:
        self._socket = context.socket(zmq.DEALER)
        configure(self._socket, keys)
        # Only a connected daemon gets the question: one queued for a dead daemon would be answered after its time.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._monitor = self._socket.get_monitor_socket(_HANDSHAKES) if keys else None
        self._key, self._refused = keys.public.decode() if keys else "", ""
        self._socket.connect(endpoint)
        self._ids = itertools.count(1)
        self._expected: set[int] = set()
        self._arrived: dict[int, Answer] = {}

    def ask(self, do: str, timeout_s: float = REQUEST_TIMEOUT_S, **fields: Any) -> Answer | None:
        """The answer to a question (fields as in :class:`neuralpower_wire.history.Request`), or None if none came in time.

        Raises:
            VersionError: the daemon speaks another version of the wire.
        """
        deadline = time.monotonic() + timeout_s
        if not self.connected(timeout_s):
            return None
        number = self.send(do, **fields)
        answer = self.receive(number, deadline - time.monotonic()) if number else None
        if answer is None and number:
            self.forget(number)
        return answer

    @property
    def refused(self) -> str:
        """This client's public key where the daemon turned it away the last time that it asked to be let in, else nothing."""
        while self._monitor is not None and self._monitor.poll(0):
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            self._refused = self._key if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH else ""
        return self._refused

    def connected(self, timeout_s: float) -> bool:
        """Whether a daemon is, or comes within so long."""
        return bool(self._socket.poll(int(timeout_s * 1000), zmq.POLLOUT))

    def send(self, do: str, **fields: Any) -> int | None:
        """Ask without waiting; returns what :meth:`receive` takes, or None where no daemon is connected."""
        request = Request(next(self._ids), do, **fields)
        try:
            self._socket.send(request.encode(), zmq.NOBLOCK)
        except zmq.Again:
            return None
        self._expected.add(request.id)
        return request.id

    def receive(self, number: int, timeout_s: float) -> Answer | None:
        """The answer to a question that was sent, or None if it is not there within `timeout_s`: then wait again or forget it.

        Raises:
            VersionError: the daemon speaks another version of the wire.
        """
        deadline = time.monotonic() + timeout_s
        while number not in self._arrived:
            left = max(0.0, deadline - time.monotonic())
            if not self._socket.poll(math.ceil(left * 1000), zmq.POLLIN):
                return None
            answer = _answer(self._socket.recv_multipart())
            if answer and answer.reply.id in self._expected:
                self._arrived[answer.reply.id] = answer
        self._expected.discard(number)
        return self._arrived.pop(number)

    def forget(self, number: int) -> None:
        """The answer to this question is no longer wanted."""
        self._expected.discard(number)
        self._arrived.pop(number, None)

    def close(self) -> None:
        """Close the socket; an unanswered question is dropped."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
        self._socket.close(linger=0)


def _answer(frames: list[bytes]) -> Answer | None:
    """The answer in `frames`: head and batch are read apart, so that a damaged batch can be told from a missing answer."""
    try:
        reply = Reply.decode(frames[:1])
    except VersionError:
        raise
    except WireError:
        return None
    try:
        return Answer(reply, decode(frames[1:]) if len(frames) > 1 else None)
    except WireError as error:
        return Answer(reply, None, str(error))


def configure(socket: zmq.Socket[bytes], keys: Keys | None = None) -> None:
    """The options that all of a client's sockets share; with `keys`, encryption."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.TCP_MAXRT, GONE_MS)
    for option, value in ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 2), (zmq.TCP_KEEPALIVE_INTVL, 2)):
        socket.setsockopt(option, value)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 2)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    if keys:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = keys.server, keys.public, keys.secret
