"""Polling a daemon waits no longer than it was told to, whatever there is to be found out."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from neuralpower.subscriber import client as client_module
from neuralpower.subscriber.asking import Answer
from neuralpower.subscriber.client import ENGINES_AT_A_TIME, MAX_KNOWN_ENGINES, Client
from neuralpower_wire import Inference, Kind, Record
from neuralpower_wire.history import Reply


class Silence:
    """A daemon that does not answer, on a clock that only waiting moves; `answers`: it does, with these descriptions of engines."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[str] = []
        self.wanted: dict[int, str] = {}
        self.answers, self.there = False, True

    def monotonic(self) -> float:
        return self.now

    def connected(self, timeout_s: float) -> bool:
        assert timeout_s >= 0
        self.now += 0.0 if self.there else timeout_s
        return self.there

    def send(self, do: str, **fields: Any) -> int:
        self.asked.append(do)
        self.wanted[len(self.asked)] = fields.get("hash", "")
        return len(self.asked)

    def receive(self, number: int, timeout_s: float) -> Answer | None:
        assert timeout_s >= 0
        self.now += timeout_s
        if not self.answers:
            return None
        body = {"hash": self.wanted[number], "name": "n", "layers": ["a"], "inspector": {}, "simulated": True}
        return Answer(Reply(number, body=body), None)

    def forget(self, number: int) -> None:
        self.wanted.pop(number)

    def poll(self, timeout_ms: int) -> int:
        self.now += timeout_ms / 1000
        return 0

    def close(self, linger: int = 0) -> None: ...


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Silence:
    """In the place of the module's clock."""
    found = Silence()
    monkeypatch.setattr(client_module, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


@pytest.fixture
def client(silence: Silence) -> Iterator[Client]:
    """One whose sockets lead to the silence."""
    with Client("ipc:///nowhere", topics=("status",)) as made:
        made._live.close()
        made._history.close()
        made._live = made._history = silence  # type: ignore[assignment]  # a stand-in for both
        yield made


def unknown(count: int) -> list[Record]:
    """Inferences of engines that nobody described."""
    runs = [Inference(bytes(16), number, f"e{number}", 1, 2, np.ones(1, int)) for number in range(count)]
    return [Record(Kind.INFERENCE, 0, run) for run in runs]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("engines", [0, 3, 500])
def test_polling_returns_in_time(client: Client, silence: Silence, engines: int, there: bool) -> None:
    """However many engines are unknown, and though nobody answers or is there; each question is asked once until it is given up."""
    silence.there = there
    client._note(unknown(engines))
    for _ in range(100):
        before = silence.now
        client.poll(0.1)
        assert silence.now - before <= 0.1 + 1e-9
    assert silence.asked.count("engine") <= max(engines, 2 * ENGINES_AT_A_TIME) + 5
    assert bool(silence.asked) == (bool(engines) and there)


def test_the_last_search_has_one_bound(client: Client, silence: Silence) -> None:
    """At the end of a recording all engines are asked for within it, and found where somebody answers."""
    client._note(unknown(40))
    before = silence.now
    assert client.find_engines(2.0) == [] and silence.now - before <= 2.0 + 1e-9
    silence.answers = True
    assert len(client.find_engines(2.0)) == 40 and not client._waiting_engines


def test_what_is_known_is_bounded(client: Client) -> None:
    """A year of new engines takes no more memory than some thousand."""
    for number in range(2 * MAX_KNOWN_ENGINES):
        client.knows_engine(f"e{number}")
    assert len(client._known_engines) == MAX_KNOWN_ENGINES and f"e{2 * MAX_KNOWN_ENGINES - 1}" in client._known_engines
