"""What a segment says in short, in a file beside it, so that months are summed up without opening a segment.

A summary is a copy of what can be made of its segment again. One that is missing, damaged or of another segment costs time, and nothing else.

    magic, version u32, CRC-32 u32, length u32   the checksum is of the other sixteen bytes and all that follows
    so many bytes, and all the rest              two maps of msgpack, each packed by zlib: what is asked for of months, and the rest
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgpack
import numpy as np

from neuralpower_wire import Epoch, Kind, PackedRecord, PackedRecords, Ticks
from neuralpower_wire.batch import unpack
from neuralpower_wire.files import replace_file

from ...errors import InputError
from .. import levels
from ..statistics import JournalContents, TickSummary

if TYPE_CHECKING:
    import numpy.typing as npt

MAGIC = b"NPSUMRY\n"
VERSION = 1
HEADER = struct.Struct("<8sIII")
REST = ("1", "frames")
"""Keys of the second map: the level of seconds, and what mends a segment."""
SUFFIX = ".summary"
MOST_BYTES = 64 * 1024 * 1024
"""Bound: a thousand times what one of a minute takes unpacked."""
DESCRIBED_BYTES = 256 * 1024
"""Bound: larger descriptions and events stay in the segment alone, which is then looked into for them."""
DESCRIBED = (Kind.ENGINE, Kind.EPOCH, Kind.EVENT)
"""Few and small: what is kept as it is."""
CLOCK_FIELDS = ("monotonic_ns", "boottime_ns", "realtime_ns", "bracket_ns")
Body = Mapping[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


class Unusable(ValueError):
    """There is no summary to go by; the words say why, "" where there simply is none. `reason`: in short, without the file's name."""

    def __init__(self, words: str = "", reason: str = "is missing") -> None:
        super().__init__(words)
        self.reason = reason


def path_of(segment: Path) -> Path:
    """Where the summary of a segment lies."""
    return segment.with_suffix(SUFFIX)


def of_ticks(ticks: Ticks, epochs: Sequence[Epoch]) -> dict[str, Any]:
    """The summary of a segment's ticks, at least one. `unexplained`: epochs that were not known when it was made."""
    whole = TickSummary(epochs)
    whole.take(ticks)
    names, watts = levels.watts_of(ticks, epochs)
    seconds = levels.seconds_of(ticks, names, watts)
    known = {epoch.number for epoch in epochs}
    return {
        "whole": whole.state(),
        "unexplained": sorted({int(number) for number in np.unique(ticks["epoch"])} - known),
        "edges": [asdict(edge) for edge in levels.edges_of(ticks, names, watts)],
        **{str(each): levels.packed_level(seconds.coarser(each)) for each in levels.LEVELS},
    }


def of_records(index: npt.NDArray[np.uint64], records: PackedRecords) -> dict[str, Any]:
    """The summary of a segment's records, at least one: how many of what, its first and last clock map, and its descriptions and events as they are."""
    contents = JournalContents()
    contents.take([(index, records)])
    told = np.flatnonzero(np.isin(records.kind, DESCRIBED)).tolist()
    described = [records.packed(at) for at in told]
    small = sum(len(each.body) for each in described) <= DESCRIBED_BYTES
    clocks = np.flatnonzero(records.kind == Kind.CLOCK)
    ends = sorted({int(clocks[0]), int(clocks[-1])}) if len(clocks) else []
    return {
        "whole": contents.state(),
        "described": [[each.kind, each.t_ns, each.body] for each in described] if small else None,
        "clocks": [records.packed(at).body for at in ends],
    }


def write(segment: Path, body: Body, size: int, checksum: int) -> None:
    """Put the summary beside its segment, of so many bytes and with that checksum of its own. Raises OSError."""
    maps = {name: each for name, each in body.items() if name not in REST}, {n: body[n] for n in REST if n in body}
    head, rest = (zlib.compress(msgpack.packb(each), 1) for each in ({**maps[0], "segment": [size, checksum]}, maps[1]))
    ends = MAGIC + struct.pack("<I", VERSION), struct.pack("<I", len(head)) + head + rest
    replace_file(path_of(segment), ends[0] + struct.pack("<I", zlib.crc32(ends[1], zlib.crc32(ends[0]))) + ends[1])


def read(segment: Path, whole: bool = False) -> dict[str, Any]:
    """The summary beside a segment, or of it what :data:`REST` does not name. Raises Unusable where it is not whole, or of another segment."""
    path = path_of(segment)
    try:
        with open(path, "rb") as file:
            data, size = file.read(), os.stat(segment).st_size
    except FileNotFoundError:
        raise Unusable from None
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise Unusable(f"{path}: {reason}; its segment is read instead", reason) from None
    body = _unpacked(path, data, whole)
    if body["segment"][0] != size and not whole:
        reason = "is of another segment"
        raise Unusable(f"{path}: {reason}, which is read instead; neuralpower info --repair makes it anew", reason)
    return body


def _unpacked(path: Path, data: bytes, whole: bool) -> dict[str, Any]:
    damaged = Unusable(
        f"{path}: damaged; its segment is read instead, and neuralpower info --repair makes it anew", "damaged"
    )
    if len(data) < HEADER.size:
        raise damaged
    magic, version, checksum, length = HEADER.unpack_from(data)
    if checksum != zlib.crc32(memoryview(data)[16:], zlib.crc32(data[:12])) or magic != MAGIC:
        raise damaged
    if version != VERSION:
        raise Unusable  # a newer one's; what it says is in the segment too
    try:
        body = _map(data[HEADER.size : HEADER.size + length])
        size, seal = body["segment"]
        body["segment"] = int(size), int(seal)
        if not isinstance(body["whole"], dict):
            raise ValueError
        return {**body, **_map(data[HEADER.size + length :])} if whole else body
    except (ValueError, KeyError, TypeError, zlib.error, msgpack.exceptions.UnpackException):
        raise damaged from None


def _map(packed: bytes) -> dict[str, Any]:
    body = msgpack.unpackb(zlib.decompressobj().decompress(packed, MOST_BYTES), strict_map_key=False)
    if not isinstance(body, dict):
        raise ValueError
    return body


def _trusting_nothing(read: Callable[P, T]) -> Callable[P, T]:
    """A checksum tells of damage, not of who wrote the file: what is not as a recorder writes it becomes one line, an InputError."""

    @wraps(read)
    def checked(*args: P.args, **options: P.kwargs) -> T:
        try:
            return read(*args, **options)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"[:120]
            raise InputError(
                f"a summary beside a segment is none that a recorder writes ({reason}); remove the files *{SUFFIX} of the recording"
            ) from None

    return checked


@_trusting_nothing
def join(whole: TickSummary | JournalContents, body: Body) -> None:
    """Add what a summary says to what is told of a stream."""
    whole.join(body["whole"])


@_trusting_nothing
def span_ns(body: Body, log: str) -> tuple[int, int]:
    """Times of the earliest and the latest entry."""
    begin, end = body["whole"]["t_ns" if log == "ticks" else "span_ns"]
    return int(begin), int(end)


@_trusting_nothing
def unexplained(body: Body) -> frozenset[int]:
    """Epochs of a summary of ticks that were not known when it was made: with one that is known by now, it is to be made anew."""
    return frozenset(map(int, body["unexplained"]))


@_trusting_nothing
def last_epoch(body: Body) -> int:
    """The number of the epoch of the last tick of a summary of ticks."""
    return int(body["whole"]["runs"][-1][0])


@_trusting_nothing
def level(body: Body, seconds: int) -> levels.PowerLevel:
    """One level of a summary of ticks."""
    return levels.unpacked_level(body[str(seconds)])


@_trusting_nothing
def edges(body: Body) -> tuple[levels.Edge, levels.Edge]:
    """The first and the last tick of a summary of ticks."""
    first, last = (
        levels.Edge(
            int(each["index"]),
            int(each["epoch"]),
            int(each["t_ns"]),
            {str(rail): float(watts) for rail, watts in each["watts"].items()},
        )
        for each in body["edges"]
    )
    return first, last


@_trusting_nothing
def described(body: Body) -> list[PackedRecord] | None:
    """Engines, epochs and events of a summary of records; None where they are too large for it."""
    told = body["described"]
    return None if told is None else [PackedRecord(int(kind), int(t_ns), bytes(packed)) for kind, t_ns, packed in told]


@_trusting_nothing
def clocks(body: Body) -> list[list[int]]:
    """Rows of the first and the last clock map of a summary of records, as :meth:`Recording.clock_maps` has them."""
    return [[int(told[name]) for name in CLOCK_FIELDS] for told in (unpack(packed) for packed in body["clocks"])]
