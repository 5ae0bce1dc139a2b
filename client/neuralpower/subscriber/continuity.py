"""Which indices of a log have arrived, which are missing, and which will never come."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Any)
"""Consecutive entries of a log that know their length and can be sliced: an array of ticks, a list of records."""

HELD_BATCHES = 128
"""Live batches that wait for a gap before them to be filled: 6 s at 50 ms a batch, more than a request and its retry
take. What does not fit is dropped and asked for later, so this bounds memory and loses nothing."""


class Continuity(Generic[T]):
    """Puts the batches of one stream's log in order, each entry once; says what to ask for and counts what is lost.

    Pure: no clock, no socket. Batches come in any order, more than once, or never::

        ready = log.offer(first, items)      # what came, from whichever socket
        wanted = log.gap(most)               # ask the history for this range, if any
        lost, ready = log.gone(oldest)       # the history's answer: nothing below `oldest` is left

    Every index from the start to :attr:`next` has either been in exactly one ready batch or in exactly one lost range.
    """

    def __init__(self, start: int, held_batches: int = HELD_BATCHES) -> None:
        self.start = start
        """The first index that is wanted and can be had."""
        self.next = start
        """The first index that is neither delivered nor lost."""
        self.head = start
        """One past the highest index known to exist."""
        self.lost = 0
        self._held: dict[int, T] = {}
        self._held_batches = held_batches

    def offer(self, first: int, items: T) -> list[tuple[int, T]]:
        """Take a batch; returns the batches that can be delivered now, each with its first index, in order."""
        self.head = max(self.head, first + len(items))
        if first > self.next:
            self._hold(first, items)
            return []
        ready: list[tuple[int, T]] = []
        self._deliver(first, items, ready)
        self._drain(ready)
        return ready

    def gap(self, most: int) -> tuple[int, int] | None:
        """The first index and the number of the entries to ask for, at most `most`; None while nothing is missing."""
        end = min(self._held, default=self.head)
        return (self.next, min(most, end - self.next)) if end > self.next else None

    def gone(self, upto: int) -> tuple[range, list[tuple[int, T]]]:
        """Nothing below index `upto` can be had any more: the range now lost, and what became deliverable behind it."""
        end = min([upto, *self._held])
        lost = range(self.next, max(self.next, end))
        self.lost += len(lost)
        self.next = lost.stop
        self.head = max(self.head, self.next)
        ready: list[tuple[int, T]] = []
        self._drain(ready)
        return lost, ready

    def reaches(self, head: int) -> None:
        """The log is known to go up to, not including, index `head`."""
        self.head = max(self.head, head)

    def _hold(self, first: int, items: T) -> None:
        if len(items) > len(self._held.get(first, ())):
            self._held[first] = items
        if len(self._held) > self._held_batches:
            del self._held[max(self._held)]

    def _drain(self, ready: list[tuple[int, T]]) -> None:
        while self._held and (first := min(self._held)) <= self.next:
            self._deliver(first, self._held.pop(first), ready)

    def _deliver(self, first: int, items: T, ready: list[tuple[int, T]]) -> None:
        new = items[self.next - first :]
        if len(new):
            ready.append((self.next, new))
            self.next += len(new)
