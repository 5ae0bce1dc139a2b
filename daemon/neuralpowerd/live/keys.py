"""The server's CURVE key pair and the clients it lets in: text files that an administrator can read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import zmq
import zmq.utils.z85

from neuralpower_wire.files import replacing

from ..errors import ConfigError, DaemonError
from ..logs.roles import ROLES, Role

SECRET, PUBLIC, ALLOWED = "server.secret", "server.public", "allowed"
KEY = re.compile(r"^[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$")
"""Z85: 32 bytes as 40 characters."""


_ROLE = "role="


def make_keys(folder: Path) -> str:
    """Make the server's key pair where there is none; returns the public key, which clients need."""
    if not (folder / SECRET).exists():
        public, secret = zmq.curve_keypair()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(folder, PUBLIC, public + b"\n", 0o644)
            _replace(folder, SECRET, secret + b"\n", 0o600)
        except OSError as error:
            raise _unwritable(error) from None
    return server_keys(folder)[1].decode()


def server_keys(folder: Path) -> tuple[bytes, bytes]:
    """The secret and the public key. DaemonError where there is none, or where others could read or replace it."""
    path = folder / SECRET
    try:
        secret = path.read_text("ascii").strip()
        modes = {path: path.stat(), folder: folder.stat()}
    except PermissionError as error:
        raise _unwritable(error) from None
    except (OSError, UnicodeDecodeError):
        raise DaemonError(
            f"{path}: no key to read; make one with: neuralpowerd keys, and the same --config where there is one"
        ) from None
    owners = {0, os.geteuid()}
    if os.geteuid() == 0:
        owners.add(modes[folder].st_uid)  # the daemon's user, whose keys root shows
    for place, found in modes.items():
        wanted, verb = ("700", "enter") if stat.S_ISDIR(found.st_mode) else ("600", "read")
        if found.st_mode & 0o077:
            raise DaemonError(f"{place}: others may {verb} it; run: chmod {wanted} {place}")
        if found.st_uid not in owners:
            raise DaemonError(
                f"{place}: belongs to user {found.st_uid}, who could change it; give it to the daemon's user"
            )
    if not KEY.match(secret):
        raise DaemonError(f"{path}: holds no key of 40 characters; delete it and run: neuralpowerd keys")
    return secret.encode(), zmq.curve_public(secret.encode())


def allow(folder: Path, key: str, note: str, role: Role = Role.SUBSCRIBE) -> bool:
    """Let the client with public key `key` in, as `role`; False where it already was so. ConfigError where it is no key."""
    _check(key)
    if allowed_keys(folder).get(key.encode()) is role:
        return False
    words = " ".join(word for word in note.split() if word.isprintable())
    lines = [*_lines_without(folder, key), f"{key} {_ROLE}{role.word} {words}".strip()]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(folder, ALLOWED, "".join(f"{line}\n" for line in lines).encode(), 0o600)
    except OSError as error:
        raise _unwritable(error) from None
    return True


def revoke(folder: Path, key: str) -> bool:
    """Take a client's key back; False where it was not allowed. A running daemon ends its connections within about a second."""
    _check(key)
    if key.encode() not in allowed_keys(folder):
        return False
    try:
        _replace(folder, ALLOWED, "".join(f"{line}\n" for line in _lines_without(folder, key)).encode(), 0o600)
    except OSError as error:
        raise _unwritable(error) from None
    return True


def allowed_keys(folder: Path) -> dict[bytes, Role]:
    """The clients' public keys with their roles: the first word of each line where it is a key, and `role=ROLE` behind it.

    A line without a role, as an administrator or an earlier version wrote it, lets its client subscribe and no more; one with
    a role that there is not lets nobody in.
    """
    found = {}
    for line in _lines(folder):
        words = line.split()
        role = words[1] if len(words) > 1 and words[1].startswith(_ROLE) else f"{_ROLE}{Role.SUBSCRIBE.word}"
        if KEY.match(words[0]) and role.removeprefix(_ROLE) in ROLES:
            found[words[0].encode()] = ROLES[role.removeprefix(_ROLE)]
    return found


def _lines(folder: Path) -> list[str]:
    try:
        text = (folder / ALLOWED).read_text("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]


def _lines_without(folder: Path, key: str) -> list[str]:
    return [line for line in _lines(folder) if line.split()[0] != key]


def _check(key: str) -> None:
    if not KEY.match(key):
        raise ConfigError(f"{key[:60]!r} is no public key: it must have 40 characters, as zmq.curve_keypair() gives")


def _unwritable(error: OSError) -> DaemonError:
    if isinstance(error, PermissionError):
        return DaemonError(f"{error.filename}: {error.strerror}; use sudo, or be the daemon's user")
    return DaemonError(f"{error.filename}: {error.strerror}; choose a folder that can be written in tcp.keys_dir")


def _replace(folder: Path, name: str, data: bytes, mode: int) -> None:
    """Put a file in the place of the one before; what root makes belongs to the folder's owner, the daemon's user."""
    with replacing(folder / name, mode) as file:
        if os.geteuid() == 0:
            owner = folder.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(data)


def answer_zap(request: list[bytes], allowed: Mapping[bytes, Role], number: int) -> tuple[list[bytes], bytes]:
    """The reply to libzmq's question whether a client may connect (ZAP, RFC 27), and the client's key or nothing.

    Who is let in is called "NUMBER KEY" from then on, which libzmq gives with each of its messages.
    """
    if len(request) < 6 or request[0] != b"1.0":
        return [b"1.0", b"", b"500", b"not a ZAP request", b"", b""], b""
    mechanism, credentials = request[5], request[6:]
    key = zmq.utils.z85.encode(credentials[0]) if len(credentials) == 1 and len(credentials[0]) == 32 else b""
    if mechanism == b"CURVE" and key in allowed:
        return [b"1.0", request[1], b"200", b"OK", f"{number} {key.decode()}".encode(), b""], key
    return [b"1.0", request[1], b"400", b"this key is not allowed; run: neuralpowerd allow KEY", b"", b""], key
