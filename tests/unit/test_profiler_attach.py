"""One line in somebody's service: it is measured, and nothing of ours can stop it or make it wait."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import zmq
from test_profiler_layers import Context, Engine, context  # noqa: F401  # the stand-in for TensorRT's context, a fixture

import neuralpower
from neuralpower.profiler import link as link_module
from neuralpower.profiler.attach import Attached
from neuralpower.profiler.link import Link
from neuralpower_wire import decode, encode
from neuralpower_wire.link import HELLO, Credit


class Watched:
    """A link's socket that notes every call, and fails the test at one that could wait."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.sends: list[int] = []
        self.receives = self.polls = 0

    def send_multipart(self, frames: list[bytes], flags: int = 0) -> None:
        assert flags & zmq.NOBLOCK
        self.sends.append(len(frames))
        self._socket.send_multipart(frames, flags)

    def recv_multipart(self, flags: int = 0) -> list[bytes]:
        assert flags & zmq.NOBLOCK
        self.receives += 1
        frames: list[bytes] = self._socket.recv_multipart(flags)
        return frames

    def poll(self, timeout: int | None = None) -> int:
        assert timeout == 0, "the service waited for the daemon"
        self.polls += 1
        found: int = self._socket.poll(timeout)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def watch(link: Link, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(link_module.time, "sleep", lambda seconds: pytest.fail("slept"))
    watched = Watched(link._socket)
    link._socket = watched  # type: ignore[assignment]  # a stand-in in its place
    link._monitor = Watched(link._monitor)  # type: ignore[assignment]  # a stand-in in its place
    return watched


class Daemon:
    """The inference socket of a daemon that the test kills."""

    def __init__(self, folder: Path) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(f"ipc://{folder}/inferences.ipc")

    def greet(self, grant: int) -> None:
        while self.socket.poll(2000):
            peer, *frames = self.socket.recv_multipart()
            if decode(frames).topic == HELLO:
                self.socket.send_multipart([peer, *encode(Credit(grant, -1).batch())])
                return
        pytest.fail("the profiler never said hello")


def test_a_call_is_measured_and_returns_what_it_returned(context: Context, tmp_path: Path) -> None:  # noqa: F811 (the fixture, imported)
    """Arguments and result pass through, errors too, and each call that ended is an inference."""

    def infer(value: int, *, times: int = 1) -> int:
        if value < 0:
            raise ValueError("negative")
        return value * times

    measured = neuralpower.attach(context, infer, address=tmp_path)
    assert isinstance(measured, Attached)
    assert [measured(3), measured(3, times=4)] == [3, 12]
    with pytest.raises(ValueError, match="negative"):
        measured(-1)
    assert measured.profiler.counts.offered == 2 and measured.fault is None
    measured.profiler.close(0)


def test_a_fault_of_the_profiler_ends_the_profiling_alone(
    context: Context,  # noqa: F811 (the fixture, imported)
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged once, kept, and the service goes on without a profiler."""
    measured: Any = neuralpower.attach(context, lambda: "result", address=tmp_path)
    context.report = [("another", 1.0)]
    with caplog.at_level(logging.WARNING):
        assert [measured() for _ in range(5)] == ["result"] * 5
    assert "has 2 layers" in str(measured.fault) and context.profiler is None
    assert len([record for record in caplog.records if "profiling has ended" in record.message]) == 1


@pytest.mark.parametrize("stage", ["inference", "begin", "end", "close"])
def test_whatever_the_profiler_raises_stays_with_it(
    context: Context,  # noqa: F811 (the fixture, imported)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stage: str,
) -> None:
    """Before, behind and after the service's own code; and what that raises comes through as it is."""

    class Broken:
        def __enter__(self) -> None:
            if stage == "begin":
                raise MemoryError("begin")

        def __exit__(self, *exception: object) -> None:
            raise OSError("end")

    def begin(*_: object) -> Broken:
        if stage == "inference":
            raise RuntimeError("inference")
        return Broken()

    def close(timeout_s: float) -> None:
        if stage == "close":
            raise ZeroDivisionError("close")

    def infer(fails: bool) -> str:
        if fails:
            raise KeyError("the service's own")
        return "result"

    for fails in (False, True):
        measured: Any = neuralpower.attach(context, infer, address=tmp_path)
        measured.profiler.close(0)
        monkeypatch.setattr(measured.profiler, "inference", begin)
        monkeypatch.setattr(measured.profiler, "close", close)
        if fails:
            with pytest.raises(KeyError, match="the service's own"):
                measured(True)
        else:
            assert measured(False) == "result"
        assert str(measured.fault) == (stage if stage in ("inference", "begin") else "end")
        assert measured(False) == "result"
    assert len([record for record in caplog.records if "profiling has ended" in record.message]) == 2


def test_a_call_within_a_call_runs_as_it_is(context: Context, tmp_path: Path) -> None:  # noqa: F811 (the fixture, imported)
    """One inference is measured at a time: of another that begins meanwhile nothing is known, and nothing fails."""

    def infer(depth: int) -> int:
        return depth if depth == 0 else measured(depth - 1) + 1

    measured: Any = neuralpower.attach(context, infer, address=tmp_path)
    assert measured(3) == 3
    assert measured.profiler.counts.offered == 1 and measured.fault is None
    measured.profiler.close(0)


def test_what_cannot_be_profiled_runs_as_it_is(
    context: Context,  # noqa: F811 (the fixture, imported)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Auxiliary streams: the function itself comes back, with a warning."""
    monkeypatch.setattr(Engine, "num_aux_streams", 1, raising=False)

    def infer() -> str:
        return "result"

    assert neuralpower.attach(context, infer, address=tmp_path) is infer
    assert "auxiliary streams" in caplog.text


def test_no_call_waits_when_the_daemon_is_killed(
    context: Context,  # noqa: F811 (the fixture, imported)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to its credit everything is sent; after the daemon's death nothing blocks, and all that is not sent is kept and counted."""
    monkeypatch.setattr(link_module, "KEPT", 50)
    daemon = Daemon(tmp_path)
    measured: Any = neuralpower.attach(context, lambda: None, address=tmp_path)
    link = measured.profiler.session.link
    for _ in range(400):
        link.poll()
        if link.state is link_module.LinkState.GREETING:
            break
        link._socket.poll(5)
    daemon.greet(20)
    while link.state is not link_module.LinkState.UP:
        link._socket.poll(5)
        link.poll()
    watched = watch(link, monkeypatch)
    for _ in range(20):
        measured()
    assert len(watched.sends) == 20 and link.pending == 20
    daemon.socket.close(0)
    for _ in range(1000):
        measured()
    assert measured.fault is None and link.counts.offered == 1020
    assert link.pending == 50 and link.counts.dropped + link.counts.forgotten == 970
    # No more messages than the credit and a greeting or two: what cannot be sent is not tried over and over.
    assert len(watched.sends) <= 25 and watched.receives <= 1020 + 25
    link._socket, link._monitor = watched._socket, link._monitor._socket
    measured.profiler.close(0)


def test_no_call_waits_when_the_daemon_stops_taking(
    context: Context,  # noqa: F811 (the fixture, imported)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A daemon that is there and silent fills the queue: the oldest make room, no call waits, greetings are rare."""
    monkeypatch.setattr(link_module, "KEPT", 50)
    daemon = Daemon(tmp_path)
    measured: Any = neuralpower.attach(context, lambda: None, address=tmp_path)
    link = measured.profiler.session.link
    watched = watch(link, monkeypatch)
    for _ in range(3000):
        measured()
    assert link.counts.offered == 3000 and link.pending == 50 and link.counts.dropped == 2950
    assert len(watched.sends) <= 5
    link._socket, link._monitor = watched._socket, link._monitor._socket
    measured.profiler.close(0)
    daemon.socket.close(0)
