"""The daemon's end of the process before its sockets (front.py): starts it, hands it listening sockets, hears what it refused."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .zmtp import PeerBounds

log = logging.getLogger(__name__)

PEND_LOCAL, PEND_TCP = 64, 32
"""Connections without a handshake yet: a hundred clients that come at once are through within milliseconds."""
END_S = 2.0
"""The process ends half a second after the daemon let it go."""


@dataclass(frozen=True)
class Door:
    """A socket of the daemon as others see it: who may come, how many, and how fast. `rate` and `burst` in bytes a second and bytes."""

    name: str
    inner: str
    bounds: PeerBounds
    pool: str
    most: int
    most_of_peer: int
    rate: float
    burst: float

    def words(self) -> dict[str, Any]:
        """For the process."""
        pending = PEND_LOCAL if self.pool == "local" else PEND_TCP
        # All connections of a socket together get four times what one gets: a crowd is bounded, and one of it cannot take all.
        return {**asdict(self), "most_pending": pending, "all": [4 * self.rate, 4 * self.burst]}


class ConnectedPeer(NamedTuple):
    """A connection that is in, and what went through it. `process`: of a peer on this machine. `waiting_bytes`, for `waiting_s`: what it has not
    taken yet, beside what its socket and libzmq hold."""

    socket: str
    peer: str
    process: int | None
    since_s: float
    bytes_in: int
    bytes_out: int
    questions: int | None
    waiting_bytes: int
    waiting_s: float


class FrontProcess:
    """Runs from construction to `close`. `open` are connections by socket, `cut` all that were refused or cut so far, `clients` those that
    are in, the oldest of them, as of a second ago."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}
        self.clients: list[ConnectedPeer] = []
        self._doors: dict[str, tuple[Door, socket.socket]] = {}
        self._cut_before = self._cut = 0
        self._start()

    @property
    def cut(self) -> int:
        """Connections refused or cut since the daemon started."""
        return self._cut_before + self._cut

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        hidden = ("NOTIFY_SOCKET", "WATCHDOG_USEC")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "neuralpowerd.live.front", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name not in hidden},
                cwd=Path("/"),
            )

    def listen(self, door: Door, listening: socket.socket) -> None:
        """Let peers in at `listening`, which stays open here for a next process; it takes the place of the door's one before."""
        if door.name in self._doors:
            self._doors[door.name][1].close()
        self._doors[door.name] = door, listening
        self._hand_over(door, listening)

    def _hand_over(self, door: Door, listening: socket.socket) -> None:
        words = json.dumps({"listen": door.words()}).encode()
        with contextlib.suppress(OSError):  # it has ended: the next gets all
            socket.send_fds(self._control, [words], [listening.fileno()])

    def look(self) -> list[str]:
        """Lines on what was refused since the last look. Starts another process where this one has ended."""
        lines: list[str] = []
        with contextlib.suppress(OSError):
            while packet := self._control.recv(65536):
                said = json.loads(packet)
                self.open, self._cut = said["open"], said["cut"]
                self.clients = [ConnectedPeer(*each) for each in said["clients"]]
                lines += said["lines"]
        code = self._process.poll()
        if code is not None:
            self._control.close()
            self._cut_before, self._cut = self.cut, 0
            lines.append(
                f"the process before the sockets ended with {code}; another one is started, and clients come again"
            )
            self._start()
            for door, listening in self._doors.values():
                self._hand_over(door, listening)
        return lines

    def close(self) -> None:
        """Let nobody in any more; what the sockets sent last is passed on."""
        self._control.close()
        for _, listening in self._doors.values():
            listening.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
