"""The inference link: profiler (DEALER) to daemon (ROUTER) on a local socket.

Each message is a batch: a topic, a header, columns. The profiler greets with `hello`, may send as many inferences as
it was granted credit for, and describes an engine when asked. The daemon acknowledges with the credit's `upto`. Inferences and
engines are the bodies of their journal records (:mod:`neuralpower_wire.bodies`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .batch import Batch, header_bytes, header_count, header_text
from .bodies import ENGINE_TOPIC, INFERENCE_TOPIC, SESSION_BYTES, Engine, EngineHead, Inference
from .errors import WireError

__all__ = [
    "CREDIT",
    "DESCRIBE",
    "ENGINE",
    "HELLO",
    "INFERENCE",
    "INITIAL_CREDIT",
    "MOST_HEADER",
    "REFUSED",
    "Credit",
    "Describe",
    "Engine",
    "EngineHead",
    "Hello",
    "Inference",
    "RefusedInference",
]

HELLO, INFERENCE, ENGINE = b"hello", INFERENCE_TOPIC, ENGINE_TOPIC
CREDIT, DESCRIBE, REFUSED = b"credit", b"describe", b"refused"

INITIAL_CREDIT = 256
"""Inferences that may be under way unacknowledged: half a second at 400 inferences a second, with room."""
MOST_HEADER = 4096
"""Bytes of the header of a message to the daemon: names of 256 characters and numbers. A larger one could hold it up."""
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
class RefusedInference:
    """The daemon did not take the inference `seq`, and why."""

    seq: int
    reason: str

    def batch(self) -> Batch:
        """This message."""
        return Batch(REFUSED, {"seq": self.seq, "reason": self.reason}, {})

    @classmethod
    def of(cls, batch: Batch) -> RefusedInference:
        """The message in `batch`; WireError where it is not one."""
        return cls(header_count(batch.header, "seq", _END_OF_TIME), header_text(batch.header, "reason", 4096))
