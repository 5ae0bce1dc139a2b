"""Power of each class over the time that it ran, from a fit in which all powers drift.

The fit's powers are those at which the drift functions are 0. A class that ran more at one time than at another drew, while it ran,

    layers P (1 + a . phi),    all else P + b . phi,    phi: the drift functions' mean over its time

whose error needs no extrapolation: a baseline at the very end of a recording is known as well as it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.estimate import Estimate
from neuralpower_align.hierarchy import held
from neuralpower_align.schedule import Schedule

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """Powers (c,) W, and three covariances (c, c), W^2: as the model has it; the same if all that is no power were known (`held`); and
    from the scatter of seconds."""

    power_w: Floats
    covariance: Floats
    held: Floats
    scattered: Floats


def over_own_time(found: Estimate, plan: Schedule) -> Levels:
    """What each class drew while it ran."""
    model, index = found.model, found.model.index
    edges = np.clip(np.append(plan.edges_ns, model.end_ns), model.begin_ns, model.end_ns)
    spent = np.diff(edges)
    phi = model.drifts((edges[1:] + edges[:-1]) / 2) * spent[:, None]
    time = np.maximum(np.bincount(plan.classes, spent, plan.count), 1.0)
    mean = np.stack([np.bincount(plan.classes, part, plan.count) for part in phi.T], axis=-1) / time[:, None]
    layer = model.layer[:, None]
    zero = np.zeros(mean.shape[1])
    drift, idle = (zero if each is None else each for each in (model.drift, model.idle_drift))
    change = np.zeros((plan.count, index.size))
    change[:, index.power] = np.diag(1 + np.where(model.layer, mean @ drift, 0.0))
    change[:, index.drift] = np.where(layer, model.slope_w[:, None] * mean, 0.0)
    change[:, index.idle_drift] = np.where(layer, 0.0, mean)
    power = change[:, index.power] @ found.power_w + np.where(model.layer, 0.0, mean @ idle)
    covariance, scattered = (change @ each @ change.T for each in (found.covariance, found.scattered))
    alone = held(found.covariance, change, np.arange(index.power.stop, index.size))
    return Levels(power, covariance, alone, scattered)
