"""A recorder that dies, or whose disk fills, at every single step of its file work."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.worlds.fake_daemon import STREAM, epoch, ticks

from neuralpower import Recording
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Ticks

STEPS = [(os, "write"), (os, "fdatasync"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (os, "ftruncate")]


class Killed(BaseException):
    """The process ends here; nothing after it runs."""


class Countdown:
    """Raises at the n-th step of file work; counts the steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
        self.steps, self.at, self.error = 0, at, error
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.steps += 1
            if self.steps == self.at:
                raise self.error
            return call(*args, **options)

        return counted


def work(writer: Writer, synced: list[int]) -> None:
    """Keep and sync 50 ticks six times, turning over twice; `synced` gets the indices that are safe."""
    for number in range(6):
        writer.keep(Ticks(STREAM, ticks(50 * number, 50), epoch()))
        writer.sync()
        synced.extend(range(50 * number, 50 * number + 50))
        if number in (1, 3):
            writer.turn_over()
    writer.finish()


def steps_of_work(folder: Path) -> int:
    """How many steps the work takes."""
    with pytest.MonkeyPatch.context() as patch:
        writer = Writer(folder, "ipc:///x")
        counted = Countdown(patch, -1, Killed())
        work(writer, [])
        return counted.steps


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "No space left on device")], ids=["killed", "full"])
def test_nothing_synced_is_ever_lost(tmp_path: Path, error: BaseException) -> None:
    """Whichever step is the last: what was synced is read, no tick comes twice, and the next recorder goes on after it."""
    steps = steps_of_work(tmp_path / "whole")
    assert steps > 30
    for at in range(1, steps + 1):
        folder, synced = tmp_path / f"{at}", list[int]()
        writer = Writer(folder, "ipc:///x")
        with pytest.MonkeyPatch.context() as patch:
            Countdown(patch, at, error)
            with pytest.raises(type(error)):
                work(writer, synced)
        writer.abandon() if isinstance(error, OSError) else writer._unlock()
        for _ in range(2):
            held = Recording(folder).ticks()["index"].tolist()
            assert held == list(range(len(held)))
            assert len(held) >= len(synced)
            again = Writer(folder, "ipc:///x")
            assert again.resume()["ticks"].get(STREAM, 0) == len(held)
            again.finish()
