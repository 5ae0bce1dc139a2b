"""The inference link's end in the daemon, without sockets."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from neuralpower_wire import Batch, Epoch, Kind, Record, WireError, batch_to_records, bodies, decode, encode
from neuralpower_wire.batch import pack
from neuralpower_wire.link import CREDIT, Credit, Engine, EngineHead, Hello, Inference
from neuralpowerd.config import Config
from neuralpowerd.live.endpoints import Endpoints
from neuralpowerd.live.inferences import Ingest, public_session
from neuralpowerd.live.refusals import Refusals
from neuralpowerd.logs.feeds import JournalFeed
from neuralpowerd.logs.journal import Journal
from neuralpowerd.logs.ledger import Ledger
from neuralpowerd.parts.inferences import InferencesPart

SESSION = bytes(range(16))
MS = 1_000_000


def inference(seq: int) -> Inference:
    """Number `seq` of the session."""
    begin = 10 * MS * (seq + 1)
    return Inference(SESSION, seq, "e", begin, begin + MS, np.full(3, MS // 3))


def test_nothing_is_taken_twice_though_the_journal_holds_what_is_not_known(tmp_path: Path) -> None:
    """A daemon that begins anew, as after a down-grade, learns of the inferences behind a record of a kind that it does not know."""
    journal = Journal(tmp_path / "j", 1 << 16, bytes(16))
    journal.append(Record(Kind.INFERENCE, 0, replace(inference(0), session=public_session(SESSION))))
    journal.append(Record(Kind.UNKNOWN, 0, {"kind": 8, "packed": b"\x80"}))
    journal.append(Record(Kind.INFERENCE, 0, replace(inference(1), session=public_session(SESSION))))
    sent: list[Batch] = []
    ledger = Ledger(journal, lambda: 10**12, 4)
    ingest = Ingest(ledger, Config().inferences, lambda peer, batch: sent.append(batch), lambda index, taken: None)
    ingest.handle(b"peer", Hello(SESSION, 1, "p").batch())
    credit = Credit.of(next(each for each in sent if each.topic == CREDIT))
    assert credit.upto == 1
    before = journal.next_index
    for seq in (0, 1):
        ingest.handle(b"peer", inference(seq).batch())
    assert journal.next_index == before and ingest.taken == 0
    ingest.handle(b"peer", inference(2).batch())
    assert ingest.taken == 1


def test_of_each_session_only_the_last_inference_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that starts over a journal of 3,000 inferences of three sessions opens three, and knows all; the newest sessions are kept."""
    ledger = Ledger(Journal(tmp_path / "j", 1 << 20, bytes(16)), lambda: 10**12, 4)
    names = [bytes([number]) * 16 for number in range(3)]
    ledger.write(Kind.ENGINE, Engine("e0", "n", {"Layers": []}, ["a"], True))
    for seq in range(1000):
        for name in names:
            ledger.write(Kind.INFERENCE, replace(inference(seq), session=name))
    ledger.write(Kind.ENGINE, Engine("e1", "n", {"Layers": []}, ["a"], True))
    unpacked: list[int] = []
    unpack = Record.unpack
    monkeypatch.setattr(Record, "unpack", lambda kind, t_ns, body: unpacked.append(kind) or unpack(kind, t_ns, body))
    for most, kept in ((32, names), (2, names[1:])):
        unpacked.clear()
        limits = replace(Config().inferences, max_sessions=most)
        ingest = Ingest(ledger, limits, lambda peer, batch: None, lambda index, taken: None)
        assert unpacked == [Kind.INFERENCE] * 3
        assert [*ingest._sessions] == kept
        assert {(each.upto, each.seen, each.last_end_ns) for each in ingest._sessions.values()} == {
            (999, 999, inference(999).end_ns)
        }
        assert [*ledger._engines] == ["e0", "e1"]


def test_a_daemon_samples_before_it_looks_through_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large journal takes seconds to read; after a crash no tick waits for that. What was taken is known before the first message."""
    ledger = Ledger(Journal(tmp_path / "j", 1 << 16, bytes(16)), lambda: 10**12, 4)
    ledger.write(Kind.INFERENCE, replace(inference(0), session=public_session(SESSION)))
    looked: list[int] = []
    read = ledger.journal.read_packed
    monkeypatch.setattr(ledger.journal, "read_packed", lambda first, count: looked.append(first) or read(first, count))
    part = InferencesPart(Config(), ledger, cast(Endpoints, None), Refusals())
    assert not looked
    part.begin_epoch(cast(Epoch, None))
    assert looked and part._ingest._sessions[public_session(SESSION)].upto == 0
    looked.clear()
    part.begin_epoch(cast(Epoch, None))
    assert not looked


def test_between_ingest_and_publisher_a_record_is_packed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inference's body is packed when it is journaled, an engine's came packed; nobody unpacks either on the way."""
    journal = Journal(tmp_path / "journal.ring", 1 << 20, bytes(16))
    ledger = Ledger(journal, lambda: 10**12, 10)
    ingest = Ingest(ledger, Config().inferences, lambda peer, batch: None, lambda index, inference: None)
    ingest.handle(b"peer", Hello(SESSION, 1, "test").batch())
    run, engine = decode(encode(inference(0).batch())), Engine("e", "n", {"Layers": []}, ["a"] * 3, True)
    described = decode(encode(engine.batch()))
    packs: list[object] = []
    monkeypatch.setattr(bodies, "pack", lambda value: packs.append(value) or pack(value))
    ingest.handle(b"peer", run)
    ingest.handle(b"peer", described)
    monkeypatch.setattr(Record, "unpack", lambda *_: pytest.fail("a record was opened"))
    (published,) = JournalFeed(journal, 0).batches()
    frames = encode(published)
    monkeypatch.undo()
    assert len(packs) == 1
    records = batch_to_records(decode(frames))[2]
    assert [each.kind for each in records] == [Kind.INFERENCE, Kind.ENGINE]
    assert records.packed(1).body == engine.packed


def taking(folder: Path) -> tuple[Ingest, Journal]:
    """The link's end over a journal of 32 MiB."""
    journal = Journal(folder / "j", 32 << 20, bytes(16))
    ledger = Ledger(journal, lambda: 10**12, 10)
    return Ingest(ledger, Config().inferences, lambda peer, batch: None, lambda index, taken: None), journal


def test_a_session_is_not_taken_over_by_whoever_reads_the_journal(tmp_path: Path) -> None:
    """What the journal calls a session is not its id, so nobody but its process can greet for it."""
    ingest, journal = taking(tmp_path)
    ingest.handle(b"peer", Hello(SESSION, 1, "p").batch())
    ingest.handle(b"peer", inference(0).batch())
    (record,) = journal.read(0, 1).records
    known = record.body["session"]
    assert known != SESSION and SESSION not in journal.read_packed(0, 1).records[0].body
    ingest.handle(b"foe", Hello(known, 2, "q").batch())
    far = replace(inference(5), seq=2**31)
    ingest.handle(b"foe", replace(far, session=known).batch())
    ingest.handle(b"foe", far.batch())
    ingest.handle(b"peer", inference(1).batch())
    assert [record.body["seq"] for record in journal.read(0, 9).records if record.kind is Kind.INFERENCE][:2] == [
        0,
        2**31,
    ]
    assert ingest.taken == 3 and ingest.refused == 1, "the foe has a session of its own and nothing of the other"


def test_no_description_holds_the_daemon_up(tmp_path: Path) -> None:
    """Seven megabytes of empty lists are journaled as they are; nothing is made of them."""
    ingest, journal = taking(tmp_path)
    ingest.handle(b"peer", Hello(SESSION, 1, "p").batch())
    many = b"\xdc\xff\xff" + b"\x90" * 0xFFFF
    inspector = b"\x81" + pack("Layers") + b"\xdc" + (112).to_bytes(2, "big") + many * 112
    head = {"hash": "e", "name": "n", "layers": ["a"], "simulated": True}
    body = bytes([0x85]) + pack(head)[1:] + pack("inspector") + inspector
    begin = time.process_time()
    ingest.handle(b"peer", Batch(b"engine", {}, {"body": np.frombuffer(body, "|u1")}))
    assert time.process_time() - begin < 0.5
    assert ingest.ledger.packed_engine("e") == body
    journal.close()
    begin = time.process_time()
    again, journal = taking(tmp_path)
    assert again.ledger.knows_engine("e") and time.process_time() - begin < 1.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x90",
        b"\x81\x90\x90",
        pack({"hash": "e", "name": "n", "layers": [], "simulated": True}),
        pack({"hash": "e", "name": "n", "layers": [1], "simulated": True, "inspector": {}}),
        pack({"hash": "e", "name": "n", "layers": ["a"] * 8193, "simulated": True, "inspector": {}}),
        pack({"hash": ["e"], "name": "n", "layers": [], "simulated": True, "inspector": {}}),
        pack({"hash": "e", "name": "n", "layers": [], "simulated": 1, "inspector": {}}),
        pack({"hash": "e", "name": "n", "layers": [], "simulated": True, "inspector": []}),
        pack({"hash": "e", "name": "n", "layers": [], "simulated": True, "inspector": {}}) + b"\x00",
        pack({"hash": "e", "name": "n", "layers": [], "simulated": True, "inspector": {}})[:-1],
        b"\x81" + pack("inspector") + b"\x91" * 3000 + b"\x90",
    ],
)
def test_a_broken_description_is_refused(body: bytes) -> None:
    """What an engine's own class refuses is refused without opening it, and the other way round."""
    with pytest.raises(WireError):
        EngineHead.unpack(body)
    with pytest.raises(WireError):
        Engine.unpack(body)


def test_a_sound_description_is_taken() -> None:
    """With keys that this version does not know."""
    body = pack(
        {"x": [1], "hash": "e", "name": "n", "layers": ["a", "b"], "simulated": False, "inspector": {"Layers": []}}
    )
    head = EngineHead.unpack(body)
    assert (head.hash, head.name, head.layer_count, head.simulated) == ("e", "n", 2, False)
    assert head.packed == Engine.unpack(body).packed == body
