"""Crowds, floods and strangers at the daemon's sockets: it goes on, bounded in descriptors and memory, and others notice nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from daemon_process import Daemon
from tcp_daemon import Remote, TcpDaemon, command
from tests.patience import PATIENCE_S, until
from tests.worlds import bare_zmtp
from tests.worlds.bare_zmtp import frame

from neuralpower_sampler import AVAILABLE
from neuralpower_wire.history import Reply, Request

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")

MIB = 1 << 20
DESCRIPTORS = 1024
"""Of the daemon and of whoever besieges it: the usual limit of a shell."""


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpDaemon]:
    """A daemon with TCP and a thousand descriptors, not started yet."""
    made = TcpDaemon()
    plain = subprocess.Popen

    def limited(*args: object, **words: object) -> object:
        return plain(*args, **words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS,) * 2))  # type: ignore[call-overload]

    monkeypatch.setattr("daemon_process.subprocess.Popen", limited)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def ends() -> Iterator[list[socket.socket]]:
    """Bare connections, closed at the end."""
    made: list[socket.socket] = []
    yield made
    for end in made:
        end.close()


def anonymous_bytes(process: int) -> int:
    """Memory of a process that is its own: no ring, no library."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def family(daemon: Daemon) -> int:
    """The same of the daemon and the processes that it started."""
    assert daemon.process is not None
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    return anonymous_bytes(daemon.process.pid) + sum(anonymous_bytes(int(child)) for child in children)


def local(daemon: Daemon, name: str) -> socket.socket:
    """A bare connection."""
    return bare_zmtp.bare(daemon.folder, name)


def greeted(daemon: Daemon, name: str, kind: bytes) -> socket.socket:
    """A bare connection that has shaken hands as a socket of this kind."""
    return bare_zmtp.greeted(daemon.folder, name, kind)


def closed(end: socket.socket, seconds: float = PATIENCE_S) -> bool:
    """Whether the other side ends the connection in this time."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ConnectionError):
        while True:
            if select.select([end], [], [], 0.0 if seconds == 0 else 0.1)[0]:
                if not end.recv(65536):
                    return True
            elif time.monotonic() >= deadline:
                return False
    return True


def steady(daemon: Daemon) -> None:
    """Whoever comes next is served, and ticks go on; on a machine that does other things too, without real-time priority, not all."""
    first, begin = daemon.ask("ticks").next, time.monotonic()
    time.sleep(1.0)
    rate = (daemon.ask("ticks").next - first) / (time.monotonic() - begin)
    assert rate > 20, f"{rate:.0f} ticks/s"


@pytest.mark.parametrize("where", ["local", "tcp"])
def test_a_crowd_that_says_nothing(daemon: Daemon, ends: list[socket.socket], where: str) -> None:
    """More connections than the daemon has descriptors, none of which says who it is: all others are served meanwhile and after."""
    daemon.start()
    for number in range(1500):
        with contextlib.suppress(OSError):
            if where == "local":
                ends.append(local(daemon, ("live", "history", "inferences")[number % 3]))
            else:
                ends.append(socket.create_connection(("127.0.0.1", daemon.port + number % 2), 2.0))  # type: ignore[attr-defined]
    assert len(ends) > DESCRIPTORS
    steady(daemon)
    daemon.until(lambda: daemon.ask("status").body["connections"]["cut"] > 1000)
    for end in ends:
        end.close()
    steady(daemon)


def test_a_crowd_of_one_user_that_shook_hands(daemon: Daemon, ends: list[socket.socket]) -> None:
    """No more than half of the connections are one user's; those that stand stay."""
    daemon.start()
    for _ in range(200):
        with contextlib.suppress(OSError):
            ends.append(greeted(daemon, "live", b"SUB"))
    until(lambda: sum(closed(end, 0.0) for end in ends) >= 70)
    standing = [end for end in ends if not closed(end, 0.0)]
    assert len(standing) > 60
    for end in standing[:4]:  # whoever has all that one may have must let go of some to come in again
        end.close()
    steady(daemon)


@pytest.mark.parametrize("name", ["history", "inferences"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_message_without_an_end(daemon: Daemon, ends: list[socket.socket], name: str, size: int) -> None:
    """Frame after frame of one message: the peer is cut, and what it sent is given back."""
    daemon.start()
    before = family(daemon)
    end = greeted(daemon, name, b"DEALER")
    ends.append(end)
    many = frame(b"x" * size, more=True) * max(1, MIB // (size + 9))
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 200 * MIB:
            end.sendall(many)
            sent += len(many)
    assert sent < 100 * MIB and closed(end)
    assert family(daemon) - before < 60 * MIB
    steady(daemon)


def test_topics_without_an_end(daemon: Daemon, ends: list[socket.socket]) -> None:
    """Neither topics of megabytes nor very many of them are held."""
    daemon.start()
    before = family(daemon)
    large, many = greeted(daemon, "live", b"SUB"), greeted(daemon, "live", b"SUB")
    ends += [large, many]
    with contextlib.suppress(OSError):
        large.sendall(frame(b"\1" + b"t" * (4 * MIB), more=False))
    assert closed(large)
    with contextlib.suppress(OSError):
        for number in range(100_000):
            many.sendall(frame(b"\1" + b"%d" % number, more=False))
    assert closed(many)
    assert family(daemon) - before < 20 * MIB
    steady(daemon)


def test_questions_whose_answers_nobody_reads(daemon: Daemon, ends: list[socket.socket]) -> None:
    """Twenty clients ask for everything and read nothing: some answers wait, not all."""
    daemon.start()
    daemon.until(lambda: daemon.ask("ticks").next > 5000)
    before = family(daemon)
    ends += [greeted(daemon, "history", b"DEALER") for _ in range(20)]
    question = frame(Request(1, "ticks", first=0, count=4096).encode(), more=False)
    for end in ends:
        end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            end.sendall(question * 200)
    steady(daemon)
    assert family(daemon) - before < 80 * MIB


def test_the_process_before_the_sockets_is_started_again(daemon: Daemon) -> None:
    """Killed, it costs its clients a reconnection and the daemon nothing."""
    daemon.start()
    assert daemon.process is not None
    asker, live = daemon.connect(zmq.DEALER, "history"), daemon.connect(zmq.SUB, "live")
    assert live.poll(1000 * PATIENCE_S)
    (front,) = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    os.kill(int(front), signal.SIGKILL)
    steady(daemon)
    asker.send(Request(9, "ticks").encode())
    assert asker.poll(1000 * PATIENCE_S) and Reply.decode(asker.recv_multipart()).next > 0
    while live.poll(0):
        live.recv_multipart()
    assert live.poll(1000 * PATIENCE_S)
    _, logged = daemon.stop()
    assert "the process before the sockets ended" in logged


def test_roles(daemon: TcpDaemon) -> None:
    """A key may read by default; marks need `submit`."""
    reader, writer = Remote(daemon), Remote(daemon)
    command(daemon, "allow", reader.key)
    command(daemon, "allow", writer.key, "--role", "submit", "--note", "a laptop")
    daemon.start()
    assert reader.ask("ticks").next > 0
    refused = reader.ask("mark", name="m", text="")
    assert "--role submit" in refused.error and not refused.body
    assert writer.ask("mark", name="m", text="").body["index"] > 0
    command(daemon, "allow", reader.key, "--role", "submit")
    assert reader.ask("mark", name="m", text="").body["index"] > 0


def test_a_revoked_key_is_cut(daemon: TcpDaemon) -> None:
    """Within about a second both connections end and no other comes in; another client's stay."""
    friend, foe = Remote(daemon), Remote(daemon)
    for each in (friend, foe):
        command(daemon, "allow", each.key)
    daemon.start()
    lives = [each.connect(zmq.SUB, 0) for each in (friend, foe)]
    askers = [each.connect(zmq.DEALER, 1) for each in (friend, foe)]
    for end in askers:
        end.send(Request(1, "ticks").encode())
    assert all(end.poll(1000 * PATIENCE_S) for end in (*lives, *askers))
    assert command(daemon, "revoke", foe.key).strip() == "revoked"
    time.sleep(2.5)
    for end in (*lives, *askers):
        while end.poll(0):
            end.recv_multipart()
    askers[0].send(Request(2, "ticks").encode(), zmq.NOBLOCK)
    with contextlib.suppress(zmq.Again):
        askers[1].send(Request(2, "ticks").encode(), zmq.NOBLOCK)
    assert lives[0].poll(1000 * PATIENCE_S) and askers[0].poll(1000 * PATIENCE_S)
    assert not lives[1].poll(500) and not askers[1].poll(0)
    _, logged = daemon.stop()
    assert "ended: their keys are allowed no more" in logged and foe.key in logged


def test_a_subscriber_over_tcp_with_topics_without_an_end(daemon: TcpDaemon) -> None:
    """Encrypted, and allowed in: it is cut all the same."""
    foe = Remote(daemon)
    command(daemon, "allow", foe.key)
    daemon.start()
    live = foe.connect(zmq.SUB, 0)
    assert live.poll(1000 * PATIENCE_S)
    for number in range(200):
        live.subscribe(b"%d" % number)
    daemon.until(lambda: daemon.ask("status").body["connections"]["cut"] >= 0)
    steady(daemon)
    _, logged = daemon.stop()
    assert "more than 32 topics" in logged


def test_a_refused_key_is_told(daemon: TcpDaemon) -> None:
    """The daemon's log has the key and the command that lets it in, once; the status counts."""
    stranger = Remote(daemon)
    daemon.start()
    live = stranger.connect(zmq.SUB, 0)
    daemon.until(lambda: daemon.ask("status").body["connections"]["refused_keys"] > 0)
    assert not live.poll(0)
    _, logged = daemon.stop()
    assert logged.count(f"neuralpowerd allow '{stranger.key}'") == 1


def test_the_status_counts_for_each_client(daemon: Daemon) -> None:
    """Which process of which user, over which socket, how many bytes went to it and how many questions came; who does not read waits."""
    daemon.start()
    live, asker = daemon.connect(zmq.SUB, "live"), daemon.connect(zmq.DEALER, "history")
    asker.send(Request(1, "ticks").encode())
    assert live.poll(1000 * PATIENCE_S) and asker.poll(1000 * PATIENCE_S)
    deaf = greeted(daemon, "live", b"SUB")
    deaf.sendall(frame(b"\x01", more=False))

    def clients() -> list[dict[str, object]]:
        return daemon.ask("status").body.get("clients", [])

    daemon.until(lambda: any(each["waiting_bytes"] for each in clients()))
    deaf.close()
    told = clients()
    assert {(each["process"], each["peer"]) for each in told} == {(os.getpid(), f"user {os.getuid()}")}
    heard = next(each for each in told if each["socket"] == "live")
    asked = next(each for each in told if each["socket"] == "history" and each["questions"])
    assert heard["bytes_out"] > 1000 and heard["questions"] is None and heard["since_s"] > 0  # type: ignore[operator]
    assert asked["questions"] >= 1 and asked["bytes_in"] > 0  # type: ignore[operator]
