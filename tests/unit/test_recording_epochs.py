"""The epochs that explain some ticks: the same as all of the journal tells, found in a few of its summaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.worlds.fake_daemon import JOURNAL_STREAM, PERIOD_NS, STREAM, T0_NS, epoch, ticks

from neuralpower import Recording
from neuralpower.recordings.begun import epochs_begun
from neuralpower.recordings.files import summaries
from neuralpower.recordings.held import HeldFiles
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Found, Records, Ticks
from neuralpower_wire import Kind, Record

SEGMENTS, APART_S = 64, 60
BEGINS = {0: 1, 20: 2, 21: 3, 50: 4}
"""Segment -> the epoch that begins with it."""


def begun(number: int, t_ns: int) -> Record:
    """What the journal says of an epoch."""
    return Record(Kind.EPOCH, t_ns, {**epoch(number).to_dict(), "stream": STREAM})


def write(folder: Path, tell: str = "in time", pending: bool = False) -> None:
    """A minute apart, a few ticks each, so that there is an hour of segments; `tell`: when the journal says that an epoch began."""
    writer, record, number = Writer(folder, "ipc:///run/neuralpower"), 0, 0
    every = [begun(each, T0_NS) for each in BEGINS.values()]
    for segment in range(SEGMENTS):
        first = segment * APART_S * 1_000_000_000 // PERIOD_NS
        t_ns = T0_NS + first * PERIOD_NS
        number = BEGINS.get(segment, number)
        writer.keep(Ticks(STREAM, ticks(first, 20, number=number), epoch(number)))
        now = [begun(number, t_ns + 5)] if segment in BEGINS and tell == "in time" else []
        told = [
            *now,
            *(every if tell == "at first" and not segment else []),
            Record(Kind.MARK, t_ns, {"name": "m", "text": ""}),
        ]
        writer.keep(Records(JOURNAL_STREAM, record, told))
        record += len(told)
        if not segment and tell == "when asked":
            for each in every:
                writer.keep(Found(each))
        if not pending or segment < SEGMENTS - 1:
            writer.turn_over()
    if not pending:
        writer.finish()


def read_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The segments whose summaries are read from now on."""
    seen: list[Path] = []
    whole = summaries.read

    def noted(segment: Path, *options: Any) -> dict[str, Any]:
        seen.append(segment)
        return whole(segment, *options)

    monkeypatch.setattr(summaries, "read", noted)
    return seen


@pytest.mark.parametrize("tell", ["in time", "when asked"])
def test_they_are_found_in_a_few_summaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: str) -> None:
    """Of 64 segments of the journal, those around an epoch's first tick are looked into, or none where it is among the facts."""
    write(tmp_path / "rec", tell)
    expected = Recording(tmp_path / "rec").epochs()
    assert [each.number for each in expected] == [1, 2, 3, 4]
    for each in expected:
        seen = read_of(tmp_path / "rec", monkeypatch)
        held, recording = HeldFiles(tmp_path / "rec", False), Recording(tmp_path / "rec")
        assert epochs_begun(held, STREAM, [each.number], recording._facts) == [each]
        journal = {path for path in seen if "journal" in path.parts}
        assert len(journal) < SEGMENTS / 4 if tell == "in time" else not journal
        monkeypatch.undo()


def test_an_epoch_told_long_before_is_found_by_looking_through_all(tmp_path: Path) -> None:
    """What the journal does not say around the first tick is left to who reads all of it; energy comes out the same."""
    write(tmp_path / "early", "at first")
    write(tmp_path / "rec")
    held = HeldFiles(tmp_path / "early", False)
    assert epochs_begun(held, STREAM, [4], []) is None
    begin_ns = T0_NS + 50 * APART_S * 1_000_000_000 + 5 * PERIOD_NS
    span = begin_ns, begin_ns + 5 * 60 * 1_000_000_000
    early, in_time = (Recording(tmp_path / name).between(*span).energy() for name in ("early", "rec"))
    assert early == in_time and early.total_j > 0


def test_an_epoch_that_still_waits_in_a_log_is_found(tmp_path: Path) -> None:
    """A recorder at work has told of it, and no segment has it yet."""
    write(tmp_path / "rec", pending=True)
    recording = Recording(tmp_path / "rec")
    last = recording.between(T0_NS + (SEGMENTS - 1) * APART_S * 1_000_000_000, 2**62)
    assert last.energy().total_j > 0
    assert recording.epochs()[-1].number == 4


def test_an_epoch_that_nobody_told_of_explains_nothing(tmp_path: Path) -> None:
    """Without any word on its epoch a tick has no power, as before."""
    write(tmp_path / "rec", "never")
    assert epochs_begun(HeldFiles(tmp_path / "rec", False), STREAM, [1], []) is None
    assert Recording(tmp_path / "rec").between(T0_NS, T0_NS + 10 * PERIOD_NS).energy().rails_j == {}


def test_a_damaged_summary_on_the_way_leaves_it_to_the_journal(tmp_path: Path) -> None:
    """Halving goes by summaries: with one of them broken nothing is guessed, and energy is what it was."""
    write(tmp_path / "rec")
    span = T0_NS + 22 * APART_S * 1_000_000_000 + 3 * PERIOD_NS, T0_NS + 30 * APART_S * 1_000_000_000
    before = Recording(tmp_path / "rec").between(*span).energy()
    for path in sorted((tmp_path / "rec" / "ticks").rglob(f"*{summaries.SUFFIX}")):
        path.write_bytes(path.read_bytes()[:-9])
    held = HeldFiles(tmp_path / "rec", False)
    assert epochs_begun(held, STREAM, [3], []) is None
    assert any("damaged" in line for line in held.damaged)
    after = Recording(tmp_path / "rec").between(*span).energy()
    assert after.total_j == pytest.approx(before.total_j) and after.covered_s.keys() == before.covered_s.keys()
