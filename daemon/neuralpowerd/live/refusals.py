"""Messages that broke the format: counted, and told in the log with what and where, but not for each of a flood."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from neuralpower_wire import WireError

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000
MOST_PEERS = 16
"""Told of in one second: a process can open any number of connections."""
MAX_TEXT = 200


class Refusals:
    """What was refused. `count` is of all, `last` tells the newest that was logged."""

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.count = 0
        self.last: str | None = None
        self._now_ns = now_ns
        self._second = 0
        self._told: set[tuple[str, bytes]] = set()

    def note(self, where: str, peer: bytes, error: WireError) -> None:
        """Count a message that `peer` sent to the socket `where`; logged once a second for each peer."""
        self.count += 1
        second = self._now_ns() // SECOND_NS
        if second != self._second:
            self._second = second
            self._told.clear()
        if (where, peer) in self._told or len(self._told) >= MOST_PEERS:
            return
        self._told.add((where, peer))
        self.last = f"{where}, peer {peer[:16].hex()}: {error}"[:MAX_TEXT]
        log.warning("a message was refused: %s (%d so far)", self.last, self.count)
