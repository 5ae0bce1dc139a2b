"""What a peer and a socket of the daemon say to each other, by the framing of ZMTP 3 alone, and the bounds that a peer must keep.

libzmq bounds a frame and no more: neither the frames of a message that never ends, nor the topics of a subscriber. Read here are
lengths, flags, the handshake and, where nothing is encrypted, topics (ZeroMQ's RFCs 23, 26 and 37). No copy of a message is made.
"""

from __future__ import annotations

from dataclasses import dataclass

GREETING = 64
MOST_HANDSHAKE = 2048
"""Bytes of one command of the handshake: libzmq's longest, CURVE's INITIATE with its properties, has about 500."""
MOST_COMMAND = 512
"""Bytes of a later command: a ping with its context, or a topic of at most 255."""
MOST_TOPIC = 64
"""Bytes: the longest topic that the daemon publishes has 10. libzmq keeps some 40 bytes for each."""
MOST_TOPICS = 32
"""Topics of one subscriber at a time; the daemon has five."""
SMALLEST_ANSWER = 64
"""Bytes of a frame that is one, and no ping: an answer's head has more than 80, an encrypted ping about 40."""
_MORE, _LONG, _COMMAND = 1, 2, 4


class BrokenPeer(Exception):
    """The peer broke a bound; the text says which."""


@dataclass(frozen=True)
class PeerBounds:
    """What a peer may send to a socket. `unanswered`: bytes until the daemon has to have answered; 0 where it need not."""

    mechanism: str
    frame: int
    message: int
    frames: int
    subscribes: bool = False
    unanswered: int = 0


class _Frames:
    """Cuts one direction into frames. A subclass says which bodies it wants to see, and sees them."""

    def __init__(self) -> None:
        self.shaken = False
        self._head = bytearray()
        self._left = GREETING
        self._size = GREETING
        self._flags = 0
        self._greeted = self._between = False
        self._kept: bytearray | None = bytearray()

    def feed(self, data: memoryview) -> int:
        """Take what follows the bytes before; returns how many bytes were, all unless :meth:`_enough`. Raises BrokenPeer."""
        at, end = 0, len(data)
        while at < end and not (self._between and self._enough()):
            self._between = False
            if self._left:
                taken = min(self._left, end - at)
                if self._kept is not None:
                    self._kept += data[at : at + taken]
                self._left -= taken
                at += taken
            else:
                self._head.append(data[at])
                at += 1
                if len(self._head) < (9 if self._head[0] & _LONG else 2):
                    continue
                self._flags = self._head[0]
                self._left = self._size = int.from_bytes(self._head[1:], "big")
                self._head.clear()
                self._kept = bytearray() if self._begins(self._flags, self._size) else None
            if not self._left:
                self._ends()
                self._between = True
        return at

    def _enough(self) -> bool:
        """Whether, between two frames, no more is to be taken for now."""
        return False

    def _ends(self) -> None:
        kept, self._kept = self._kept, None
        if self._greeted:
            self._ended(self._flags, self._size, bytes(kept) if kept is not None else None)
        else:
            self._greeted = True
            self._greeting(bytes(kept or b""))

    def _greeting(self, whole: bytes) -> None:
        """The peer's first 64 bytes."""

    def _begins(self, flags: int, size: int) -> bool:
        """Whether the body of the frame that begins is to be kept."""
        raise NotImplementedError

    def _ended(self, flags: int, size: int, body: bytes | None) -> None:
        raise NotImplementedError


class Incoming(_Frames):
    """From the peer. `messages` are those that have ended; `owed` are the bytes since :meth:`answered`."""

    def __init__(self, bounds: PeerBounds) -> None:
        super().__init__()
        self.messages = self.owed = 0
        self.most_messages: int | None = None
        """Where no more is taken for now."""
        self._bounds = bounds
        self._bytes = self._frames = 0
        self._topics: set[bytes] = set()

    def _enough(self) -> bool:
        return self.most_messages is not None and self.messages >= self.most_messages

    def answered(self) -> None:
        """The daemon has answered what came until now."""
        self.owed = 0

    def _greeting(self, whole: bytes) -> None:
        if whole[0] != 0xFF or whole[9] & 1 == 0 or whole[10] < 3:
            raise BrokenPeer("it does not speak ZMTP 3, as ZeroMQ does from 4.0 on")
        name = whole[12:32].rstrip(b"\0")
        if name != self._bounds.mechanism.encode():
            raise BrokenPeer(f"its security is {name[:20]!r}, this socket's {self._bounds.mechanism}")

    def _begins(self, flags: int, size: int) -> bool:
        bounds = self._bounds
        if flags & ~(_MORE | _LONG | _COMMAND):
            raise BrokenPeer("a frame with flags that there are not")
        if not self.shaken:
            if not flags & _COMMAND or size > MOST_HANDSHAKE:
                raise BrokenPeer("a handshake that is none")
            return True
        if flags & _COMMAND:
            if size > MOST_COMMAND:
                raise BrokenPeer(f"a command of {size} bytes")
            self._add(size)
            return bounds.subscribes
        self._bytes, self._frames = self._bytes + size, self._frames + 1
        if size > bounds.frame or self._bytes > bounds.message or self._frames > bounds.frames:
            raise BrokenPeer(f"a message of {self._frames} frames and {self._bytes} bytes, or more")
        self._add(size)
        return bounds.subscribes and bounds.mechanism == "NULL"

    def _add(self, size: int) -> None:
        """Count what is owed, with the 9 bytes at most before a frame: empty frames cost as well."""
        self.owed += size + 9
        if 0 < self._bounds.unanswered < self.owed:
            raise BrokenPeer(f"{self.owed} bytes, and nothing in them that can be answered")

    def _ended(self, flags: int, size: int, body: bytes | None) -> None:
        if not self.shaken:
            name = _command(body or b"")
            if name == b"ERROR":
                raise BrokenPeer("it gave the handshake up: not the server's key that it knows?")
            self.shaken = name in (b"READY", b"INITIATE")
        elif flags & _COMMAND:
            name = _command(body or b"")
            if name in (b"SUBSCRIBE", b"CANCEL"):
                self._topic(name == b"SUBSCRIBE", (body or b"")[1 + len(name) :])
        elif not flags & _MORE:
            self._bytes = self._frames = 0
            self.messages += size > SMALLEST_ANSWER or self._bounds.mechanism == "NULL"
            if body is not None and self._bounds.subscribes:
                if body[:1] not in (b"\0", b"\1"):
                    raise BrokenPeer("a message to a socket that takes none")
                self._topic(body[:1] == b"\1", body[1:])

    def _topic(self, wanted: bool, topic: bytes) -> None:
        if len(topic) > MOST_TOPIC:
            raise BrokenPeer(f"a topic of {len(topic)} bytes")
        if wanted:
            self._topics.add(topic)
            if len(self._topics) > MOST_TOPICS:
                raise BrokenPeer(f"more than {MOST_TOPICS} topics")
        else:
            self._topics.discard(topic)


class Outgoing(_Frames):
    """From the daemon's socket. `answers` are its messages so far; `refused`: it said that the peer may not come in."""

    def __init__(self, bounds: PeerBounds) -> None:
        super().__init__()
        self.answers = 0
        self.refused = False
        self._bounds = bounds

    def _begins(self, flags: int, size: int) -> bool:
        return not self.shaken and size <= MOST_HANDSHAKE

    def _ended(self, flags: int, size: int, body: bytes | None) -> None:
        if not self.shaken:
            name = _command(body or b"")
            self.shaken, self.refused = name == b"READY", self.refused or name == b"ERROR"
        elif not flags & (_COMMAND | _MORE):
            # As questions are counted, or these would seem to wait for ever.
            self.answers += size > SMALLEST_ANSWER or self._bounds.mechanism == "NULL"


def _command(body: bytes) -> bytes:
    """The name at the head of a command."""
    return body[1 : 1 + body[0]] if body else b""
