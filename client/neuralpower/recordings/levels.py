"""Power of each rail by the second, minute and hour: how many readings, least, greatest and mean watts, joules.

Energy is the integral of power held in straight lines between neighbouring ticks (the trapezoidal rule), cut at the second.
None is counted across lost ticks, a change of epoch or a pause of more than :data:`LONGEST_S`, where nobody knows what was drawn;
how many seconds the joules are of stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_wire import Epoch, Ticks, explained, rail_power_w, total_power_w

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SECOND, MINUTE, HOUR = 1, 60, 3600
LEVELS = (SECOND, MINUTE, HOUR)
"""Seconds that a row of each level spans. A row begins at a whole multiple of them on the clock of its ticks."""
LONGEST_S = 60.0
"""A pause that energy is still counted across: as long as a segment, and far longer than any period of sampling."""
TOTAL = ""
"""Name of the whole board among the rails; no rail is called nothing."""
COUNT, LEAST, GREATEST, MEAN, ENERGY, SECONDS = range(6)
"""Places of the quantities in :attr:`PowerLevel.table`."""
NS = 1_000_000_000
_NO_NS: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True)
class RailLevel:
    """One rail, a value for each row of its level: watts are nan where it had no reading."""

    readings: Ints
    min_w: Floats
    max_w: Floats
    mean_w: Floats
    energy_j: Floats
    covered_s: Floats
    """The time that the energy is of."""


@dataclass(frozen=True)
class PowerLevel:
    """Rails over time, a row for each span of `seconds` in which there is anything.

    begin_ns: (n,) when each row begins, on the clock of the ticks. table: (6, names, n), see :class:`RailLevel` for what is in it.
    """

    seconds: int
    begin_ns: Ints
    names: tuple[str, ...]
    table: Floats

    @cached_property
    def rails(self) -> dict[str, RailLevel]:
        """By name, the total not among them."""
        return {name: self._of(at) for at, name in enumerate(self.names) if name != TOTAL}

    @property
    def total(self) -> RailLevel:
        """The whole board; nothing but nan where no total is known."""
        return (
            self._of(self.names.index(TOTAL)) if TOTAL in self.names else _rail(_nothing(1, len(self.begin_ns))[:, 0])
        )

    def _of(self, at: int) -> RailLevel:
        return _rail(self.table[:, at])

    def coarser(self, seconds: int) -> PowerLevel:
        """The same in rows of so many seconds, a multiple of those it has."""
        if seconds == self.seconds:
            return self
        return _joined(seconds, self.begin_ns // (seconds * NS) * (seconds * NS), self.names, self.table)

    def within(self, begin_ns: int, end_ns: int) -> PowerLevel:
        """The rows that begin from `begin_ns` on and before `end_ns`."""
        kept = (self.begin_ns >= begin_ns) & (self.begin_ns < end_ns)
        return PowerLevel(self.seconds, self.begin_ns[kept], self.names, self.table[:, :, kept])

    def energy_j(self) -> dict[str, tuple[float, float]]:
        """Joules and the seconds they are of, by rail and for :data:`TOTAL`."""
        sums = self.table[[ENERGY, SECONDS]].sum(axis=2)
        return {name: (float(sums[0, at]), float(sums[1, at])) for at, name in enumerate(self.names)}


def _rail(values: Floats) -> RailLevel:
    return RailLevel(values[COUNT].astype(np.int64), *values[1:])


def _nothing(names: int, rows: int) -> Floats:
    table = np.zeros((6, names, rows))
    table[[LEAST, GREATEST, MEAN]] = np.nan
    return table


@dataclass(frozen=True)
class Edge:
    """The first or last tick of a run: what energy between two runs is made of."""

    index: int
    epoch: int
    t_ns: int
    watts: dict[str, float]


def together(levels: Sequence[PowerLevel]) -> PowerLevel:
    """Runs of one level as one: rows of the same time are joined, and a rail that some have not has no readings there."""
    if not levels:
        return PowerLevel(SECOND, _NO_NS, (), np.zeros((6, 0, 0)))
    names = tuple(dict.fromkeys(name for level in levels for name in level.names))
    tables = []
    for level in levels:
        table = _nothing(len(names), len(level.begin_ns))
        table[:, [names.index(name) for name in level.names]] = level.table
        tables.append(table)
    begin_ns = np.concatenate([level.begin_ns for level in levels])
    return _joined(levels[0].seconds, begin_ns, names, np.concatenate(tables, axis=2))


def _joined(seconds: int, begin_ns: Ints, names: tuple[str, ...], table: Floats) -> PowerLevel:
    """Rows with the same beginning made one."""
    if not len(begin_ns):
        return PowerLevel(seconds, begin_ns, names, table)
    order = np.argsort(begin_ns, kind="stable")
    begin_ns, table = begin_ns[order], table[:, :, order]
    starts = np.flatnonzero(np.concatenate([[True], begin_ns[1:] != begin_ns[:-1]]))
    joined = np.empty((6, len(names), len(starts)))
    for place in (COUNT, ENERGY, SECONDS):
        joined[place] = np.add.reduceat(table[place], starts, axis=1)
    joined[LEAST] = np.fmin.reduceat(table[LEAST], starts, axis=1)
    joined[GREATEST] = np.fmax.reduceat(table[GREATEST], starts, axis=1)
    sums = np.add.reduceat(np.nan_to_num(table[MEAN]) * table[COUNT], starts, axis=1)
    joined[MEAN] = np.where(joined[COUNT] > 0, sums / np.maximum(joined[COUNT], 1), np.nan)
    return PowerLevel(seconds, begin_ns[starts], names, joined)


def watts_of(ticks: Ticks, epochs: Sequence[Epoch]) -> tuple[tuple[str, ...], Floats]:
    """Names of the rails and :data:`TOTAL`, and (names, n) watts at each of n ticks; nan where a reading or the epoch is missing."""
    found: list[tuple[int, dict[str, Floats]]] = []
    for epoch, run in explained(ticks, epochs):
        rails = rail_power_w(epoch, run) if epoch else {}
        found.append((len(run), {**rails, TOTAL: total_power_w(epoch, run, rails)} if epoch else {}))
    names = tuple(dict.fromkeys(name for _, power in found for name in power))
    watts, at = np.full((len(names), len(ticks)), np.nan), 0
    for count, power in found:
        for name, values in power.items():
            watts[names.index(name), at : at + count] = values
        at += count
    return names, watts


def seconds_of(ticks: Ticks, names: tuple[str, ...], watts: Floats) -> PowerLevel:
    """The level of seconds of a run of ticks, in the order of their index, of which `watts_of` gave the watts."""
    if not len(ticks) or not names:
        return PowerLevel(SECOND, _NO_NS, names, _nothing(len(names), 0))
    t_ns, second = np.ascontiguousarray(ticks["t_ns"]), ticks["t_ns"] // NS
    if np.any(second[1:] < second[:-1]):  # no clock of ours goes back; a damaged or made-up file's may
        order = np.argsort(second, kind="stable")
        return seconds_of(ticks[order], names, watts[:, order])
    starts = np.flatnonzero(np.concatenate([[True], second[1:] != second[:-1]]))
    known = ~np.isnan(watts)
    table = _nothing(len(names), len(starts))
    table[COUNT] = np.add.reduceat(known, starts, axis=1, dtype=np.float64)
    table[LEAST] = np.fmin.reduceat(watts, starts, axis=1)
    table[GREATEST] = np.fmax.reduceat(watts, starts, axis=1)
    sums = np.add.reduceat(np.where(known, watts, 0.0), starts, axis=1)
    table[MEAN] = np.where(table[COUNT] > 0, sums / np.maximum(table[COUNT], 1), np.nan)
    rows = PowerLevel(SECOND, second[starts] * NS, names, table)
    return together([rows, PowerLevel(SECOND, *_named(names, _pieces(t_ns, watts, _neighbours(ticks))))])


def _named(names: tuple[str, ...], pieces: tuple[Ints, Floats]) -> tuple[Ints, tuple[str, ...], Floats]:
    return pieces[0], names, pieces[1]


def _neighbours(ticks: Ticks) -> npt.NDArray[np.bool_]:
    """(n - 1,): whether a tick is followed by its very next, of its own epoch."""
    index, epoch = ticks["index"], ticks["epoch"]
    near: npt.NDArray[np.bool_] = (index[1:] - index[:-1] == 1) & (epoch[1:] == epoch[:-1])
    return near


def _pieces(t_ns: Ints, watts: Floats, near: npt.NDArray[np.bool_]) -> tuple[Ints, Floats]:
    """Energy between neighbours, as rows of seconds without readings; intervals that cross a second are cut there."""
    apart = t_ns[1:] - t_ns[:-1]
    whole = np.flatnonzero(near & (apart > 0) & (apart <= LONGEST_S * NS))
    begin, end = t_ns[whole], t_ns[whole + 1]
    low, high = watts[:, whole], watts[:, whole + 1]
    crossed = begin // NS != (end - 1) // NS
    parts = [(begin[~crossed], end[~crossed], low[:, ~crossed], high[:, ~crossed])]
    for at in np.flatnonzero(crossed).tolist():
        first, last = int(begin[at]), int(end[at])
        cuts = np.array([first, *range((first // NS + 1) * NS, last, NS), last])
        share = (cuts - first) / (last - first)
        line = low[:, at, None] + (high[:, at] - low[:, at])[:, None] * share
        parts.append((cuts[:-1], cuts[1:], line[:, :-1], line[:, 1:]))
    begin, end = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    low, high = (np.concatenate([part[place] for part in parts], axis=1) for place in (2, 3))
    span, known = (end - begin) * 1e-9, ~np.isnan(low + high)
    second = begin // NS
    keys, at = np.unique(second, return_inverse=True)
    table = _nothing(len(watts), len(keys))
    for row in range(len(watts)):
        joules = np.where(known[row], 0.5 * (low[row] + high[row]) * span, 0.0)
        table[ENERGY, row] = np.bincount(at, joules, len(keys))
        table[SECONDS, row] = np.bincount(at, np.where(known[row], span, 0.0), len(keys))
    return keys * NS, table


def between(pairs: Sequence[tuple[Edge, Edge]]) -> PowerLevel:
    """The energy between runs that come one after another: from the last tick of each first to the first of its second."""
    near = [(before, after) for before, after in pairs if joins(before, after)]
    names = tuple(dict.fromkeys(name for before, _ in near for name in before.watts))
    ends = [edge for pair in near for edge in pair]
    watts = np.array([[edge.watts.get(name, np.nan) for edge in ends] for name in names])
    watts = watts.reshape(len(names), len(ends))
    t_ns = np.array([edge.t_ns for edge in ends], np.int64)
    return PowerLevel(SECOND, *_named(names, _pieces(t_ns, watts, np.arange(max(len(ends) - 1, 0)) % 2 == 0)))


def joins(before: Edge, after: Edge) -> bool:
    """Whether energy counts from one tick to another: they are neighbours, and of one epoch."""
    return after.index == before.index + 1 and after.epoch == before.epoch


def edges_of(ticks: Ticks, names: tuple[str, ...], watts: Floats) -> tuple[Edge, Edge]:
    """The first and the last of at least one tick."""
    first, last = (
        Edge(
            int(ticks["index"][at]),
            int(ticks["epoch"][at]),
            int(ticks["t_ns"][at]),
            dict(zip(names, watts[:, at].tolist(), strict=True)),
        )
        for at in (0, -1)
    )
    return first, last


def packed_level(level: PowerLevel) -> dict[str, Any]:
    """Its fields as msgpack has them."""
    return {
        "seconds": level.seconds,
        "names": list(level.names),
        "begin_ns": level.begin_ns.astype("<i8").tobytes(),
        "table": level.table.astype("<f8").tobytes(),
    }


def unpacked_level(body: dict[str, Any]) -> PowerLevel:
    """The level that :func:`packed_level` packed; ValueError, KeyError or TypeError where it is none."""
    begin_ns = np.frombuffer(body["begin_ns"], "<i8")
    names = tuple(map(str, body["names"]))
    table = np.frombuffer(body["table"], "<f8").reshape(6, len(names), len(begin_ns))
    return PowerLevel(int(body["seconds"]), begin_ns, names, table)
