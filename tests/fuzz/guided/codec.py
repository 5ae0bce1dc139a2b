"""Everything that reads bytes of the wire, guided by coverage: it gives what was sent, or refuses with WireError.

    python codec.py CORPUS [libFuzzer's options]     under atheris, which is not among the project's own dependencies
    python codec.py --replay CORPUS                  the same cases once more, without it
    python codec.py --seeds CORPUS                   writes sound messages for it to begin with
    python codec.py --messages CORPUS                writes those of a daemon for the example client's harness

A case is a byte that says which reader, and frames: two bytes of length each, and the bytes.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["neuralpower_wire"]) if atheris else nullcontext():
    import numpy as np

    import neuralpower_wire as wire
    from neuralpower_wire import batch, bodies, estimates, history, journal, link, saved, ticks
    from neuralpower_wire.address import Address

STREAM = b"S" * 16


def frames_of(data: bytes) -> list[bytes]:
    """The frames of a case; the last takes what there is."""
    frames, at = [], 0
    while at + 2 <= len(data) and len(frames) < 40:
        size = int.from_bytes(data[at : at + 2], "little")
        frames.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return frames


def case_of(reader: str, frames: Iterable[bytes]) -> bytes:
    """A case of this reader."""
    return bytes([list(READERS).index(reader)]) + b"".join(struct.pack("<H", len(each)) + each for each in frames)


def same(one: batch.Batch, other: batch.Batch) -> bool:
    """Whether two batches say the same, nan for nan."""
    return (
        (one.topic, repr(one.header)) == (other.topic, repr(other.header))
        and one.columns.keys() == other.columns.keys()
        and all(one.columns[name].tobytes() == other.columns[name].tobytes() for name in one.columns)
    )


def whole(frames: list[bytes]) -> batch.Batch:
    """A batch, which packs to what it was read from."""
    found = batch.decode(frames)
    # Columns that travel with their bytes the other way round would not; none can.
    assert same(batch.decode(batch.encode(found)), found), "a batch that changes on its way"
    return found


def read_ticks(frames: list[bytes]) -> None:
    found = whole(frames)
    stream, columns = ticks.batch_to_columns(found)
    rows = columns.rows()
    assert len(rows) == len(columns) and stream == found.header["stream"], "as many ticks as were sent"
    if len(rows) and columns.first + len(rows) < 2**63:
        again, _ = ticks.batch_to_columns(batch.decode(ticks.ticks_to_frames(stream, rows)))
        assert again == stream, "ticks that cannot be sent on"


def read_journal(frames: list[bytes]) -> None:
    stream, first, records = journal.batch_to_records(whole(frames))
    found = list(records)
    for at, record in enumerate(found):
        assert record.packed().body == records.packed(at).body or record.kind is not wire.Kind.UNKNOWN, (
            "kept as it came"
        )
    records.engines()
    journal.records_to_batch(stream, first, found[:64])


def read_estimates(frames: list[bytes]) -> None:
    first, engines = estimates.batch_to_estimates(whole(frames))
    estimates.estimates_to_batch(first, engines)


def read_link(frames: list[bytes]) -> None:
    found = batch.decode(frames, link.MOST_HEADER)
    taken = 0
    for kind in (link.Hello, link.Credit, link.Describe, link.RefusedInference, bodies.Inference, bodies.Engine):
        try:
            said: Any = kind.of(found)
        except wire.WireError:
            continue
        batch.encode(said.batch())
        taken += 1
    if not taken:
        raise wire.WireError("no message of the link")
    if found.topic == bodies.ENGINE_TOPIC:
        bodies.EngineHead.of(found)


def read_request(frames: list[bytes]) -> None:
    asked = history.Request.decode(frames[0] if frames else b"")
    assert history.Request.decode(asked.encode()) == asked, "a question that changes on its way"


def read_reply(frames: list[bytes]) -> None:
    answer = history.Reply.decode(frames)
    again = history.Reply.decode(answer.encode())
    assert repr(again.body) == repr(answer.body) and again.next == answer.next, "an answer that changes on its way"


def read_record(frames: list[bytes]) -> None:
    """A kind, and a body, however large a number says that it is."""
    kind, body = (*(each for each in frames[:2]), b"", b"")[:2]
    record = journal.Record.unpack(int.from_bytes(kind[:1], "little"), 5, body)
    if record.kind is wire.Kind.UNKNOWN:
        assert record.packed().body == body, "what is not known is kept as it came"
    else:
        again = journal.Record.unpack(record.packed().kind, 5, record.packed().body)
        assert again.kind is record.kind, "a record that cannot be read again"


def read_engine(frames: list[bytes]) -> None:
    """The daemon's glance at a description, and all of it, agree on what is one."""
    packed = frames[0] if frames else b""
    head = bodies.EngineHead.unpack(packed)
    assert isinstance(head.name, str) and head.layer_count >= 0
    engine = bodies.Engine.unpack(packed)
    assert (engine.hash, len(engine.layers)) == (head.hash, head.layer_count), "two readings of one description"


def read_epoch(frames: list[bytes]) -> None:
    epoch = wire.Epoch.from_dict(batch.unpack(frames[0] if frames else b""))
    assert repr(wire.Epoch.from_dict(epoch.to_dict())) == repr(epoch), "an epoch that changes on its way"
    power = (
        wire.rail_power_w(epoch, np.zeros(3, wire.tick_dtype(len(epoch.channels)))) if len(epoch.channels) <= 64 else {}
    )
    assert set(power) <= set(epoch.rails())


def read_saved(frames: list[bytes]) -> None:
    """Entries whose sizes and checksums fit, with anything in them: by chance none would."""
    packed = [zlib.compress(each) for each in frames[1:]]
    data = b"".join(struct.pack("<II", len(each), zlib.crc32(each)) + each for each in packed)
    for entry in saved.unpack_entries(saved.MAGIC + data + (frames[0] if frames else b"")):
        assert saved.pack_entry(entry)


def read_address(frames: list[bytes]) -> None:
    text = (frames[0] if frames else b"").decode("utf-8", "surrogateescape")
    for parse in (Address.parse, Address.parse_bind):
        try:
            found = parse(text)
        except wire.WireError:
            continue
        assert found.local or 0 < found.port < 65535


READERS: dict[str, Callable[[list[bytes]], None]] = {
    "ticks": read_ticks,
    "journal": read_journal,
    "estimates": read_estimates,
    "link": read_link,
    "request": read_request,
    "reply": read_reply,
    "record": read_record,
    "engine": read_engine,
    "epoch": read_epoch,
    "saved": read_saved,
    "address": read_address,
}


def one(data: bytes) -> None:
    """One case."""
    if not data:
        return
    try:
        list(READERS.values())[data[0] % len(READERS)](frames_of(data[1:]))
    except wire.WireError as error:
        assert str(error).strip() and "\n" not in str(error), f"not one line: {error!r}"


def seeds() -> list[bytes]:
    """Sound messages for each reader."""
    channels = tuple(wire.Channel("VDD", name, "ina", 1, shunt_uohm=5000) for name in ("bus_uv", "shunt_uv"))
    epoch = wire.Epoch(1, 0, 1_000_000, 0, "sim", True, "board", channels, totals=("VDD",))
    rows = np.zeros(4, wire.tick_dtype(2))
    rows["index"], rows["commit"], rows["n"], rows["epoch"] = np.arange(4), np.arange(1, 5), 2, 1
    flagged = rows.copy()
    flagged["readings"]["flags"] = 2
    engine = bodies.Engine("e", "net", {"Layers": [{"Name": "a"}]}, ["a", "b"], True)
    run = bodies.Inference(bytes(16), 1, "e", 1000, 2000, np.array([400, 500]))
    records: list[Any] = [
        journal.Record(wire.Kind.ENGINE, 1, engine),
        journal.Record(wire.Kind.INFERENCE, 2, run),
        journal.Record(wire.Kind.EPOCH, 3, {**epoch.to_dict(), "stream": STREAM}),
        journal.Record(wire.Kind.MARK, 4, {"name": "m", "text": "t"}),
        journal.Record(wire.Kind.CONDITION, 5, {"clock_hz.gpu": 6e8}),
        journal.Record(wire.Kind.CLOCK, 6, {"monotonic_ns": 1, "boottime_ns": 1, "realtime_ns": 1, "bracket_ns": 1}),
    ]
    told = batch.encode(journal.records_to_batch(STREAM, 0, records))
    link_messages = [
        link.Hello(bytes(16), 1, "p"),
        link.Credit(9, -1),
        link.Describe("e"),
        link.RefusedInference(1, "no"),
        run,
        engine,
    ]
    asked = [
        history.Request(n, do, first=n, count=9, hash="e", name="m", text="t") for n, do in enumerate(history.QUESTIONS)
    ]
    answers = [
        history.Reply(1, stream=STREAM, next=4, batch=ticks.ticks_to_batch(STREAM, rows)),
        history.Reply(2, "no"),
    ]
    return [
        case_of("ticks", ticks.ticks_to_frames(STREAM, rows)),
        case_of("ticks", ticks.ticks_to_frames(STREAM, flagged)),
        case_of("journal", told),
        *(case_of("link", batch.encode(each.batch())) for each in link_messages),
        *(case_of("request", [each.encode()]) for each in asked),
        *(case_of("reply", each.encode()) for each in answers),
        *(case_of("record", [bytes([each.packed().kind]), each.packed().body]) for each in records),
        case_of("engine", [engine.packed]),
        case_of("epoch", [batch.pack(epoch.to_dict())]),
        case_of("saved", [b"", batch.pack([b"a", b"b"])]),
        case_of("estimates", batch.encode(estimates.estimates_to_batch(1, []))),
        *(case_of("address", [text]) for text in (b"tcp://host:7380", b"ipc:///run/neuralpower", b"*:7380", b"/run/x")),
    ]


def messages() -> list[bytes]:
    """What a daemon sends to a subscriber, as the harness of the example client takes it: in one session, and as bytes of ZMTP."""
    read = [list(READERS).index(name) for name in ("journal", "ticks")]
    told = [frames_of(each[1:]) for reader in read for each in seeds() if each[0] == reader]
    session = b"".join(bytes([len(frames)]) + case_of("ticks", frames)[1:] for frames in told)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY\x0bSocket-Type\0\0\0\x04XPUB"
    framed = b"".join(
        struct.pack(">BQ", 2 | (at < len(frames) - 1), len(each)) + each
        for frames in told
        for at, each in enumerate(frames)
    )
    ping = b"\x04\x07\x04PING\0\0"
    return [b"\0" + session, b"\1" + greeting + bytes([4, len(ready)]) + ready + ping + framed]


def main() -> None:
    """Fuzz, replay, or write seeds."""
    if sys.argv[1:2] in (["--seeds"], ["--messages"]):
        for number, seed in enumerate(seeds() if sys.argv[1] == "--seeds" else messages()):
            Path(sys.argv[2], f"seed{number:02d}").write_bytes(seed)
    elif sys.argv[1:2] == ["--replay"]:
        for path in sorted(Path(sys.argv[2]).iterdir()):
            one(path.read_bytes())
    else:
        atheris.Setup(sys.argv, one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
