"""Protocol buffers, the part needed to write them: a field is its number and wire type, then its value.

Encoding: https://protobuf.dev/programming-guides/encoding. Each function returns the bytes of one field.
"""

from __future__ import annotations

import struct

_VARINT, _FIXED64, _DELIMITED = 0, 1, 2
_DOUBLE = struct.Struct("<d")


def varint(value: int) -> bytes:
    """A number of at least 0 in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def integer(field: int, value: int) -> bytes:
    """A field of an integer or enumeration; negative ones as the two's complement of 64 bits."""
    return varint(field << 3 | _VARINT) + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def double(field: int, value: float) -> bytes:
    """A field of type double."""
    return varint(field << 3 | _FIXED64) + _DOUBLE.pack(value)


def message(field: int, body: bytes) -> bytes:
    """A field that holds a message, or bytes."""
    return varint(field << 3 | _DELIMITED) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    """A field of type string; half a surrogate pair becomes a question mark."""
    return message(field, value.encode("utf-8", "replace"))
