"""Where a daemon is: one address names its live socket and its history socket."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InputError

DEFAULT = "ipc:///run/neuralpower"
MAX_SOCKET_PATH = 107
"""Bytes of a local socket's path: sockaddr_un has 108 with the closing zero."""


@dataclass(frozen=True)
class Address:
    """The two ZeroMQ endpoints of a daemon; `text` is what the user wrote, `host` is None for local sockets."""

    text: str
    live: str
    history: str
    host: str | None = None


def parse(text: str) -> Address:
    """The endpoints behind `ipc:///run/neuralpower` (a folder with the sockets; the bare path will do) or `tcp://host:port`.

    The history of a TCP address listens on the next port.

    Raises:
        InputError: neither form, a port out of range, or a path too long for a socket.
    """
    if text.startswith("/"):
        text = f"ipc://{text}"
    if text.startswith("ipc:///"):
        folder = text.removeprefix("ipc://").rstrip("/")
        if len(f"{folder}/history.ipc".encode()) > MAX_SOCKET_PATH:
            raise InputError(f"{text}: the path is too long for a local socket; use a shorter run directory")
        return Address(text, f"ipc://{folder}/live.ipc", f"ipc://{folder}/history.ipc")
    match = re.fullmatch(r"tcp://(\[[0-9a-fA-F:.]+\]|[^\s/:*]+):(\d{1,5})", text)
    if match and 0 < int(match[2]) < 65535:
        host, port = match[1], int(match[2])
        return Address(text, f"tcp://{host}:{port}", f"tcp://{host}:{port + 1}", host)
    raise InputError(f"{text!r} is no address of a daemon; write ipc:///run/neuralpower or tcp://host:port")


def nobody(address: Address, refused: str = "") -> str:
    """What to say while no daemon answers; `refused` is this client's public key where a daemon is there and turned it away."""
    if refused:
        return (
            f"the daemon at {address.text} refused this client's key; on the device run: neuralpowerd allow '{refused}'"
        )
    question = "is neuralpowerd running" + (", and is the key here its server.public" if address.host else "")
    return f"no daemon at {address.text}: {question}?"
