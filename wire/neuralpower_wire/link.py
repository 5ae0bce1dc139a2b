"""The inference link: profiler (DEALER) to daemon (ROUTER) on a local socket.

Each message is a batch: a topic, a header, columns. The profiler greets with `hello`, may send as many inferences as
it was granted credit for, and describes an engine when asked. The daemon acknowledges with the credit's `upto`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .batch import Batch, column, header_bytes, header_count, header_flag, header_text, pack, unpack
from .errors import WireError
from .journal import MAX_LAYERS, MAX_RECORD, SESSION_BYTES, Kind, Record, check

HELLO, INFERENCE, ENGINE = b"hello", b"inference", b"engine"
CREDIT, DESCRIBE, REFUSED = b"credit", b"describe", b"refused"

INITIAL_CREDIT = 256
"""Inferences that may be under way unacknowledged: half a second at 400 inferences a second, with room."""
_END_OF_TIME = 2**63 - 1


@dataclass(frozen=True)
class Hello:
    """The first message of a session, and of every connection of it."""

    session: bytes
    pid: int
    name: str

    def batch(self) -> Batch:
        """This message."""
        return Batch(HELLO, {"session": self.session, "pid": self.pid, "name": self.name}, {})

    @classmethod
    def of(cls, batch: Batch) -> Hello:
        """The message in `batch`; WireError where it is not one."""
        header = batch.header
        return cls(
            header_bytes(header, "session", SESSION_BYTES),
            header_count(header, "pid", 2**31),
            header_text(header, "name"),
        )


@dataclass(frozen=True)
class Inference:
    """One inference: host anchors on CLOCK_MONOTONIC and the layers' durations in execution order.

    `seq` counts the session's inferences from 0, dropped ones included, so that a hole shows what was lost.
    """

    session: bytes
    seq: int
    engine: str
    begin_ns: int
    end_ns: int
    durations_ns: npt.NDArray[np.int64]
    profiled: bool = True
    """False: it ran without the profiler, and its one duration is the time between the anchors."""

    def batch(self) -> Batch:
        """This message."""
        header = {
            "session": self.session,
            "seq": self.seq,
            "engine": self.engine,
            "begin_ns": self.begin_ns,
            "end_ns": self.end_ns,
            "count": len(self.durations_ns),
            "profiled": self.profiled,
        }
        return Batch(INFERENCE, header, {"durations_ns": np.asarray(self.durations_ns, dtype="<i8")})

    @classmethod
    def of(cls, batch: Batch) -> Inference:
        """The message in `batch`; WireError where it is not one."""
        header = batch.header
        count = header_count(header, "count", MAX_LAYERS)
        inference = cls(
            header_bytes(header, "session", SESSION_BYTES),
            header_count(header, "seq", _END_OF_TIME),
            header_text(header, "engine"),
            header_count(header, "begin_ns", _END_OF_TIME),
            header_count(header, "end_ns", _END_OF_TIME),
            column(batch, "durations_ns", "<i8", count),
            header_flag(header, "profiled", True),
        )
        check(Record(Kind.INFERENCE, 0, inference.body()))
        return inference

    def body(self) -> dict[str, Any]:
        """The body of the journal record."""
        return {
            "session": self.session,
            "seq": self.seq,
            "engine": self.engine,
            "begin_ns": self.begin_ns,
            "end_ns": self.end_ns,
            "durations_ns": self.durations_ns,
            "profiled": self.profiled,
        }


@dataclass(frozen=True)
class Engine:
    """What an engine is: sent once, when the daemon asks."""

    hash: str
    name: str
    inspector: dict[str, Any]
    layers: list[str]
    simulated: bool

    def body(self) -> dict[str, Any]:
        """The body of the journal record."""
        return {
            "hash": self.hash,
            "name": self.name,
            "inspector": self.inspector,
            "layers": self.layers,
            "simulated": self.simulated,
        }

    def batch(self) -> Batch:
        """This message; the description travels as a column because it can be megabytes.

        Raises:
            WireError: more layers, or more bytes, than the journal takes.
        """
        check(Record(Kind.ENGINE, 0, self.body()))
        packed = pack(self.body())
        if len(packed) > MAX_RECORD:
            raise WireError(
                f"the description of engine {self.name!r} has {len(packed)} bytes; the limit is {MAX_RECORD}"
            )
        return Batch(ENGINE, {}, {"body": np.frombuffer(packed, dtype="|u1")})

    @classmethod
    def of(cls, batch: Batch) -> Engine:
        """The message in `batch`; WireError where it is not one."""
        packed = batch.columns.get("body")
        if packed is None or packed.dtype.str != "|u1":
            raise WireError("an engine message needs a column body of bytes")
        body = unpack(packed.tobytes(), MAX_RECORD)
        check(Record(Kind.ENGINE, 0, body))
        return cls(body["hash"], body["name"], body["inspector"], body["layers"], body["simulated"])


@dataclass(frozen=True)
class Credit:
    """The daemon has journaled all inferences of the session up to `upto` (-1: none) and takes `grant` more."""

    grant: int
    upto: int

    def batch(self) -> Batch:
        """This message."""
        return Batch(CREDIT, {"grant": self.grant, "upto": self.upto}, {})

    @classmethod
    def of(cls, batch: Batch) -> Credit:
        """The message in `batch`; WireError where it is not one."""
        upto = batch.header.get("upto")
        if not isinstance(upto, int) or isinstance(upto, bool) or not -1 <= upto <= _END_OF_TIME:
            raise WireError("upto must be an integer from -1")
        return cls(header_count(batch.header, "grant", 1 << 20), upto)


@dataclass(frozen=True)
class Describe:
    """The daemon does not know this engine."""

    engine: str

    def batch(self) -> Batch:
        """This message."""
        return Batch(DESCRIBE, {"engine": self.engine}, {})

    @classmethod
    def of(cls, batch: Batch) -> Describe:
        """The message in `batch`; WireError where it is not one."""
        return cls(header_text(batch.header, "engine"))


@dataclass(frozen=True)
class Refused:
    """The daemon did not take the inference `seq`, and why."""

    seq: int
    reason: str

    def batch(self) -> Batch:
        """This message."""
        return Batch(REFUSED, {"seq": self.seq, "reason": self.reason}, {})

    @classmethod
    def of(cls, batch: Batch) -> Refused:
        """The message in `batch`; WireError where it is not one."""
        return cls(header_count(batch.header, "seq", _END_OF_TIME), header_text(batch.header, "reason", 4096))
