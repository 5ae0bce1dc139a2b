"""What a run of ticks says about how it was sampled: rate, lateness, missed slots, losses, freshness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
        self._bins = _no_bins()
        """(3, n): numbers of one sign and binary exponent, in 512 steps between its powers of two: their step, how many, and their sum."""
        self._waiting: list[npt.NDArray[np.float64]] = []

    def take(self, values: npt.NDArray[np.int64]) -> None:
        """Add some."""
        mantissa, exponent = np.frexp(values.astype(np.float64))
        keys, at = np.unique(
            exponent.astype(np.int64) * 4096 + np.floor(mantissa * 1024).astype(np.int64), return_inverse=True
        )
        self.join(np.array([keys, np.bincount(at), np.bincount(at, weights=values)], np.float64))

    def join(self, bins: npt.NDArray[np.float64]) -> None:
        """Add what another holds in its :attr:`bins`."""
        self._waiting.append(bins)
        if sum(each.shape[1] for each in self._waiting) > 1 << 16:
            self._bins = self.bins
            self._waiting = []

    @property
    def bins(self) -> npt.NDArray[np.float64]:
        """(3, n): step, count and sum of each bin in which there is anything."""
        every = np.concatenate([self._bins, *self._waiting], axis=1)
        keys, at = np.unique(every[0], return_inverse=True)
        return np.array([keys, *(np.bincount(at, weights, len(keys)) for weights in every[1:])]).reshape(3, -1)

    def quantile(self, share: float) -> float:
        """The number that `share` of all do not exceed, as the mean of its bin; nan without numbers."""
        _, counts, sums = self.bins
        if not len(counts):
            return float("nan")
        means = sums / counts
        order = np.argsort(means)
        upto = np.cumsum(counts[order])
        return float(means[order[int(np.searchsorted(upto, share * (upto[-1] - 1), side="right"))]])


def _no_bins() -> npt.NDArray[np.float64]:
    return np.zeros((3, 0))


class RunningMean:
    """A mean of what is not nan, as it comes."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def take(self, values: npt.NDArray[np.float64]) -> None:
        """Add some."""
        known = values[~np.isnan(values)]
        self.join(float(known.sum()), len(known))

    def join(self, total: float, count: int) -> None:
        """Add the sum of so many."""
        self._sum, self._count = self._sum + total, self._count + count

    @property
    def parts(self) -> tuple[float, int]:
        """The sum, and of how many."""
        return self._sum, self._count

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
        self._first = 0
        self._runs: list[list[int]] = []
        """Epoch, and slot and index of the first and the last of the ticks of each run of one epoch."""

    @property
    def span_ns(self) -> tuple[int, int]:
        """When the first and the last tick were."""
        return self._begin_ns, self._end_ns

    @property
    def duration_s(self) -> float:
        """From the first to the last tick."""
        return (self._end_ns - self._begin_ns) * 1e-9

    def take(self, ticks: Ticks) -> None:
        """Add ticks."""
        if not len(ticks):
            return
        index, t_ns = ticks["index"], ticks["t_ns"]
        self._begin(len(ticks), (int(index[0]), int(index[-1])), (int(t_ns[0]), int(t_ns[-1])), holes(index))
        states = np.bincount(ticks["readings"]["state"].ravel(), minlength=len(ReadingState))
        self._states += states[: len(ReadingState)]
        for epoch, run in explained(ticks, self._epochs.values()):
            first, last = run[0], run[-1]
            ends = [int(each[name]) for each in (first, last) for name in ("slot", "index")]
            self._take_run([int(first["epoch"]), *ends])
            if epoch is None:
                continue
            self._late.take(lateness_ns(run, [epoch]))
            rails = rail_power_w(epoch, run)
            for rail, watts in rails.items():
                self.mean_power_w.setdefault(rail, RunningMean()).take(watts)
            self.mean_total_w.take(total_power_w(epoch, run, rails))

    def _begin(self, ticks: int, index: tuple[int, int], t_ns: tuple[int, int], inner: list[range]) -> None:
        """Count ticks from one index and time to another, among which `inner` are missing."""
        if not self.ticks:
            self._begin_ns, self._first = t_ns[0], index[0]
        elif index[0] > self._index + 1:
            self.holes.append(range(self._index + 1, index[0]))
        self.holes += inner
        self.ticks, self._end_ns, self._index = self.ticks + ticks, t_ns[1], index[1]

    def _take_run(self, run: list[int]) -> None:
        number, *ends = run
        epoch = self._epochs.get(number)
        self._missed.take(b"", epoch, (ends[0], ends[1]), (ends[2], ends[3]))
        if epoch is not None:
            self._seen.add(number)
        if self._runs and self._runs[-1][0] == number:
            self._runs[-1][3:] = ends[2:]
        else:
            self._runs.append(run)

    def state(self) -> dict[str, Any]:
        """All of it as plain values that msgpack has: what :meth:`join` takes, once there is at least one tick."""
        return {
            "ticks": self.ticks,
            "index": [self._first, self._index],
            "t_ns": list(self.span_ns),
            "holes": [[hole.start, hole.stop] for hole in self.holes],
            "states": self._states.tolist(),
            "runs": self._runs,
            "late": self._late.bins.astype("<f8").tobytes(),
            "means": {rail: list(mean.parts) for rail, mean in self.mean_power_w.items()},
            "total": list(self.mean_total_w.parts),
        }

    def join(self, state: Mapping[str, Any]) -> None:
        """Add ticks that come behind all others, as :meth:`state` told of them; KeyError, TypeError or ValueError where it is none."""
        (first, last), (begin_ns, end_ns) = state["index"], state["t_ns"]
        late = np.frombuffer(state["late"], "<f8").reshape(3, -1)
        states = np.array(state["states"], np.int64).reshape(len(self._states))
        means = {str(rail): (float(total), int(count)) for rail, (total, count) in state["means"].items()}
        total_w, total_count = state["total"]
        self._begin(int(state["ticks"]), (first, last), (begin_ns, end_ns), [range(*hole) for hole in state["holes"]])
        self._states += states
        for run in state["runs"]:
            self._take_run(list(map(int, run)))
        self._late.join(late)
        for rail, parts in means.items():
            self.mean_power_w.setdefault(rail, RunningMean()).join(*parts)
        self.mean_total_w.join(float(total_w), int(total_count))

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
        self._first = 0
        self.span_ns: tuple[int, int] | None = None
        """The earliest and the latest time of a record."""

    def take(
        self, parts: Sequence[tuple[npt.NDArray[Any], PackedRecords]], within: tuple[int, int] | None = None
    ) -> None:
        """Add runs of records with their indices, of which some may come twice; of a span of time those whose time is in it."""
        index, first = np.unique(
            np.concatenate([[], *(each for each, _ in parts)]).astype(np.uint64), return_index=True
        )
        if not len(index):
            return
        records = PackedRecords.joined([each for _, each in parts])
        if within is not None:
            inside = (records.t_ns[first] >= within[0]) & (records.t_ns[first] < within[1])
            index, first = index[inside], first[inside]
            if not len(index):
                return
        kinds, counts = np.unique(records.kind[first], return_counts=True)
        found = Counter[Kind]()
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            found[Kind(kind) if kind in BODIES else Kind.UNKNOWN] += count
        t_ns = records.t_ns[first]
        span = int(t_ns.min()), int(t_ns.max())
        self._add((int(index[0]), int(index[-1])), holes(index), found, records.engines(first), span)

    def _add(
        self,
        index: tuple[int, int],
        inner: list[range],
        kinds: Mapping[Kind, int],
        engines: Mapping[str, int],
        span_ns: tuple[int, int],
    ) -> None:
        if self._last is None:
            self._first = index[0]
        elif index[0] > self._last + 1:
            self.holes.append(range(self._last + 1, index[0]))
        self.holes += inner
        self._last = index[1]
        self.kinds.update(kinds)
        self.engines.update(engines)
        low, high = self.span_ns or span_ns
        self.span_ns = min(low, span_ns[0]), max(high, span_ns[1])

    def state(self) -> dict[str, Any]:
        """All of it as plain values that msgpack has: what :meth:`join` takes, once there is at least one record."""
        return {
            "index": [self._first, self._last],
            "holes": [[hole.start, hole.stop] for hole in self.holes],
            "kinds": {int(kind): count for kind, count in self.kinds.items()},
            "engines": dict(self.engines),
            "span_ns": list(self.span_ns or (0, 0)),
        }

    def join(self, state: Mapping[str, Any]) -> None:
        """Add records that come behind all others, as :meth:`state` told of them; KeyError, TypeError or ValueError where it is none."""
        (first, last), (begin_ns, end_ns) = state["index"], state["span_ns"]
        kinds = {Kind(kind): int(count) for kind, count in state["kinds"].items()}
        engines = {str(name): int(count) for name, count in state["engines"].items()}
        self._add((first, last), [range(*hole) for hole in state["holes"]], kinds, engines, (begin_ns, end_ns))
