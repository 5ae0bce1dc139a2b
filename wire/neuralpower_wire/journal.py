"""Records of the journal, and the topic `inferences` that carries them live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from .batch import (
    MAX_COUNT,
    MAX_FRAME,
    Batch,
    column,
    header_bytes,
    header_count,
    header_flag,
    header_text,
    pack,
    unpack,
)
from .epoch import Epoch
from .errors import WireError
from .ticks import STREAM_BYTES
from .topics import INFERENCES

MAX_RECORD = 8 * 1024 * 1024
"""One record: the inspector's JSON of a network of some thousand layers is about 4 MiB."""
MAX_LAYERS = 8192
"""Layers of an engine: the largest of the classic networks has about 500; repeated-layer engines go to 6144."""
SESSION_BYTES = 16
_END_OF_TIME = 2**63 - 1


class Kind(IntEnum):
    """What a journal record tells. UNKNOWN: of a kind, or with a body, that this version does not know; kept as it came."""

    UNKNOWN = 0
    INFERENCE = 1
    ENGINE = 2
    CLOCK = 3
    MARK = 4
    EVENT = 5
    CONDITION = 6
    EPOCH = 7


@dataclass(frozen=True)
class Record:
    """One record, written at `t_ns` (CLOCK_MONOTONIC); docs/wire.md lists the keys of `body` for each kind."""

    kind: Kind
    t_ns: int
    body: dict[str, Any]

    def packed(self) -> PackedRecord:
        """As it is kept and sent: the body is msgpack, an inference's durations little-endian bytes. WireError where a key is wrong."""
        if self.kind is Kind.UNKNOWN:
            return PackedRecord(self.body["kind"], self.t_ns, self.body["packed"])
        check(self)
        body = self.body
        if self.kind is Kind.INFERENCE:
            body = {**body, "durations_ns": np.asarray(body["durations_ns"], dtype="<i8").tobytes()}
        packed = pack(body)
        if len(packed) > MAX_RECORD:
            raise WireError(f"a record of {len(packed)} bytes is over the limit of {MAX_RECORD}")
        return PackedRecord(self.kind, self.t_ns, packed)

    @classmethod
    def unpack(cls, kind: int, t_ns: int, packed: bytes) -> Record:
        """The record of a packed body, checked.

        What this version does not know, or what breaks the format, hides nothing that lies behind it: it is UNKNOWN, with the
        keys `kind`, `packed` (as it came) and `why`, and packs to the same bytes again.
        """
        try:
            return cls._known(kind, t_ns, packed)
        except WireError as error:
            return cls(Kind.UNKNOWN, t_ns, {"kind": kind, "packed": packed, "why": str(error)})

    @classmethod
    def _known(cls, kind: int, t_ns: int, packed: bytes) -> Record:
        if kind not in _CHECKS:
            raise WireError(f"no journal record is of kind {kind}")
        known = Kind(kind)
        body = unpack(packed, MAX_RECORD)
        if known is Kind.INFERENCE:
            durations = body.get("durations_ns")
            if not isinstance(durations, bytes) or len(durations) % 8:
                raise WireError("durations_ns must be bytes of 64-bit integers")
            body["durations_ns"] = np.frombuffer(durations, dtype="<i8")
        record = cls(known, t_ns, body)
        check(record)
        return record


@dataclass(frozen=True)
class PackedRecord:
    """A record as it is kept and sent: `body` is msgpack that :meth:`Record.packed` made."""

    kind: int
    t_ns: int
    body: bytes


def check(record: Record) -> None:
    """Raise WireError unless the record's body has the keys of its kind, in type and range."""
    if record.kind not in _CHECKS:
        raise WireError(f"a record of kind {record.kind.name} cannot be written")
    _CHECKS[record.kind](record.body)


def _inference(body: dict[str, Any]) -> None:
    header_bytes(body, "session", SESSION_BYTES)
    header_count(body, "seq", _END_OF_TIME)
    header_text(body, "engine")
    begin, end = header_count(body, "begin_ns", _END_OF_TIME), header_count(body, "end_ns", _END_OF_TIME)
    durations = np.asarray(body.get("durations_ns"))
    if durations.ndim != 1 or durations.dtype.kind != "i" or len(durations) > MAX_LAYERS:
        raise WireError(f"durations_ns must be at most {MAX_LAYERS} integers")
    if begin >= end or (len(durations) and int(durations.min()) < 0):
        raise WireError("an inference must end after it began, with no negative duration")
    header_flag(body, "profiled", True)


def _engine(body: dict[str, Any]) -> None:
    header_text(body, "hash")
    header_text(body, "name")
    layers = body.get("layers")
    named = isinstance(layers, list) and all(isinstance(name, str) for name in layers)
    if not isinstance(layers, list) or not named or len(layers) > MAX_LAYERS:
        raise WireError(f"layers must be at most {MAX_LAYERS} names")
    if not isinstance(body.get("inspector"), dict) or not isinstance(body.get("simulated"), bool):
        raise WireError("an engine needs its inspector map and a simulated flag")


def _clock(body: dict[str, Any]) -> None:
    for name in ("monotonic_ns", "boottime_ns", "realtime_ns", "bracket_ns"):
        header_count(body, name, _END_OF_TIME)


def _named(body: dict[str, Any]) -> None:
    header_text(body, "name")
    header_text(body, "text", 4096)


def _epoch(body: dict[str, Any]) -> None:
    header_bytes(body, "stream", STREAM_BYTES)
    Epoch.from_dict(body)


_CHECKS: dict[Kind, Callable[[dict[str, Any]], None]] = {
    Kind.INFERENCE: _inference,
    Kind.ENGINE: _engine,
    Kind.CLOCK: _clock,
    Kind.MARK: _named,
    Kind.EVENT: _named,
    Kind.CONDITION: lambda body: None,
    Kind.EPOCH: _epoch,
}


def records_to_batch(stream: bytes, first: int, records: Sequence[Record]) -> Batch:
    """A batch of consecutive journal records from index `first` on; WireError where one breaks the format."""
    return packed_to_batch(stream, first, [each.packed() for each in records])


def packed_to_batch(stream: bytes, first: int, records: Sequence[PackedRecord]) -> Batch:
    """The same of records that are packed already: an engine of 8192 layers takes 0.2 s to unpack and pack again."""
    header = {"stream": stream, "first": first, "count": len(records)}
    columns = {
        "kind": np.array([record.kind for record in records], dtype="|u1"),
        "t_ns": np.array([record.t_ns for record in records], dtype="<i8"),
        "length": np.array([len(record.body) for record in records], dtype="<u4"),
        "body": np.frombuffer(b"".join([record.body for record in records]), dtype="|u1"),
    }
    return Batch(INFERENCES, header, columns)


def batch_to_records(batch: Batch) -> tuple[bytes, int, list[Record]]:
    """The stream, first index and records of an `inferences` batch; WireError where it is not one. A record that is not known is UNKNOWN."""
    stream = header_bytes(batch.header, "stream", STREAM_BYTES)
    first = header_count(batch.header, "first", 2**63)
    count = header_count(batch.header, "count", MAX_COUNT)
    kinds, times = column(batch, "kind", "|u1", count), column(batch, "t_ns", "<i8", count)
    ends = np.cumsum(column(batch, "length", "<u4", count), dtype=np.int64)
    body = column(batch, "body", "|u1", int(ends[-1]) if count else 0).tobytes()
    if len(body) > MAX_FRAME:
        raise WireError(f"bodies of {len(body)} bytes are over the limit of {MAX_FRAME}")
    begins = [0, *ends[:-1].tolist()] if count else []
    parts = zip(kinds.tolist(), times.tolist(), begins, ends.tolist(), strict=True)
    return stream, first, [Record.unpack(kind, t_ns, body[begin:end]) for kind, t_ns, begin, end in parts]
