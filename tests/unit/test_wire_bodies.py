"""A class for each kind of record: its schema, its check and its constructor, and bytes that are made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.worlds.fake_daemon import epoch

from neuralpower_wire import (
    Body,
    ClockMap,
    Condition,
    Engine,
    EpochBegun,
    Event,
    Inference,
    Kind,
    Mark,
    PackedRecord,
    PackedRecords,
    Record,
    Unknown,
    WireError,
    bodies,
)
from neuralpower_wire.batch import pack, unpack

STREAM = bytes(range(16))
CLOCKS = {"monotonic_ns": 1, "boottime_ns": 2, "realtime_ns": 3, "bracket_ns": 4}
ANCHORS = {"session": STREAM, "seq": 3, "engine": "e", "begin_ns": 5, "end_ns": 9}
ENGINE = {"hash": "h", "name": "n", "inspector": {"Layers": ["a"]}, "layers": ["a"], "simulated": True}
BODIES = [
    (Inference, {**ANCHORS, "durations_ns": np.array([1, 2]), "profiled": False}),
    (Engine, ENGINE),
    (ClockMap, CLOCKS),
    (Mark, {"name": "n", "text": "t", "more": 1}),
    (Event, {"name": "n", "text": "t", "pid": 7}),
    (Condition, {"gpu_c": 40.5, "kernel": "6"}),
    (EpochBegun, {**epoch().to_dict(), "stream": STREAM, "reason": "reload"}),
]
"""Of each kind, all of its keys."""


def plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """The keys with values that can be compared."""
    return unpack(pack({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in body.items()}))


def test_each_kind_that_can_be_written_has_a_class() -> None:
    """All kinds are tried here."""
    assert {made.kind for made, _ in BODIES} == {*Kind} - {Kind.UNKNOWN} == set(bodies.BODIES)


def test_each_kind_has_a_row_in_the_docs() -> None:
    """docs/wire.md is enough to read a journal: number and name of each kind stand in its table."""
    page = (Path(__file__).parents[2] / "docs/wire.md").read_text()
    assert [
        kind for kind in Kind if kind is not Kind.UNKNOWN and f"\n| {kind:d} | {kind.name.lower()}" not in page
    ] == []


@pytest.mark.parametrize(("made", "keys"), BODIES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_body_is_its_keys_its_fields_and_its_bytes(made: type[Body], keys: dict[str, Any]) -> None:
    """Made of keys or of bytes it is the same, and a record takes the class or its keys."""
    body = made.from_map(keys)
    back = made.unpack(body.packed)
    assert plain(body) == plain(back) == plain(keys)
    assert back.packed is not None and made.from_map(back).packed == body.packed
    record = Record(made.kind, 1, keys)
    assert type(record.body) is made and record.packed() == Record(made.kind, 1, body).packed()


@pytest.mark.parametrize(("made", "keys"), BODIES, ids=lambda each: getattr(each, "__name__", ""))
def test_bytes_are_kept_as_they_came(made: type[Body], keys: dict[str, Any]) -> None:
    """Keys of a newer version, and another order of keys, are in the bytes that are passed on."""
    sent = unpack(made.from_map(keys).packed)
    strange = pack({"newer": [1], **dict(reversed(sent.items()))})
    record = Record.unpack(made.kind, 1, strange)
    assert type(record.body) is made and record.packed() == PackedRecord(made.kind, 1, strange)


@pytest.mark.parametrize(("made", "keys"), BODIES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_body_that_breaks_the_format_cannot_be_made(made: type[Body], keys: dict[str, Any]) -> None:
    """Whichever key is missing or of another type, the constructor says so, and bytes of it are unknown."""
    if made is Condition:
        pytest.skip("a condition may hold anything")
    own = [name for name in keys if name not in ("more", "pid", "reason", "profiled", "bracket")]
    defaults = (
        {"chips", "totals", "covers", "freshness", "fresh_rate_hz", "driver", "note"}
        if made is EpochBegun
        else set[str]()
    )
    for name in own:
        for broken in ({k: v for k, v in keys.items() if k != name}, {**keys, name: 1.5}):
            if (name in broken and name == "fresh_rate_hz") or (name not in broken and name in defaults):
                continue
            with pytest.raises(WireError):
                made.from_map(broken)
            sent = {k: v.astype("<i8").tobytes() if isinstance(v, np.ndarray) else v for k, v in broken.items()}
            assert isinstance(Record.unpack(made.kind, 1, pack(sent)).body, Unknown)


def test_a_body_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its bytes are asked for, and never where it came as bytes."""
    packs = []
    monkeypatch.setattr(bodies, "pack", lambda value: packs.append(value) or pack(value))
    records = [Record(made.kind, 1, keys) for made, keys in BODIES]
    for _ in range(3):
        packed = [each.packed() for each in records]
    assert len(packs) == len(BODIES)
    run = PackedRecords.of([Record.unpack(each.kind, each.t_ns, each.body) for each in packed])
    assert [each.packed() for each in run] == packed and len(packs) == len(BODIES)


def test_a_run_of_records_is_a_sequence() -> None:
    """It is cut, joined and read like a list, and unpacks only what is looked at."""
    whole = PackedRecords.of([Record(made.kind, at, keys) for at, (made, keys) in enumerate(BODIES)])
    listed = [each.packed() for each in whole]
    for begin in range(len(listed) + 1):
        for end in range(len(listed) + 1):
            part = whole[begin:end]
            assert [each.packed() for each in part] == listed[begin:end] and len(part) == len(listed[begin:end])
        joined = PackedRecords.joined([whole[begin:], whole[:begin]])
        assert [joined[at].packed() for at in range(len(joined))] == listed[begin:] + listed[:begin]
    assert whole[-1].packed() == listed[-1]
    with pytest.raises(IndexError):
        whole[len(whole)]
    assert [each.kind for each in whole.of_kinds(Kind.MARK, Kind.EPOCH)] == [Kind.MARK, Kind.EPOCH]
    assert whole.engines() == {"e": 1} and whole.count(Kind.ENGINE) == 1
