"""The inference link of a real daemon: what is taken, what is refused, and what hostile bytes do."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
import zmq
from daemon_process import SESSION, Daemon, Process, receive
from tests.patience import PATIENCE_S, until

from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Batch, Kind, encode
from neuralpower_wire.batch import pack, unpack
from neuralpower_wire.link import Credit, Describe, Engine, Hello, Inference, RefusedInference

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon that is not started yet."""
    made = Daemon()
    yield made
    made.close()


def hear_layers(live: zmq.Socket[bytes]) -> Batch:
    """The next layers message."""
    return next(batch for batch in receive(live, PATIENCE_S) if batch.topic == b"layers")


def test_inferences_are_journaled_once_and_joined(daemon: Daemon) -> None:
    """An inference gets credit, its engine is asked for once, its layers get windows and energy; sent again after a restart
    it is not taken twice, and a hole in the numbers is an event."""
    daemon.start()
    live = daemon.connect(zmq.SUB, "live")
    process = Process(daemon)
    assert process.hello() == Credit(256, -1)
    process.infer(0, (begin := time.monotonic_ns() - 30_000_000), begin + 20_000_000)
    assert Describe.of(process.hear(b"describe")).engine == "e1"
    assert Credit.of(process.hear(b"credit")) == Credit(1, 0)
    process.say(Engine("e1", "net", {"Layers": []}, ["a", "b"], True).batch())
    last, layers = 0, hear_layers(live)
    assert layers.columns["end_ns"].tolist() == [begin + 12_500_000, begin + 17_500_000]
    while (
        layers.columns["inference_energy_uj"][0] < 0
    ):  # before the first tick, or ticks passed over: energy is not guessed
        last += 1
        # One that began before the last one ended would be refused.
        until(lambda ended_ns=begin + 20_000_000: time.monotonic_ns() - 30_000_000 >= ended_ns)
        process.infer(last, (begin := time.monotonic_ns() - 30_000_000), begin + 20_000_000)
        layers = hear_layers(live)
    assert layers.columns["inference_energy_uj"][0] == pytest.approx(3e6 * 0.02, rel=0.1)
    assert layers.columns["energy_uj"].tolist() == pytest.approx([30_000, 15_000], rel=0.1)
    daemon.until(lambda: not daemon.ask("engine", hash="e1").error)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    process = Process(daemon)
    assert process.hello() == Credit(256, last)
    process.infer(last, begin, begin + 20_000_000)
    process.infer(last + 3, (begin := time.monotonic_ns() - 20_000_000), begin + 10_000_000)
    while Credit.of(process.hear(b"credit")).upto != last + 3:
        pass
    assert [record.body["seq"] for record in daemon.records(Kind.INFERENCE)] == [*range(last + 1), last + 3]
    (event,) = [record.body for record in daemon.records(Kind.EVENT) if record.body["name"] == "inferences-lost"]
    assert (event["first"], event["count"]) == (last + 1, 2)
    assert daemon.ask("engine", hash="e1").body["layers"] == ["a", "b"], "the engine was forgotten in the restart"


@pytest.mark.parametrize(
    ("begin", "end", "layers", "reason"),
    [
        (-30, 1000, (1,), "future"),
        (-30, -10, (25_000_000, 25_000_000), "its layers last 50000000 ns"),
        (-60, -10, (1,), "before the session's last one ended"),
    ],
)
def test_impossible_inferences_are_refused(
    daemon: Daemon, begin: int, end: int, layers: tuple[int, ...], reason: str
) -> None:
    """Anchors in the future or before the last ones, and layers longer than their window, are refused with the reason."""
    daemon.start()
    process = Process(daemon)
    process.hello()
    now = time.monotonic_ns()
    process.infer(0, now - 100_000_000, now - 50_000_000)
    process.infer(1, now + begin * 1_000_000, now + end * 1_000_000, layers)
    assert reason in RefusedInference.of(process.hear(b"refused")).reason
    assert len(daemon.records(Kind.INFERENCE)) == 1


def test_hostile_bytes_change_nothing(daemon: Daemon) -> None:
    """Noise on either ROUTER, false columns and foreign sessions are counted, and the daemon goes on."""
    daemon.start()
    rng = np.random.default_rng(7)
    process, asker = Process(daemon), daemon.connect(zmq.DEALER, "history")
    process.infer(0, 1, 2)
    assert "hello" in RefusedInference.of(process.hear(b"refused")).reason
    good = encode(Inference(SESSION, 0, "e", 1, 2, np.array([1])).batch())
    for length in range(120):
        noise = rng.bytes(length)
        process.end.send_multipart([b"inference", noise])
        process.end.send_multipart([good[0], good[1][:length] + noise, good[2]])
        process.end.send_multipart([noise] * (length % 7 + 1))
        asker.send(noise)
    asker.send_multipart([b"", b"", b""])
    now = time.monotonic_ns()
    process.hello()
    process.infer(2**62, now - 1000, now - 10)
    assert "its number is" in RefusedInference.of(process.hear(b"refused")).reason
    process.infer(0, now - 30_000_000, now - 10_000_000)
    daemon.until(lambda: len(daemon.records(Kind.INFERENCE)) == 1)
    daemon.until(lambda: daemon.ask("status").body["broken_messages"] > 200)
    assert ", peer " in daemon.ask("status").body["last_broken_message"]
    _, logged = daemon.stop()
    assert 1 <= logged.count("a message was refused: inferences") < 50


def test_a_profiler_of_another_version_is_told(daemon: Daemon) -> None:
    """It hears why it gets no credit, in the daemon's version; the log has the same line, and SIGUSR1 counts it."""
    daemon.start()
    process = Process(daemon)
    topic, header = encode(Hello(SESSION, 1, "later").batch())
    process.end.send_multipart([topic, pack({**unpack(header), "v": 2})])
    line = "the other end speaks version 2 of the wire and this one version 1: install the same neuralpower on both"
    assert RefusedInference.of(process.hear(b"refused")).reason == line
    daemon.until(lambda: daemon.ask("status").body["broken_messages"] == 1)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGUSR1)
    daemon.until(lambda: daemon.ask("status").body["uptime_s"] > 0)
    code, logged = daemon.stop()
    assert code == 0 and "a message was refused: inferences, peer " in logged and f": {line} (1 so far)" in logged
    assert "state: broken_messages: 1\n" in logged
