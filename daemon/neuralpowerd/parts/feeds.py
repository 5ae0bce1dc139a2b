"""Publishes what both logs gained."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from neuralpower_wire import Ticks, encode, tick_dtype

from ..live.endpoints import Endpoints
from ..logs.feeds import JournalFeed, TickFeed
from ..part import DaemonPart, per_second
from ..sampling import Sampling


class JournalPart(DaemonPart):
    """The journal's live feed. It stands before that of the ticks, so that an epoch is known before its ticks."""

    def __init__(self, feed: JournalFeed, endpoints: Endpoints) -> None:
        self._feed = feed
        self._endpoints = endpoints

    def publish(self) -> None:
        for batch in self._feed.batches():
            self._endpoints.publish(encode(batch))

    def status(self, span_ns: int) -> dict[str, Any]:
        journal = self._feed.journal
        told = {"stream": journal.stream, "oldest": journal.oldest, "next": journal.next_index, "lost": self._feed.lost}
        oldest = journal.read_packed(journal.oldest, 1).records
        held = {"held_s": _age_s(oldest[0].t_ns) if oldest else 0.0, "bytes": journal.capacity}
        return {"journal": {**told, **held}}

    def close(self) -> None:
        self._feed.journal.close()


class TicksPart(DaemonPart):
    """The live feed of the ring that the sampler writes now. `on_ticks` hears of each run that was published."""

    def __init__(self, sampling: Sampling, endpoints: Endpoints, on_ticks: Callable[[Ticks], None]) -> None:
        self._sampling = sampling
        self._endpoints = endpoints
        self._on_ticks = on_ticks
        self._feed = TickFeed(sampling.reader, sampling.reader.next_index)
        self._before = 0

    def publish(self) -> None:
        reader = self._sampling.reader
        if reader.stream != self._feed.reader.stream:
            self._feed.next = 0
        self._feed.reader = reader
        for ticks in self._feed.ticks():
            self._endpoints.publish(self._feed.frames(ticks))
            self._on_ticks(ticks)

    def status(self, span_ns: int) -> dict[str, Any]:
        reader, epoch = self._sampling.reader, self._sampling.epoch
        following = reader.next_index
        oldest = reader.read(reader.oldest, max_ticks=1).ticks
        held = {
            "held_s": _age_s(int(oldest["t_ns"][0])) if len(oldest) else 0.0,
            "holds_s": reader.capacity * epoch.period_ns * 1e-9 if epoch else None,
            "bytes": reader.capacity * tick_dtype(reader.readings).itemsize,
        }
        gained, self._before = following - self._before, following
        return {
            "tick_rate_hz": per_second(gained, span_ns),
            "ticks": {"oldest": reader.oldest, "next": following, "lost": self._feed.lost, **held},
        }


def _age_s(t_ns: int) -> float:
    return (time.monotonic_ns() - t_ns) * 1e-9
