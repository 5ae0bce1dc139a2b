"""A network that can be cut: two namespaces with a cable between them or, without the rights for that, a process that passes bytes on."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable

NETWORK = f"10.{213 + os.getpid() // 16384 % 40}.{os.getpid() // 64 % 256}.{os.getpid() % 64 * 4}"
"""Four addresses of each run's own: several may go on at a time."""
HOST, GUEST = (f"{NETWORK.rpartition('.')[0]}.{int(NETWORK.rpartition('.')[2]) + number}" for number in (1, 2))


class NoNamespace(Exception):
    """A network namespace cannot be made here; the text says why."""


class Cable:
    """A namespace for clients, and a pair of virtual interfaces to it; to cut it is to set the near one down, so that all packets vanish."""

    how = "a network namespace whose cable is pulled"

    def __init__(self) -> None:
        self.namespace, self.near = f"npbed{os.getpid()}", f"npa{os.getpid()}"
        if os.geteuid() or shutil.which("ip") is None:
            raise NoNamespace("no root, or no iproute2")
        far = f"npb{os.getpid()}"
        try:
            _ip("netns", "add", self.namespace)
            _ip("link", "add", self.near, "type", "veth", "peer", "name", far)
            _ip("link", "set", far, "netns", self.namespace)
            _ip("addr", "add", f"{HOST}/30", "dev", self.near)
            _ip("-n", self.namespace, "addr", "add", f"{GUEST}/30", "dev", far)
            _ip("-n", self.namespace, "link", "set", far, "up")
            self.mend()
        except subprocess.CalledProcessError as error:
            self.close()
            raise NoNamespace(error.stderr.strip()) from None

    def address(self, port: int) -> str:
        """Where clients in the namespace find the daemon."""
        return f"tcp://{HOST}:{port}"

    def cut(self) -> None:
        """No packet passes from now on."""
        _ip("link", "set", self.near, "down")

    def mend(self) -> None:
        """Packets pass again."""
        _ip("link", "set", self.near, "up")

    def close(self) -> None:
        """Remove it."""
        for words in (("link", "del", self.near), ("netns", "del", self.namespace)):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Relay:
    """Passes bytes between clients and the daemon's two ports; cut, it passes nothing on and takes nobody in, and no end hears of it."""

    namespace = ""
    how = "a process that passes bytes on, and stops (no namespace: {why})"

    def __init__(self, port: int, why: str) -> None:
        self.how = self.how.format(why=why)
        self._open, self._closed = threading.Event(), threading.Event()
        self._open.set()
        self.port = free_port()
        self._threads = [
            threading.Thread(target=self._listen, args=(self.port + n, port + n), daemon=True) for n in (0, 1)
        ]
        for thread in self._threads:
            thread.start()

    def address(self, port: int) -> str:
        """Where clients find the daemon."""
        return f"tcp://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """No byte passes from now on."""
        self._open.clear()

    def mend(self) -> None:
        """Bytes pass again; what waits meanwhile is passed on."""
        self._open.set()

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._open.set()

    def _listen(self, mine: int, theirs: int) -> None:
        with socket.create_server(("127.0.0.1", mine)) as server:
            server.settimeout(0.2)
            while not self._closed.is_set():
                self._open.wait()
                with contextlib.suppress(TimeoutError):
                    client, _ = server.accept()
                    threading.Thread(target=self._pass, args=(client, theirs), daemon=True).start()

    def _pass(self, client: socket.socket, port: int) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)) as daemon,
            selectors.DefaultSelector() as both,
        ):
            both.register(client, selectors.EVENT_READ, daemon)
            both.register(daemon, selectors.EVENT_READ, client)
            while not self._closed.is_set():
                for key, _ in both.select(0.2):
                    self._open.wait()
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket, as registered
                    if not data:
                        return
                    key.data.sendall(data)


def network(port: int, relay: bool) -> Cable | Relay:
    """What there can be here, or what stands for it everywhere."""
    if relay:
        return Relay(port, "as wished")
    try:
        return Cable()
    except NoNamespace as error:
        return Relay(port, str(error))


def free_port() -> int:
    """One of which the next is free too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = int(one.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 1)):
                return port


def end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """SIGTERM, and SIGKILL for who does not end."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], patience_s: float, what: str) -> None:
    """Wait for a condition. AssertionError where it does not come true."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {patience_s:.0f} s"
        time.sleep(0.05)
