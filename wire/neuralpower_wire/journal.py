"""Records of the journal, and the topic `inferences` that carries them live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from .batch import MAX_COUNT, MAX_FRAME, Batch, column, header_bytes, header_count, header_text, unpack
from .bodies import BODIES, MAX_LAYERS, MAX_RECORD, SESSION_BYTES, Body, Kind, Unknown
from .errors import WireError
from .ticks import STREAM_BYTES
from .topics import INFERENCES

__all__ = [
    "MAX_LAYERS",
    "MAX_RECORD",
    "SESSION_BYTES",
    "Kind",
    "PackedRecord",
    "PackedRecords",
    "Record",
    "batch_to_records",
    "records_to_batch",
]


@dataclass(frozen=True, init=False)
class Record:
    """One record, written at `t_ns` (CLOCK_MONOTONIC). A plain map given as `body` becomes the kind's class; WireError where it breaks the format."""

    kind: Kind
    t_ns: int
    body: Body

    def __init__(self, kind: Kind, t_ns: int, body: Body | Mapping[str, Any]) -> None:
        if not isinstance(body, Body):
            body = (Unknown if kind is Kind.UNKNOWN else BODIES[kind]).from_map(body)
        self.__dict__.update(kind=kind, t_ns=t_ns, body=body)

    def packed(self) -> PackedRecord:
        """As it is kept and sent. WireError where that cannot be."""
        return PackedRecord(self.number, self.t_ns, self.body.packed)

    @property
    def number(self) -> int:
        """Of its kind, as it travels: of an unknown one what came."""
        return self.body.of_kind if isinstance(self.body, Unknown) else self.kind

    @classmethod
    def unpack(cls, kind: int, t_ns: int, packed: bytes) -> Record:
        """The record of a packed body, checked.

        What this version does not know, or what breaks the format, hides nothing that lies behind it: its body is
        :class:`neuralpower_wire.bodies.Unknown`, and packs to the same bytes again.
        """
        try:
            if kind not in BODIES:
                raise WireError(f"no journal record is of kind {kind}")
            return cls(Kind(kind), t_ns, BODIES[kind].unpack(packed))
        except WireError as error:
            return cls(Kind.UNKNOWN, t_ns, Unknown(kind, packed, str(error)))


@dataclass(frozen=True)
class PackedRecord:
    """A record as it is kept and sent: `body` is msgpack."""

    kind: int
    t_ns: int
    body: bytes


class PackedRecords(Sequence[Record]):
    """Consecutive records as they travel: (n,) kinds, (n,) ns, and their n bodies, one after another.

    Whoever looks at one has it unpacked then; who only passes them on pays for no more than the columns.
    """

    def __init__(
        self, kind: npt.NDArray[np.uint8], t_ns: npt.NDArray[np.int64], edges: npt.NDArray[np.int64], body: memoryview
    ) -> None:
        self.kind, self.t_ns = kind, t_ns
        self.edges = edges
        """(n + 1,): where each body begins in `body`, and where the last one ends."""
        self.body = body

    @classmethod
    def of(cls, records: Sequence[Record | PackedRecord]) -> PackedRecords:
        """These records, each packed if it is not yet; WireError where one cannot be."""
        if isinstance(records, PackedRecords):
            return records
        packed = [each.packed() if isinstance(each, Record) else each for each in records]
        return cls(
            np.array([each.kind for each in packed], dtype="|u1"),
            np.array([each.t_ns for each in packed], dtype="<i8"),
            _edges(np.array([len(each.body) for each in packed], dtype="<u4")),
            memoryview(b"".join([each.body for each in packed])),
        )

    @classmethod
    def joined(cls, parts: Sequence[PackedRecords]) -> PackedRecords:
        """The records of all parts, one part after another."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([each.kind for each in parts]),
            np.concatenate([each.t_ns for each in parts]),
            _edges(np.concatenate([np.diff(each.edges) for each in parts])),
            memoryview(b"".join([each.bodies for each in parts])),
        )

    @property
    def bodies(self) -> memoryview:
        """The bytes of these records' bodies, one after another."""
        return self.body[int(self.edges[0]) : int(self.edges[-1])]

    def packed(self, at: int) -> PackedRecord:
        """Record number `at` of these."""
        begin, end = self.edges[at : at + 2].tolist()
        return PackedRecord(self.kind.item(at), self.t_ns.item(at), bytes(self.body[begin:end]))

    def of_kinds(self, *kinds: Kind) -> Iterator[Record]:
        """Those of these kinds, unpacked; what turns out to be unknown is left out."""
        for at in np.flatnonzero(np.isin(self.kind, kinds)).tolist():
            record = self[at]
            if record.kind in kinds:
                yield record

    def engines(self, of: npt.NDArray[np.int64] | slice = slice(None)) -> Counter[str]:
        """The engines that the inferences among them (or among the records numbered in `of`) name, and how many do."""
        found: Counter[str] = Counter()
        numbers = np.arange(len(self))[of]
        for at in numbers[self.kind[of] == Kind.INFERENCE].tolist():
            with suppress(WireError):
                found[header_text(unpack(self.packed(at).body, MAX_RECORD), "engine")] += 1
        return found

    def count(self, kind: Any) -> int:
        """How many are of a kind, by its number."""
        return int(np.count_nonzero(self.kind == kind))

    def __len__(self) -> int:
        return len(self.kind)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> PackedRecords: ...
    def __getitem__(self, at: int | slice) -> Record | PackedRecords:
        if isinstance(at, slice):
            begin, end, step = at.indices(len(self))
            if step != 1:
                raise ValueError("records are cut into runs only")
            return PackedRecords(self.kind[at], self.t_ns[at], self.edges[begin : max(begin, end) + 1], self.body)
        found = self.packed(range(len(self))[at])
        return Record.unpack(found.kind, found.t_ns, found.body)

    def __iter__(self) -> Iterator[Record]:
        edges, body = self.edges.tolist(), self.body
        parts = zip(self.kind.tolist(), self.t_ns.tolist(), edges[:-1], edges[1:], strict=True)
        return (Record.unpack(kind, t_ns, bytes(body[begin:end])) for kind, t_ns, begin, end in parts)


def _edges(length: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(length, dtype=np.int64)])


def records_to_batch(stream: bytes, first: int, records: Sequence[Record | PackedRecord]) -> Batch:
    """A batch of consecutive journal records from index `first` on; WireError where one breaks the format. Packed ones go as they are."""
    packed = PackedRecords.of(records)
    header = {"stream": stream, "first": first, "count": len(packed)}
    columns: dict[str, npt.NDArray[Any]] = {
        "kind": packed.kind,
        "t_ns": packed.t_ns,
        "length": np.diff(packed.edges).astype("<u4"),
        "body": np.frombuffer(packed.bodies, dtype="|u1"),
    }
    return Batch(INFERENCES, header, columns)


def batch_to_records(batch: Batch) -> tuple[bytes, int, PackedRecords]:
    """The stream, first index and records of an `inferences` batch; WireError where it is not one. A record that is not known is UNKNOWN."""
    stream = header_bytes(batch.header, "stream", STREAM_BYTES)
    first = header_count(batch.header, "first", 2**63)
    count = header_count(batch.header, "count", MAX_COUNT)
    kind, t_ns = column(batch, "kind", "|u1", count), column(batch, "t_ns", "<i8", count)
    edges = _edges(column(batch, "length", "<u4", count))
    size = edges.item(-1)
    if size > MAX_FRAME:
        raise WireError(f"bodies of {size} bytes are over the limit of {MAX_FRAME}")
    return stream, first, PackedRecords(kind, t_ns, edges, column(batch, "body", "|u1", size).data)
