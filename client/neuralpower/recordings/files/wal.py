"""The write-ahead log of a recording: checksummed wire messages, appended and synced.

A file is a header of 16 bytes (magic, version, zero) and frames of ``length u32 | crc32 u32 | payload``, little-endian;
the checksum covers length and payload, the payload is a msgpack list of the message's frames. A process or machine that
dies in mid-write leaves a torn tail, which opening cuts off. Damage before it costs the frames it lies in: reading goes on at the next.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from neuralpower_wire.files import sync_folder

from ...errors import DamagedFile

MAGIC = b"NPWALOG\n"
VERSION = 1
HEADER = struct.Struct("<8sII")
FRAME = struct.Struct("<II")
MAX_PAYLOAD = 64 * 1024 * 1024
"""A record of the journal is at most 8 MiB and a column of the wire 16 MiB; a longer length can only be damage."""

Message = list[bytes]


_BEGINNING = re.compile(rb"[\x90-\x9f]\xc4(?:\x05rails|\x0ainferences)")
"""How the payload of every frame that a recorder writes begins: by it the next frame is found behind damage."""


@dataclass(frozen=True)
class Content:
    """What a write-ahead log holds: whole messages, and how many bytes after them are not readable."""

    messages: list[Message]
    valid_bytes: int
    """Up to the end of the last whole message."""
    damaged_bytes: int
    """Behind it."""
    holes: list[range] = field(default_factory=list)
    """Bytes before it that are damaged: each costs the messages it lies in."""

    def told(self, path: Path) -> list[str]:
        """One line for each damage."""
        return [f"{path}: {each}" for each in self.faults]

    @property
    def faults(self) -> list[str]:
        """The same without the file's name."""
        found = [f"{len(hole)} bytes from byte {hole.start} on are damaged and left out" for hole in self.holes]
        if self.damaged_bytes:
            found.append(f"{self.damaged_bytes} bytes of a half-written end left out")
        return found


def read(path: Path) -> Content:
    """All whole messages of the file; damage costs those it lies in.

    Raises:
        InputError: the file is not a write-ahead log, or of another version.
    """
    with path.open("rb") as file:
        whole = file.read()
    if len(whole) < HEADER.size:  # the process died between creating the file and writing its header
        return Content([], 0, len(whole))
    messages, holes, end = _messages(whole)
    magic, version, zero = HEADER.unpack_from(whole)
    if (magic, version, zero) != (MAGIC, VERSION, 0):
        if messages:  # no other file has frames that check
            holes.insert(0, range(HEADER.size))
        elif magic != MAGIC or zero:
            raise DamagedFile(path, "not a write-ahead log of a recording", "move it out of the folder")
        else:
            raise DamagedFile(path, f"format version {version}", f"this neuralpower reads version {VERSION}: update it")
    return Content(messages, end, len(whole) - end, holes)


def _messages(whole: bytes) -> tuple[list[Message], list[range], int]:
    """The whole messages, the damage between them, and where the last one ends."""
    messages: list[Message] = []
    holes: list[range] = []
    end = offset = HEADER.size
    while (found := _message(whole, offset)) or (offset := _next(whole, offset)):
        if found:
            if offset > end:
                holes.append(range(end, offset))
            message, offset = found
            messages.append(message)
            end = offset
    return messages, holes, end


def _next(whole: bytes, offset: int) -> int:
    """Where behind `offset` a frame may begin; 0 where none does."""
    match = _BEGINNING.search(whole, offset + FRAME.size + 1)
    return match.start() - FRAME.size if match else 0


def _message(whole: bytes, offset: int) -> tuple[Message, int] | None:
    """The message of the frame at `offset` and where it ends; None where no whole one is."""
    if len(whole) - offset < FRAME.size:
        return None
    length, checksum = FRAME.unpack_from(whole, offset)
    begin, end = offset + FRAME.size, offset + FRAME.size + length
    if length > MAX_PAYLOAD or end > len(whole):
        return None
    payload = memoryview(whole)[begin:end]
    if _checksum(length, payload) != checksum:
        return None
    try:
        message = msgpack.unpackb(payload)
    except (ValueError, msgpack.exceptions.UnpackException):
        return None
    if not isinstance(message, list) or not all(isinstance(part, bytes) for part in message):
        return None
    return message, end


def _checksum(length: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<I", length)))


class Wal:
    """An open write-ahead log: one writer appends, then syncs. Opening an existing file cuts a damaged tail off.

    Errors of the disk come as OSError; the file then ends at the last whole message that reached it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_cut = 0
        fresh = not path.exists()
        content = Content([], 0, 0) if fresh else read(path)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self.size = content.valid_bytes
            self.bytes_cut = content.damaged_bytes
            self.holes = content.holes
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            if self.size < HEADER.size:
                self._write(HEADER.pack(MAGIC, VERSION, 0))
            elif content.holes[:1] == [range(HEADER.size)]:
                os.pwrite(self._file, HEADER.pack(MAGIC, VERSION, 0), 0)
            self.sync()
            if (
                fresh or not content.valid_bytes
            ):  # of one that could not be begun the name may not be on the disk either
                sync_folder(path.parent)
        except OSError:
            os.close(self._file)
            raise

    def append(self, message: Sequence[bytes]) -> None:
        """Append a message; it is safe only after the next :meth:`sync`."""
        payload = msgpack.packb(list(message))
        self._write(FRAME.pack(len(payload), _checksum(len(payload), payload)) + payload)

    def _write(self, data: bytes) -> None:
        """Write all of `data` or, on an error of the disk, none of it."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Return once everything appended is on the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Sync and close. Closing twice is fine."""
        if self._file < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._file)
            self._file = -1
