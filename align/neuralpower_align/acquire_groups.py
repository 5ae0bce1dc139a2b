"""Coarse groups of layers, for the part of the search in which only rough powers are needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import Activity

Ints = npt.NDArray[np.int64]

GROUP_NS = 500e3
GROUPS = (8, 24)
"""Layers are joined to groups about so long, at least and at most so many."""
FINE_NS, FINE_GROUPS = 150e3, (24, 64)
"""The same where delays are compared: near enough to each layer for itself."""


def grouped(
    activity: Activity, alone: Sequence[int], group_ns: float = GROUP_NS, groups: tuple[int, int] = GROUPS
) -> Ints:
    """Coarse class of each class (count,): neighbours in number are joined, but for `alone` and for what lasts by itself."""
    width = np.diff(activity.edges_ns).astype(np.float64)
    total = np.bincount(activity.classes[:-1], width, activity.count)
    mean = total / np.maximum(np.bincount(activity.classes[:-1], minlength=activity.count), 1)
    single = mean >= group_ns
    single[list(alone)] = True
    joined = float(mean[~single].sum())
    length = joined / np.clip(joined / group_ns, *groups)
    group, number, filled = np.zeros(activity.count, np.int64), -1, np.inf
    for i in range(activity.count):
        if single[i]:
            number, filled = number + 1, np.inf
        elif filled + mean[i] / 2 > length:
            number, filled = number + 1, float(mean[i])
        else:
            filled += float(mean[i])
        group[i] = number
    return group
