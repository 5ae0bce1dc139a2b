"""Keys over TCP: without the right ones nothing is read at either port, and a key does no more than its role says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import zmq
from daemon_process import receive
from tcp_daemon import Remote, TcpDaemon, command
from tests.patience import PATIENCE_S

from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Kind, encode
from neuralpower_wire.history import QUESTIONS, Reply, Request
from neuralpower_wire.link import Hello

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")

LISTENED_S = 1.5
"""For what must not come: an allowed client hears a batch each 50 ms."""
GREETING = 64


@pytest.fixture
def daemon() -> Iterator[TcpDaemon]:
    """One for each test, not started yet."""
    made = TcpDaemon()
    try:
        yield made
    finally:
        made.close()


def stranger(daemon: TcpDaemon, security: str) -> Remote:
    """A client that lacks something: `allowed` says its key is in the list."""
    made = Remote(daemon)
    if security == "another server's key":
        command(daemon, "allow", made.key)
    return made


def connected(made: Remote, security: str, kind: int, offset: int) -> zmq.Socket[bytes]:
    """Its socket at a port of the daemon, with what it has of keys."""
    if security in ("no security", "a password"):
        end: zmq.Socket[bytes] = made.daemon.context.socket(kind)
        made.daemon.ends.append(end)
        end.linger = 0
        if security == "a password":
            end.plain_username, end.plain_password = b"root", b"root"
        if kind == zmq.SUB:
            end.subscribe(b"")
        end.connect(f"tcp://127.0.0.1:{made.daemon.port + offset}")
        return end
    if security == "another server's key":
        before, made.daemon.server = made.daemon.server, zmq.curve_keypair()[0]
        try:
            return made.connect(kind, offset)
        finally:
            made.daemon.server = before
    return made.connect(kind, offset)


@pytest.mark.parametrize("security", ["no security", "a password", "a key that is not allowed", "another server's key"])
def test_nothing_is_read_without_the_right_keys(daemon: TcpDaemon, security: str) -> None:
    """Neither a tick nor an answer, at neither port, while an allowed client has both; what was asked for is not done."""
    friend, other = Remote(daemon), stranger(daemon, security)
    command(daemon, "allow", friend.key, "--role", "submit")
    daemon.start()
    live, history = (connected(other, security, kind, at) for kind, at in ((zmq.SUB, 0), (zmq.DEALER, 1)))
    history.send(Request(1, "ticks").encode())
    history.send(Request(2, "mark", name="foe", text="").encode())
    good = friend.connect(zmq.SUB, 0)
    assert good.poll(1000 * PATIENCE_S) and len(list(receive(good, LISTENED_S))) > 3
    assert friend.ask("mark", name="friend", text="").body["index"] > 0
    assert not live.poll(0) and not history.poll(0)
    assert [record.body["name"] for record in daemon.records(Kind.MARK)] == ["friend"]


def test_a_revoked_key_reads_nothing_when_it_comes_again(daemon: TcpDaemon) -> None:
    """Not only its standing connections end: new ones of it get no further than the handshake."""
    other = Remote(daemon)
    command(daemon, "allow", other.key, "--role", "control")
    daemon.start()
    assert other.ask("ticks").next > 0
    command(daemon, "revoke", other.key)
    live, history = other.connect(zmq.SUB, 0), other.connect(zmq.DEALER, 1)
    history.send(Request(1, "mark", name="foe", text="").encode())
    daemon.until(lambda: daemon.ask("status").body["connections"]["refused_keys"] > 0)
    assert not live.poll(1000 * LISTENED_S) and not history.poll(0)
    assert not daemon.records(Kind.MARK)


class Overheard:
    """Passes one connection on to a port, and keeps what both ends said."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.client, self.daemon = b"", b""
        self._thread = threading.Thread(target=self._run, args=(port,), daemon=True)
        self._thread.start()

    def _run(self, port: int) -> None:
        with self._server:
            near, _ = self._server.accept()
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=self._back, args=(near, far), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while data := near.recv(65536):
                    self.client += data
                    far.sendall(data)
                far.shutdown(socket.SHUT_RDWR)
            back.join()

    def _back(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                self.daemon += data
                near.sendall(data)

    def end(self) -> None:
        """The client has gone: wait for the rest."""
        self._thread.join(PATIENCE_S)


def frames(said: bytes) -> list[bytes]:
    """What an end said, cut where a peer would wait for an answer: greeting, then command by command."""
    parts, at = [said[:GREETING]], GREETING
    while at < len(said):
        size = int.from_bytes(said[at + 1 : at + 9], "big") + 9 if said[at] & 2 else said[at + 1] + 2
        parts.append(said[at : at + size])
        at += size
    return parts


def replayed(port: int, parts: list[bytes], wait_s: float) -> bytes:
    """Say all that on a connection of one's own, listening so long after each part; what was heard."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port)) as thief, contextlib.suppress(ConnectionError):
        for part in parts:
            thief.sendall(part)
            thief.settimeout(wait_s)
            with contextlib.suppress(TimeoutError):
                while data := thief.recv(65536):
                    heard += data
    return heard


@pytest.mark.parametrize("wait_s", [0.5, 0.001], ids=["step by step", "at once"])
def test_a_replayed_handshake_is_answered_by_nobody(daemon: TcpDaemon, wait_s: float) -> None:
    """Who overheard a session and says it all once more gets a greeting and at most a cookie: no tick, no answer, and no second mark."""
    friend = Remote(daemon)
    command(daemon, "allow", friend.key, "--role", "submit")
    daemon.start()
    port, taps = daemon.port, []
    for kind, at in ((zmq.SUB, 0), (zmq.DEALER, 1)):
        taps.append(tap := Overheard(port + at))
        daemon.port = tap.port - at
        with friend.connect(kind, at) as end:
            if kind == zmq.DEALER:
                end.send(Request(1, "mark", name="once", text="").encode())
            assert end.poll(1000 * PATIENCE_S)
        tap.end()
    daemon.port = port
    for at, tap in enumerate(taps):
        # The friend's own session went all the way: what follows is not refused for being cut short.
        assert b"INITIATE" in tap.client and b"READY" in tap.daemon and b"MESSAGE" in tap.daemon
        heard = replayed(port + at, frames(tap.client), wait_s)
        assert b"READY" not in heard and b"MESSAGE" not in heard
        assert b"WELCOME" in heard or wait_s < 0.1
    assert [record.body["name"] for record in daemon.records(Kind.MARK)] == ["once"]


def test_subscribe_reads_and_does_nothing_else(daemon: TcpDaemon) -> None:
    """Of all questions those that read are answered; a mark, and what an inference process says, change nothing."""
    reader = Remote(daemon)
    command(daemon, "allow", reader.key)
    daemon.start()
    refused = {
        do for do in QUESTIONS if "this key may subscribe and no more" in reader.ask(do, name="m", text="t").error
    }
    assert refused == {"mark"}
    end = reader.connect(zmq.DEALER, 1)
    end.send_multipart(encode(Hello(bytes(16), 1, "p").batch()))
    end.send(Request(7, "ticks").encode())
    # Several frames are no question: the connection is cut, and a question behind them comes by a new one.
    assert end.poll(1000 * PATIENCE_S) and Reply.decode(end.recv_multipart()).id in (0, 7)
    assert not daemon.records(Kind.MARK)
    assert not [name for name in daemon.events() if "session" in name]


def test_submit_marks_and_does_nothing_else(daemon: TcpDaemon) -> None:
    """The role in between may put marks; no question over TCP needs `control` yet, so it is refused none."""
    writer = Remote(daemon)
    command(daemon, "allow", writer.key, "--role", "submit")
    daemon.start()
    errors = {do: reader for do in QUESTIONS if "this key may" in (reader := writer.ask(do, name="m", text="t").error)}
    assert not errors
    assert [record.body["name"] for record in daemon.records(Kind.MARK)] == ["m"]
