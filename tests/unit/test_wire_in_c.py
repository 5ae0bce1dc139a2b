"""The subscriber under examples/ on sound and on damaged bytes: the sanitizers find nothing, whatever a daemon sends."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tests.patience import PATIENCE_S
from tests.worlds.bare_zmtp import GREETING, message
from tests.worlds.subscriber_in_c import Summary, built

from neuralpower_wire import (
    Batch,
    Channel,
    Epoch,
    EpochBegun,
    Inference,
    Kind,
    Record,
    encode,
    tick_dtype,
    ticks_to_batch,
)
from neuralpower_wire.history import Reply
from neuralpower_wire.journal import records_to_batch

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")

STREAM, JOURNAL = bytes(range(16)), bytes(range(16, 32))
CASES = 150
SHAKEN = GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"
EPOCH = Epoch(
    number=3,
    first_index=0,
    period_ns=1_000_000,
    t0_ns=0,
    source="sim",
    simulated=True,
    board="a board",
    channels=(
        Channel("IN\x1b[2J", "bus_uv", "chip", 1),
        Channel("IN\x1b[2J", "shunt_uv", "chip", 1, shunt_uohm=2000, offset=-1000),
        Channel("GPU", "power_uw", "other", 1),
    ),
    totals=("IN\x1b[2J",),
    covers="module",
)


def ticks(first: int, count: int) -> np.ndarray:
    """Ticks of 10 V × (21 − 1) mV / 2 mΩ = 100 W and 5 W; of the second rail's every tenth is missing."""
    made = np.zeros(count, tick_dtype(3))
    made["index"] = made["slot"] = np.arange(first, first + count)
    made["t_ns"], made["epoch"], made["n"] = made["index"] * 1_000_000, 3, 3
    made["readings"]["value"] = [10_000_000, 21_000, 5_000_000]
    made["readings"]["state"][::10, 2] = 3
    return made


def said() -> dict[str, bytes]:
    """What a daemon says to a subscriber at each socket: a hole of five ticks, an engine's three inferences."""
    begun = Record(Kind.EPOCH, 1, EpochBegun(STREAM, EPOCH))
    runs = [Inference(JOURNAL, seq, "e", 1 + seq, 2 + seq, np.array([1])) for seq in range(3)]
    records = [begun, *(Record(Kind.INFERENCE, 9, run) for run in runs)]
    live = [
        encode(records_to_batch(JOURNAL, 70, records)),
        encode(ticks_to_batch(STREAM, ticks(100, 40))),
        [b"status", *encode(ticks_to_batch(STREAM, ticks(100, 1)))[1:]],
        encode(ticks_to_batch(STREAM, ticks(145, 400))),
    ]
    answer = Reply(1, body={"stream": STREAM, "epochs": [{**EPOCH.to_dict(), "number": 2}]}).encode()
    ping = b"\x04\x0c\x04PING\x00\x0ahello"
    return {"live": SHAKEN + ping + b"".join(map(message, live)), "history": SHAKEN + message(answer)}


class Liar:
    """Two sockets that say what they are told to, whatever they hear."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.says: dict[str, bytes] = {}
        self.connected: list[tuple[str, socket.socket]] = []
        self._ends = []
        for name in ("live", "history"):
            end = socket.socket(socket.AF_UNIX)
            end.bind(str(folder / f"{name}.ipc"))
            end.listen()
            self._ends.append(end)
            threading.Thread(target=self._serve, args=(name, end), daemon=True).start()

    def _serve(self, name: str, end: socket.socket) -> None:
        with suppress(OSError):  # it was closed
            while True:
                peer, _ = end.accept()
                self.connected.append(
                    (name, peer)
                )  # open until the program has ended: what it has not read it may read
                with suppress(OSError):
                    peer.sendall(self.says[name])
                    peer.shutdown(socket.SHUT_WR)

    def tell(self, program: Path, says: dict[str, bytes], *words: str) -> tuple[int, str, str, dict[str, bytes]]:
        """Run the program on these bytes: exit status, what it printed, what it complained of, and what it had said."""
        self.says = says
        ran = subprocess.run([program, self.folder, *words], capture_output=True, text=True, timeout=PATIENCE_S)
        heard = {}
        for name, peer in self.connected:
            heard[name] = peer.recv(1 << 16)
            peer.close()
        self.connected.clear()
        return ran.returncode, ran.stdout, ran.stderr, heard

    def close(self) -> None:
        """Nobody listens any more."""
        for end in self._ends:
            end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture(scope="module")
def subscriber(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with sanitizers."""
    return built(tmp_path_factory.mktemp("c"))


@pytest.fixture
def liar() -> Iterator[Liar]:
    """In a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="np") as folder:
        made = Liar(Path(folder))
        yield made
        made.close()


def test_reads_what_a_daemon_says(liar: Liar, subscriber: Path) -> None:
    """Watts by offset, shunt and voltage, missing readings left out, holes counted, names harmless, a ping answered."""
    status, printed, complaint, heard = liar.tell(subscriber, said(), "440", "3")
    assert status == 0 and complaint == "" and "\x1b" not in printed
    told = Summary.parse(printed)
    assert (told.first, told.ticks, told.ticks_lost, told.unexplained) == (100, 440, 5, 0)
    assert (told.journal_first, told.records, told.records_lost, told.inferences) == (70, 4, 0, 3)
    assert told.rails == {"IN?[2J": (440, pytest.approx(100.0)), "GPU": (396, pytest.approx(5.0))}
    assert told.simulated and told.covers == "module" and told.total_w == pytest.approx(100.0)
    assert b"\x04\x0a\x04PONGhello" in heard["live"] and b"\x09SUBSCRIBErails" in heard["live"]


def test_another_version_is_told(liar: Liar, subscriber: Path) -> None:
    """A daemon of a later version is not misread."""
    says = said()
    says["live"] = says["live"].replace(b"\xa1v\x01", b"\xa1v\x02")
    status, _, complaint, _ = liar.tell(subscriber, says, "440")
    assert status == 1 and "another version of the wire" in complaint and complaint.count("\n") == 1


def test_ticks_of_an_epoch_that_it_was_not_told_are_counted(liar: Liar, subscriber: Path) -> None:
    """They are no watts, and no secret."""
    says = said()
    says["live"] = says["live"].replace(b"\xa6number\x03", b"\xa6number\x04")
    status, printed, _, _ = liar.tell(subscriber, says, "440")
    assert status == 0 and Summary.parse(printed).unexplained == 440


def journal(first: int, stream: bytes, length: int = 3) -> bytes:
    """A message of one record of a kind that nobody knows, with a body of so many zeros."""
    header = {"stream": stream, "first": first, "count": 1}
    columns = {"kind": "u1", "t_ns": "<i8", "length": "<u4"}
    made = {name: np.full(1, length if name == "length" else 0, dtype) for name, dtype in columns.items()}
    return message(encode(Batch(b"inferences", header, {**made, "body": np.zeros(length, "u1")})))


def test_losses_larger_than_any_number_are_told_as_the_largest(liar: Liar, subscriber: Path) -> None:
    """Two streams, each with a hole of nearly all indices that there are."""
    far = [journal(first, stream) for stream in (JOURNAL, STREAM) for first in (0, 2**63 - 3)]
    says = {**said(), "live": SHAKEN + b"".join(far) + message(encode(ticks_to_batch(STREAM, ticks(100, 1))))}
    status, printed, complaint, _ = liar.tell(subscriber, says, "1")
    assert (status, complaint) == (0, "")
    assert Summary.parse(printed).records_lost == 2**63 - 1


def test_a_record_of_nothing_is_one(liar: Liar, subscriber: Path) -> None:
    """Its body is an empty frame: no bytes, which lie nowhere."""
    says = {**said(), "live": SHAKEN + journal(7, JOURNAL, 0) + message(encode(ticks_to_batch(STREAM, ticks(100, 1))))}
    status, printed, complaint, _ = liar.tell(subscriber, says, "1")
    assert (status, complaint) == (0, "")
    assert Summary.parse(printed).records == 1


@pytest.mark.parametrize("words", [["x"], ["1", "-1"], ["1", "1", "1"], [""]])
def test_wrong_arguments(liar: Liar, subscriber: Path, words: list[str]) -> None:
    """One line, status 2."""
    status, printed, complaint, _ = liar.tell(subscriber, {}, *words)
    assert (status, printed) == (2, "") and complaint.startswith("usage: ")


def damaged(draw: random.Random, sound: bytes) -> bytes:
    """Cut, changed, doubled or lengthened somewhere behind the greeting, mostly; numbers often become the largest."""
    data = bytearray(sound)
    for _ in range(draw.randint(1, 3)):
        at, choice = draw.randrange(64 if draw.random() < 0.95 and len(data) > 64 else 0, len(data)), draw.randrange(6)
        if choice == 0:
            data[at] = draw.randrange(256)
        elif choice == 1:
            data[at : at + draw.choice((1, 2, 4, 8))] = b"\xff" * draw.choice((1, 2, 4, 8))
        elif choice == 2:
            del data[at : at + draw.randint(1, 40)]
        elif choice == 3:
            data[at:at] = draw.randbytes(draw.randint(1, 40))
        elif choice == 4:
            data[at] ^= 1 << draw.randrange(8)
        else:
            del data[at:]
            data += b"\0" if not data else b""
    return bytes(data)


def test_no_bytes_are_too_strange(liar: Liar, subscriber: Path) -> None:
    """It ends by itself, with one line where something is wrong, and no sanitizer has anything to say."""
    draw, ends = random.Random(16), {0: 0, 1: 0}
    for number in range(CASES):
        says = said()
        name = draw.choice(("live", "live", "history"))
        says[name] = damaged(draw, says[name])
        status, _, complaint, _ = liar.tell(subscriber, says, "440")
        assert status in ends and complaint.count("\n") == status, f"case {number}: {status} {complaint}"
        ends[status] += 1
    assert ends[0] > CASES // 20 and ends[1] > CASES // 3, "the cases are all alike"
