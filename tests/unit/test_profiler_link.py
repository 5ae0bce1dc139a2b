"""The profiler's end of the inference link, against a daemon that the test plays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zmq
from tests import patience
from tests.patience import PATIENCE_S

from neuralpower.errors import InputError
from neuralpower.profiler import link as link_module
from neuralpower.profiler.link import Link, LinkState
from neuralpower.profiler.session import Session
from neuralpower_wire import Batch, decode, encode
from neuralpower_wire.address import Address
from neuralpower_wire.link import ENGINE, HELLO, INFERENCE, Credit, Describe, Engine, Hello, Inference, RefusedInference

SESSION = b"s" * 16


class Daemon:
    """A ROUTER that the test drives step by step."""

    def __init__(self, folder: Path) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(Address.parse(folder).inferences)
        self.peer = b""

    def receive(self, link: Link, count: int = 1) -> list[Batch]:
        """The next `count` messages, while the link is polled; fails when patience ends."""
        batches: list[Batch] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(batches) < count:
            assert time.monotonic() < deadline, f"only {[b.topic for b in batches]} came"
            link.poll()
            if self.socket.poll(10):
                self.peer, *frames = self.socket.recv_multipart()
                batches.append(decode(frames))
        return batches

    def send(self, batch: Batch) -> None:
        self.socket.send_multipart([self.peer, *encode(batch)])

    def close(self) -> None:
        self.socket.close(0)


def until(link: Link, done: Callable[[], object]) -> None:
    """Poll the link until `done()`; fails when patience ends."""
    patience.until(lambda: done() or link.poll(), every_s=0.005)


def inference(seq: int) -> Inference:
    return Inference(SESSION, seq, "e", 1000 + seq * 100, 1050 + seq * 100, np.array([20, 20]))


def make_link(folder: Path) -> Link:
    return Link(folder, Hello(SESSION, 1, "test"))


def seqs(batches: list[Batch]) -> list[int]:
    assert all(batch.topic == INFERENCE for batch in batches)
    return [Inference.of(batch).seq for batch in batches]


def test_no_daemon_costs_nothing_and_drops_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a daemon offers return, the queue stays bounded, and what made room is counted."""
    monkeypatch.setattr(link_module, "KEPT", 8)
    link = make_link(tmp_path)
    for seq in range(20):
        link.offer(inference(seq))
    assert (link.pending, link.counts.dropped, link.state) == (8, 12, LinkState.DOWN)
    link.close(0)
    assert link.counts.dropped == 20


def test_queue_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large inferences make room earlier than small ones."""
    monkeypatch.setattr(link_module, "KEPT_BYTES", 1000)
    link = make_link(tmp_path)
    for seq in range(20):
        link.offer(inference(seq))
    assert 0 < link.pending < 8
    link.close(0)


def test_sends_only_after_greeting_and_within_credit(tmp_path: Path) -> None:
    """Nothing but hello goes out before credit, and no more than was granted after."""
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    for seq in range(5):
        link.offer(inference(seq))
    (hello,) = daemon.receive(link)
    assert hello.topic == HELLO and Hello.of(hello).session == SESSION
    assert not daemon.socket.poll(50)
    daemon.send(Credit(3, -1).batch())
    assert seqs(daemon.receive(link, 3)) == [0, 1, 2]
    link.poll()
    assert not daemon.socket.poll(50)
    daemon.send(Credit(3, 2).batch())
    assert seqs(daemon.receive(link, 2)) == [3, 4]
    daemon.send(Credit(2, 4).batch())
    until(link, lambda: link.pending == 0)
    assert link.counts.acknowledged == 5
    link.close(0)
    daemon.close()


def test_resends_what_a_restarted_daemon_does_not_have(tmp_path: Path) -> None:
    """After a restart the link greets first, then sends from the first unjournaled inference on, without hole or double."""
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    for seq in range(4):
        link.offer(inference(seq))
    daemon.receive(link)
    daemon.send(Credit(256, -1).batch())
    daemon.receive(link, 4)
    daemon.send(Credit(1, 1).batch())
    until(link, lambda: link.pending == 2)
    daemon.close()
    until(link, lambda: link.state is LinkState.DOWN)
    link.offer(inference(4))
    again = Daemon(tmp_path)
    (hello,) = again.receive(link)
    assert hello.topic == HELLO
    assert not again.socket.poll(50)
    again.send(Credit(256, 2).batch())
    assert seqs(again.receive(link, 2)) == [3, 4]
    link.offer(inference(5))
    assert seqs(again.receive(link)) == [5]
    link.close(0)
    again.close()


def test_describes_an_engine_when_asked(tmp_path: Path) -> None:
    """The description goes out once for each request, and unknown hashes are ignored."""
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    link.add_engine(Engine("e", "net", {"Layers": []}, ["a"], True))
    daemon.receive(link)
    daemon.send(Describe("other").batch())
    daemon.send(Describe("e").batch())
    (described,) = daemon.receive(link)
    assert described.topic == ENGINE and Engine.of(described).layers == ["a"]
    link.close(0)
    daemon.close()


def test_refused_inference_is_not_sent_again(tmp_path: Path) -> None:
    """A refusal is counted with its reason, and takes the inference out of what is kept."""
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    link.offer(inference(0))
    daemon.receive(link)
    daemon.send(Credit(256, -1).batch())
    daemon.receive(link)
    daemon.send(RefusedInference(0, "from the future").batch())
    until(link, lambda: link.pending == 0)
    assert (link.counts.refused, link.last_refusal) == (1, "from the future")
    link.close(0)
    daemon.close()


@pytest.mark.parametrize(("end_ns", "durations_ns"), [(5, [1]), (9, [-(2**63)]), (9, [1] * 8193)])
def test_what_no_daemon_could_take_is_not_sent(tmp_path: Path, end_ns: int, durations_ns: list[int]) -> None:
    """Anchors or durations that break the format (nan becomes the least integer) are refused at once, and not sent again and again."""
    session = Session(tmp_path)
    session.send("hash", 5, end_ns, np.array(durations_ns))
    link = session.link
    assert (link.counts.offered, link.counts.refused, link.pending) == (1, 1, 0) and link.last_refusal
    link.close(0)


def test_hostile_answers_change_nothing(tmp_path: Path) -> None:
    """Garbage from the other side is ignored."""
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    link.offer(inference(0))
    daemon.receive(link)
    for frames in ([b""], [b"credit", b"\xc1"], [b"credit", b"\x80"], [b"refused", b"\x81\xa1v\x01"], [b"x"] * 50):
        daemon.socket.send_multipart([daemon.peer, *frames])
    daemon.send(Credit(1, -1).batch())
    assert seqs(daemon.receive(link)) == [0]
    link.close(0)
    daemon.close()


def test_a_lost_credit_is_recovered_by_greeting_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that stays silent is greeted again."""
    monkeypatch.setattr(link_module, "SILENCE_NS", 20_000_000)
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    link.offer(inference(0))
    first, second = daemon.receive(link, 2)
    assert first.topic == second.topic == HELLO
    link.close(0)
    daemon.close()


def test_close_waits_for_the_last_acknowledgement(tmp_path: Path) -> None:
    """Close returns when all is acknowledged, and a second close does nothing."""
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    link.offer(inference(0))
    daemon.receive(link)
    daemon.send(Credit(256, -1).batch())
    daemon.receive(link)
    daemon.send(Credit(1, 0).batch())
    link.close(5.0)
    link.close()
    assert (link.counts.acknowledged, link.counts.forgotten, link.counts.dropped) == (1, 0, 0)
    daemon.close()


@pytest.mark.parametrize("address", ["jetson", "tcp://jetson:7380", "ipc://run/neuralpower"])
def test_what_is_no_folder_of_this_device_is_refused(address: str) -> None:
    """A link to nowhere would keep silent for ever; remote clocks are no clock of inferences."""
    with pytest.raises(InputError, match=r"; (write|give) "):
        Link(address, Hello(SESSION, 1, "test"))


def test_a_description_asked_for_with_the_last_acknowledgement_still_arrives(tmp_path: Path) -> None:
    """A process that ends right after its inferences leaves no engine undescribed: closing does not drop what is under way."""
    daemon, link = Daemon(tmp_path), make_link(tmp_path)
    link.add_engine(Engine("e", "net", {"Layers": ["x" * 4_000_000]}, ["a", "b"], False))
    daemon.receive(link)
    daemon.send(Credit(256, -1).batch())
    until(link, lambda: link.state is LinkState.UP)
    link.offer(inference(0))
    daemon.receive(link)
    daemon.send(Describe("e").batch())
    daemon.send(Credit(1, 0).batch())
    until(link, lambda: not link.pending)
    link.close(0)
    assert daemon.socket.poll(1000 * PATIENCE_S)
    assert Engine.of(decode(daemon.socket.recv_multipart()[1:])).name == "net"
    daemon.close()
