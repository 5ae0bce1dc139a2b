"""The process before the daemon's sockets: takes every connection, bounds it, and passes its bytes on to libzmq in the daemon.

libzmq takes any number of connections before it knows who comes, aborts its process where no descriptor is left, and holds whatever a
peer sends of a message that never ends. So nobody reaches it but through here: so many connections, so many of one peer, so long for
a handshake, so many bytes a second, messages within their bounds (zmtp.py). Has no key, reads no file, and imports nothing of the
daemon but the bounds; where it ends, the daemon starts another, and who was connected comes again.

    python -m neuralpowerd.live.front FD

FD is a socket of packets: the daemon sends `{"listen": …}` with a listening socket, and hears once a second what was refused.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections import Counter, OrderedDict
from typing import Any

from .connection import QUESTIONS_UNDER_WAY, Bucket, Connection, Listener
from .zmtp import BrokenPeer, PeerBounds

CHUNK = 64 * 1024
"""Bytes passed on at a time, and held for an end that does not take them: a connection costs twice as much at most."""
HANDSHAKE_S = 10.0
"""From connecting to being in: on a local socket milliseconds, and a fifth of a second on a bad link."""
DEAF_S = 30.0
"""Who takes nothing of an answer for so long is cut, and its memory given back: a process that was stopped, too."""
LOST_ANSWER_S = 2.0
"""After this a question without an answer is not waited for: not every broken one gets one."""
TCP_OPTIONS = {
    socket.TCP_NODELAY: 1,
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 2,
    socket.TCP_USER_TIMEOUT: 15_000,
}
"""A machine that vanished is noticed within 15 s."""
FEW_DESCRIPTORS = 32
"""Kept free here: interpreter, epoll, control socket, listeners."""
TOLD = 16
"""Lines told in one second."""
MOST_CLIENTS = 32
"""Connections told of, those that have been there longest: the status goes to everybody once a second."""
LAST_S = 0.5
"""What the daemon still sends when it ends is passed on for so long."""
_CREDENTIALS = struct.Struct("3i")


class Front:
    """The loop."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._listeners: dict[int, Listener] = {}
        self._ends: dict[int, tuple[Connection, bool]] = {}
        self._watched: dict[int, int] = {}
        self._pending: OrderedDict[Connection, None] = OrderedDict()
        self._of_pool: Counter[str] = Counter()
        self._of_peer: Counter[tuple[str, str]] = Counter()
        self._told: Counter[str] = Counter()
        self._cut = 0
        self._said: dict[str, Any] = {}
        self._paused: set[Connection] = set()
        self._buffer = memoryview(bytearray(CHUNK))
        self._last_s: float | None = None
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = max(4, (soft - FEW_DESCRIPTORS) // 2)

    def run(self) -> None:
        """Until the daemon has let the control socket go, and then for what it sent last."""
        next_s = time.monotonic() + 1.0
        while self._last_s is None or (self._ends and time.monotonic() < self._last_s):
            wait_s = 0.05 if self._paused or self._last_s else max(0.0, next_s - time.monotonic())
            for descriptor, events in self._epoll.poll(wait_s):
                self._event(descriptor, events)
            now_s = time.monotonic()
            for connection in list(self._paused):
                self._resume(connection, now_s)
            if now_s >= next_s:
                next_s = now_s + 1.0
                self._second(now_s)

    def _event(self, descriptor: int, events: int) -> None:
        if descriptor == self._control.fileno():
            self._hear()
        elif descriptor in self._listeners:
            self._accept(self._listeners[descriptor])
        elif descriptor in self._ends:
            connection, from_client = self._ends[descriptor]
            try:
                if events & select.EPOLLOUT:
                    self._flush(connection, to_client=from_client)
                if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    self._pass(connection, from_client)
            except BrokenPeer as error:
                self._tell(f"{connection.listener.name}: {connection.peer}: {error}")
                self._close(connection)
            except OSError:
                self._close(connection)

    # ---- the daemon ------------------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._control, 65536, 1)
        except OSError:  # the daemon ended without having read everything
            packet = b""
        if not packet:
            self._epoll.unregister(self._control.fileno())
            for descriptor, listener in self._listeners.items():
                self._epoll.unregister(descriptor)
                listener.socket.close()  # at once: the next daemon wants the port
            self._listeners.clear()
            self._last_s = time.monotonic() + LAST_S
            return
        words = json.loads(packet)["listen"]
        listening = socket.socket(fileno=descriptors[0])
        listening.setblocking(False)
        words["bounds"] = PeerBounds(**words["bounds"])
        words["all"] = Bucket(*words["all"])
        for descriptor, known in list(self._listeners.items()):
            if known.name == words["name"]:  # its file was deleted and made anew
                self._epoll.unregister(descriptor)
                known.socket.close()
                del self._listeners[descriptor]
        self._listeners[listening.fileno()] = Listener(socket=listening, **words)
        self._epoll.register(listening.fileno(), select.EPOLLIN)

    def _second(self, now_s: float) -> None:
        for connection in {id(each): each for each, _ in self._ends.values()}.values():
            late = not connection.shaken and now_s - connection.begun_s > HANDSHAKE_S
            if late or ((connection.down or connection.up) and now_s - connection.moved_s > DEAF_S):
                why = f"no handshake within {HANDSHAKE_S:.0f} s" if late else f"it read nothing for {DEAF_S:.0f} s"
                self._tell(f"{connection.listener.name}: {connection.peer}: {why}")
                self._close(connection)
        of_name = Counter(each.listener.name for each, is_client in self._ends.values() if is_client)
        said = {"open": dict(of_name), "cut": self._cut, "clients": self._clients(now_s)}
        lines = [line if times == 1 else f"{line} ({times} times)" for line, times in self._told.most_common(TOLD)]
        self._told.clear()
        if lines or said != self._said:
            self._said = said
            with contextlib.suppress(OSError):  # a daemon that does not listen hears the next time
                self._control.send(json.dumps({**said, "lines": lines}).encode(), socket.MSG_DONTWAIT)

    def _clients(self, now_s: float) -> list[list[Any]]:
        """What is known of the connections that are in, the oldest ones."""
        shaken = [each for each, is_client in self._ends.values() if is_client and each.shaken]
        return [each.told(now_s) for each in sorted(shaken, key=lambda each: each.begun_s)[:MOST_CLIENTS]]

    def _tell(self, line: str) -> None:
        self._cut += 1
        if line in self._told or len(self._told) < 4 * TOLD:
            self._told[line] += 1

    # ---- connections -----------------------------------------------------------------------------

    def _accept(self, listener: Listener) -> None:
        try:
            client, address = listener.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                time.sleep(0.01)  # others are served meanwhile, but no faster than this is tried again
            return
        try:
            peer, process = _prepared(client, address)
        except OSError:  # it has gone again
            client.close()
            return
        why = self._why_not(listener, peer)
        if why:
            self._tell(f"{listener.name}: {peer}: {why}")
            client.close()
            return
        try:
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        except OSError:
            client.close()
            return
        server.setblocking(False)
        try:
            server.connect(listener.inner)
        except OSError:  # the daemon is busy with others, or ending: the peer comes again
            server.close()
            client.close()
            return
        connection = Connection(listener, client, server, peer, process, time.monotonic())
        self._of_pool[listener.pool] += 1
        self._of_peer[listener.pool, peer] += 1
        self._pending[connection] = None
        for end, from_client in ((client, True), (server, False)):
            self._ends[end.fileno()] = connection, from_client
            self._listen(end, select.EPOLLIN)

    def _why_not(self, listener: Listener, peer: str) -> str:
        """Why one more connection is refused, or nothing. Who has not shaken hands yet gives way, the oldest first."""
        most = min(listener.most, self._most)
        pending = [each for each in self._pending if each.listener.pool == listener.pool]
        full = self._of_pool[listener.pool] >= most or self._of_pool.total() >= self._most
        if pending and (full or len(pending) >= min(listener.most_pending, most)):
            self._tell(f"{listener.name}: {pending[0].peer}: gave way before its handshake")
            self._close(pending[0])
            full = False
        if self._of_peer[listener.pool, peer] >= min(listener.most_of_peer, most):
            return f"more than {listener.most_of_peer} connections of one peer"
        return f"more than {most} connections" if full else ""

    def _close(self, connection: Connection) -> None:
        if self._ends.pop(connection.client.fileno(), None) is None:
            return
        del self._ends[connection.server.fileno()]
        listener = connection.listener
        if connection.outgoing.refused:
            self._tell(f"{listener.name}: {connection.peer}: refused at the handshake")
        self._of_pool[listener.pool] -= 1
        self._of_peer[listener.pool, connection.peer] -= 1
        if not self._of_peer[listener.pool, connection.peer]:
            del self._of_peer[listener.pool, connection.peer]
        self._pending.pop(connection, None)
        self._paused.discard(connection)
        for end in (connection.client, connection.server):
            self._watched.pop(end.fileno(), None)
            end.close()

    # ---- bytes -----------------------------------------------------------------------------------

    def _pass(self, connection: Connection, from_client: bool) -> None:
        """Take what one end has, and give it to the other."""
        source = connection.client if from_client else connection.server
        held = connection.up if from_client else connection.down
        if held or (from_client and connection.paused):
            self._watch(connection)  # an end that broke off is seen once the other has taken what there is
            return
        try:
            size = source.recv_into(self._buffer)
        except BlockingIOError:
            return
        now_s = time.monotonic()
        if not size:
            self._close(connection)
            return
        data = self._buffer[:size]
        if from_client:
            connection.bytes_in += size
            connection.bucket.take(size, now_s)
            connection.listener.all.take(size, now_s)
            self._pass_up(connection, data, now_s)
        else:
            if not connection.outgoing.shaken or connection.listener.bounds.unanswered:
                self._see_answers(connection, data)
            sent = self._give(connection, data, to_client=True)
            connection.bytes_out += sent
            connection.down = memoryview(bytes(data[sent:])) if sent < size else memoryview(b"")
        if connection in self._pending and connection.shaken:
            del self._pending[connection]
        connection.moved_s = now_s
        if connection.up or connection.down or connection.paused:
            self._watch(connection)

    def _pass_up(self, connection: Connection, data: memoryview, now_s: float) -> None:
        """Give the daemon what a peer sent, as far as it may go on; the rest is kept, and the peer waits."""
        incoming = connection.incoming
        if connection.listener.bounds.unanswered:
            incoming.most_messages = connection.answers + QUESTIONS_UNDER_WAY
        taken = incoming.feed(data)
        sent = self._give(connection, data[:taken], to_client=False) if taken else 0
        connection.up = memoryview(bytes(data[sent:taken])) if sent < taken else memoryview(b"")
        connection.kept = memoryview(bytes(data[taken:])) if taken < len(data) else memoryview(b"")
        if connection.kept or connection.waits or self._hasty(connection, now_s):
            connection.paused = True
            self._paused.add(connection)

    def _hasty(self, connection: Connection, now_s: float) -> bool:
        """Whether the peer, or all together, sent more than they may by now."""
        return not connection.bucket.take(0, now_s) or not connection.listener.all.take(0, now_s)

    def _see_answers(self, connection: Connection, data: memoryview) -> None:
        before = connection.outgoing.answers
        connection.outgoing.feed(data)
        if connection.outgoing.answers != before:
            answers = connection.answers + connection.outgoing.answers - before
            connection.answers = min(connection.incoming.messages, answers)
            connection.incoming.answered()

    def _give(self, connection: Connection, data: memoryview, to_client: bool) -> int:
        """How many bytes the end took; a peer that is gone takes all."""
        if to_client and connection.gone:
            return len(data)
        try:
            return (connection.client if to_client else connection.server).send(data)
        except BlockingIOError:
            return 0
        except OSError:
            if not to_client:
                raise
            connection.gone = True
            return len(data)

    def _flush(self, connection: Connection, to_client: bool) -> None:
        held = connection.down if to_client else connection.up
        sent = self._give(connection, held, to_client) if held else 0
        if sent:
            held, connection.moved_s = held[sent:], time.monotonic()
        if to_client:
            connection.down = held
            connection.bytes_out += sent
        else:
            connection.up = held
        self._watch(connection)

    def _resume(self, connection: Connection, now_s: float) -> None:
        if connection.waits and now_s - connection.moved_s > LOST_ANSWER_S and not connection.down:
            connection.answers = connection.incoming.messages
        if connection.up or connection.waits or self._hasty(connection, now_s):
            return
        connection.paused = False
        self._paused.discard(connection)
        try:
            if connection.kept:
                self._pass_up(connection, connection.kept, now_s)
            self._watch(connection)
        except BrokenPeer as error:
            self._tell(f"{connection.listener.name}: {connection.peer}: {error}")
            self._close(connection)
        except OSError:
            self._close(connection)

    def _watch(self, connection: Connection) -> None:
        """Listen to each end for what can be done with it now; to none for nothing, since an end that broke off says so without end."""
        reads = 0 if connection.up or connection.paused else select.EPOLLIN
        self._listen(connection.client, reads | (select.EPOLLOUT if connection.down else 0))
        reads = 0 if connection.down else select.EPOLLIN
        self._listen(connection.server, reads | (select.EPOLLOUT if connection.up else 0))

    def _listen(self, end: socket.socket, events: int) -> None:
        before, descriptor = self._watched.get(end.fileno(), 0), end.fileno()
        if events == before:
            return
        if not events:
            self._epoll.unregister(descriptor)
        elif not before:
            self._epoll.register(descriptor, events)
        else:
            self._epoll.modify(descriptor, events)
        self._watched[descriptor] = events


def _prepared(client: socket.socket, address: Any) -> tuple[str, int | None]:
    """What the peer is called, by user or address, and its process on this machine; its socket waits for nothing from then on. OSError where
    it has gone."""
    client.setblocking(False)
    if client.family == socket.AF_UNIX:
        process, user, _ = _CREDENTIALS.unpack(
            client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        return f"user {user}", process
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in TCP_OPTIONS.items():
        client.setsockopt(socket.IPPROTO_TCP, option, value)
    return str(address[0]), None


def main() -> None:
    """Be the process; the daemon alone ends it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o077)
    Front(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
