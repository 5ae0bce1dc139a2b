"""Power of each class over the time that it ran, from a fit in which all powers drift.

The fit's powers are those at which the drift functions are 0. A class that ran more at one time than at another drew, while it ran,

    layers P (1 + a . phi),    all else P + b . phi,    phi: the drift functions' mean over its time

whose error needs no extrapolation: a baseline at the very end of a recording is known as well as it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.fit.estimate import Estimate
from neuralpower_align.model.drifts import drift_means, drift_sums
from neuralpower_align.model.nuisance import Model
from neuralpower_align.result.hierarchy import held

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """Powers (c,) W, and three covariances (c, c), W^2: as the model has it; the same if all that is no power were known (`held`); and
    from the scatter of seconds. `with_layout` (c, l): covariance with the parameters of the layout. `change` (c, q): of these powers with all
    parameters of the model."""

    power_w: Floats
    covariance: Floats
    held: Floats
    scattered: Floats
    with_layout: Floats
    change: Floats


def over_own_time(found: Estimate, plan: Schedule) -> Levels:
    """What each class drew while it ran; `plan`: as the fit lays it."""
    model = found.model
    spent = drift_sums(model, plan, model.begin_ns, model.end_ns)
    return levels(model, drift_means(spent), found.covariance, found.scattered)


def levels(model: Model, mean: Floats, covariance: Floats, scattered: Floats) -> Levels:
    """Powers where the drift functions are `mean` (c, m), of a model and both covariances (q, q) of all its parameters."""
    index, layer, zero = model.index, model.layer[:, None], np.zeros(mean.shape[1])
    drift, idle = (zero if each is None else each for each in (model.drift, model.idle_drift))
    change = np.zeros((model.power_w.size, index.size))
    change[:, index.power] = np.diag(1 + np.where(model.layer, mean @ drift, 0.0))
    change[:, index.drift] = np.where(layer, model.slope_w[:, None] * mean, 0.0)
    change[:, index.idle_drift] = np.where(layer, 0.0, mean)
    power = change[:, index.power] @ model.power_w + np.where(model.layer, 0.0, mean @ idle)
    alone = held(covariance, change, np.arange(index.power.stop, index.size))
    return Levels(
        power,
        change @ covariance @ change.T,
        alone,
        change @ scattered @ change.T,
        change @ covariance[:, index.layout],
        change,
    )
