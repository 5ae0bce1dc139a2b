"""The flight recorder's parts: what makes it save, a folder that stays within its bound, and files that are refused where they are damaged."""

from __future__ import annotations

import errno
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from test_prometheus import epoch, ticks

from neuralpower.cli import main
from neuralpower.errors import Failure
from neuralpower.subscriber.client import Client
from neuralpower_wire import Batch, Kind, Record, WireError, decode, encode
from neuralpower_wire.saved import END, MAGIC, MOST_CHUNK, MOST_ENTRY, SAVED, pack_entry, unpack_entries
from neuralpowerd.config import RecorderTable
from neuralpowerd.errors import ConfigError
from neuralpowerd.logs import saved as saved_module
from neuralpowerd.logs.saved import SavedFolder
from neuralpowerd.parts.recorder import MOST_REASONS, Incident
from neuralpowerd.watch.triggers import Trigger, Triggers

SECOND_NS = 1_000_000_000
TOTAL = epoch("IN", totals=("IN",))


# ---- What makes it save ------------------------------------------------------------------------


def told(triggers: Triggers, power_w: list[float], begin_s: float) -> list[tuple[float, str]]:
    """What ticks of 1 ms with these powers begin: (seconds, what)."""
    made = ticks([begin_s + at / 1000 for at in range(len(power_w))], power_w)
    return [(each.at_ns / 1e9, each.what) for each in triggers.ticks(made)]


def test_power_above_is_told_once_for_each_time() -> None:
    """By the mean of ten ticks, across runs of ticks; a single reading, and a missing one, are nothing."""
    triggers = Triggers(RecorderTable(power_w=10.0))
    triggers.begin_epoch(TOTAL)
    assert told(triggers, [5.0] * 20 + [50.0] + [5.0] * 20, 0.0) == []
    assert told(triggers, [5.0] * 20 + [math.nan] + [5.0] * 4, 1.0) == []
    assert told(triggers, [12.0] * 6, 1.025) == []
    assert told(triggers, [12.0] * 8, 1.031) == [(pytest.approx(1.032), "power")]
    assert told(triggers, [12.0] * 30, 2.0) == []
    assert told(triggers, [5.0] * 30, 3.0) == []
    assert told(triggers, [12.0] * 30, 4.0) == [(pytest.approx(4.007), "power")]


def test_energy_is_of_a_window() -> None:
    """Told when the sum of the last seconds first exceeds it, and again once it has been below."""
    triggers = Triggers(RecorderTable(energy_j=0.25, energy_s=3.0))
    triggers.begin_epoch(TOTAL)
    parts = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (10.0, 0.0), (11.0, 1.0), (12.0, 1.0), (13.0, 1.0)]
    seen = [(at, bool(told(triggers, [power_w] * 101, at))) for at, power_w in parts]
    # 0.1 J in each tenth of a second that was measured, and what lies between them is as far as a line goes: 0.9 J.
    assert [at for at, happened in seen if happened] == [1.0, 11.0]


def test_without_a_total_power_means_nothing() -> None:
    """Parts are not held against what is of the whole."""
    triggers = Triggers(RecorderTable(power_w=1.0, energy_j=0.001))
    triggers.begin_epoch(epoch("IN"))
    assert told(triggers, [100.0] * 50, 0.0) == []


def record(kind: Kind, **body: Any) -> Record:
    """A record of second 7."""
    return Record(kind, 7 * SECOND_NS, body)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record(Kind.MARK, name="save", text="here")], [("mark", "here")]),
        ([record(Kind.MARK, name="save", text="")], [("mark", "save")]),
        ([record(Kind.MARK, name="saved", text="here")], []),
        ([record(Kind.EVENT, name="save", text="no mark")], []),
        ([record(Kind.EVENT, name="rail-doubted", text="GPU: it cannot be")], [("contradiction", "GPU: it cannot be")]),
        ([record(Kind.CONDITION, **{"throttling.cpu": 3})], []),
        (
            [record(Kind.CONDITION, **{"throttling.cpu": n}) for n in (0, 2, 3, 0, 1)],
            [("throttling", "throttling.cpu")] * 2,
        ),
        ([record(Kind.CONDITION, **{"overcurrent.oc1": n}) for n in (5, 5, 6, 6)], [("throttling", "overcurrent.oc1")]),
        (
            [
                record(Kind.CONDITION, **{"throttle_reasons.gpu0": words})
                for words in ("idle", "software-power-cap", "software-power-cap, hardware-thermal", "none")
            ],
            [("throttling", "throttle_reasons.gpu0")],
        ),
        ([record(Kind.CONDITION, **{"throttling.cpu": text}) for text in ("0", "much")], []),
    ],
)
def test_the_journal_tells_what_begins(records: list[Record], expected: list[tuple[str, str]]) -> None:
    """Marks by their name, contradictions, and throttling when it begins; what was so at the first look has not begun."""
    triggers = Triggers(RecorderTable())
    found = [each for one in records for each in triggers.record(one)]
    assert [(each.what, each.text) for each in found] == expected and all(each.at_ns == 7 * SECOND_NS for each in found)


def test_each_kind_can_be_switched_off() -> None:
    """By its key."""
    triggers = Triggers(RecorderTable(mark="", throttling=False, contradiction=False))
    records = [record(Kind.MARK, name="", text="x"), record(Kind.EVENT, name="rail-doubted", text="x")]
    records += [record(Kind.CONDITION, **{"throttling.cpu": n}) for n in (0, 2)]
    assert [each for one in records for each in triggers.record(one)] == [] and [*triggers.estimator(1, 1)] == []


def test_an_estimator_that_begins_anew_is_a_contradiction() -> None:
    """Each time that its count has risen."""
    triggers = Triggers(RecorderTable())
    assert [len([*triggers.estimator(1, count)]) for count in (0, 0, 1, 1, 3, 0)] == [0, 0, 1, 0, 1, 0]


def test_an_incident_grows_within_bounds() -> None:
    """With what happens in it, to twice its length; of its reasons the first are kept."""
    incident = Incident(Trigger(100, "mark", "a"), before_ns=60, after_ns=30)
    assert (incident.begin_ns, incident.end_ns) == (40, 130)
    for at_ns in range(110, 110 + 10 * MOST_REASONS, 10):
        incident.add(Trigger(at_ns, "mark", "b"))
    assert incident.end_ns == 40 + 2 * 90 and len(incident.reasons) == MOST_REASONS


# ---- The file ----------------------------------------------------------------------------------

MESSAGE = encode(Batch(b"rails", {"first": 0, "count": 3}, {"value": np.arange(3)}))


def whole(*messages: list[bytes]) -> bytes:
    """A file of these messages."""
    return MAGIC + b"".join(map(pack_entry, messages))


def test_entries_come_back() -> None:
    """In their order."""
    assert list(unpack_entries(whole(MESSAGE, [b"x"], MESSAGE))) == [MESSAGE, [b"x"], MESSAGE]


def test_every_changed_byte_and_every_cut_is_told() -> None:
    """What lies before it is given."""
    data = whole(MESSAGE, MESSAGE)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        for damaged in (bytes(changed), data[:at]):
            got = []
            if damaged in (whole(MESSAGE), MAGIC):
                continue  # a cut between two entries: the last entry of a file of the daemon is `end`
            with pytest.raises(WireError):
                got += list(unpack_entries(damaged))
            assert got == [] or got == [MESSAGE]


@pytest.mark.parametrize(
    "plain",
    [
        b"\0" * (MOST_ENTRY + 1),
        msgpack.packb([]),
        msgpack.packb([1]),
        msgpack.packb(["text"]),
        msgpack.packb({"a": b"x"}),
        msgpack.packb([b"x"] * 100),
        b"\x91" * 5000,
        b"\xc1",
        msgpack.packb(msgpack.ExtType(1, b"x")),
    ],
)
def test_hostile_entries_are_refused(plain: bytes) -> None:
    """One that unpacks to gigabytes, nested ones, and what is no list of frames."""
    packed = zlib.compress(plain)
    data = MAGIC + len(packed).to_bytes(4, "little") + zlib.crc32(packed).to_bytes(4, "little") + packed
    with pytest.raises(WireError, match=f"at byte {len(MAGIC)}"):
        list(unpack_entries(data))


# ---- The folder --------------------------------------------------------------------------------

TOLD = {"at": "2026-01-01T00:00:00+00:00", "begin_ns": 1, "end_ns": 2, "reasons": [[1, "mark", "x"]]}


def name(number: int) -> str:
    """A file's."""
    return f"20260101T000000Z-{number:03}.saved"


def noise(number: int, size: int) -> list[bytes]:
    """A message that does not get smaller."""
    return [b"rails", np.random.default_rng(number).bytes(size)]


def test_the_bound_holds_while_a_file_is_written(tmp_path: Path) -> None:
    """The oldest make room, one by one; on the disk there is never more than the bound."""
    folder = SavedFolder(tmp_path / "s", 100_000)
    most = 0

    def measured(number: int) -> Iterator[list[bytes]]:
        nonlocal most
        for part in range(4):
            most = max(most, sum(path.stat().st_size for path in folder.folder.iterdir()))
            yield noise(number * 10 + part, 10_000)

    for number in range(5):
        folder.save(name(number), TOLD, measured(number))
        most = max(most, sum(path.stat().st_size for path in folder.folder.iterdir()))
    assert [each.name for each in folder.files] == [name(3), name(4)] and most <= 100_000
    again = SavedFolder(tmp_path / "s", 100_000)
    assert [(each.name, each.bytes) for each in again.files] == [(each.name, each.bytes) for each in folder.files]
    assert again.files[0].told.items() >= TOLD.items()
    assert [each.name for each in SavedFolder(tmp_path / "s", 60_000).files] == [name(4)]


def test_an_incident_that_does_not_fit_ends_early_and_says_so(tmp_path: Path) -> None:
    """It is readable, and its last entry tells."""
    folder = SavedFolder(tmp_path / "s", 50_000)
    made = folder.save(name(1), TOLD, (noise(part, 10_000) for part in range(100)))
    entries = list(unpack_entries((tmp_path / "s" / name(1)).read_bytes()))
    end = decode(entries[-1])
    assert made.bytes <= 50_000 and len(entries) == 6 and entries[0][0] == SAVED
    assert end.topic == END and end.header["count"] == 4 and end.header["whole"] is False


def test_a_fault_leaves_nothing_and_keeps_the_others(tmp_path: Path) -> None:
    """The disk is full, or a log cannot be read."""
    folder = SavedFolder(tmp_path / "s", 1 << 20)
    folder.save(name(1), TOLD, iter([MESSAGE]))

    def full() -> Iterator[list[bytes]]:
        yield MESSAGE
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.save(name(2), TOLD, full())
    assert os.listdir(tmp_path / "s") == [name(1)] and [each.name for each in folder.files] == [name(1)]


def test_what_is_not_its_own_is_left_alone(tmp_path: Path) -> None:
    """Files of other names, and links; a damaged one counts and goes in its turn; only what is half is removed."""
    place = tmp_path / "s"
    place.mkdir(mode=0o700)
    (tmp_path / "secret").write_bytes(whole(encode(Batch(SAVED, {**TOLD, "first": 0, "count": 0}, {}))))
    (place / name(1)).symlink_to(tmp_path / "secret")
    (place / name(2)).write_bytes(b"damaged")
    (place / "notes.txt").write_text("mine")
    (place / f"{name(3)}.tmp").write_bytes(b"half")
    os.mkfifo(place / name(4))
    folder = SavedFolder(place, 1 << 20)
    assert [(each.name, each.told) for each in folder.files] == [(name(2), {})]
    assert sorted(os.listdir(place)) == sorted([name(1), name(2), name(4), "notes.txt"])


@pytest.mark.parametrize("asked", [name(2), "../secret", "/etc/passwd", name(1) + "\0", "", "notes.txt"])
def test_no_path_comes_from_the_network(tmp_path: Path, asked: str) -> None:
    """A name is looked up among those that are there, and nowhere else."""
    folder = SavedFolder(tmp_path / "s", 1 << 20)
    (tmp_path / "secret").write_text("x")
    folder.save(name(1), TOLD, iter([MESSAGE]))
    with pytest.raises(WireError, match="is saved here"):
        folder.read(asked, 0, 10)


def test_a_file_is_read_in_portions(tmp_path: Path) -> None:
    """Of bounded size; behind the end there is nothing."""
    folder = SavedFolder(tmp_path / "s", 1 << 20)
    made = folder.save(name(1), TOLD, iter([noise(1, MOST_CHUNK)]))
    size, first = folder.read(name(1), 0, 2**62)
    _, rest = folder.read(name(1), MOST_CHUNK, 2**62)
    assert (size, len(first)) == (made.bytes, MOST_CHUNK) and first + rest == (tmp_path / "s" / name(1)).read_bytes()
    assert folder.read(name(1), 2**62, 10) == (size, b"")


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    """Somebody who may write there could lay links."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for place, why in (("open", "nobody else may write"), ("link", "nobody else"), ("a/b", "No such file")):
        with pytest.raises(ConfigError, match=rf"^recorder\.folder: .*{why}"):
            SavedFolder(tmp_path / place, 1 << 20)


def test_the_count_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are."""
    monkeypatch.setattr(saved_module, "MOST_FILES", 3)
    folder = SavedFolder(tmp_path / "s", 1 << 20)
    for number in range(6):
        folder.save(name(number), TOLD, iter([MESSAGE]))
    assert [each.name for each in folder.files] == [name(3), name(4), name(5)]


# ---- What a lying daemon gives -----------------------------------------------------------------


def fetched(
    files: list[Any], data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit status and complaints of `neuralpower fetch` where a daemon says this."""

    def portion(self: Client, name: str, first: int, count: int) -> bytes:
        if first > len(data):
            raise Failure("no such file")
        return data[first : first + count]

    monkeypatch.setattr(Client, "saved", lambda self: files)
    monkeypatch.setattr(Client, "saved_bytes", portion)
    status = main(["fetch", str(tmp_path), "-o", str(tmp_path / "out")])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    "told",
    [
        {"name": "../../etc/x.saved", "bytes": 5},
        {"name": "20260101T000000Z-1.saved/../x", "bytes": 5},
        {"name": "\x1b[2J", "bytes": 5},
        {"name": 5, "bytes": 5},
        {"name": name(1), "bytes": 2**40},
        {"name": name(1), "bytes": "5"},
        {},
    ],
)
def test_a_name_that_is_none_makes_no_folder(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told as data, and left out."""
    status, complaint = fetched([told], b"", tmp_path, monkeypatch, capsys)
    assert status == 0 and "left out" in complaint and "\x1b" not in complaint and os.listdir(tmp_path) == []


SOUND = whole(
    encode(Batch(SAVED, {**TOLD, "first": 0, "count": 0}, {})),
    encode(Batch(END, {"first": 0, "count": 0, "whole": True}, {})),
)


@pytest.mark.parametrize(
    ("data", "size", "why"),
    [
        (SOUND[:-1], len(SOUND), "the device has only"),
        (SOUND[:-1] + b"x", len(SOUND), "came damaged"),
        (b"x" * 20, 20, "not a file of the flight recorder"),
        (whole(MESSAGE), len(whole(MESSAGE)), "a message of it cannot be read"),
        (whole([b"one frame"]), len(whole([b"one frame"])), "came damaged"),
    ],
)
def test_damaged_files_leave_no_recording(
    data: bytes,
    size: int,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says why, and the next run tries again."""
    status, complaint = fetched([{"name": name(1), "bytes": size}], data, tmp_path, monkeypatch, capsys)
    assert status == 0 and why in complaint and os.listdir(tmp_path / "out") == []


def test_an_incident_that_was_cut_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a recording all the same."""
    data = SOUND[: -len(pack_entry(encode(Batch(END, {"first": 0, "count": 0, "whole": True}, {}))))]
    status, complaint = fetched([{"name": name(1), "bytes": len(data)}], data, tmp_path, monkeypatch, capsys)
    assert status == 0 and "not all of the incident fitted" in complaint
    assert os.listdir(tmp_path / "out") == [name(1).removesuffix(".saved")]
