"""The wire's codecs: what goes in comes out, and hostile bytes are refused."""

from __future__ import annotations

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuralpower_wire import (
    READING,
    Batch,
    Kind,
    PackedRecord,
    Record,
    VersionError,
    WireError,
    batch_to_records,
    batch_to_ticks,
    decode,
    encode,
    records_to_batch,
    tick_dtype,
    ticks_to_batch,
    ticks_to_frames,
)
from neuralpower_wire.batch import DTYPES, MAX_FRAME, MAX_HEADER, pack, unpack
from neuralpower_wire.history import Reply, Request
from neuralpower_wire.journal import MAX_RECORD
from neuralpower_wire.link import Credit, Describe, Engine, Hello, Inference, RefusedInference

STREAM = bytes(range(16))
u63 = st.integers(0, 2**62)


@st.composite
def ticks(draw: st.DrawFn) -> np.ndarray:
    """Consecutive ticks of one epoch with arbitrary readings."""
    count, readings = draw(st.integers(1, 20)), draw(st.integers(0, 8))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    made = np.frombuffer(noise.bytes(count * tick_dtype(readings).itemsize), tick_dtype(readings)).copy()
    made["index"] = draw(u63) + np.arange(count, dtype="<u8")
    made["commit"] = made["index"] + np.uint64(1)
    made["epoch"], made["n"] = draw(st.integers(0, 2**32 - 1)), readings
    if not made["readings"]["flags"].any():
        made["readings"]["span"] = made["readings"]["scan"] = 0
    return made


@st.composite
def records(draw: st.DrawFn) -> Record:
    """A valid record of any kind that has a free body."""
    text = st.text(max_size=20)
    inference = st.builds(
        lambda session, seq, begin, length, durations: {
            "session": session,
            "seq": seq,
            "engine": "e1",
            "begin_ns": begin,
            "end_ns": begin + length,
            "durations_ns": np.array(durations, dtype="<i8"),
        },
        st.binary(min_size=16, max_size=16),
        u63,
        u63,
        st.integers(1, 2**40),
        st.lists(st.integers(0, 2**40), max_size=12),
    )
    mark = st.fixed_dictionaries({"name": text, "text": text})
    clock = st.fixed_dictionaries(dict.fromkeys(("monotonic_ns", "boottime_ns", "realtime_ns", "bracket_ns"), u63))
    kind, body = draw(
        st.one_of(
            st.tuples(st.just(Kind.INFERENCE), inference),
            st.tuples(st.sampled_from([Kind.MARK, Kind.EVENT]), mark),
            st.tuples(st.just(Kind.CLOCK), clock),
        )
    )
    return Record(kind, draw(u63), body)


def same(left: Record, right: Record) -> bool:
    """Whether two records are equal, arrays by value."""
    left_body, right_body = dict(left.body), dict(right.body)
    durations = [np.asarray(body.pop("durations_ns", ())) for body in (left_body, right_body)]
    return (left.kind, left.t_ns, left_body) == (right.kind, right.t_ns, right_body) and np.array_equal(*durations)


def test_the_tick_has_the_layout_that_the_c_side_writes() -> None:
    """40 bytes of head, 24 for each reading, nothing between."""
    assert READING.itemsize == 24
    assert tick_dtype(6).itemsize == 40 + 6 * 24
    offsets = [READING.fields[name][1] for name in READING.names]
    assert offsets == [0, 8, 12, 16, 17, 18, 19, 20]


@given(ticks())
def test_ticks_survive_the_wire(made: np.ndarray) -> None:
    """Every field of every tick comes back."""
    stream, back = batch_to_ticks(decode(encode(ticks_to_batch(STREAM, made))))
    assert stream == STREAM
    assert back.tobytes() == made.tobytes()
    assert ticks_to_frames(STREAM, made) == encode(ticks_to_batch(STREAM, made)), "two ways to the same bytes"


@given(u63, st.lists(records(), max_size=4))
def test_records_survive_the_wire(first: int, made: list[Record]) -> None:
    """Every journal record comes back, in order."""
    stream, index, back = batch_to_records(decode(encode(records_to_batch(STREAM, first, made))))
    assert (stream, index, len(back)) == (STREAM, first, len(made))
    assert all(map(same, made, back))


@given(u63, st.lists(records(), max_size=4))
def test_packed_records_are_sent_as_they_are(first: int, made: list[Record]) -> None:
    """Records that are packed already make the same message, and a packed body the same answer."""
    packed = [each.packed() for each in made]
    assert encode(records_to_batch(STREAM, first, packed)) == encode(records_to_batch(STREAM, first, made))
    for each in made:
        body = {"text": each.t_ns}
        assert Reply(3, packed_body=pack(body)).encode() == Reply(3, body=body).encode()


@given(st.lists(records(), max_size=4), st.integers(0, 255), st.binary(max_size=40), st.integers(0, 4))
def test_an_unknown_record_hides_nothing(made: list[Record], kind: int, body: bytes, at: int) -> None:
    """Of a kind that is not known, or with a body that cannot be read, it keeps its place and its bytes, and all others are read."""
    strange = PackedRecord(kind, 5, body)
    packed = [each.packed() for each in made]
    packed.insert(min(at, len(made)), strange)
    back = batch_to_records(decode(encode(records_to_batch(STREAM, 7, packed))))[2]
    assert [each.packed() for each in back] == packed
    known = [each for each in back if each.kind is not Kind.UNKNOWN]
    assert len(back) - len(known) <= 1 and all(any(map(same, [one] * len(known), known)) for one in made)
    if kind not in list(Kind):
        (unknown,) = [each for each in back if each.kind is Kind.UNKNOWN]
        assert str(kind) in unknown.body["why"]


@pytest.mark.parametrize("less", [0, 1, 64, 65, 66, 1000])
def test_what_can_be_journaled_can_be_fetched(less: int) -> None:
    """As the body of a reply (an engine's description) and in a batch (the journal), up to the largest that a record may be."""
    bare = len(Record(Kind.EVENT, 0, {"name": "n", "text": "", "pad": b""}).packed().body)
    body = {"name": "n", "text": "", "pad": bytes(MAX_RECORD - bare - 3 - less)}
    packed = Record(Kind.EVENT, 0, body).packed()
    assert MAX_RECORD - len(packed.body) == less
    assert Reply.decode(Reply(1, packed_body=packed.body).encode()).body == body
    (back,) = batch_to_records(decode(encode(records_to_batch(STREAM, 0, [packed]))))[2]
    assert back.kind is Kind.EVENT and back.body == body


def test_a_batch_of_two_epochs_is_refused() -> None:
    """One batch never spans two epochs, and never skips an index."""
    made = np.zeros(2, tick_dtype(1))
    made["index"] = [4, 5]
    ticks_to_batch(STREAM, made)
    made["epoch"] = [1, 2]
    with pytest.raises(WireError, match="one epoch"):
        ticks_to_batch(STREAM, made)
    made["epoch"], made["index"] = 1, [4, 6]
    with pytest.raises(WireError, match="consecutive"):
        ticks_to_batch(STREAM, made)


VALID = [
    encode(ticks_to_batch(STREAM, np.zeros(1, tick_dtype(2)))),
    encode(records_to_batch(STREAM, 0, [Record(Kind.MARK, 1, {"name": "a", "text": "b"})])),
    encode(Inference(STREAM, 1, "e", 1, 2, np.array([1, 2])).batch()),
    encode(Engine("h", "n", {"Layers": []}, ["a"], True).batch()),
    Reply(1, batch=ticks_to_batch(STREAM, np.zeros(1, tick_dtype(2)))).encode(),
    [Request(1, "ticks", first=3, count=4).encode()],
]
READERS = [
    lambda frames: batch_to_ticks(decode(frames)),
    lambda frames: batch_to_records(decode(frames)),
    lambda frames: Inference.of(decode(frames)),
    lambda frames: Engine.of(decode(frames)),
    lambda frames: Hello.of(decode(frames)),
    lambda frames: Credit.of(decode(frames)),
    lambda frames: Describe.of(decode(frames)),
    lambda frames: RefusedInference.of(decode(frames)),
    Reply.decode,
    lambda frames: Request.decode(frames[0]),
]


@given(st.sampled_from(VALID), st.data())
def test_damaged_messages_are_refused_or_read_but_never_crash(frames: list[bytes], data: st.DataObject) -> None:
    """Cut, flipped, dropped and repeated frames raise WireError or decode; nothing else escapes."""
    damaged = [bytearray(frame) for frame in frames]
    for _ in range(data.draw(st.integers(1, 4))):
        frame = data.draw(st.integers(0, len(damaged) - 1))
        action = data.draw(st.sampled_from(["cut", "flip", "drop", "repeat"]))
        if action == "cut":
            del damaged[frame][data.draw(st.integers(0, len(damaged[frame]))) :]
        elif action == "flip" and damaged[frame]:
            damaged[frame][data.draw(st.integers(0, len(damaged[frame]) - 1))] ^= data.draw(st.integers(1, 255))
        elif action == "drop" and len(damaged) > 1:
            del damaged[frame]
        elif action == "repeat":
            damaged.append(damaged[frame][:])
    for read in READERS:
        with contextlib.suppress(WireError):
            read([bytes(frame) for frame in damaged])


@given(st.lists(st.binary(max_size=200), max_size=5))
@example([b"rails", msgpack.packb({"v": 1, "columns": [["a", "<i8", 2**60]]}), b""])
@example([b"rails", b"\xdd\xff\xff\xff\xff"])
@example([b"rails", b"\x81" * 2000])
@example([b"rails", msgpack.packb({"v": 1, "columns": [["a", "O", 1]]}), b"12345678"])
def test_arbitrary_bytes_crash_no_reader(frames: list[bytes]) -> None:
    """No bytes of a stranger crash a reader, and none claim memory that the message does not have."""
    for read in READERS:
        with contextlib.suppress(WireError):
            read(frames or [b""])


def test_limits_hold_on_both_sides() -> None:
    """What is over a limit is neither sent nor taken."""
    with pytest.raises(WireError, match="cannot be sent"):
        encode(Batch(b"x", {}, {"a": np.zeros(MAX_FRAME + 1, "|u1")}))
    with pytest.raises(WireError, match="over the limit"):
        encode(Batch(b"x", {"big": "a" * MAX_HEADER}, {}))
    with pytest.raises(WireError, match="over the limit"):
        unpack(pack({"big": "a" * MAX_HEADER}))
    with pytest.raises(WireError, match="cannot be sent"):
        encode(Batch(b"x", {}, {"a": np.zeros((2, 2))}))


@given(st.sampled_from(sorted(DTYPES)), st.integers(0, 30))
def test_big_endian_columns_are_sent_little_endian(dtype: str, length: int) -> None:
    """The bytes on the wire do not depend on the sender's byte order."""
    values = np.arange(length).astype(np.dtype(dtype).newbyteorder(">"))
    assert np.array_equal(decode(encode(Batch(b"x", {}, {"a": values}))).columns["a"], values)


def test_another_version_is_refused_by_name() -> None:
    """A reader says which version it met and which it speaks."""
    for read in (
        lambda: decode([b"rails", pack({"v": 2, "columns": []})]),
        lambda: Reply.decode([pack({"v": 2})]),
        lambda: Request.decode(pack({"v": 2})),
    ):
        with pytest.raises(VersionError, match=r"speaks version 2 .* this one version 1"):
            read()


def test_link_messages_survive_the_wire() -> None:
    """Each message of the inference link comes back as it was."""
    for message in (
        Hello(STREAM, 7, "me"),
        Credit(3, -1),
        Describe("abc"),
        RefusedInference(4, "why"),
        Engine("h", "n", {}, ["a"], False),
    ):
        assert type(message).of(decode(encode(message.batch()))) == message
    back = Inference.of(decode(encode(Inference(STREAM, 1, "e", 5, 9, np.array([1, 2])).batch())))
    assert (back.seq, back.begin_ns, back.durations_ns.tolist()) == (1, 5, [1, 2])


def test_requests_and_replies_survive_the_wire() -> None:
    """Questions and answers of the history come back as they were."""
    request = Request(5, "ticks", stream=STREAM, first=3, count=9)
    assert Request.decode(request.encode()) == request
    reply = Reply(5, stream=STREAM, oldest=1, next=9, lost=2, body={"a": [1, None]})
    assert Reply.decode(reply.encode()) == reply


@pytest.mark.parametrize("value", [2**64, "\ud800", {"\ud800": 1}])
def test_what_msgpack_cannot_hold_is_refused_in_one_way(value: object) -> None:
    """An integer over 64 bits and half a surrogate pair, as JSON may hold them, are WireErrors."""
    with pytest.raises(WireError, match="cannot be sent"):
        pack({"value": value})


def test_an_engine_of_too_many_layers_is_refused_where_it_is_made() -> None:
    """The profiler learns it at once, and not from inferences that the daemon refuses one by one."""
    with pytest.raises(WireError, match="8192"):
        Engine("hash", "name", {}, ["layer"] * 8193, False).batch()
