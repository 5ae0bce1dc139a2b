"""A small recording, file by file, and damage that its checksums do not show: what a faulty writer would leave."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

STREAM, JOURNAL = b"T" * 16, b"J" * 16
ENGINE = "ab" * 32
PERIOD_NS = 1_000_000
PLACES = (
    ("rec/recording.json", "rec-document"),
    (f"rec/ticks/{STREAM.hex()}/000000000000-000000000049.parquet", "rec-ticks"),
    (f"rec/journal/{JOURNAL.hex()}/000000000000-000000000006.parquet", "rec-journal"),
    ("rec/wal/000002.wal", "rec-wal"),
    ("rec/facts.wal", "rec-facts"),
)
"""Where each file lies, and what it holds."""


def recording(folder: Path) -> dict[str, bytes]:
    """Kind of file -> its content, of a recording whose recorder was killed. `folder` is where it is made."""
    from neuralpower.recordings.writer import Writer
    from neuralpower.subscriber.messages import Found, Records, Ticks
    from neuralpower_wire import Channel, Epoch, Kind, ReadingState, Record, tick_dtype

    channels = (Channel("VDD_IN", "bus_uv", "ina", 1), Channel("VDD_IN", "current_ua", "ina", 1))
    epoch = Epoch(1, 0, PERIOD_NS, 0, "hwmon", False, "nano", channels, totals=("VDD_IN",))
    begun = Record(Kind.EPOCH, 1, {**epoch.to_dict(), "stream": STREAM})
    engine = Record(
        Kind.ENGINE, 2, {"hash": ENGINE, "name": "net", "inspector": {}, "layers": ["a", "b"], "simulated": False}
    )

    def ticks(first: int, count: int) -> Ticks:
        made = np.zeros(count, tick_dtype(2))
        made["index"] = made["slot"] = first + np.arange(count)
        made["commit"], made["epoch"], made["n"] = made["index"] + 1, 1, 2
        made["t_ns"] = made["slot"].astype(np.int64) * PERIOD_NS
        made["readings"]["value"], made["readings"]["state"] = [5_000_000, 2_000_000], ReadingState.FRESH
        return Ticks(STREAM, made, epoch)

    def run(seq: int) -> Record:
        begin = 10 * PERIOD_NS * (1 + seq)
        body = {"session": b"S" * 16, "seq": seq, "engine": ENGINE, "begin_ns": begin, "end_ns": begin + PERIOD_NS}
        return Record(Kind.INFERENCE, begin + PERIOD_NS, {**body, "durations_ns": np.array([400_000, 500_000])})

    clock = {"monotonic_ns": 1, "boottime_ns": 2, "realtime_ns": 3, "bracket_ns": 4}
    told = [
        begun,
        engine,
        Record(Kind.CLOCK, 3, clock),
        Record(Kind.MARK, 4, {"name": "m", "text": ""}),
        *map(run, range(3)),
    ]
    writer = Writer(folder / "rec", "ipc:///run/neuralpower")
    writer.keep(Records(JOURNAL, 0, told))
    writer.keep(ticks(0, 50))
    writer.turn_over()
    writer.keep(Found(engine))
    writer.keep(Found(begun))
    writer.keep(Records(JOURNAL, 7, [run(3)]))
    writer.keep(ticks(50, 20))
    writer.abandon()
    return {kind: (folder / place).read_bytes() for place, kind in PLACES}


def sealed(content: bytes) -> bytes:
    """A write-ahead log whose damage its checksums do not show."""
    from neuralpower.recordings.files.wal import FRAME, HEADER, MAGIC

    if not content.startswith(MAGIC):
        return content
    whole, at = bytearray(content), HEADER.size
    while at + FRAME.size <= len(whole):
        length = FRAME.unpack_from(whole, at)[0]
        payload = whole[at + FRAME.size : at + FRAME.size + length]
        if len(payload) == length:
            FRAME.pack_into(whole, at, length, zlib.crc32(payload, zlib.crc32(FRAME.pack(length, 0)[:4])))
        at += FRAME.size + length
    return bytes(whole)


def redrawn(content: bytes, share: float, what: bytes) -> bytes:
    """A segment written again with another value at one place: bytes of a record's body, or a number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from neuralpower.recordings.files.segments import to_parquet

    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError, ValueError):
        return content
    if "index" not in table.column_names or not table.num_rows:
        return content
    column, row = divmod(int(share * 0.999 * table.num_columns * table.num_rows), table.num_rows)
    if "body" in table.column_names and column % 2:
        column = table.column_names.index("body")
    field, values = table.schema.field(column), table.column(column).to_pylist()
    if isinstance(values[row], bytes):
        values[row] = other_bytes(values[row], what)
    else:
        values[row] = int(np.frombuffer(what.ljust(8, what[-1:]), field.type.to_pandas_dtype())[0])
    return bytes(to_parquet(table.set_column(column, field, pa.array(values, field.type)), {}))


def other_bytes(content: bytes, what: bytes) -> bytes:
    """Some put in or over others, at a place that they tell themselves."""
    at = int.from_bytes(what, "little") % (len(content) + 1)
    return content[:at] + what + content[at + len(what) * (what[0] % 2) :]
