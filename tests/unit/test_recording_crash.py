"""A recorder that dies, or whose disk fills, at every single step of its file work."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.worlds.cut_disk import KEPT, CutDisk
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, epoch, inference, ticks

from neuralpower import Recording
from neuralpower.recordings.files import layout
from neuralpower.recordings.verifying import verify
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower_wire import Kind, Record, files

STEPS = [(os, name) for name in ("write", "fdatasync", "fsync", "replace", "unlink", "ftruncate", "mkdir")]
"""All that changes a disk, beside the bytes of a file that is to replace another."""


MKDIR = os.mkdir


class Killed(BaseException):
    """The process ends here; nothing after it runs."""


class Countdown:
    """Raises at the n-th step of file work, of a write after half of its bytes; counts the steps, and tells `before` of each."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        at: int,
        error: BaseException,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.steps, self.at, self.error, self.before = 0, at, error, before
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name), name == "write"))
        monkeypatch.setattr(files, "open", self._open, raising=False)

    def step(self) -> bool:
        """Whether this is the one that fails."""
        self.before()
        self.steps += 1
        return self.steps == self.at

    def _wrap(self, call: Callable[..., Any], writes: bool) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            if call is MKDIR and Path(args[0]).is_dir():
                return call(*args, **options)  # changes nothing, and pathlib minds no error of it
            if self.step():
                if writes:
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise self.error
            return call(*args, **options)

        return counted

    def _open(self, descriptor: int, mode: str) -> Any:
        file = open(descriptor, mode)  # noqa: SIM115  # whoever asked for it closes it
        write = file.write

        def counted(data: Any) -> int:
            if self.step():
                write(bytes(data)[: len(data) // 2])
                raise self.error
            return write(data)

        return Written(file, counted)


class Written:
    """A file whose writes are counted."""

    def __init__(self, file: Any, write: Callable[[Any], int]) -> None:
        self._file, self.write, self.flush = file, write, file.flush

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def work(writer: Writer, synced: list[int]) -> None:
    """Keep and sync 50 ticks and a record six times, turning over twice; `synced` gets the indices that are safe."""
    begun = Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM})
    for number in range(6):
        writer.keep(Records(JOURNAL_STREAM, number, [inference(number) if number else begun]))
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


def test_a_power_cut_costs_what_was_not_synced(tmp_path: Path) -> None:
    """Before each step of a recorder's work, on each disk that a cut may leave: what was synced is read, nothing twice, and the next goes on.

    The document tells of no stream that is not there.
    """
    root, synced, cuts = tmp_path / "disk", list[int](), list[tuple[int, str, Path]]()
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk, cutting = CutDisk(root, patch), list[bool]()

        def cut() -> None:
            if cutting:
                return  # what the cut itself writes is no step
            cutting.append(True)
            number = len(cuts) // len(KEPT)
            cuts.extend((len(synced), kept, disk.cut(kept, tmp_path / f"{number} {kept}")) for kept in KEPT)
            cutting.clear()

        Countdown(patch, -1, Killed(), cut)
        writer = Writer(root / "deep" / "rec", "ipc:///x")
        work(writer, synced)
        cut()
        disk.close()
    assert len(cuts) > 300 and cuts[-1][0] == len(synced) == 300
    for safe, kept, folder in cuts:
        rec = folder / "deep" / "rec"
        if not (rec / layout.DOCUMENT).exists():
            assert not safe
            continue
        recording = Recording(rec)
        held = recording.ticks(STREAM)["index"].tolist()
        assert held == list(range(len(held))) and len(held) >= safe, (folder, recording.damaged)
        assert len(recording.records()) >= safe // 50
        assert all("half-written end" in line for line in recording.damaged), recording.damaged
        assert kept != KEPT[0] or {stream.hex() for stream in recording.streams} >= set(recording.document.streams)
        if kept == KEPT[0] and safe < 300:
            again = Writer(rec, "ipc:///x")
            assert again.resume()["ticks"].get(STREAM, 0) == len(held)
            again.finish()
            assert not verify(rec)


def small_disk(patch: pytest.MonkeyPatch, folder: Path, room: int) -> None:
    """A folder that holds so many bytes and no more."""
    write = os.write

    def check(data: Any) -> None:
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if used + len(data) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    def limited(descriptor: int, data: Any) -> int:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(folder):
            check(data)
        return write(descriptor, data)

    def opened(descriptor: int, mode: str) -> Any:
        file = open(descriptor, mode)  # noqa: SIM115  # whoever asked for it closes it

        def written(data: Any) -> int:
            check(data)
            return file.write(data)

        return Written(file, written)

    patch.setattr(os, "write", limited)
    patch.setattr(files, "open", opened, raising=False)


def test_the_oldest_goes_where_the_disk_is_full(tmp_path: Path) -> None:
    """Nothing is corrupt, the newest is all there, what was dropped is told, and what explains the rest is kept."""
    notices, minutes = list[str](), 30
    with pytest.MonkeyPatch.context() as patch:
        small_disk(patch, tmp_path, 120_000)
        writer = Writer(tmp_path, "ipc:///x", notices.append, "drop-oldest")
        begun = Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM})
        for number in range(minutes):
            writer.keep(Records(JOURNAL_STREAM, number, [inference(number) if number else begun]))
            writer.keep(Ticks(STREAM, ticks(200 * number, 200), epoch()))
            writer.sync()
            writer.turn_over()
        writer.finish()
    recording = Recording(tmp_path)
    index = recording.ticks()["index"].tolist()
    assert index == list(range(index[0], 200 * minutes)) and index[0] > 0
    assert recording.document.dropped["ticks"] == {STREAM.hex(): index[0]}
    assert recording.epochs() == [epoch()] and recording.records()[-1].body["seq"] == minutes - 1
    assert notices and all("the disk is full: dropped" in line for line in notices)
    assert not verify(tmp_path)
    assert Writer(tmp_path, "ipc:///x").resume()["ticks"] == {STREAM: 200 * minutes}
