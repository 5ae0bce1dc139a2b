"""Marks and windows: what they say, that sending them never waits, and how they are read again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from tests import patience
from tests.patience import PATIENCE_S

import neuralpower
from neuralpower.profiler import marks as marks_module
from neuralpower.profiler.marks import KEPT, Marks, Span, Window, spans
from neuralpower_wire import Kind, Record
from neuralpower_wire.history import Reply, Request


class Daemon:
    """A history socket that the test drives."""

    def __init__(self, folder: Path) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(f"ipc://{folder}/history.ipc")

    def take(self, marks: Marks, *, error: str = "", answer: bool = True) -> Request:
        """The next request, answered; fails when patience ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.socket.poll(10):
            assert time.monotonic() < deadline
            marks.poll()
        peer, frame = self.socket.recv_multipart()
        request = Request.decode(frame)
        if answer:
            self.socket.send_multipart([peer, *Reply(request.id, error=error).encode()])
        return request


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.socket.close(0)


def until(marks: Marks, done: Any) -> None:
    """Poll the marks until `done()`; fails when patience ends."""
    patience.until(lambda: done() or marks.poll(), every_s=0.002)


def test_a_window_is_a_mark_with_its_two_moments(daemon: Daemon, tmp_path: Path) -> None:
    """Kind, begin and end lie in the text as JSON; what raises inside is said too, and passes through."""
    marks = Marks(tmp_path)
    times = iter([1000, 5000, 6000, 9000])
    with Window("preprocess", marks=marks, clock_ns=lambda: next(times)) as window:
        pass
    request = daemon.take(marks)
    assert (request.do, request.name) == ("mark", "preprocess")
    assert json.loads(request.text) == {"kind": "window", "begin_ns": 1000, "end_ns": 5000}
    assert window.seconds == pytest.approx(4e-6)
    with pytest.raises(ZeroDivisionError), Window("broken", marks=marks, clock_ns=lambda: next(times)):
        raise ZeroDivisionError
    assert json.loads(daemon.take(marks).text)["failed"] == "ZeroDivisionError"
    until(marks, lambda: marks.acknowledged == 2)
    marks.close(0)


def test_the_public_names_reach_the_daemon(daemon: Daemon, tmp_path: Path) -> None:
    """`neuralpower.mark` and `neuralpower.window` are one line of the user's code each."""
    neuralpower.mark("start", "first batch", address=tmp_path)
    with neuralpower.window("work", address=tmp_path):
        pass
    link = marks_module.marks_to(tmp_path)
    assert [daemon.take(link).name, daemon.take(link).name] == ["start", "work"]
    until(link, lambda: link.pending == 0)
    link.close(0)


def test_without_a_daemon_nothing_waits_and_the_oldest_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every send is told not to block, what is kept is bounded, and what made room is counted."""
    marks = Marks(tmp_path)
    flags: list[int] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(socket, name)

        def send(self, frame: bytes, flag: int = 0) -> None:
            flags.append(flag)
            socket.send(frame, flag)

        def poll(self, *arguments: Any) -> int:
            pytest.fail("waited for the daemon")

    socket, marks._socket = marks._socket, Watched()  # type: ignore[assignment]  # a stand-in in its place
    monkeypatch.setattr(marks_module.time, "sleep", lambda seconds: pytest.fail("slept"))
    for number in range(KEPT + 500):
        marks.mark(f"mark {number}")
    assert (marks.offered, marks.pending, marks.dropped) == (KEPT + 500, KEPT, 500)
    assert len(flags) == KEPT + 500 and set(flags) == {zmq.NOBLOCK}
    marks._socket = socket
    marks.close(0)
    assert marks.dropped == KEPT + 500


def test_marks_of_a_time_without_a_daemon_arrive_later(tmp_path: Path) -> None:
    """What was kept goes out in order once there is one."""
    marks = Marks(tmp_path)
    for name in ("one", "two", "three"):
        marks.mark(name)
    daemon = Daemon(tmp_path)
    assert [daemon.take(marks).name for _ in range(3)] == ["one", "two", "three"]
    until(marks, lambda: marks.acknowledged == 3)
    marks.close(0)
    daemon.socket.close(0)


def test_a_mark_whose_answer_is_lost_goes_out_again(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that died between taking and answering may journal a mark twice; it never loses one silently."""
    monkeypatch.setattr(marks_module, "AGAIN_NS", 20_000_000)
    marks = Marks(tmp_path)
    marks.mark("once")
    assert daemon.take(marks, answer=False).name == "once" == daemon.take(marks).name
    until(marks, lambda: marks.acknowledged == 1)
    marks.close(0)


def test_refusals_and_hostile_answers_are_counted_or_ignored(daemon: Daemon, tmp_path: Path) -> None:
    """A refused mark is not sent again; garbage changes nothing."""
    marks = Marks(tmp_path)
    marks.mark("no")
    daemon.take(marks, error="the journal is full")
    until(marks, lambda: marks.refused == 1)
    assert marks.pending == 0 and marks.acknowledged == 0
    marks.mark("yes")
    peer, frame = daemon.socket.recv_multipart()
    for frames in ([b""], [b"\xc1"], [b"\x80"], Reply(999).encode()):
        daemon.socket.send_multipart([peer, *frames])
    daemon.socket.send_multipart([peer, *Reply(Request.decode(frame).id).encode()])
    until(marks, lambda: marks.acknowledged == 1)
    marks.close(0)


@pytest.mark.parametrize(("name", "text"), [("", ""), ("x" * 257, ""), ("x", "y" * 4001)])
def test_what_no_journal_takes_is_an_error_at_once(tmp_path: Path, name: str, text: str) -> None:
    """Before anything is sent."""
    marks = Marks(tmp_path)
    with pytest.raises(ValueError, match="1 to 256 characters and at most 4000"):
        marks.mark(name, text)
    assert marks.offered == 0
    marks.close(0)


def record(name: str, text: str, kind: Kind = Kind.MARK) -> Record:
    return Record(kind, 5, {"name": name, "text": text})


def test_spans_are_read_from_marks_and_nothing_else() -> None:
    """In the order of time, each once; plain marks, other records and broken text are passed over."""
    window = json.dumps({"kind": "window", "begin_ns": 30, "end_ns": 40})
    idle = json.dumps({"kind": "baseline", "begin_ns": 10, "end_ns": 20, "engine": "net"})
    broken = ["", "plain", "[]", "3", "{}", '{"kind": 1, "begin_ns": 1, "end_ns": 2}', '{"kind": "w", "begin_ns": 9, "end_ns": 2}',
              '{"kind": "w", "begin_ns": true, "end_ns": 2}', "[" * 3000]  # fmt: skip
    records = [record("work", window), *(record("x", text) for text in broken), record("device idle", idle)]
    records += [record("work", window, Kind.EVENT), record("work", window)]
    assert spans(records) == [
        Span("baseline", "device idle", 10, 20, {"engine": "net"}),
        Span("window", "work", 30, 40, {}),
    ]
    assert [span.name for span in spans(records, "window")] == ["work"]
