"""What is missing of a recording says why: as the recorder was told, kept over kills, and counted once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.worlds.fake_daemon import STREAM, epoch, ticks

from neuralpower.cli import main
from neuralpower.cli.analysing.info import recording_facts
from neuralpower.recordings.lost import NOT_TOLD, explained
from neuralpower.recordings.recording import Recording
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import GONE, OLDER, Ended, Lost, Ticks
from neuralpower_wire import Kind, Record


def kept(folder: Path, *messages: Lost | Ended | Ticks) -> None:
    """A recording of these, of a recorder that was killed."""
    writer = Writer(folder, "ipc:///run/neuralpower")
    for message in messages:
        writer.keep(message)
    writer.sync()
    writer.abandon()


def run(first: int, count: int) -> Ticks:
    """Ticks as a client gives them."""
    return Ticks(STREAM, ticks(first, count), epoch())


def test_info_says_of_each_range_that_is_missing_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told losses with their reason, at the beginning of a stream too; a hole that nobody told of says so."""
    folder = tmp_path / "rec"
    kept(folder, Lost("ticks", STREAM, 0, 50, OLDER), run(50, 50), Lost("ticks", STREAM, 100, 50, "cut"), run(170, 30))
    losses = recording_facts(Recording(folder))["losses"]
    assert [(each["first"], each["count"], each["why"]) for each in losses] == [
        (0, 50, OLDER),
        (100, 50, "cut"),
        (150, 20, NOT_TOLD),
    ]
    assert recording_facts(Recording(folder))["ticks_lost"] == 120
    assert main(["info", str(folder)]) == 0
    assert "cut" in capsys.readouterr().out


def test_what_is_told_twice_counts_once_and_what_came_after_all_does_not_count() -> None:
    """A recorder that was killed right after it was told is told again when it goes on."""
    told = [
        Lost("ticks", STREAM, 10, 10, OLDER),
        Lost("ticks", STREAM, 10, 15, GONE),
        Lost("ticks", STREAM, 30, 5, OLDER),
    ]
    assert explained("ticks", STREAM, range(0, 40), [range(10, 25)], told) == [
        (range(10, 20), OLDER),
        (range(20, 25), GONE),
    ]
    assert explained("ticks", STREAM, range(0, 32), [], told[2:]) == [(range(32, 35), OLDER)]
    assert explained("journal", STREAM, range(0, 5), [], told) == []


def test_a_stream_that_has_ended_is_not_asked_for_again(tmp_path: Path) -> None:
    """A recorder that goes on hears once what became of the stream before, and info goes on saying it."""
    folder = tmp_path / "rec"
    kept(folder, run(0, 10), Ended("ticks", STREAM, 10, known=False))
    writer = Writer(folder, "")
    assert writer.resume()["ticks"] == {}
    writer.finish()
    assert recording_facts(Recording(folder))["ends_not_known"] == [
        {"log": "ticks", "stream": STREAM.hex(), "after": 9}
    ]


def test_facts_of_losses_that_cannot_be_are_passed_over(tmp_path: Path) -> None:
    """A file of facts by somebody else's hand hides nothing and breaks nothing."""
    folder = tmp_path / "rec"
    kept(folder, run(0, 10), Lost("ticks", STREAM, 10, 5, OLDER))
    writer = Writer(folder, "")
    sound = {"name": "entries-lost", "text": "", "log": "ticks", "stream": STREAM, "first": 20, "count": 1}
    for wrong in ({"log": "socks"}, {"stream": b""}, {"first": -1}, {"count": None}, {"name": "else"}):
        writer._keep_fact(Record(Kind.EVENT, 0, {**sound, **wrong}))
    writer.finish()
    assert recording_facts(Recording(folder))["ticks_lost"] == 5
