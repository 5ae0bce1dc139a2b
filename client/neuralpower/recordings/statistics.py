"""What a run of ticks says about how it was sampled: rate, lateness, missed slots, losses, freshness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_wire import Epoch, Kind, PackedRecords, ReadingState, Ticks, explained, rail_power_w, total_power_w
from neuralpower_wire.bodies import BODIES

from ..subscriber import messages


@dataclass(frozen=True)
class Losses:
    """Holes by (log, stream): ranges of indices that are missing between the first and the last held."""

    holes: dict[tuple[str, bytes], list[range]]

    @property
    def ticks_lost(self) -> int:
        """Missing ticks."""
        return self._count("ticks")

    @property
    def records_lost(self) -> int:
        """Missing records of the journal."""
        return self._count("journal")

    def _count(self, log: str) -> int:
        return sum(missing(hole) for (name, _), ranges in self.holes.items() for hole in ranges if name == log)


@dataclass(frozen=True)
class TickStatistics:
    """How a stream was sampled; nan or None where there are too few ticks or no epoch to tell."""

    ticks: int
    duration_s: float
    rate_hz: float
    """Ticks held per second between the first and the last."""
    period_ns: int | None
    """Of the last epoch."""
    lateness_p50_us: float
    lateness_p99_us: float
    missed_slots: int
    """Deadlines without a tick, exactly, whether or not ticks were lost; also those that passed while a daemon restarted."""
    lost: int
    fresh_rate_hz: float | None
    freshness: str
    """How the fresh rate came about: known, estimated, nominal, unknown."""
    states: dict[str, int]
    """Readings by what is known of them."""
    epochs: int
    simulated: bool


def holes(index: npt.NDArray[np.uint64]) -> list[range]:
    """The ranges of indices missing in a growing sequence."""
    edges = np.flatnonzero(np.diff(index) > 1)
    return [range(int(index[at]) + 1, int(index[at + 1])) for at in edges]


def missing(hole: range) -> int:
    """How many indices a hole has: those of a damaged file may be more than `len` can tell."""
    return hole.stop - hole.start


class MissedSlots:
    """Counts grid points between the first and the last tick of each grid for which no tick was ever written: ticks come in order.

    The index counts ticks written and the slot counts grid points, so the difference of their growth is exact even where
    ticks were lost afterwards. Neighbouring epochs with one origin and period share a grid: what a restart missed counts.
    """

    def __init__(self) -> None:
        self.count = 0
        self._grid: tuple[bytes, int, int] | None = None
        self._slot = self._index = 0

    def take(self, stream: bytes, epoch: Epoch | None, first: tuple[int, int], last: tuple[int, int]) -> None:
        """Add the slots skipped from the first to the last of some ticks, each as (slot, index), and since those before if they share a grid."""
        grid = None if epoch is None else (stream, epoch.t0_ns, epoch.period_ns)
        if grid != self._grid:
            self._grid, (self._slot, self._index) = grid, first
        if grid is not None:
            self.count += (last[0] - self._slot) - (last[1] - self._index)
        self._slot, self._index = last

    def take_message(self, message: messages.Ticks) -> None:
        """The same of ticks as a client gives them; those of an epoch that is not known yet are passed over."""
        if message.epoch is not None:
            slots, last = message.slots, message.first + len(message) - 1
            self.take(message.stream, message.epoch, (int(slots[0]), message.first), (int(slots[-1]), last))


def lateness_ns(ticks: Ticks, epochs: Sequence[Epoch]) -> npt.NDArray[np.int64]:
    """How long after its deadline t0 + slot × period each tick began; ticks of unknown epochs are left out."""
    parts = [np.zeros(0, np.int64)]
    for epoch, run in explained(ticks, epochs):
        if epoch is not None:
            parts.append(run["t_ns"] - (epoch.t0_ns + run["slot"].astype(np.int64) * epoch.period_ns))
    return np.concatenate(parts)


class Spread:
    """Quantiles of whole numbers as they come, to a thousandth of their size, in memory that does not grow with their count."""

    def __init__(self) -> None:
        self._bins: dict[int, list[float]] = {}
        """Numbers of one sign and binary exponent, in 512 steps between its powers of two: how many, and their sum."""

    def take(self, values: npt.NDArray[np.int64]) -> None:
        """Add some."""
        mantissa, exponent = np.frexp(values.astype(np.float64))
        keys, at = np.unique(
            exponent.astype(np.int64) * 4096 + np.floor(mantissa * 1024).astype(np.int64), return_inverse=True
        )
        counts, sums = np.bincount(at), np.bincount(at, weights=values)
        for key, count, total in zip(keys.tolist(), counts.tolist(), sums.tolist(), strict=True):
            found = self._bins.setdefault(key, [0, 0.0])
            found[0] += count
            found[1] += total

    def quantile(self, share: float) -> float:
        """The number that `share` of all do not exceed, as the mean of its bin; nan without numbers."""
        if not self._bins:
            return float("nan")
        ordered = sorted((total / count, count) for count, total in self._bins.values())
        upto = np.cumsum([count for _, count in ordered])
        return ordered[int(np.searchsorted(upto, share * (upto[-1] - 1), side="right"))][0]


class RunningMean:
    """A mean of what is not nan, as it comes."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def take(self, values: npt.NDArray[np.float64]) -> None:
        """Add some."""
        known = values[~np.isnan(values)]
        self._sum, self._count = self._sum + float(known.sum()), self._count + len(known)

    @property
    def value(self) -> float:
        """nan where nothing came."""
        return self._sum / self._count if self._count else float("nan")


class TickSummary:
    """What a stream's ticks say, portion after portion in the order of their index; nothing of them is kept.

    epochs: all of the stream.
    """

    def __init__(self, epochs: Sequence[Epoch]) -> None:
        self._epochs = {epoch.number: epoch for epoch in epochs}
        self._seen: set[int] = set()
        self._late, self._missed = Spread(), MissedSlots()
        self._states = np.zeros(len(ReadingState), np.int64)
        self.ticks = 0
        self.holes: list[range] = []
        """Of the index."""
        self._begin_ns = self._end_ns = self._index = 0
        self.mean_power_w: dict[str, RunningMean] = {}
        self.mean_total_w = RunningMean()

    @property
    def duration_s(self) -> float:
        """From the first to the last tick."""
        return (self._end_ns - self._begin_ns) * 1e-9

    def take(self, ticks: Ticks) -> None:
        """Add ticks."""
        if not len(ticks):
            return
        index = ticks["index"]
        if not self.ticks:
            self._begin_ns = int(ticks["t_ns"][0])
        elif int(index[0]) > self._index + 1:
            self.holes.append(range(self._index + 1, int(index[0])))
        self.holes += holes(index)
        self.ticks, self._end_ns, self._index = self.ticks + len(ticks), int(ticks["t_ns"][-1]), int(index[-1])
        states = np.bincount(ticks["readings"]["state"].ravel(), minlength=len(ReadingState))
        self._states += states[: len(ReadingState)]
        for epoch, run in explained(ticks, self._epochs.values()):
            self._take_epoch(run, epoch)

    def _take_epoch(self, ticks: Ticks, epoch: Epoch | None) -> None:
        first, last = ticks[0], ticks[-1]
        self._missed.take(
            b"", epoch, (int(first["slot"]), int(first["index"])), (int(last["slot"]), int(last["index"]))
        )
        if epoch is None:
            return
        self._seen.add(epoch.number)
        self._late.take(lateness_ns(ticks, [epoch]))
        for rail, watts in rail_power_w(epoch, ticks).items():
            self.mean_power_w.setdefault(rail, RunningMean()).take(watts)
        self.mean_total_w.take(total_power_w(epoch, ticks))

    def statistics(self) -> TickStatistics:
        """Rate, lateness, missed slots, losses and freshness so far."""
        known = [epoch for number, epoch in self._epochs.items() if number in self._seen]
        duration_s, last = self.duration_s, known[-1] if known else None
        return TickStatistics(
            ticks=self.ticks,
            duration_s=duration_s,
            rate_hz=(self.ticks - 1) / duration_s if duration_s > 0 else float("nan"),
            period_ns=last.period_ns if last else None,
            lateness_p50_us=self._late.quantile(0.5) / 1e3,
            lateness_p99_us=self._late.quantile(0.99) / 1e3,
            missed_slots=self._missed.count,
            lost=sum(map(missing, self.holes)),
            fresh_rate_hz=last.fresh_rate_hz if last else None,
            freshness=last.freshness if last else "unknown",
            states={state.name.lower(): int(self._states[state]) for state in ReadingState},
            epochs=len(known),
            simulated=any(epoch.simulated for epoch in known),
        )


class JournalContents:
    """How much a stream's journal holds of what, portion after portion in the order of its index; nothing of it is kept."""

    def __init__(self) -> None:
        self.kinds: Counter[Kind] = Counter()
        """How many records of each kind; UNKNOWN are those of no kind that this version knows."""
        self.engines: Counter[str] = Counter()
        """How many inferences name each engine."""
        self.holes: list[range] = []
        """Of the index."""
        self._last: int | None = None

    def take(self, parts: Sequence[tuple[npt.NDArray[Any], PackedRecords]]) -> None:
        """Add runs of records with their indices, of which some may come twice."""
        index, first = np.unique(
            np.concatenate([[], *(each for each, _ in parts)]).astype(np.uint64), return_index=True
        )
        if not len(index):
            return
        if self._last is not None and int(index[0]) > self._last + 1:
            self.holes.append(range(self._last + 1, int(index[0])))
        self.holes += holes(index)
        self._last = int(index[-1])
        records = PackedRecords.joined([each for _, each in parts])
        kinds, counts = np.unique(records.kind[first], return_counts=True)
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            self.kinds[Kind(kind) if kind in BODIES else Kind.UNKNOWN] += count
        self.engines += records.engines(first)
