"""The daemon's sockets: local ones with their mode and group, and remote ones only behind CURVE and an allow-list.

What others see are listening sockets that a process before the daemon serves (front.py); libzmq's own lie in a folder that
nobody else may enter.
"""

from __future__ import annotations

import grp
import logging
import os
import resource
import socket as sockets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zmq

from neuralpower_wire.address import LONGEST_PATH, Address, endpoint
from neuralpower_wire.batch import MAX_HEADER
from neuralpower_wire.history import MAX_REQUEST
from neuralpower_wire.journal import MAX_RECORD

from ..config import Config
from ..errors import DaemonError
from ..logs.roles import Role
from .front_process import Door, FrontProcess
from .gate import Gate
from .keys import server_keys
from .zmtp import PeerBounds

log = logging.getLogger(__name__)

HISTORY_HIGH_WATER = 16
"""Replies waiting for one client: a greedy one costs at most this many times a MiB, then loses replies."""
MOST_AGAIN = 16
"""Times that deleted sockets are made anew: somebody who deletes on is not outrun."""
INNER = "inner"
"""Folder of libzmq's own sockets in the runtime directory, mode 0700."""
OWN_DESCRIPTORS = 128
"""Kept for logs, sources and housekeeping, of those that the process may have: some 60 are used."""
BACKLOG = 128
PORT_FREE_S = 2.0
"""The process before a killed daemon's sockets gives their ports back within a moment."""
MIB = 1 << 20
LIVE_BOUNDS = PeerBounds("NULL", 512, 512, 1, subscribes=True)
HISTORY_BOUNDS = PeerBounds("NULL", MAX_REQUEST, 2 * MAX_REQUEST, 8, unanswered=MIB)
INFERENCES_BOUNDS = PeerBounds("NULL", MAX_RECORD + MAX_HEADER, MAX_RECORD + MIB, 64)
"""A message of the link has at most 34 frames, the largest an engine's description."""
SPEEDS = {"live": (4096.0, 64.0 * 1024), "history": (256.0 * 1024, float(MIB)), "inferences": (16.0 * MIB, 32.0 * MIB)}
"""Bytes a second of one peer, and at once: topics and pings; 1,000 questions a second; 16,000 inferences of 60 layers and four
descriptions of the largest size. Nothing faster is lost, it waits in its sender."""


_LAST, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
"""As plain integers: to combine pyzmq's own, which are enums, is slow."""


@dataclass
class _Local:
    """A file that a socket made, and how to make it anew."""

    path: Path
    bind: Callable[[], None]
    file: tuple[int, int] | None = None


class Endpoints:
    """`live` and `history` are lists (local, then TCP), `inferences` is local only. No send of theirs ever waits."""

    def __init__(self, config: Config) -> None:
        self._context = zmq.Context()
        self._all: list[zmq.Socket[bytes]] = []
        self._locals: list[_Local] = []
        self._again = 0
        self._config = config
        self._folder = Path(config.runtime_dir)
        self.gate: Gate | None = None
        self._front: FrontProcess | None = None
        try:
            _make_inner(self._folder / INNER)
            self._most = _most_connections(config)
            self._front = FrontProcess()
            self.live = [self._local(zmq.PUB, "live", LIVE_BOUNDS)]
            self.history = [self._local(zmq.ROUTER, "history", HISTORY_BOUNDS)]
            self.inferences = self._local(zmq.ROUTER, "inferences", INFERENCES_BOUNDS)
            self.inferences.sndhwm = 1000
            if config.tcp.bind:
                self._listen(config)
        except BaseException:
            self.close()
            raise

    def _make(self, kind: int, bounds: PeerBounds) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 500
        socket.sndhwm = HISTORY_HIGH_WATER if kind == zmq.ROUTER else self._config.publish.high_water
        socket.maxmsgsize = max(1024, bounds.frame)  # a handshake takes 500 bytes
        # No heartbeat of libzmq's: where a peer leaves while its messages wait, its timer aborts the process (4.3.5).
        socket.backlog = BACKLOG
        self._all.append(socket)
        return socket

    def _door(self, name: str, bounds: PeerBounds, pool: str) -> Door:
        most = self._most[pool]
        rate, burst = SPEEDS[name.partition("-")[0]]
        return Door(name, str(self._folder / INNER / f"{name}.ipc"), bounds, pool, most, max(1, most // 2), rate, burst)

    def _local(self, kind: int, name: str, bounds: PeerBounds) -> zmq.Socket[bytes]:
        """A socket behind the file NAME.ipc."""
        path = self._folder / f"{name}.ipc"
        if len(os.fsencode(path)) > LONGEST_PATH or len(os.fsencode(self._folder / INNER / path.name)) > LONGEST_PATH:
            raise DaemonError(
                f"{path}: longer than the {LONGEST_PATH} bytes of a local socket; choose a shorter runtime_dir"
            )
        socket = self._make(kind, bounds)
        door = self._door(name, bounds, "local")
        self._bind_inner(socket, door)
        self._keep(path, lambda: self._open_door(door, path))
        return socket

    def _keep(self, path: Path, bind: Callable[[], None]) -> None:
        """Bind at `path`, where a killed daemon may have left a file; the ring's lock says that no other is alive."""
        local = _Local(path, bind)
        self._locals.append(local)
        self._bind(local)

    def _bind(self, local: _Local) -> None:
        try:
            local.path.unlink(missing_ok=True)
            local.bind()
        except KeyError:
            raise DaemonError(
                f"sockets.group: there is no group {self._config.sockets.group!r}; create it or name another"
            ) from None
        except (OSError, zmq.ZMQError) as error:
            reason = os.strerror(error.errno or 0)
            raise DaemonError(f"{local.path}: cannot be made a socket: {reason}; check its folder") from None
        local.file = _identity(local.path)

    def _bind_inner(self, socket: zmq.Socket[bytes], door: Door) -> None:
        """Bind libzmq's socket. A second time beside the first, nameless one where the file was deleted: to unbind would delete the new file."""

        def bind() -> None:
            with _umask(0o177):
                socket.bind(endpoint(door.inner))

        self._keep(Path(door.inner), bind)

    def _open_door(self, door: Door, path: Path) -> None:
        listening = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        with _umask(0o177):
            listening.bind(str(path))
        if self._config.sockets.group:
            os.chown(path, -1, grp.getgrnam(self._config.sockets.group).gr_gid)
        os.chmod(path, int(self._config.sockets.mode, 8))
        listening.listen(BACKLOG)
        assert self._front is not None
        self._front.listen(door, listening)

    def bind_again(self) -> list[Path]:
        """Make the local sockets anew whose files were deleted or replaced: nobody could find them. Returns their paths.

        Who is connected stays connected.

        Raises:
            DaemonError: the folder is gone too, or it happened too often. A restart makes everything anew.
        """
        gone = [local for local in self._locals if _identity(local.path) != local.file]
        for local in gone:
            self._again += 1
            if self._again > MOST_AGAIN:
                raise DaemonError(f"{local.path}: deleted again; find out who deletes it, then restart")
            self._bind(local)
        return [local.path for local in gone]

    def _listen(self, config: Config) -> None:
        secret, public = server_keys(Path(config.tcp.keys_dir))
        remote = Address.parse_bind(config.tcp.bind)
        zap = self._make(zmq.REP, HISTORY_BOUNDS)
        zap.bind("inproc://zeromq.zap.01")
        for offset, kind, name, local in (
            (0, zmq.XPUB, "live", LIVE_BOUNDS),
            (1, zmq.ROUTER, "history", HISTORY_BOUNDS),
        ):
            # Of an encrypted message only the size is seen: 33 bytes more, and no word on whether another frame follows.
            bounds = PeerBounds("CURVE", local.frame + 64, local.frame + 64, 1, local.subscribes, local.unanswered)
            socket = self._make(kind, bounds)
            if kind == zmq.XPUB:
                socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # the gate counts every peer's topics
            socket.curve_server = True
            socket.curve_secretkey, socket.curve_publickey = secret, public
            socket.zap_domain = b"neuralpower"
            door = self._door(f"{name}-tcp", bounds, "tcp")
            self._bind_inner(socket, door)
            self._front_at(replace(remote, port=remote.port + offset), door)
            (self.live if kind == zmq.XPUB else self.history).append(socket)
        self.gate = Gate(Path(config.tcp.keys_dir), zap, self.live[1])
        log.info(
            "clients with an allowed key: %s, live at port %d, history at %d", remote, remote.port, remote.port + 1
        )

    def _front_at(self, address: Address, door: Door) -> None:
        assert self._front is not None
        deadline_s = time.monotonic() + PORT_FREE_S
        while True:
            try:
                place = "" if address.host == "*" else address.host.strip("[]")
                family = sockets.AF_INET6 if ":" in place else sockets.AF_INET
                listening = sockets.create_server((place, address.port), family=family, backlog=BACKLOG)
                break
            except OSError as error:
                if time.monotonic() > deadline_s or error.errno != zmq.EADDRINUSE:
                    reason = os.strerror(error.errno) if error.errno else str(error)
                    raise DaemonError(f"{address}: {reason}; choose another tcp.bind") from None
                time.sleep(0.1)
        self._front.listen(door, listening)

    @property
    def waited_for(self) -> list[zmq.Socket[bytes]]:
        """Sockets that :meth:`attend` is for."""
        return self.gate.sockets if self.gate else []

    def attend(self) -> None:
        """Handshakes and topics of TCP clients."""
        if self.gate:
            self.gate.attend()

    def questions(self, end: zmq.Socket[bytes], most: int) -> Iterator[tuple[bytes, list[bytes], Role]]:
        """Up to `most` questions that are there already: the peer, the frames, and what the peer may do."""
        if not self.gate or end is self.history[0]:
            for peer, *frames in received(end, most):
                yield peer, frames, Role.CONTROL
            return
        for _ in range(most):
            try:
                parts = end.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            role = self.gate.role(parts[-1])
            if role is not None:
                yield parts[0].bytes, [part.bytes for part in parts[1:]], role

    def look(self) -> list[str]:
        """Once a second: cut whose key was taken back; lines on who was refused."""
        assert self._front is not None
        cut = self.gate.look() if self.gate else 0
        lines = self._front.look()
        return [*lines, f"{cut} connections over TCP ended: their keys are allowed no more"] if cut else lines

    @property
    def status(self) -> dict[str, Any]:
        """Connections by socket, all that were refused or cut, and handshakes with keys that are not allowed."""
        assert self._front is not None
        refused = self.gate.refused if self.gate else 0
        return {"open": dict(self._front.open), "cut": self._front.cut, "refused_keys": refused}

    @property
    def clients(self) -> list[dict[str, Any]]:
        """What went through each connection, of the oldest ones."""
        assert self._front is not None
        return [each._asdict() for each in self._front.clients]

    def publish(self, frames: list[bytes]) -> None:
        """Send to every subscriber that keeps up."""
        for socket in self.live:
            send(socket, frames)

    def close(self) -> None:
        """Let everything go within half a second; local paths disappear."""
        for socket in self._all:
            socket.close()
        self._context.term()
        if self._front is not None:
            self._front.close()
        for local in self._locals:
            local.path.unlink(missing_ok=True)
        with suppress(OSError):
            (self._folder / INNER).rmdir()


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


def _make_inner(folder: Path) -> None:
    """Make the folder of libzmq's own sockets; DaemonError where somebody else laid something there."""
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise DaemonError(f"{folder}: not this daemon's own folder; remove it, or choose another runtime_dir")
        folder.chmod(0o700)
    except OSError as error:
        raise DaemonError(f"{folder}: cannot be made: {error.strerror}; check runtime_dir") from None


def _most_connections(config: Config) -> dict[str, int]:
    """How many connections each kind of socket takes: as configured, or what the descriptors of this process are enough for."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    free = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OWN_DESCRIPTORS
    wanted = {"local": config.sockets.max_connections, "tcp": config.tcp.max_connections if config.tcp.bind else 0}
    share = min(1.0, max(0, free) / max(1, sum(wanted.values())))
    return {pool: max(4, int(most * share)) for pool, most in wanted.items()}


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
