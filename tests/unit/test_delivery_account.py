"""The account that the delivery bed draws up: it sees each index that is missing, doubled or altered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.beds.delivery.account import Entries, Reference, account, record_prints, summed, tick_prints, united
from tests.beds.delivery.chaos import Recorder

from neuralpower.subscriber.messages import GONE, OLDER, Lost
from neuralpower_wire import tick_dtype

TICKS = np.zeros(100, tick_dtype(2))
TICKS["index"] = TICKS["slot"] = np.arange(100)
TICKS["t_ns"] = 1_000_000 * np.arange(100)
TICKS["readings"]["value"] = np.arange(200).reshape(100, 2) - 50
PRINTS = tick_prints(TICKS)
REFERENCE = Reference(TICKS["index"], PRINTS)


def got(first: int, stop: int) -> tuple[int, int, int]:
    """A stretch as a client delivers it."""
    return first, stop, summed(PRINTS[first:stop])


def test_delivered_and_lost_make_up_all() -> None:
    """In any order, from any batches."""
    found = account(Entries([got(50, 100), got(0, 30)], [(30, 50)]), 100, REFERENCE)
    assert (found.first, found.stop, found.delivered, found.lost, found.sound) == (0, 100, 80, 20, True)


@pytest.mark.parametrize(
    ("delivered", "lost", "unaccounted", "twice"),
    [
        ([(0, 30), (31, 100)], [], 1, 0),
        ([(0, 99)], [], 1, 0),
        ([(0, 60), (50, 100)], [], 0, 10),
        ([(0, 100)], [(20, 25)], 0, 5),
        ([(0, 40)], [(40, 50), (45, 60)], 40, 0),
    ],
)
def test_what_is_missing_or_doubled_is_counted(
    delivered: list[tuple[int, int]], lost: list[tuple[int, int]], unaccounted: int, twice: int
) -> None:
    """An index that is neither, up to where the client was to come, or both."""
    found = account(Entries([got(*each) for each in delivered], lost), 100, REFERENCE)
    assert (found.unaccounted, found.twice, found.different, found.sound) == (unaccounted, twice, 0, False)


@pytest.mark.parametrize("field", ["slot", "t_ns", "value"])
def test_an_altered_tick_is_different(field: str) -> None:
    """One number of one tick in a hundred; two ticks in each other's place."""
    altered = TICKS.copy()
    (altered["readings"] if field == "value" else altered)[field][17] += 1
    assert account(Entries([(0, 100, summed(tick_prints(altered)))]), 100, REFERENCE).different == 100
    swapped = TICKS.copy()
    swapped["readings"][[3, 4]] = swapped["readings"][[4, 3]]
    assert account(Entries([(0, 100, summed(tick_prints(swapped)))]), 100, REFERENCE).different == 100


def test_an_altered_record_is_different() -> None:
    """Its kind, a byte of its body, or its place."""
    sound = summed(record_prints(5, [1, 2], [b"a", b"b"]))
    for first, kinds, bodies in (
        (5, [1, 3], [b"a", b"b"]),
        (5, [1, 2], [b"a", b"c"]),
        (6, [1, 2], [b"a", b"b"]),
        (5, [2, 1], [b"b", b"a"]),
    ):
        assert summed(record_prints(first, kinds, bodies)) != sound


def test_what_a_client_was_to_get_from_the_beginning_is_missed() -> None:
    """Where it is known that the log began with 0."""
    assert account(Entries([got(10, 100)]), 100, REFERENCE).sound
    assert account(Entries([got(10, 100)]), 100, REFERENCE, 0).unaccounted == 10
    assert account(Entries(), 100, REFERENCE, 0).unaccounted == 100


def test_stretches_are_united() -> None:
    """Those that overlap or touch."""
    assert united([(5, 7), (0, 2), (2, 3), (6, 9), (9, 9)]) == [(0, 3), (5, 9)]


def test_what_a_recorder_tells_lost_is_heard_once(tmp_path: Path) -> None:
    """As it stands in its log, whole lines only; a bed that misread them would let losses within retention pass."""
    recorder = Recorder("r", "ipc:///nowhere", tmp_path, [])
    log = tmp_path / "r.log"
    log.write_text(
        f"neuralpower: {Lost('ticks', bytes(16), 10, 5, OLDER)}\nneuralpower: {Lost('journal', bytes(16), 3, 1, GONE)}\nhalf"
    )
    assert recorder.told_lost() == [("ticks", 10, 14), ("journal", 3, 3)]
    assert recorder.told_lost() == []
    recorder.end()
