"""The framing of ZMTP as the process before the sockets reads it: however bytes are cut, and whatever they are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpowerd.live.zmtp import MOST_TOPICS, BrokenPeer, Incoming, Outgoing, PeerBounds

BOUNDS = PeerBounds("NULL", 1000, 2000, 3)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
SHAKEN = GREETING + bytes([4, len(READY)]) + READY


def frame(body: bytes, flags: int = 0) -> bytes:
    """A frame."""
    return bytes([flags, len(body)]) + body if len(body) < 256 else struct.pack(">BQ", flags | 2, len(body)) + body


def fed(incoming: Incoming, data: bytes) -> Incoming:
    """After these bytes."""
    assert incoming.feed(memoryview(data)) == len(data)
    return incoming


@given(st.lists(st.lists(st.binary(max_size=600), min_size=1, max_size=3), max_size=5), st.lists(st.integers(1, 50)))
def test_messages_are_counted_however_they_are_cut(messages: list[list[bytes]], cuts: list[int]) -> None:
    """Byte for byte or at once, the same messages end."""
    data = SHAKEN + b"".join(
        frame(part, 1 if at < len(parts) - 1 else 0) for parts in messages for at, part in enumerate(parts)
    )
    incoming, at = Incoming(BOUNDS), 0
    for size in [*cuts, len(data)]:
        fed(incoming, data[at : at + size])
        at += size
    assert incoming.shaken and incoming.messages == len(messages)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_are_too_strange(data: bytes, shaken: bool) -> None:
    """They are taken or refused, in either direction."""
    for side in (
        Incoming(BOUNDS),
        Incoming(PeerBounds("NULL", 100, 100, 1, subscribes=True, unanswered=50)),
        Outgoing(BOUNDS),
    ):
        try:
            side.feed(memoryview(SHAKEN + data if shaken else data))
        except BrokenPeer as error:
            assert str(error)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n".ljust(64), "ZMTP 3"),
        (GREETING.replace(b"NULL", b"PLAI"), "security"),
        (GREETING + frame(b"x"), "handshake"),
        (GREETING + frame(b"\x05ERROR\x00", 4), "gave the handshake up"),
        (SHAKEN + struct.pack(">BQ", 2, 1001), "1 frames"),
        (SHAKEN + struct.pack(">BQ", 2, 1 << 62), "1 frames"),
        (SHAKEN + frame(b"x", 1) * 4, "4 frames"),
        (SHAKEN + frame(b"x" * 900, 1) * 3, "2700 bytes"),
        (SHAKEN + frame(b"x" * 600, 4), "command"),
        (SHAKEN + frame(b"x", 8), "flags"),
    ],
)
def test_a_peer_that_breaks_a_bound(data: bytes, why: str) -> None:
    """It is named with what it did."""
    with pytest.raises(BrokenPeer, match=why):
        Incoming(BOUNDS).feed(memoryview(data))


def test_topics_are_counted_in_both_forms() -> None:
    """ZMTP 3.0 subscribes by messages, 3.1 by commands; what is cancelled makes room only where it was there."""
    bounds = PeerBounds("NULL", 100, 100, 1, subscribes=True)
    for form in ("message", "command"):
        incoming = fed(Incoming(bounds), SHAKEN)
        for number in range(MOST_TOPICS):
            topic = b"%d" % number
            fed(incoming, frame(b"\x01" + topic) if form == "message" else frame(b"\x09SUBSCRIBE" + topic, 4))
        fed(incoming, frame(b"\x00none") + frame(b"\x06CANCEL0", 4) + frame(b"\x01again"))
        with pytest.raises(BrokenPeer, match="topics"):
            incoming.feed(memoryview(frame(b"\x01more")))
    with pytest.raises(BrokenPeer, match="takes none"):
        fed(Incoming(bounds), SHAKEN).feed(memoryview(frame(b"x")))


def test_a_peer_waits_for_its_answers() -> None:
    """No more messages than agreed are taken, and bytes that nothing can answer end the connection."""
    incoming = fed(Incoming(PeerBounds("NULL", 1000, 1000, 2, unanswered=1500)), SHAKEN)
    incoming.most_messages = 2
    question = frame(b"q" * 10)
    assert incoming.feed(memoryview(question * 5)) == 2 * len(question) and incoming.messages == 2
    incoming.answered()
    incoming.most_messages = 3
    assert incoming.feed(memoryview(question * 3)) == len(question)
    incoming.most_messages = None
    with pytest.raises(BrokenPeer, match="nothing in them"):
        incoming.feed(memoryview(frame(b"x" * 500) * 4))


def test_answers_are_seen() -> None:
    """A ping is none; an answer is one whatever its last frame holds, as a question is; a refusal in the handshake is told."""
    outgoing = Outgoing(BOUNDS)
    outgoing.feed(memoryview(SHAKEN + frame(b"\x04PING\x00\x00", 4) + frame(b"a" * 80, 1) + frame(b"b" * 300)))
    assert outgoing.shaken and outgoing.answers == 1 and not outgoing.refused
    outgoing.feed(memoryview(frame(b"a" * 80, 1) + frame(b"one tick") + frame(b"a" * 80, 1) + frame(b"")))
    assert outgoing.answers == 3
    refused = Outgoing(BOUNDS)
    refused.feed(memoryview(GREETING + frame(b"\x05ERROR\x03400", 4)))
    assert refused.refused and not refused.shaken
