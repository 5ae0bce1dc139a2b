"""The sockets themselves: made anew where they were deleted; questions about the past answered; remote clients let in or not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import zmq

from neuralpower_wire import WireError

from ..live.endpoints import Endpoints, send
from ..live.refusals import Refusals
from ..logs.history import History
from ..logs.ledger import Ledger
from ..part import DaemonPart, Intake

log = logging.getLogger(__name__)

QUESTIONS_A_ROUND, ANSWERING_NS = 32, 5_000_000
"""Taken, and worked for, before the live feed has its turn again: nobody can keep the daemon from the others. A large answer takes
some milliseconds, and the peers' questions are taken in turn."""


class SocketsPart(DaemonPart):
    """Owns the endpoints from here on."""

    def __init__(
        self,
        endpoints: Endpoints,
        ledger: Ledger,
        history: History,
        refusals: Refusals,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._now_ns = now_ns
        self._endpoints = endpoints
        self._ledger = ledger
        self._history = history
        self._refusals = refusals

    def intakes(self) -> Sequence[Intake]:
        ends = self._endpoints
        admission = (Intake(end, self._attend) for end in ends.waited_for)
        return (*admission, *(Intake(end, partial(self._answer_questions, end)) for end in ends.history))

    def second(self) -> None:
        for path in self._endpoints.bind_again():
            log.warning("%s was deleted: made anew; whoever is connected stays so", path)
            self._ledger.event("socket-deleted", f"{path} was deleted and made anew")
        for line in self._endpoints.look():
            log.warning("%s", line)

    def status(self, span_ns: int) -> dict[str, Any]:
        return {
            "connections": self._endpoints.status,
            "clients": self._endpoints.clients,
            "broken_messages": self._refusals.count,
            "last_broken_message": self._refusals.last,
        }

    def close(self) -> None:
        self._endpoints.close()

    def _answer_questions(self, end: zmq.Socket[bytes], next_batch_ns: int) -> int:
        until_ns = self._now_ns() + ANSWERING_NS
        for peer, frames, role in self._endpoints.questions(end, QUESTIONS_A_ROUND):
            if len(frames) == 1:
                send(end, [peer, *self._history.answer(frames[0], role, peer).encode()])
            else:
                self._refusals.note("history", peer, WireError(f"a question of {len(frames)} frames"))
            if self._now_ns() >= until_ns:
                break
        return 0

    def _attend(self, next_batch_ns: int) -> int:
        self._endpoints.attend()
        return 0
