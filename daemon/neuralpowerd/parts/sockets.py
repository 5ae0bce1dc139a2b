"""The sockets themselves: made anew where they were deleted; questions about the past answered; remote clients let in or not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from neuralpower_wire import WireError

from ..config import Config
from ..live.endpoints import Endpoints, received, send
from ..live.keys import allowed_keys, answer_zap
from ..live.refusals import Refusals
from ..logs.history import History
from ..logs.ledger import Ledger
from .part import DaemonPart, Intake

log = logging.getLogger(__name__)

QUESTIONS_A_ROUND = 32
"""Taken before the live feed has its turn again: nobody can keep the daemon from the others."""


class SocketsPart(DaemonPart):
    """Owns the endpoints from here on."""

    def __init__(
        self, config: Config, endpoints: Endpoints, ledger: Ledger, history: History, refusals: Refusals
    ) -> None:
        self._keys = Path(config.tcp.keys_dir)
        self._endpoints = endpoints
        self._ledger = ledger
        self._history = history
        self._refusals = refusals

    def intakes(self) -> Sequence[Intake]:
        ends = self._endpoints
        admission = [Intake(ends.zap, partial(self._admit, ends.zap))] if ends.zap else []
        return (*admission, *(Intake(end, partial(self._answer_questions, end)) for end in ends.history))

    def second(self) -> None:
        for path in self._endpoints.bind_again():
            log.warning("%s was deleted: made anew; whoever is connected stays so", path)
            self._ledger.event("socket-deleted", f"{path} was deleted and made anew")

    def status(self, span_ns: int) -> dict[str, Any]:
        return {"broken_messages": self._refusals.count, "last_broken_message": self._refusals.last}

    def close(self) -> None:
        self._endpoints.close()

    def _answer_questions(self, end: zmq.Socket[bytes], next_batch_ns: int) -> int:
        for peer, *frames in received(end, QUESTIONS_A_ROUND):
            if len(frames) == 1:
                send(end, [peer, *self._history.answer(frames[0]).encode()])
            else:
                self._refusals.note("history", peer, WireError(f"a question of {len(frames)} frames"))
        return 0

    def _admit(self, zap: zmq.Socket[bytes], next_batch_ns: int) -> int:
        for request in received(zap, QUESTIONS_A_ROUND):
            answer = answer_zap(request, lambda: allowed_keys(self._keys))
            send(zap, answer if answer else [b"1.0", b"", b"500", b"not a ZAP request", b"", b""])
        return 0
