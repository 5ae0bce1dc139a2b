"""A peer of the daemon's local sockets that speaks ZMTP by hand, and so may break every rule of it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def bare(folder: Path, name: str) -> socket.socket:
    """A connection to NAME.ipc that says nothing yet."""
    end = socket.socket(socket.AF_UNIX)
    try:
        end.connect(str(folder / f"{name}.ipc"))
    except OSError:
        end.close()
        raise
    end.settimeout(2.0)
    return end


def greeted(folder: Path, name: str, kind: bytes) -> socket.socket:
    """A connection that has shaken hands as a socket of this kind (SUB, DEALER)."""
    end = bare(folder, name)
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    try:
        end.sendall(GREETING + bytes([4, len(body)]) + body)
    except OSError:
        end.close()
        raise
    return end


def frame(body: bytes, more: bool = False) -> bytes:
    """A frame of a message."""
    flags = 1 if more else 0
    return bytes([flags, len(body)]) + body if len(body) < 256 else struct.pack(">BQ", flags | 2, len(body)) + body


def message(frames: list[bytes]) -> bytes:
    """The frames of one message."""
    return b"".join(frame(each, more=at < len(frames) - 1) for at, each in enumerate(frames))
