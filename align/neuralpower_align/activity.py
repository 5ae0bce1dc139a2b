"""What ran when: one ordered list of moments at which the running class (a layer, a gap, idling) changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

BEFORE_NS = 10**10
"""Idling is assumed for this long before the first inference; longer than any sensor remembers."""


@dataclass(frozen=True)
class Runs:
    """All inferences of one engine: layer windows (m, n, 2) ns, the class of each layer (n,), the class of its gaps."""

    windows_ns: Ints
    layer_classes: Ints
    gap_class: int


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


def activity(engines: Sequence[Runs], idle_class: int, count: int, longest_gap_ns: int = 10**9) -> Activity:
    """Join the inferences of all engines into one activity.

    A gap between two inferences of one engine belongs to that engine (its process keeps the board awake); other gaps,
    and gaps longer than `longest_gap_ns`, are idling. Neighbours of one class (copies of a repeated layer) are one stretch,
    which makes no difference but of speed. Raises ValueError if inferences overlap in time.
    """
    edges: list[Ints] = []
    classes: list[Ints] = []
    owner: list[Ints] = []
    for number, runs in enumerate(engines):
        m, n = runs.windows_ns.shape[:2]
        if m == 0 or n == 0:
            continue
        edges.extend(np.concatenate([runs.windows_ns[:, :1, 0], runs.windows_ns[:, :, 1]], axis=1))
        classes.extend([np.append(runs.layer_classes, runs.gap_class)] * m)
        owner.extend([np.array([number])] * m)
    if not edges:
        raise ValueError("activity: no inferences")
    order = np.argsort([each[0] for each in edges], kind="stable")
    edges, classes = [edges[i] for i in order], [classes[i].copy() for i in order]
    who = np.concatenate(owner)[order]
    first, last = np.array([each[0] for each in edges]), np.array([each[-1] for each in edges])
    if np.any(first[1:] < last[:-1]):
        raise ValueError("activity: inferences overlap in time")
    rests = np.append((who[1:] != who[:-1]) | (first[1:] - last[:-1] > longest_gap_ns), True)
    for i in np.flatnonzero(rests):
        classes[i][-1] = idle_class
    every = Activity(
        np.concatenate([[first[0] - BEFORE_NS], *edges]).astype(np.int64),
        np.concatenate([[idle_class], *classes]).astype(np.int64),
        count,
    )
    return every.regroup(np.arange(count))
