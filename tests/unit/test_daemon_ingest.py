"""The inference link's end in the daemon, without sockets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuralpower_wire import Batch, Kind, Record
from neuralpower_wire.link import CREDIT, Credit, Hello, Inference
from neuralpowerd.config import Config
from neuralpowerd.live.inferences import Ingest
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
