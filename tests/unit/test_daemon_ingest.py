"""The inference link's end in the daemon, without sockets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuralpower_wire import Batch, Kind, Record, batch_to_records, bodies, decode, encode
from neuralpower_wire.batch import pack
from neuralpower_wire.link import CREDIT, Credit, Engine, Hello, Inference
from neuralpowerd.config import Config
from neuralpowerd.live.inferences import Ingest
from neuralpowerd.logs.feeds import JournalFeed
from neuralpowerd.logs.journal import Journal
from neuralpowerd.logs.ledger import Ledger

SESSION = bytes(range(16))
MS = 1_000_000


def inference(seq: int) -> Inference:
    """Number `seq` of the session."""
    begin = 10 * MS * (seq + 1)
    return Inference(SESSION, seq, "e", begin, begin + MS, np.full(3, MS // 3))


def test_nothing_is_taken_twice_though_the_journal_holds_what_is_not_known(tmp_path: Path) -> None:
    """A daemon that begins anew, as after a down-grade, learns of the inferences behind a record of a kind that it does not know."""
    journal = Journal(tmp_path / "j", 1 << 16, bytes(16))
    journal.append(Record(Kind.INFERENCE, 0, inference(0)))
    journal.append(Record(Kind.UNKNOWN, 0, {"kind": 8, "packed": b"\x80"}))
    journal.append(Record(Kind.INFERENCE, 0, inference(1)))
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
