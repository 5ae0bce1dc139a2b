"""Asking the daemon for the past: DEALER to ROUTER, one request frame, a reply frame and perhaps a batch behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .batch import (
    MAX_HEADER,
    VERSION,
    Batch,
    check_version,
    decode,
    encode,
    header_bytes,
    header_count,
    header_text,
    pack,
    pack_with_last,
    unpack,
)
from .bodies import MAX_RECORD
from .errors import WireError
from .ticks import STREAM_BYTES

MAX_TICKS = 4096
"""Ticks of one reply: 4 s at 1 kHz, about 0.5 MB."""
MAX_RECORDS = 1024
MAX_REPLY = 1024 * 1024
"""A reply of a log ends before the entry that would pass this size, but holds at least one: some milliseconds of the daemon's time, so
that who asks for much holds nobody up, and a second on a link of 8 Mbit/s."""
MAX_REQUEST = 16 * 1024
QUESTIONS = ("ticks", "journal", "status", "epochs", "engine", "mark", "saved", "fetch", "clock")
_END = 2**63 - 1


@dataclass(frozen=True)
class Request:
    """A question; `id` comes back with the answer.

    `ticks` and `journal` take `first`, `count` and, optionally, `stream`; without it the newest stream is meant.
    `engine` takes `hash`. `mark` takes `name` and `text` and journals them. `fetch` takes `name`, `first` and `count`: bytes of a file
    that `saved` lists. `clock` asks for the device's time.
    """

    id: int
    do: str
    stream: bytes | None = None
    first: int = 0
    count: int = 0
    hash: str = ""
    name: str = ""
    text: str = ""

    def encode(self) -> bytes:
        """The request's one frame."""
        fields = {name: value for name, value in self.__dict__.items() if value is not None}
        return pack({"v": VERSION, **fields})

    @classmethod
    def decode(cls, frame: bytes) -> Request:
        """The request in `frame`, which may be hostile; WireError where it is none."""
        body = {"first": 0, "count": 0, "hash": "", "name": "", "text": "", **unpack(frame, MAX_REQUEST)}
        check_version(body)
        if body.get("do") not in QUESTIONS:
            raise WireError(f"no question {str(body.get('do'))[:40]!r}; there are {', '.join(QUESTIONS)}")
        return cls(
            id=header_count(body, "id", _END),
            do=body["do"],
            stream=header_bytes(body, "stream", STREAM_BYTES) if body.get("stream") is not None else None,
            first=header_count(body, "first", _END),
            count=header_count(body, "count", _END),
            hash=header_text(body, "hash"),
            name=header_text(body, "name"),
            text=header_text(body, "text", 4096),
        )


@dataclass(frozen=True)
class Reply:
    """An answer.

    For the logs, `stream` names the log, `oldest` and `next` say what it holds ([oldest, next)), `lost` how many of the
    asked-for entries it no longer has, and `batch` carries what it has (None: nothing). `body` answers the other
    questions: the status, the epochs as a list under "epochs", the engine's journal body, the device's `monotonic_ns`. `error` is one clear line,
    or empty. Who has the body as msgpack sends it as it is, in `packed_body`.
    """

    id: int
    error: str = ""
    stream: bytes = b""
    oldest: int = 0
    next: int = 0
    lost: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    batch: Batch | None = None
    packed_body: bytes = b""

    def encode(self) -> list[bytes]:
        """The reply's frames."""
        fields = ("id", "error", "stream", "oldest", "next", "lost")
        head = pack_with_last({"v": VERSION, **{name: getattr(self, name) for name in fields}}, "body", self._body())
        return [head, *(encode(self.batch) if self.batch else [])]

    def _body(self) -> bytes:
        return self.packed_body or pack(self.body)

    @classmethod
    def decode(cls, frames: Sequence[bytes]) -> Reply:
        """The reply in `frames`; WireError where it is none."""
        if not frames:
            raise WireError("an empty reply")
        head = unpack(frames[0], MAX_RECORD + MAX_HEADER)  # a whole record may be its body
        check_version(head)
        body = head.get("body")
        if not isinstance(body, dict):
            raise WireError("a reply needs a map body")
        stream = head.get("stream")
        if not isinstance(stream, bytes) or len(stream) not in (0, STREAM_BYTES):
            raise WireError(f"a stream is {STREAM_BYTES} bytes")
        return cls(
            id=header_count(head, "id", _END),
            error=header_text(head, "error", 4096),
            stream=stream,
            oldest=header_count(head, "oldest", _END),
            next=header_count(head, "next", _END),
            lost=header_count(head, "lost", _END),
            body=body,
            batch=decode(frames[1:]) if len(frames) > 1 else None,
        )
