"""The drift functions over the time that each class ran."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.model.nuisance import Model

Floats = npt.NDArray[np.float64]


def drift_sums(model: Model, plan: Schedule, begin_ns: float, end_ns: float) -> Floats:
    """For how long each class ran from begin to end, and the drift functions summed over that time (c, 1 + m), ns."""
    edges = np.clip(np.append(plan.edges_ns, end_ns), begin_ns, end_ns)
    spent = np.diff(edges)
    phi = model.drifts((edges[1:] + edges[:-1]) / 2) * spent[:, None]
    parts = [spent, *phi.T]
    return np.stack([np.bincount(plan.classes, part, plan.count) for part in parts], axis=-1)


def drift_means(sums: Floats) -> Floats:
    """The drift functions' means (c, m) over the time that each class ran; 0 where it never did."""
    return np.asarray(sums[:, 1:] / np.maximum(sums[:, :1], 1.0), np.float64)
