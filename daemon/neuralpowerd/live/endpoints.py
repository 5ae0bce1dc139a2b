"""The daemon's sockets: local ones with their mode and group, and remote ones only behind CURVE and an allow-list."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zmq

from neuralpower_wire.address import HISTORY, INFERENCES, LIVE, LONGEST_PATH, Address, endpoint
from neuralpower_wire.batch import MAX_HEADER
from neuralpower_wire.history import MAX_REQUEST
from neuralpower_wire.journal import MAX_RECORD

from ..config import Config
from ..errors import DaemonError
from .keys import server_keys

HISTORY_HIGH_WATER = 16
"""Replies waiting for one client: a greedy one costs at most this many times 8 MiB, then loses replies."""
MOST_AGAIN = 16
"""Times that deleted sockets are made anew: each leaves a descriptor open, and somebody who deletes on is not outrun."""


_LAST, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
"""As plain integers: to combine pyzmq's own, which are enums, is slow."""


@dataclass
class _Local:
    """A local socket, and which file it made."""

    socket: zmq.Socket[bytes]
    path: Path
    file: tuple[int, int] | None


class Endpoints:
    """`live` and `history` are lists (local, then TCP), `inferences` is local only. No send of theirs ever waits."""

    def __init__(self, config: Config) -> None:
        self._context = zmq.Context()
        self._all: list[zmq.Socket[bytes]] = []
        self._locals: list[_Local] = []
        self._again = 0
        self._config = config
        address = Address(config.runtime_dir)
        try:
            self.live = [self._local(zmq.PUB, address.file(LIVE), config)]
            self.history = [self._local(zmq.ROUTER, address.file(HISTORY), config)]
            self.inferences = self._local(zmq.ROUTER, address.file(INFERENCES), config)
            self.zap: zmq.Socket[bytes] | None = None
            if config.tcp.bind:
                self._listen(config)
        except BaseException:
            self.close()
            raise

    def _make(self, kind: int, config: Config) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 500
        socket.sndhwm = config.publish.high_water if kind == zmq.PUB else HISTORY_HIGH_WATER
        socket.maxmsgsize = MAX_RECORD + MAX_HEADER
        socket.heartbeat_ivl, socket.heartbeat_timeout = 5000, 15000
        self._all.append(socket)
        return socket

    def _local(self, kind: int, path: Path, config: Config) -> zmq.Socket[bytes]:
        """A socket at `path`."""
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise DaemonError(
                f"{path}: longer than the {LONGEST_PATH} bytes of a local socket; choose a shorter runtime_dir"
            )
        socket = self._make(kind, config)
        if path.name == INFERENCES:
            socket.sndhwm = 1000
        elif kind == zmq.ROUTER:
            socket.maxmsgsize = MAX_REQUEST
        self._locals.append(_Local(socket, path, self._bind(socket, path)))
        return socket

    def _bind(self, socket: zmq.Socket[bytes], path: Path) -> tuple[int, int] | None:
        """Bind at `path`, where a killed daemon may have left a file; the ring's lock says that no other is alive."""
        config = self._config
        try:
            path.unlink(missing_ok=True)
            with _umask(0o177):
                socket.bind(endpoint(path))
            if config.sockets.group:
                os.chown(path, -1, grp.getgrnam(config.sockets.group).gr_gid)
            os.chmod(path, int(config.sockets.mode, 8))
        except KeyError:
            raise DaemonError(
                f"sockets.group: there is no group {config.sockets.group!r}; create it or name another"
            ) from None
        except (OSError, zmq.ZMQError) as error:
            reason = os.strerror(error.errno or 0)
            raise DaemonError(f"{path}: cannot be made a socket: {reason}; check its folder") from None
        return _identity(path)

    def bind_again(self) -> list[Path]:
        """Make the local sockets anew whose files were deleted or replaced: nobody could find them. Returns their paths.

        The socket is bound a second time, beside its first, nameless listener: who is connected stays connected. To
        unbind first would be wrong, since libzmq then deletes the path, later and by name, and with it the new file.

        Raises:
            DaemonError: the folder is gone too, or it happened too often. A restart makes everything anew.
        """
        gone = [local for local in self._locals if _identity(local.path) != local.file]
        for local in gone:
            self._again += 1
            if self._again > MOST_AGAIN:
                raise DaemonError(f"{local.path}: deleted again; find out who deletes it, then restart")
            local.file = self._bind(local.socket, local.path)
        return [local.path for local in gone]

    def _listen(self, config: Config) -> None:
        remote = Address.parse_bind(config.tcp.bind)
        secret, public = server_keys(Path(config.tcp.keys_dir))
        self.zap = self._make(zmq.REP, config)
        self.zap.bind("inproc://zeromq.zap.01")
        for address, kind, sockets in ((remote.live, zmq.PUB, self.live), (remote.history, zmq.ROUTER, self.history)):
            socket = self._make(kind, config)
            socket.curve_server = True
            socket.curve_secretkey, socket.curve_publickey = secret, public
            socket.zap_domain = b"neuralpower"
            if kind == zmq.ROUTER:
                socket.maxmsgsize = MAX_REQUEST
            try:
                socket.bind(address)
            except zmq.ZMQError as error:
                raise DaemonError(f"{address}: {os.strerror(error.errno or 0)}; choose another tcp.bind") from None
            sockets.append(socket)

    def publish(self, frames: list[bytes]) -> None:
        """Send to every subscriber that keeps up."""
        for socket in self.live:
            send(socket, frames)

    def close(self) -> None:
        """Let everything go within half a second; local paths disappear."""
        for socket in self._all:
            socket.close()
        self._context.term()
        for local in self._locals:
            local.path.unlink(missing_ok=True)


def send(socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
    """Send without waiting; what a peer cannot take is dropped. Frame by frame: send_multipart takes twice as long."""
    try:
        for frame in frames[:-1]:
            socket.send(frame, _MORE)
        socket.send(frames[-1], _LAST)
    except zmq.ZMQError as error:
        if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            raise


def received(socket: zmq.Socket[bytes], most: int) -> Iterator[list[bytes]]:
    """Up to `most` messages that are there already."""
    for _ in range(most):
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
