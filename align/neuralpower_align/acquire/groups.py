"""Coarse groups of layers, for the part of the search in which only rough powers are needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.choice import engines
from neuralpower_align.activity.activity import Activity

Ints = npt.NDArray[np.int64]

GROUP_NS = 500e3
GROUPS = (8, 24)
"""Tuning: layers are joined to groups about so long, at least and at most so many of an engine (in the mean over all)."""
FINE_NS, FINE_GROUPS = 150e3, (24, 64)
"""Tuning: the same where delays are compared: near enough to each layer for itself."""


def grouped(
    activity: Activity,
    alone: Sequence[int],
    group_ns: float = GROUP_NS,
    groups: tuple[int, int] = GROUPS,
    together: bool = False,
) -> Ints:
    """Coarse class of each class (count,): neighbours in number are joined, but for `alone` and for what lasts by itself.

    `together`: what is alone of an engine is joined, too (but for the last, with which idling is).
    """
    width = np.diff(activity.edges_ns).astype(np.float64)
    total = np.bincount(activity.classes[:-1], width, activity.count)
    mean = total / np.maximum(np.bincount(activity.classes[:-1], minlength=activity.count), 1)
    engine = engines(activity.count, alone)
    aside = np.zeros(activity.count, bool)
    aside[list(alone)] = True
    single = (mean >= group_ns) | aside
    joined = float(mean[~single].sum())
    length = joined / np.clip(joined / group_ns, groups[0], groups[1] * (engine[-1] + 1))
    group, number, filled = np.zeros(activity.count, np.int64), -1, np.inf
    for i in range(activity.count):
        if together and i and aside[i] and aside[i - 1] and engine[i] < engine[-1]:
            pass
        elif single[i]:
            number, filled = number + 1, np.inf
        elif filled + mean[i] / 2 > length:
            number, filled = number + 1, float(mean[i])
        else:
            filled += float(mean[i])
        group[i] = number
    return group
