"""What a run of ticks says about how it was sampled: rate, lateness, missed slots, losses, freshness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt

from neuralpower_wire import Epoch, State, Ticks

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
        return sum(len(hole) for (name, _), ranges in self.holes.items() for hole in ranges if name == log)


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


def missed_slots(ticks: Ticks, epochs: Sequence[Epoch]) -> int:
    """Grid points between the first and the last tick of each grid for which no tick was ever written.

    The index counts ticks written and the slot counts grid points, so the difference of their growth is exact even where
    ticks were lost afterwards. Neighbouring epochs with one origin and period share a grid: what a restart missed counts.
    """
    grid_of = {epoch.number: (epoch.t0_ns, epoch.period_ns) for epoch in epochs}
    numbers = ticks["epoch"]
    edges = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(ticks)] if len(ticks) else []
    runs = [(grid_of.get(int(numbers[a])), a, b - 1) for a, b in pairwise(edges)]
    missed = 0
    for grid, members in groupby(runs, key=lambda run: run[0]):
        if grid is not None:
            listed = list(members)
            first, last = ticks[listed[0][1]], ticks[listed[-1][2]]
            missed += (int(last["slot"]) - int(first["slot"])) - (int(last["index"]) - int(first["index"]))
    return missed


class MissedSlots:
    """Counts missed slots of ticks as they come: in order, stream after stream."""

    def __init__(self) -> None:
        self.count = 0
        self._grid: tuple[bytes, int, int] | None = None
        self._slot = self._index = 0

    def take(self, message: messages.Ticks) -> None:
        """Add the slots skipped within these ticks, and since the ones before if they share a grid."""
        epoch, slots = message.epoch, message.slots
        if epoch is None:
            return
        grid = (message.stream, epoch.t0_ns, epoch.period_ns)
        if grid != self._grid:
            self._grid, self._slot, self._index = grid, int(slots[0]), message.first
        last = message.first + len(message) - 1
        self.count += (int(slots[-1]) - self._slot) - (last - self._index)
        self._slot, self._index = int(slots[-1]), last


def lateness_ns(ticks: Ticks, epochs: Sequence[Epoch]) -> npt.NDArray[np.int64]:
    """How long after its deadline t0 + slot × period each tick began; ticks of unknown epochs are left out."""
    parts = [np.zeros(0, np.int64)]
    for epoch in epochs:
        mine = ticks[ticks["epoch"] == epoch.number]
        parts.append(mine["t_ns"] - (epoch.t0_ns + mine["slot"].astype(np.int64) * epoch.period_ns))
    return np.concatenate(parts)


def tick_statistics(ticks: Ticks, epochs: Sequence[Epoch]) -> TickStatistics:
    """The statistics of one stream's ticks, in the order of their index, with all its epochs."""
    present = set(np.unique(ticks["epoch"]).tolist())
    known = [epoch for epoch in epochs if epoch.number in present]
    late_us = lateness_ns(ticks, known) / 1e3
    duration_s = float(ticks["t_ns"][-1] - ticks["t_ns"][0]) * 1e-9 if len(ticks) else 0.0
    states = np.bincount(ticks["readings"]["state"].ravel(), minlength=len(State))
    return TickStatistics(
        ticks=len(ticks),
        duration_s=duration_s,
        rate_hz=(len(ticks) - 1) / duration_s if duration_s > 0 else float("nan"),
        period_ns=known[-1].period_ns if known else None,
        lateness_p50_us=float(np.quantile(late_us, 0.5)) if len(late_us) else float("nan"),
        lateness_p99_us=float(np.quantile(late_us, 0.99)) if len(late_us) else float("nan"),
        missed_slots=missed_slots(ticks, known),
        lost=sum(len(hole) for hole in holes(ticks["index"])),
        fresh_rate_hz=known[-1].fresh_rate_hz if known else None,
        freshness=known[-1].freshness if known else "unknown",
        states={state.name.lower(): int(states[state]) for state in State},
        epochs=len(known),
        simulated=any(epoch.simulated for epoch in known),
    )
