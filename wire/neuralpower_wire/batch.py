"""A batch: topic, msgpack header, one frame of little-endian bytes per column.

Nothing in a message is trusted: every length, dtype and count is checked against the header before a buffer is viewed.
docs/wire.md describes the bytes for other languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeGuard

import msgpack
import numpy as np
import numpy.typing as npt

from .errors import VersionError, WireError

VERSION = 1
MAX_HEADER = 256 * 1024
"""A header is names and numbers, and a status of bounded lists: 256 KiB is twenty times the largest seen."""
MAX_FRAME = 16 * 1024 * 1024
"""One column: an engine description of 8 MiB, the largest a journal record may be, fits with room."""
MAX_COLUMNS = 32
MAX_COUNT = 1 << 20
"""Rows of a batch: a live batch has about 50, a reply of the history at most 4096."""
MAX_NAME = 64
DTYPES = frozenset({"|u1", "<u4", "<i8", "<u8", "<f8"})

_DTYPES = {name: np.dtype(name) for name in DTYPES}
_TEXT = frozenset({str})

Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """A message of one topic: `header` has "v", "first", "count" and what the topic adds; `columns` are 1-D arrays."""

    topic: bytes
    header: dict[str, Any]
    columns: dict[str, Column]


def pack(value: Any) -> bytes:
    """`value` as msgpack; WireError where it cannot be: an integer over 64 bits, half a surrogate pair, too deep."""
    try:
        return bytes(msgpack.packb(value, use_bin_type=True))
    except (ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"cannot be sent: {error}") from None


def pack_with_last(value: Mapping[str, Any], name: str, packed: bytes) -> bytes:
    """The map `value`, of less than 15 entries, as msgpack, with one more behind them whose value is msgpack already."""
    assert len(value) < 15, "the header of a larger map is longer than its one byte"
    return b"".join([bytes([0x80 | len(value) + 1]), pack(value)[1:], pack(name), packed])


def unpack(data: bytes, limit: int = MAX_HEADER) -> dict[str, Any]:
    """The msgpack map in `data`, which may be hostile: at most `limit` bytes, string keys, no extension types.

    Raises:
        WireError: not a map, trailing bytes, too long, too deep.
    """
    if len(data) > limit:
        raise WireError(f"a map of {len(data)} bytes is over the limit of {limit}")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, max_ext_len=0, ext_hook=_no_extension)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"not msgpack: {error or type(error).__name__}") from None
    if not isinstance(value, dict) or not _TEXT.issuperset(map(type, value)):
        raise WireError("expected a msgpack map with string keys")
    return value


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


def encode(batch: Batch) -> list[bytes]:
    """The frames of `batch`: topic, header with version and column list, the columns in that order.

    Raises:
        WireError: a column is not one-dimensional, of no allowed dtype, or over a limit.
    """
    described, frames = [], []
    for name, column in batch.columns.items():
        sent_as, swapped = _little_endian(column.dtype)
        if sent_as not in DTYPES or column.ndim != 1 or column.nbytes > MAX_FRAME:
            raise WireError(f"column {name!r}: {column.ndim}-D {sent_as} of {column.nbytes} bytes cannot be sent")
        described.append([name, sent_as, len(column)])
        frames.append((column.byteswap() if swapped else column).tobytes())
    header = pack({"v": VERSION, **batch.header, "columns": described})
    if len(header) > MAX_HEADER or len(frames) > MAX_COLUMNS:
        raise WireError(f"a header of {len(header)} bytes with {len(frames)} columns is over the limit")
    return [batch.topic, header, *frames]


@lru_cache(64)
def _little_endian(dtype: np.dtype[Any]) -> tuple[str, bool]:
    """The name on the wire of what a column of this dtype is sent as, and whether its bytes are in the other order."""
    little = dtype.newbyteorder("<")
    return little.str, little != dtype


def decode(frames: Sequence[bytes], max_header: int = MAX_HEADER) -> Batch:
    """The batch in `frames`, with a header of at most so many bytes; its columns are read-only views of the frames.

    Raises:
        VersionError: it is of another version.
        WireError: anything else in the message breaks the format.
    """
    if not 2 <= len(frames) <= MAX_COLUMNS + 2:
        raise WireError(f"a message of {len(frames)} frames; a batch has 2 to {MAX_COLUMNS + 2}")
    header = unpack(frames[1], max_header)
    check_version(header)
    described = header.pop("columns", None)
    if not isinstance(described, list) or len(described) != len(frames) - 2:
        raise WireError(f"the header does not describe the message's {len(frames) - 2} columns")
    columns: dict[str, Column] = {}
    for description, frame in zip(described, frames[2:], strict=True):
        name, column = _column(description, frame)
        if name in columns:
            raise WireError(f"column {name!r} comes twice")
        columns[name] = column
    return Batch(bytes(frames[0]), header, columns)


def _column(description: Any, frame: bytes) -> tuple[str, Column]:
    if not isinstance(description, list) or len(description) != 3:
        raise WireError("a column is described by name, dtype and length")
    name, dtype, length = description
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not isinstance(dtype, str) or dtype not in DTYPES:
        raise WireError(f"column {str(name)[:MAX_NAME]!r} of dtype {str(dtype)[:MAX_NAME]!r} is not allowed")
    if not is_count(length, MAX_FRAME) or len(frame) != length * _DTYPES[dtype].itemsize:
        raise WireError(f"column {name!r} has {len(frame)} bytes, which are not its {length!r} values")
    return name, np.frombuffer(frame, dtype=_DTYPES[dtype])


def check_version(header: Mapping[str, Any]) -> None:
    """Raise VersionError where `header` is of another version, WireError where it tells none."""
    if not is_count(header.get("v"), 2**31):
        raise WireError("v must be the version of the message")
    if header["v"] != VERSION:
        raise VersionError(header["v"], VERSION)


def is_count(value: Any, most: int) -> TypeGuard[int]:
    """Whether `value` is an integer (not a bool) in [0, most]."""
    return type(value) is int and 0 <= value <= most  # a bool is none, and nothing on the wire is a subclass


def header_count(header: Mapping[str, Any], name: str, most: int) -> int:
    """The integer `header[name]` in [0, most]; WireError otherwise."""
    value = header.get(name)
    if not is_count(value, most):
        raise WireError(f"{name} must be an integer from 0 to {most}, not {str(value)[:40]!r}")
    return value


def header_bytes(header: Mapping[str, Any], name: str, length: int) -> bytes:
    """The `length` bytes of `header[name]`; WireError otherwise."""
    value = header.get(name)
    if not isinstance(value, bytes) or len(value) != length:
        raise WireError(f"{name} must be {length} bytes")
    return value


def header_flag(header: Mapping[str, Any], name: str, default: bool) -> bool:
    """The boolean `header[name]`, `default` where there is none; WireError otherwise."""
    value = header.get(name, default)
    if not isinstance(value, bool):
        raise WireError(f"{name} must be true or false")
    return value


def header_text(header: Mapping[str, Any], name: str, most: int = 256) -> str:
    """The text of `header[name]`, at most `most` characters; WireError otherwise."""
    value = header.get(name)
    if not isinstance(value, str) or len(value) > most:
        raise WireError(f"{name} must be text of at most {most} characters")
    return value


def column(batch: Batch, name: str, dtype: str, length: int) -> Column:
    """The column `name` of `batch`, which must have `dtype` and `length`; WireError otherwise."""
    found = batch.columns.get(name)
    if found is None or found.dtype != _DTYPES[dtype] or len(found) != length:
        raise WireError(f"the batch needs a column {name!r} of {length} values of {dtype}")
    return found
