"""A live view gets the newest: what it was too slow for is passed over, counted, and not asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.patience import until
from tests.worlds.fake_daemon import STREAM, FakeDaemon, epoch, ticks

from neuralpower.errors import InputError
from neuralpower.subscriber import client as client_module
from neuralpower.subscriber.client import STALE_S, Client
from neuralpower.subscriber.follower import TICKS
from neuralpower.subscriber.messages import Message, Ticks
from neuralpower.subscriber.newest import Newest
from neuralpower_wire import ticks_to_batch


def test_what_is_published_comes_once_and_in_order() -> None:
    """Doubles and what comes too late are dropped, overlaps are cut, holes are passed over and counted, a new stream begins anew."""
    newest = Newest(TICKS)
    came: list[Message] = []
    for first, count in ((100, 10), (100, 10), (105, 10), (130, 5), (120, 5), (135, 5)):
        came += newest.live(ticks_to_batch(STREAM, ticks(first, count)))
    assert [(each.first, len(each)) for each in came if isinstance(each, Ticks)] == [
        (100, 10),
        (110, 5),
        (130, 5),
        (135, 5),
    ]
    assert newest.passed_over == 15
    (other,) = newest.live(ticks_to_batch(b"O" * 16, ticks(7, 2)))
    assert isinstance(other, Ticks) and other.first == 7 and newest.passed_over == 15


def test_a_view_that_did_not_look_for_a_while_sees_nothing_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It slept, or its machine did: what waits for it is thrown away, and nothing of it is asked of the history."""
    awake_s = [0.0]
    monkeypatch.setattr(client_module, "_awake_s", lambda: awake_s[0])
    with FakeDaemon(tmp_path, epochs=[epoch()]) as daemon, Client(tmp_path, topics=("rails",), latest=True) as client:
        seen: list[Ticks] = []

        def looked() -> bool:
            daemon.add_ticks(ticks(len(daemon.ticks), 10))
            seen.extend(each for each in client.poll(0.05) if isinstance(each, Ticks))
            return bool(seen)

        until(looked)
        for _ in range(50):
            daemon.add_ticks(ticks(len(daemon.ticks), 10))
        asleep, before = len(daemon.ticks), seen[-1].first + len(seen[-1])
        awake_s[0] += STALE_S + 1.0
        seen.clear()
        until(looked)
        assert seen[0].first >= asleep and client.passed_over["ticks"] == seen[0].first - before
        assert {each.do for each in daemon.asked} <= {"epochs"} and client.ticks_lost == 0


def test_the_newest_and_the_past_exclude_each_other() -> None:
    """A client cannot want only the newest and what was before."""
    with pytest.raises(InputError, match="nothing of the past"):
        Client("ipc:///nowhere", past=True, latest=True)
