"""An incident, saved as one file of both logs: what the flight recorder writes, and `neuralpower fetch` reads. Bytes only, no I/O.

docs/wire.md has the format.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import msgpack

from .batch import MAX_COLUMNS, MAX_FRAME, MAX_HEADER
from .errors import WireError

SAVED, FOUND, END = b"saved", b"found", b"end"
"""Topics in a file beside `rails` and `inferences`: the first entry says what it is, `found` are records from outside of the incident that
explain it, the last entry counts what there is."""
MAGIC = b"NPSAVED1"
_HEAD = struct.Struct("<II")
"""Bytes of the entry that follow, and their CRC-32."""
MOST_ENTRY = MAX_FRAME + 2 * MAX_HEADER
"""Bytes of an entry, unpacked: the history's largest answer, or an engine's description, with room."""
MOST_CHUNK = 256 * 1024
"""Bytes of a file in one answer: a slow card gives them in some 10 ms, so that no other client waits longer."""
_LEVEL = 1
"""Of zlib: halves ticks at 40 MB/s and more; higher levels take a multiple for a tenth."""


def pack_entry(frames: Sequence[bytes]) -> bytes:
    """One message as an entry of the file."""
    packed = zlib.compress(msgpack.packb(list(frames), use_bin_type=True), _LEVEL)
    return _HEAD.pack(len(packed), zlib.crc32(packed)) + packed


def unpack_entries(data: bytes) -> Iterator[list[bytes]]:
    """The messages of a whole file, which may be hostile, in their order.

    Raises:
        WireError: at the first byte that is not of the format; what was given before it is sound.
    """
    if not data.startswith(MAGIC):
        raise WireError("not a file of the flight recorder")
    at = len(MAGIC)
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise WireError(f"cut at byte {at}")
        size, crc = _HEAD.unpack_from(data, at)
        packed = data[at + _HEAD.size : at + _HEAD.size + size]
        if len(packed) != size:
            raise WireError(f"cut at byte {at}")
        if zlib.crc32(packed) != crc:
            raise WireError(f"damaged at byte {at}")
        yield _frames(packed, at)
        at += _HEAD.size + size


def _frames(packed: bytes, at: int) -> list[bytes]:
    """The frames of one entry."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, MOST_ENTRY)
        if not unpacker.eof:
            raise WireError(f"an entry of more than {MOST_ENTRY} bytes at byte {at}")
        frames = msgpack.unpackb(plain, raw=False, max_ext_len=0, max_map_len=0, max_array_len=MAX_COLUMNS + 2)
    except (ValueError, zlib.error, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"no entry at byte {at}: {error or type(error).__name__}") from None
    if not isinstance(frames, list) or not frames or not all(type(frame) is bytes for frame in frames):
        raise WireError(f"no entry at byte {at}: it is no list of frames")
    return frames
