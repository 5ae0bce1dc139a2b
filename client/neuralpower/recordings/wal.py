"""The write-ahead log of a recording: checksummed wire messages, appended and synced.

A file is a header of 16 bytes (magic, version, zero) and frames of ``length u32 | crc32 u32 | payload``, little-endian;
the checksum covers length and payload, the payload is a msgpack list of the message's frames. A process or machine that
dies in mid-write leaves a torn tail: reading stops at the first frame that does not check, and opening cuts it off there.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgpack

from neuralpower_wire.files import sync_folder

from ..errors import InputError

MAGIC = b"NPWALOG\n"
VERSION = 1
HEADER = struct.Struct("<8sII")
FRAME = struct.Struct("<II")
MAX_PAYLOAD = 64 * 1024 * 1024
"""A record of the journal is at most 8 MiB and a column of the wire 16 MiB; a longer length can only be damage."""

Message = list[bytes]


@dataclass(frozen=True)
class Content:
    """What a write-ahead log holds: whole messages, and how many bytes after them are not readable."""

    messages: list[Message]
    valid_bytes: int
    damaged_bytes: int


def read(path: Path) -> Content:
    """All whole messages of the file, up to the first damage.

    Raises:
        InputError: the file is not a write-ahead log, or of another version.
    """
    with path.open("rb") as file:
        whole = file.read()
    if len(whole) < HEADER.size:  # the process died between creating the file and writing its header
        return Content([], 0, len(whole))
    magic, version, zero = HEADER.unpack_from(whole)
    if magic != MAGIC or zero:
        raise InputError(f"{path}: not a write-ahead log of a recording; move it out of the folder")
    if version != VERSION:
        raise InputError(f"{path}: format version {version}; this neuralpower reads version {VERSION}: update it")
    frames = list(_frames(whole))
    end = frames[-1][1] if frames else HEADER.size
    return Content([message for message, _ in frames], end, len(whole) - end)


def _frames(whole: bytes) -> Iterator[tuple[Message, int]]:
    """Each whole message with the offset of its end."""
    view, offset = memoryview(whole), HEADER.size
    while len(whole) - offset >= FRAME.size:
        length, checksum = FRAME.unpack_from(whole, offset)
        begin, end = offset + FRAME.size, offset + FRAME.size + length
        if length > MAX_PAYLOAD or end > len(whole) or _checksum(length, view[begin:end]) != checksum:
            return
        try:
            message = msgpack.unpackb(view[begin:end])
        except (ValueError, msgpack.exceptions.UnpackException):
            return
        if not isinstance(message, list) or not all(isinstance(part, bytes) for part in message):
            return
        yield message, end
        offset = end


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
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            if self.size < HEADER.size:
                self._write(HEADER.pack(MAGIC, VERSION, 0))
            self.sync()
            if fresh:
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
