"""How often a peer that hangs up is tried: libzmq waits longer and longer for one that is not there, but not for one that takes the
connection and ends it (a daemon that has no room, or does not allow the key), which it would try ten times a second for ever."""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

_ENDED = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | _ENDED
FEW = 3
"""Connections that end before they begin, in a row, before there is a wait: a daemon that restarts hangs up once."""
FIRST_S, LONGEST_S = 0.4, 4.0
"""The waits between the next ones: each twice the one before. A key that is allowed at last gets in within the longest."""


class Reconnecting:
    """The way of a socket to its one endpoint. :meth:`look` is to be called now and then by who uses the socket."""

    def __init__(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        self._socket, self._endpoint = socket, endpoint
        self._monitor = socket.get_monitor_socket(_EVENTS)
        self._failures = self._waits = 0
        """Since the last connection on purpose; waits since the last handshake."""
        self._again_s: float | None = None
        """When to connect again, while not connected on purpose."""
        self._refused = False
        socket.connect(endpoint)

    @property
    def refused(self) -> bool:
        """Whether the peer turned this client's key away the last time that it asked to be let in."""
        self.look()
        return self._refused

    def look(self) -> None:
        """Take notice of what became of the connection, and do what is due."""
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._failures, self._waits, self._refused = 0, 0, False
            elif event & _EVENTS:
                self._failures += 1
                self._refused = self._refused or event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        now_s = time.monotonic()
        if self._again_s is None and self._failures >= (1 if self._waits else FEW):
            self._socket.disconnect(self._endpoint)
            self._again_s = now_s + min(FIRST_S * 2.0**self._waits, LONGEST_S)
            self._waits += 1
        elif self._again_s is not None and now_s >= self._again_s:
            self._again_s, self._failures = None, 0
            self._socket.connect(self._endpoint)

    def close(self) -> None:
        """Let the monitor go; the socket is the caller's to close, behind this."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
