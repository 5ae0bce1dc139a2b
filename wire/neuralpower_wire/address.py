"""Where a daemon is: one address names its three sockets, in a folder of this machine or at a host."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import WireError

LONGEST_PATH = 107
"""Bytes of a local socket's path: sockaddr_un has 108 with the closing zero."""
LIVE, HISTORY, INFERENCES = "live.ipc", "history.ipc", "inferences.ipc"
"""Local sockets, as files in the daemon's folder."""
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/:]+):(\d{1,5})")


def endpoint(path: str | os.PathLike[str]) -> str:
    """ZeroMQ's name of the local socket at `path`."""
    return f"ipc://{os.fspath(path)}"


@dataclass(frozen=True)
class Address:
    """A daemon's local sockets in `folder`, or its remote ones at `host`: `port` is the live socket's, the next one the history's.

    `socket` is the path of the inferences socket where that file was named itself and is called otherwise. Printed, an address is
    what :meth:`parse` takes.
    """

    folder: str = ""
    host: str = ""
    port: int = 0
    socket: str = ""

    @classmethod
    def parse(cls, text: AddressLike) -> Address:
        """The address behind `ipc:///run/neuralpower`, a path (of the folder or of a socket in it), or `tcp://host:port`.

        Raises:
            WireError: none of these, a port out of range, or a path too long for a socket.
        """
        if isinstance(text, Address):
            return text
        path = os.fspath(text)
        if match := re.fullmatch(rf"tcp://{_HOST_AND_PORT.pattern}", path):
            return cls._remote(path, match[1], int(match[2]), wildcard=False)
        path = path.removeprefix("ipc://") if path.startswith("ipc:///") else path
        if "://" in path or not (os.sep in path or isinstance(text, os.PathLike)):
            raise WireError(f"{path!r} is no address of a daemon; write ipc:///run/neuralpower or tcp://host:port")
        return cls._local(os.path.abspath(path))

    @classmethod
    def _local(cls, path: str) -> Address:
        folder, name = os.path.split(path)
        own = name.endswith(".ipc")
        address = cls(folder if own else path, socket=path if own and name not in (LIVE, HISTORY, INFERENCES) else "")
        if len(os.fsencode(f"{address.folder}/{INFERENCES}")) > LONGEST_PATH:
            raise WireError(f"{path}: the path is too long for a local socket; use a shorter run directory")
        return address

    @classmethod
    def parse_bind(cls, text: str) -> Address:
        """What a daemon listens at: `host:port`, where the host `*` is every interface. WireError where it is something else."""
        match = _HOST_AND_PORT.fullmatch(text)
        if not match:
            raise WireError(f'{text!r} is no address; write host:port, as "*:7380"')
        return cls._remote(text, match[1], int(match[2]), wildcard=True)

    @classmethod
    def _remote(cls, text: str, host: str, port: int, wildcard: bool) -> Address:
        if not 0 < port < 65535:
            raise WireError(f"{text!r}: {port} is no port with one behind it; choose 1 to 65534")
        if host == "*" and not wildcard:
            raise WireError(f"{text!r}: * is no host to connect to; name the device")
        return cls(host=host, port=port)

    @property
    def local(self) -> bool:
        """Whether the sockets are files on this machine."""
        return bool(self.folder)

    def file(self, name: str) -> Path:
        """The file of the local socket `name`: LIVE, HISTORY or INFERENCES."""
        return Path(self.folder, name)

    @property
    def live(self) -> str:
        """ZeroMQ's endpoint of the live socket."""
        return endpoint(self.file(LIVE)) if self.local else f"tcp://{self.host}:{self.port}"

    @property
    def history(self) -> str:
        """ZeroMQ's endpoint of the history socket."""
        return endpoint(self.file(HISTORY)) if self.local else f"tcp://{self.host}:{self.port + 1}"

    @property
    def inferences(self) -> str:
        """ZeroMQ's endpoint of the inferences socket; WireError for a remote address, since times are of the device's own clock."""
        if not self.local:
            raise WireError(f"{self}: inferences are taken on the device itself; give the daemon's directory")
        return endpoint(self.socket or self.file(INFERENCES))

    def __str__(self) -> str:
        return endpoint(self.socket or self.folder) if self.local else f"tcp://{self.host}:{self.port}"


AddressLike = str | os.PathLike[str] | Address
"""What :meth:`Address.parse` takes."""
DEFAULT = Address("/run/neuralpower")
"""Where the service's unit puts the daemon."""
