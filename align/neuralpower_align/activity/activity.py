"""What ran when: one ordered list of moments at which the running class (a layer, a gap, idling) changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

BEFORE_NS = 10**10
"""Chip: idling is assumed for this long before the first inference; longer than any sensor remembers."""


@dataclass(frozen=True)
class Activity:
    """Class `classes[j]` runs from `edges_ns[j]` to `edges_ns[j + 1]`, the last one for ever; classes are 0 .. count - 1."""

    edges_ns: Ints
    classes: Ints
    count: int

    def regroup(self, group_of: Ints) -> Activity:
        """The same activity in coarser classes: class c becomes `group_of[c]`, equal neighbours become one stretch."""
        classes = np.asarray(group_of, np.int64)[self.classes]
        keep = np.concatenate([[True], classes[1:] != classes[:-1]])
        return Activity(self.edges_ns[keep], classes[keep], int(np.max(group_of)) + 1)

    def occupied_s(self, begin_ns: int, end_ns: int) -> npt.NDArray[np.float64]:
        """Seconds each class ran within [begin, end], shape (count,)."""
        edges = np.clip(np.append(self.edges_ns, end_ns), begin_ns, end_ns)
        return np.asarray(np.bincount(self.classes, np.diff(edges) * 1e-9, self.count), np.float64)
