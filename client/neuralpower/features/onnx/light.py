"""A binary ONNX model without the contents of its weights, which are most of its bytes and tell nothing of its layers.

The file's fields are walked over, and what is left out is never read: of VGG-16's 528 MiB some 40 KiB are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

LARGEST_CONTENT = 1 << 14
"""Bytes of a weight's contents that are kept: those of the 1024 elements whose values shapes are computed from, of 16 bytes at most."""

MOST_FIELDS = 200_000
"""Of one message: each costs a call of the system's. A file of more is read whole, in one."""

_GRAPH, _INITIALIZER = 7, 5
"""Numbers of the fields ModelProto.graph and GraphProto.initializer."""
_BYTES = 2
"""Of the kinds of field that protocol buffers have, the one with a length: messages, text, contents."""
_WIDTHS = {1: 8, 5: 4}
_LONGEST_HEAD = 20
"""Two numbers of up to ten bytes: which field, and how long."""


@dataclass(frozen=True)
class _Field:
    """One field of a message: its number and kind, where it begins, where its contents do, and where it ends."""

    number: int
    kind: int
    begin: int
    content: int
    end: int


def without_weights(file: int, size: int) -> bytes | None:
    """The model in an open file of that many bytes, large contents of its graph's initializers left out.

    None where the file is no chain of fields: damaged, another form of ONNX, or something else.
    """
    try:
        return b"".join(
            _message(_GRAPH, b"".join(_graph(file, field))) if field.number == _GRAPH else _read(file, field)
            for field in _joined(file, 0, size, _GRAPH)
        )
    except ValueError:
        return None


def _graph(file: int, graph: _Field) -> Iterator[bytes]:
    """Its fields, those of tensors with large contents without them."""
    for field in _joined(file, graph.content, graph.end, _INITIALIZER):
        if field.number == _INITIALIZER and field.end - field.content > LARGEST_CONTENT:
            inside = _fields(file, field.content, field.end)
            kept = [_read(file, each) for each in inside if each.end - each.content <= LARGEST_CONTENT]
            yield _message(_INITIALIZER, b"".join(kept))
        else:
            yield _read(file, field)


def _joined(file: int, begin: int, end: int, apart: int) -> Iterator[_Field]:
    """The fields of a message: those of the number `apart` one by one, others that follow each other as one of number 0."""
    held: _Field | None = None
    for field in _fields(file, begin, end):
        if field.number == apart and field.kind == _BYTES:
            if held:
                yield held
            held = None
            yield field
        else:
            first = held or field
            held = _Field(0, _BYTES, first.begin, first.content, field.end)
    if held:
        yield held


def _fields(file: int, begin: int, end: int) -> Iterator[_Field]:
    """The fields of a message. ValueError where there is none, or one that ends behind it."""
    at = begin
    for _ in range(MOST_FIELDS):
        if at >= end:
            return
        head = os.pread(file, _LONGEST_HEAD, at)
        key, used = _number(head, 0)
        kind = key & 7
        content = at + used
        if kind == _BYTES:
            length, used = _number(head, used)
            content = at + used
            after = content + length
        elif kind == 0:
            after = at + _number(head, used)[1]
        else:
            after = content + _WIDTHS.get(kind, end)
        if after > end or not key >> 3:
            raise ValueError("no field")
        yield _Field(key >> 3, kind, at, content, after)
        at = after
    raise ValueError("too many fields")


def _number(head: bytes, at: int) -> tuple[int, int]:
    """A number in steps of seven bits, and where it ends."""
    value = shift = 0
    for place in range(at, min(at + 10, len(head))):
        value |= (head[place] & 0x7F) << shift
        shift += 7
        if head[place] < 0x80:
            return value, place + 1
    raise ValueError("no number")


def _message(number: int, content: bytes) -> bytes:
    """A field that holds a message."""
    found, length = bytearray([number << 3 | _BYTES]), len(content)
    while length >= 0x80:
        found.append(length & 0x7F | 0x80)
        length >>= 7
    found.append(length)
    return bytes(found) + content


def _read(file: int, field: _Field) -> bytes:
    """A field's bytes. ValueError where the file has become shorter."""
    found = b""
    while len(found) < field.end - field.begin:
        part = os.pread(file, field.end - field.begin - len(found), field.begin + len(found))
        if not part:
            raise ValueError("no field")
        found += part
    return found
