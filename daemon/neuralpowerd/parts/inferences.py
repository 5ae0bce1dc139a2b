"""Inferences of profiled processes: taken, journaled, joined with ticks and published as `layers`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from neuralpower_wire import Batch, Epoch, Ticks, VersionError, WireError, decode, encode
from neuralpower_wire.link import MOST_HEADER, RefusedInference

from ..config import Config
from ..live.endpoints import Endpoints, received, send
from ..live.inferences import Ingest
from ..live.join import Join
from ..live.refusals import Refusals
from ..logs.ledger import Ledger
from ..part import DaemonPart, Intake, per_second

MESSAGES_A_ROUND = 512
"""Taken before the live feed has its turn again: nobody can keep the daemon from the others."""
REST_NS, BUSY_REST_NS, BUSY_ROUND = 50_000_000, 10_000_000, 64
"""After a round of inferences their socket has a rest until the next batch, which could not publish them sooner, and no longer than
the first: at 400 a second a wake-up and an acknowledgement for each would double what they cost. A round of more than so many, or
of a quarter of a process's credit, rests for the second only: the credit of 256 lasts as long at 25,600 a second."""


class InferencesPart(DaemonPart):
    """The inference link. It stands behind the feeds, so that what is joined is published after its ticks."""

    def __init__(self, config: Config, ledger: Ledger, endpoints: Endpoints, refusals: Refusals) -> None:
        self._limits = config.inferences
        self._credit = config.inferences.credit
        self._ledger = ledger
        self._endpoints = endpoints
        self._refusals = refusals
        self._join = Join(ledger.journal.stream)
        self._made: Ingest | None = None
        self._before = 0

    @property
    def taken(self) -> int:
        """Inferences journaled since the daemon began."""
        return self._ingest.taken

    def intakes(self) -> Sequence[Intake]:
        return (Intake(self._endpoints.inferences, self._take),)

    @property
    def _ingest(self) -> Ingest:
        assert self._made is not None, "nothing is asked before the first epoch"
        return self._made

    def begin_epoch(self, epoch: Epoch) -> None:
        if (
            self._made is None
        ):  # now that the loop samples: it looks through the journal, which takes seconds where that is large
            self._made = Ingest(self._ledger, self._limits, self._answer, self._join.add_inference)
        self._join.new_epoch(epoch)

    def publish(self) -> None:
        joined = self._join.finished()
        while joined:
            self._endpoints.publish(encode(joined))
            joined = self._join.finished()

    def see(self, ticks: Ticks) -> None:
        self._join.add_ticks(ticks)

    def status(self, span_ns: int) -> dict[str, Any]:
        gained, self._before = self.taken - self._before, self.taken
        told = {
            "taken": self.taken,
            "per_s": per_second(gained, span_ns),
            "refused": self._ingest.refused,
            "lost": self._ingest.lost,
            "unjoined": self._join.given_up,
            "sessions": self._ingest.sessions,
        }
        return {"inferences": told}

    def _take(self, next_batch_ns: int) -> int:
        taken = 0
        for peer, *frames in received(self._endpoints.inferences, MESSAGES_A_ROUND):
            taken += 1
            try:
                self._ingest.handle(peer, decode(frames, MOST_HEADER))
            except WireError as error:
                self._refusals.note("inferences", peer, error)
                if isinstance(
                    error, VersionError
                ):  # in this version's words: a process that waits for credit learns why it gets none
                    self._answer(peer, RefusedInference(0, str(error)).batch())
        self._ingest.acknowledge()
        now = time.monotonic_ns()
        if taken > min(BUSY_ROUND, self._credit // 4):
            return now + BUSY_REST_NS
        return min(next_batch_ns, now + REST_NS) if taken else 0

    def _answer(self, peer: bytes, batch: Batch) -> None:
        send(self._endpoints.inferences, [peer, *encode(batch)])
