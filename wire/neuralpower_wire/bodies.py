"""What a journal record tells: a class for each kind, which is its schema, its check and its constructor.

A body cannot be made that breaks the format. It is a map too, of its keys as docs/wire.md lists them. Its bytes are made
once, when they are first asked for; one that came as bytes keeps them as they came, with keys that this version does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import msgpack
import numpy as np
import numpy.typing as npt

from .batch import Batch, column, header_bytes, header_count, header_flag, header_text, is_count, pack, unpack
from .epoch import Epoch
from .errors import WireError
from .ticks import STREAM_BYTES

MAX_RECORD = 8 * 1024 * 1024
"""One record: the inspector's JSON of a network of some thousand layers is about 4 MiB."""
MAX_LAYERS = 8192
"""Layers of an engine: the largest of the classic networks has about 500; repeated-layer engines go to 6144."""
SESSION_BYTES = 16
INFERENCE_TOPIC, ENGINE_TOPIC = b"inference", b"engine"
"""Of the inference link, on which these two arrive."""
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


B = TypeVar("B", bound="Body")


class Body(Mapping[str, Any]):
    """What all kinds share. A subclass is a frozen dataclass that raises WireError in its constructor."""

    kind: ClassVar[Kind]

    @classmethod
    def from_map(cls: type[B], body: Mapping[str, Any]) -> B:
        """The body with these keys; others are ignored. WireError where one is missing, of a wrong type or out of range."""
        return cls(**{each.name: body.get(each.name) for each in fields(cls)})  # type: ignore[arg-type]  # every subclass is a dataclass

    @classmethod
    def unpack(cls: type[B], packed: bytes) -> B:
        """The body of these msgpack bytes, which may be hostile and are kept. WireError where they break the format."""
        made = cls.from_map(unpack(packed, MAX_RECORD))
        made.__dict__["packed"] = packed
        return made

    @cached_property
    def packed(self) -> bytes:
        """As it is kept and sent: msgpack. WireError where it is too large, or holds what msgpack cannot."""
        packed = pack(self._sent())
        if len(packed) > MAX_RECORD:
            raise WireError(f"a record of {len(packed)} bytes is over the limit of {MAX_RECORD}")
        return packed

    @cached_property
    def _map(self) -> dict[str, Any]:
        """All keys with their values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]  # as above

    def _sent(self) -> dict[str, Any]:
        """The same with values that msgpack takes."""
        return self._map

    def __getitem__(self, key: str) -> Any:
        return self._map[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __len__(self) -> int:
        return len(self._map)


@dataclass(frozen=True, eq=False)
class Inference(Body):
    """One inference: host anchors on CLOCK_MONOTONIC and the layers' durations in execution order.

    `seq` counts the session's inferences from 0, dropped ones included, so that a hole shows what was lost.
    """

    kind: ClassVar[Kind] = Kind.INFERENCE
    session: bytes
    seq: int
    engine: str
    begin_ns: int
    end_ns: int
    durations_ns: npt.NDArray[np.int64]
    profiled: bool = True
    """False: it ran without the profiler, and its one duration is the time between the anchors."""

    def __post_init__(self) -> None:
        mine = self.__dict__
        header_bytes(mine, "session", SESSION_BYTES)
        header_text(mine, "engine")
        for name in ("seq", "begin_ns", "end_ns"):
            header_count(mine, name, _END_OF_TIME)
        durations = mine["durations_ns"] = _integers(self.durations_ns)
        if self.begin_ns >= self.end_ns or (len(durations) and durations.min() < 0):
            raise WireError("an inference must end after it began, with no negative duration")
        header_flag(mine, "profiled", True)

    @classmethod
    def from_map(cls, body: Mapping[str, Any]) -> Inference:
        """The inference with these keys; durations are an array or, as in packed bodies, little-endian bytes."""
        values: list[Any] = [body.get(name) for name in _INFERENCE]
        return cls(*[*values, body.get("profiled", True)])

    def _sent(self) -> dict[str, Any]:
        durations = np.ascontiguousarray(self.durations_ns, "<i8").tobytes()
        return {
            **{name: self.__dict__[name] for name in _INFERENCE},
            "durations_ns": durations,
            "profiled": self.profiled,
        }

    def batch(self) -> Batch:
        """Its message on the inference link."""
        mine = self.__dict__
        header = {name: mine[name] for name in _INFERENCE[:-1]}
        header |= {"count": len(self.durations_ns), "profiled": self.profiled}
        return Batch(INFERENCE_TOPIC, header, {"durations_ns": np.asarray(self.durations_ns, dtype="<i8")})

    @classmethod
    def of(cls, batch: Batch) -> Inference:
        """The inference of that message; WireError where it is none."""
        header = batch.header
        durations = column(batch, "durations_ns", "<i8", header_count(header, "count", MAX_LAYERS))
        values: list[Any] = [header.get(name) for name in _INFERENCE[:-1]]
        return cls(*[*values, durations, header.get("profiled", True)])


_INFERENCE = ("session", "seq", "engine", "begin_ns", "end_ns", "durations_ns")


def _integers(durations: Any) -> npt.NDArray[np.int64]:
    if isinstance(durations, bytes):
        if len(durations) % 8:
            raise WireError("durations_ns must be bytes of 64-bit integers")
        durations = np.frombuffer(durations, dtype="<i8")
    found = np.asarray(durations)
    if found.ndim != 1 or found.dtype.kind != "i" or len(found) > MAX_LAYERS:
        raise WireError(f"durations_ns must be at most {MAX_LAYERS} integers")
    return found


@dataclass(frozen=True, eq=False)
class Engine(Body):
    """What an engine is: sent once, when the daemon asks. `layers` are names in execution order, `inspector` is TensorRT's JSON."""

    kind: ClassVar[Kind] = Kind.ENGINE
    hash: str
    name: str
    inspector: dict[str, Any]
    layers: list[str]
    simulated: bool

    def __post_init__(self) -> None:
        mine = self.__dict__
        header_text(mine, "hash")
        header_text(mine, "name")
        named = isinstance(self.layers, list) and all(isinstance(name, str) for name in self.layers)
        if not named or len(self.layers) > MAX_LAYERS:
            raise WireError(f"layers must be at most {MAX_LAYERS} names")
        if not isinstance(self.inspector, dict) or not isinstance(self.simulated, bool):
            raise WireError("an engine needs its inspector map and a simulated flag")

    def batch(self) -> Batch:
        """Its message on the inference link, a column because it can be megabytes; WireError where the journal takes no more bytes."""
        return Batch(ENGINE_TOPIC, {}, {"body": np.frombuffer(self.packed, dtype="|u1")})

    @classmethod
    def of(cls, batch: Batch) -> Engine:
        """The engine of that message; WireError where it is none."""
        packed = batch.columns.get("body")
        if packed is None or packed.dtype.str != "|u1":
            raise WireError("an engine message needs a column body of bytes")
        return cls.unpack(packed.tobytes())


@dataclass(frozen=True, eq=False)
class EngineHead(Body):
    """An engine whose inspector was not opened: who only keeps a description need not build its objects, which can take seconds.

    `packed` is the whole description, and is journaled as :class:`Engine` is.
    """

    kind: ClassVar[Kind] = Kind.ENGINE
    hash: str
    name: str
    layer_count: int
    simulated: bool

    @classmethod
    def unpack(cls, packed: bytes) -> EngineHead:
        """The head of a packed :class:`Engine`, which may be hostile; WireError where it breaks the format. No object is made of the inspector."""
        if len(packed) > MAX_RECORD:
            raise WireError(f"a record of {len(packed)} bytes is over the limit of {MAX_RECORD}")
        reader = msgpack.Unpacker(max_buffer_size=MAX_RECORD, raw=False)
        reader.feed(packed)
        try:
            found = _engine_head(reader, packed)
            if reader.tell() != len(packed):
                raise WireError("bytes behind an engine's description")
        except (ValueError, IndexError, RecursionError, msgpack.exceptions.UnpackException) as error:
            if isinstance(error, WireError):
                raise
            raise WireError(f"no engine's description: {error or type(error).__name__}") from None
        made = cls(**found)
        made.__dict__["packed"] = packed
        return made

    @classmethod
    def of(cls, batch: Batch) -> EngineHead:
        """The head of that message of the link; WireError where it is none."""
        packed = batch.columns.get("body")
        if packed is None or packed.dtype.str != "|u1":
            raise WireError("an engine message needs a column body of bytes")
        return cls.unpack(packed.tobytes())


_TEXTS = frozenset({*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB})
_MAPS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
"""First bytes of msgpack's strings and maps."""
MOST_KEYS = 32
"""Of an engine's description: it has five."""


def _engine_head(reader: msgpack.Unpacker, packed: bytes) -> dict[str, Any]:
    """What :class:`EngineHead` keeps. Each value's first byte says what it is before anything is made of it."""
    values: dict[str, Any] = {}
    count = reader.read_map_header()
    if count > MOST_KEYS:
        raise WireError(f"an engine's description of {count} keys")
    for _ in range(count):
        if packed[reader.tell()] not in _TEXTS:
            raise WireError("an engine's keys are names")
        name, first = reader.unpack(), packed[reader.tell()]
        if name in ("hash", "name"):
            values[name] = reader.unpack() if first in _TEXTS else None
        elif name == "simulated":
            values[name] = {0xC2: False, 0xC3: True}.get(first)
            reader.skip()
        elif name == "layers":
            values["layer_count"] = reader.read_array_header()
            for _ in range(min(values["layer_count"], MAX_LAYERS + 1)):
                if packed[reader.tell()] not in _TEXTS:
                    raise WireError("an engine's layers are names")
                reader.skip()
        else:
            values["inspector"] = values.get("inspector") or (name == "inspector" and first in _MAPS)
            reader.skip()
    for name in ("hash", "name"):
        header_text(values, name)
    if not values.pop("inspector", False) or not isinstance(values.get("simulated"), bool):
        raise WireError("an engine needs its inspector map and a simulated flag")
    if not is_count(values.get("layer_count"), MAX_LAYERS):
        raise WireError(f"layers must be at most {MAX_LAYERS} names")
    return values


@dataclass(frozen=True, eq=False)
class ClockMap(Body):
    """The three clocks, read within `bracket_ns`: what maps ticks to wall time."""

    kind: ClassVar[Kind] = Kind.CLOCK
    monotonic_ns: int
    boottime_ns: int
    realtime_ns: int
    bracket_ns: int

    def __post_init__(self) -> None:
        for name in ("monotonic_ns", "boottime_ns", "realtime_ns", "bracket_ns"):
            header_count(self.__dict__, name, _END_OF_TIME)


@dataclass(frozen=True, eq=False)
class _Open(Body):
    """A body whose keys beyond those of its kind belong to it, in `more`."""

    @classmethod
    def from_map(cls: type[B], body: Mapping[str, Any]) -> B:
        known = {each.name: body.get(each.name) for each in fields(cls) if each.name != "more"}  # type: ignore[arg-type]  # as above
        more = {name: value for name, value in body.items() if name not in known}
        return cls(**known, more=more)  # type: ignore[call-arg]  # every subclass has it

    @cached_property
    def _map(self) -> dict[str, Any]:
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**known.pop("more"), **known}


@dataclass(frozen=True, eq=False)
class Mark(_Open):
    """A moment that somebody gave a name."""

    kind: ClassVar[Kind] = Kind.MARK
    name: str
    text: str
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        header_text(self.__dict__, "name")
        header_text(self.__dict__, "text", 4096)


@dataclass(frozen=True, eq=False)
class Event(Mark):
    """What befell the daemon: a short name for machines, a line for people, and in `more` what the event adds."""

    kind: ClassVar[Kind] = Kind.EVENT


@dataclass(frozen=True, eq=False)
class Condition(_Open):
    """What the machine was like: name -> value, all of them in `more`."""

    kind: ClassVar[Kind] = Kind.CONDITION
    more: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class EpochBegun(Body):
    """An epoch of the ring `stream`, and in `more` why it began."""

    kind: ClassVar[Kind] = Kind.EPOCH
    stream: bytes
    epoch: Epoch
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        header_bytes(self.__dict__, "stream", STREAM_BYTES)

    @classmethod
    def from_map(cls, body: Mapping[str, Any]) -> EpochBegun:
        """The body with an epoch's keys, `stream`, and others."""
        own = {each.name for each in fields(Epoch)} | {"stream"}
        more = {name: value for name, value in body.items() if name not in own}
        return cls(body.get("stream"), Epoch.from_dict(body), more)  # type: ignore[arg-type]  # checked in there

    @cached_property
    def _map(self) -> dict[str, Any]:
        return {**self.epoch.to_dict(), "stream": self.stream, **self.more}


@dataclass(frozen=True, eq=False)
class Unknown(Body):
    """What this version cannot read, and `why`; `packed` is as it came, under the number `of_kind`."""

    kind: ClassVar[Kind] = Kind.UNKNOWN
    of_kind: int
    packed: bytes
    why: str = ""

    @classmethod
    def from_map(cls, body: Mapping[str, Any]) -> Unknown:
        """The body with the keys `kind`, `packed` and `why`."""
        return cls(body["kind"], body["packed"], body.get("why", ""))

    @cached_property
    def _map(self) -> dict[str, Any]:
        return {"kind": self.of_kind, "packed": self.packed, "why": self.why}


BODIES: dict[int, type[Body]] = {
    each.kind: each for each in (Inference, Engine, ClockMap, Mark, Event, Condition, EpochBegun)
}
"""The class of each kind that can be written."""
