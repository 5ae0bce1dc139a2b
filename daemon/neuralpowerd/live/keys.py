"""The server's CURVE key pair and the clients it lets in: text files that an administrator can read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import zmq
import zmq.utils.z85

from neuralpower_wire.files import replace_file

from ..errors import ConfigError, DaemonError

SECRET, PUBLIC, ALLOWED = "server.secret", "server.public", "allowed"
_KEY = re.compile(r"^[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$")
"""Z85: 32 bytes as 40 characters."""


def make_keys(folder: Path) -> str:
    """Make the server's key pair where there is none; returns the public key, which clients need."""
    if not (folder / SECRET).exists():
        public, secret = zmq.curve_keypair()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / PUBLIC, public + b"\n", 0o644)
            replace_file(folder / SECRET, secret + b"\n", 0o600)
            _give_to_owner(folder, PUBLIC, SECRET)
        except OSError as error:
            raise DaemonError(
                f"{error.filename}: {error.strerror}; choose a folder that can be written in tcp.keys_dir"
            ) from None
    return server_keys(folder)[1].decode()


def server_keys(folder: Path) -> tuple[bytes, bytes]:
    """The secret and the public key."""
    try:
        secret = (folder / SECRET).read_text("ascii").strip()
        readable = (folder / SECRET).stat().st_mode & 0o077
    except (OSError, UnicodeDecodeError):
        raise DaemonError(f"{folder / SECRET}: no key to read; make one with: neuralpowerd keys") from None
    if readable:
        raise DaemonError(f"{folder / SECRET}: others may read it; run: chmod 600 {folder / SECRET}")
    if not _KEY.match(secret):
        raise DaemonError(f"{folder / SECRET}: holds no key of 40 characters; delete it and run: neuralpowerd keys")
    return secret.encode(), zmq.curve_public(secret.encode())


def allow(folder: Path, key: str, note: str) -> bool:
    """Let the client with public key `key` in; False where it already was. ConfigError where it is no key."""
    if not _KEY.match(key):
        raise ConfigError(f"{key[:60]!r} is no public key: it must have 40 characters, as zmq.curve_keypair() gives")
    if key.encode() in allowed_keys(folder):
        return False
    line = f"{key} {' '.join(note.split())}".strip() + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ALLOWED, "a", encoding="utf-8") as file:
            file.write(line)
        _give_to_owner(folder, ALLOWED)
    except OSError as error:
        raise DaemonError(
            f"{error.filename}: {error.strerror}; choose a folder that can be written in tcp.keys_dir"
        ) from None
    return True


def allowed_keys(folder: Path) -> set[bytes]:
    """The clients' public keys: the first word of each line where it is a key."""
    try:
        lines = (folder / ALLOWED).read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    words = (line.split()[0] for line in lines if line.strip())
    return {word.encode() for word in words if _KEY.match(word)}


def _give_to_owner(folder: Path, *names: str) -> None:
    """What root makes belongs to the folder's owner, who is the daemon's user."""
    if os.geteuid() == 0:
        owner = folder.stat()
        for name in names:
            os.chown(folder / name, owner.st_uid, owner.st_gid)


def answer_zap(request: list[bytes], allowed: Callable[[], set[bytes]]) -> list[bytes] | None:
    """The reply to libzmq's question whether a client may connect (ZAP, RFC 27); None where it is no such question."""
    if len(request) < 6 or request[0] != b"1.0":
        return None
    mechanism, credentials = request[5], request[6:]
    key = zmq.utils.z85.encode(credentials[0]) if len(credentials) == 1 and len(credentials[0]) == 32 else b""
    welcome = mechanism == b"CURVE" and key in allowed()
    status, text = (b"200", b"OK") if welcome else (b"400", b"this key is not allowed; run: neuralpowerd allow KEY")
    return [b"1.0", request[1], status, text, b"", b""]
