"""Following one log as a live view does: the newest that there is. What is passed over is neither asked for nor waited for."""

from __future__ import annotations

from neuralpower_wire import Batch

from .follower import Log
from .messages import Message


class Newest:
    """Live batches in order; those that came twice or too late are dropped."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.passed_over = 0
        """Entries of the stream at hand that were published between those that were delivered."""
        self._stream: bytes | None = None
        self._next = 0

    def live(self, batch: Batch) -> list[Message]:
        """Take a live batch.

        Raises:
            WireError: it breaks the format; nothing of it was taken.
        """
        stream, first, items = self.log.decode(batch)
        if stream != self._stream:
            self._stream, self._next = stream, first
        new = items[max(0, self._next - first) :]
        if not len(new):
            return []
        begin = first + len(items) - len(new)
        self.passed_over += begin - self._next
        self._next = first + len(items)
        return [self.log.deliver(stream, begin, new)]
