"""A client against a daemon that lies or floods, or after a long absence: it stays within bounds, and says what is lost."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path

import pytest
import zmq
from tests.patience import until
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, FakeDaemon, epoch, ticks

from neuralpower import Failure, Recording
from neuralpower.recordings.recorder import record
from neuralpower.subscriber.client import Client
from neuralpower_wire import Batch, Kind, Record, encode, records_to_batch, ticks_to_batch
from neuralpower_wire.history import Reply


def own_memory() -> int:
    """Bytes of this process that no file is behind."""
    return next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("RssAnon")
    )


def lies(draw: random.Random, number: int) -> list[bytes]:
    """One message that is wrong in some way."""
    good = encode(ticks_to_batch(STREAM, ticks(number * 50, 50)))
    kind = number % 8
    if kind == 0:  # garbage
        return [
            draw.choice([b"rails", b"inferences", b"status"]),
            *(draw.randbytes(draw.randrange(200)) for _ in range(draw.randrange(6))),
        ]
    if kind == 1:  # a bit turned over
        at = draw.randrange(len(good))
        frame = bytearray(good[at])
        frame[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
        return [*good[:at], bytes(frame), *good[at + 1 :]]
    if kind == 2:  # a gap that nobody can fill
        return encode(ticks_to_batch(STREAM, ticks(10**12 + number * 10**9, 1)))
    if kind == 3:  # a stream of its own
        return encode(ticks_to_batch(draw.randbytes(16), ticks(number, 1)))
    if kind == 4:  # an epoch of a stream that nobody has
        body = {**epoch(number + 2).to_dict(), "stream": draw.randbytes(16)}
        return encode(records_to_batch(JOURNAL_STREAM, 10 * number, [Record(Kind.EPOCH, 1, body)]))
    if kind == 5:
        return encode(Batch(b"status", {"status": {"x" * draw.randrange(99): "y" * 50_000}}, {}))
    if kind == 6:
        return [b"rails", b"\xdf" + b"\xff" * 9]
    return [*good[:-1], good[-1] + b"\0"]


def test_a_daemon_that_lies_costs_no_more_than_its_lies(tmp_path: Path) -> None:
    """Garbage, gaps of 10¹², thousands of streams and epochs: no error, no memory to speak of, and what is sound is recorded."""
    run = tmp_path / "run"
    run.mkdir()
    draw, stop = random.Random(5), threading.Event()
    with FakeDaemon(run) as daemon:
        daemon.add_ticks(ticks(0, 100), publish=False)

        def lie() -> None:
            for number in range(1500):
                if stop.is_set():
                    return
                with daemon._lock:
                    daemon.publish(lies(draw, number))
                if number % 40 == 0:
                    time.sleep(0.01)
            stop.set()

        liar = threading.Thread(target=lie)
        before = own_memory()
        liar.start()
        try:
            with contextlib.suppress(Failure):  # that its last entries are missing is true
                record(str(run), tmp_path / "rec", past=True, stop=stop)
        finally:
            stop.set()
            liar.join()
    grown = own_memory() - before
    print(f"own memory grew by {grown / 1e6:.0f} MB")
    assert grown < 150e6
    found = Recording(tmp_path / "rec", skip_damaged=True)
    assert STREAM in found.streams and set(range(100)) <= set(found.ticks(STREAM)["index"].tolist())


def test_answers_that_nobody_asked_for_are_not_kept(tmp_path: Path) -> None:
    """A flood of them, of a megabyte each, is dropped as it comes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    router.bind(f"ipc://{tmp_path}/history.ipc")
    peer: list[bytes] = []
    try:
        with Client(str(tmp_path)) as client:
            number = None
            until(lambda: client._history.connected(0.1))
            number = client._history.send("status")
            peer = router.recv_multipart()[:1]
            unasked = Reply(987_654, body={"x": bytes(1 << 20)}).encode()
            before = own_memory()
            for _ in range(300):
                router.send_multipart([*peer, *unasked])
                assert number is not None and client._history.receive(number, 0.0) is None
            assert not client._history._arrived and own_memory() - before < 100e6
            router.send_multipart([*peer, *Reply(number, body={"ok": True}).encode()])
            answer = client._history.receive(number, 30.0)
            assert answer is not None and answer.reply.body == {"ok": True}
    finally:
        router.close()
        context.term()


@pytest.mark.parametrize("absent_s", [3600])
def test_a_laptop_that_slept_for_an_hour_goes_on(tmp_path: Path, absent_s: int) -> None:
    """The daemon holds 300 s of it (scaled: a tick a second): what is older is told lost from first to last, the rest comes, and then what is live."""
    run = tmp_path / "run"
    run.mkdir()
    with FakeDaemon(run) as daemon, Client(str(run), topics=("rails",), past=True) as client:
        daemon.add_ticks(ticks(0, 100), publish=False)
        seen: list[int] = []
        lost: list[tuple[int, int]] = []

        def take(wanted: int) -> None:
            deadline = time.monotonic() + 60
            while (not seen or seen[-1] < wanted - 1) and time.monotonic() < deadline:
                for message in client.poll(0.1):
                    if hasattr(message, "ticks"):
                        seen.extend(message.ticks["index"].tolist())
                    elif hasattr(message, "why"):
                        lost.append((message.first, message.last))

        take(100)
        daemon.add_ticks(ticks(100, absent_s), publish=False)
        daemon.oldest_tick = 100 + absent_s - 300
        daemon.add_ticks(ticks(100 + absent_s, 10))
        take(110 + absent_s)
    assert lost == [(100, 100 + absent_s - 301)]
    assert seen == [*range(100), *range(100 + absent_s - 300, 110 + absent_s)]
