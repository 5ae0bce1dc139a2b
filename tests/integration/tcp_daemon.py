"""A daemon that listens on TCP, and clients of it with keys of their own."""

from __future__ import annotations

import socket
import subprocess
import sys

import zmq
from daemon_process import SMALL, Daemon
from tests.patience import PATIENCE_S

from neuralpower_wire.history import Reply, Request


def free_port() -> int:
    """One of which the next is likely free too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def command(daemon: Daemon, *words: str) -> str:
    """What `neuralpowerd` prints."""
    run = [sys.executable, "-m", "neuralpowerd", words[0], "--config", str(daemon.file), *words[1:]]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


class TcpDaemon(Daemon):
    """Not started yet: live at `port`, history at the next one; `server` is the public key that its clients need."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        tables = f'{SMALL}[tcp]\nbind = "127.0.0.1:{self.port}"\nkeys_dir = "{self.folder}/keys"\n'
        self.configure("", tables=tables)
        self.server = command(self, "keys").strip().encode()


class Remote:
    """A client over TCP with its own pair of keys."""

    def __init__(self, daemon: TcpDaemon) -> None:
        self.daemon = daemon
        self.public, self.secret = zmq.curve_keypair()
        self.key = self.public.decode()

    def connect(self, kind: int, offset: int) -> zmq.Socket[bytes]:
        end: zmq.Socket[bytes] = self.daemon.context.socket(kind)
        self.daemon.ends.append(end)
        end.linger = 0
        end.curve_publickey, end.curve_secretkey = self.public, self.secret
        end.curve_serverkey = self.daemon.server
        if kind == zmq.SUB:
            end.subscribe(b"rails")
        end.connect(f"tcp://127.0.0.1:{self.daemon.port + offset}")
        return end

    def ask(self, do: str, **more: str) -> Reply:
        end = self.connect(zmq.DEALER, 1)
        end.send(Request(1, do, **more).encode())  # type: ignore[arg-type]
        assert end.poll(1000 * PATIENCE_S)
        return Reply.decode(end.recv_multipart())
