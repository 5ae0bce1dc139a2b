"""The keys of encrypted connections: this user's pair, and the public keys of the daemons that may be talked to.

They lie in ``~/.config/neuralpower`` (or ``$NEURALPOWER_KEYS``): ``client.secret``, ``client.public``, and for each daemon
``HOST.public``, a copy of the ``server.public`` that ``neuralpowerd keys`` made on the device. The secret has mode 0600 in a folder of mode
0700; with others, no connection is made.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import zmq

from neuralpower_wire.files import replace_file

from ..address import Address
from ..errors import Failure, InputError

_KEY = re.compile(r"^[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$")
"""Z85: 32 bytes as 40 characters."""


@dataclass(frozen=True)
class Keys:
    """What CURVE needs of a client."""

    server: bytes
    public: bytes
    secret: bytes


def folder() -> Path:
    """Where the keys lie."""
    return Path(os.environ.get("NEURALPOWER_KEYS") or Path.home() / ".config" / "neuralpower")


def keys_for(address: Address) -> Keys | None:
    """The keys for a TCP address, None for a local one. This user's pair is made when it is first needed.

    Raises:
        InputError: the daemon's public key is not there; the line says what to copy where, and what to allow.
        Failure: the pair cannot be made or read.
    """
    if address.local:
        return None
    try:
        public, secret = _own_pair(folder())
    except OSError as error:
        raise Failure(
            f"{error.filename}: {error.strerror}; set NEURALPOWER_KEYS to a folder that can be written"
        ) from None
    path = folder() / f"{address.host.strip('[]').replace(':', '_')}.public"
    server = _read(path)
    if server is None:
        raise InputError(
            f"{address}: no key in {path}; copy the device's server.public there, "
            f"and on the device run: neuralpowerd allow '{public.decode()}'"
        )
    return Keys(server, public, secret)


def _own_pair(where: Path) -> tuple[bytes, bytes]:
    secret = _read(where / "client.secret")
    if secret is None:
        for each in [each for each in (*reversed(where.parents), where) if not each.exists()]:
            each.mkdir(mode=0o700, exist_ok=True)  # whoever may rename a folder above may put another in its place
        public, secret = zmq.curve_keypair()
        replace_file(where / "client.public", public + b"\n", 0o644)
        replace_file(where / "client.secret", secret + b"\n", 0o600)
    _check_modes(where)
    return zmq.curve_public(secret), secret


def _check_modes(where: Path) -> None:
    """InputError where others could read the secret, or put another key in the place of a daemon's."""
    for place, wanted, verb in ((where, "700", "enter"), (where / "client.secret", "600", "read")):
        if place.stat().st_mode & 0o077:
            raise InputError(f"{place}: others may {verb} it; run: chmod {wanted} {place}")


def _read(path: Path) -> bytes | None:
    """The key in a file, None if there is no file; InputError if it holds something else."""
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        text = ""
    if not _KEY.match(text):
        raise InputError(f"{path}: holds no key of 40 characters; replace it")
    return text.encode()
