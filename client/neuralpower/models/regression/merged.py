"""Rows that were measured together: a unit of attribution is one equation, Σ P_j·t_j = E, whoever its layers are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Merged:
    """Rows by unit: `unit` (rows,) numbers from 0 in the order of first appearance, `share` (rows,) sums to one in each.

    For power a row's share is its part of the unit's time, so that the mean of P_j by shares is E over the time; for energy
    all shares of a unit are equal.
    """

    unit: Ints
    share: Floats
    alone: bool

    @classmethod
    def of(cls, rows: int, units: ArrayLike | None, shares: ArrayLike | None) -> Merged:
        """Raises ValueError on other shapes than (rows,), and on shares that are not positive."""
        if units is None:
            return cls(np.arange(rows), np.ones(rows), True)
        given = np.asarray(units)
        share = np.ones(rows) if shares is None else np.asarray(shares, dtype=np.float64)
        if given.shape != (rows,) or share.shape != (rows,) or not (share > 0).all():
            raise ValueError(f"need units and positive shares of shape ({rows},), got {given.shape} and {share.shape}")
        names, first, inverse = np.unique(given, return_index=True, return_inverse=True)
        order = np.empty(len(names), dtype=np.int64)
        order[np.argsort(first)] = np.arange(len(names))
        unit = order[inverse.reshape(-1)]
        return cls(unit, share / np.bincount(unit, share)[unit], len(names) == rows)

    @property
    def count(self) -> int:
        return int(self.unit.max()) + 1

    def where(self, rows: NDArray[np.bool_]) -> Merged:
        """Only some of the rows (rows,), of whole units."""
        return Merged.of(int(rows.sum()), self.unit[rows], self.share[rows])

    def mean(self, values: Floats) -> Floats:
        """The units' means by shares of values of shape (rows,) or (rows, columns)."""
        if self.alone:
            return values
        weighted = values * self.share.reshape(-1, *[1] * (values.ndim - 1))
        sums = np.zeros((self.count, *values.shape[1:]))
        np.add.at(sums, self.unit, weighted)
        return sums

    def first(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of values that are the same for all rows of a unit, shape (rows,), the units'."""
        if self.alone:
            return values
        return values[np.unique(self.unit, return_index=True)[1]]

    def any(self, marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether any row of a unit is marked."""
        return np.asarray(np.bincount(self.unit, marks, self.count) > 0)

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """The units' values, shape (units,), for each row."""
        return values[self.unit]

    def joined(self, group: Ints) -> Ints:
        """Groups of rows, (rows,), joined where a unit has rows of several."""
        if self.alone:
            return group
        joined = group.copy()
        while True:
            least = np.full(self.count, joined.max())
            np.minimum.at(least, self.unit, joined)
            same = np.full(int(group.max()) + 1, joined.max())
            np.minimum.at(same, group, least[self.unit])
            if (same[group] == joined).all():
                return np.asarray(joined, dtype=np.int64)
            joined = same[group]
