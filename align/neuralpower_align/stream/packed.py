"""A model's parameters as one vector, in which the stream's sums are written, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.model.nuisance import US, Model
from neuralpower_align.sensor.kernel import MOST_SKEW, lag_of_ns, measured_ns

Floats = npt.NDArray[np.float64]


def packed(model: Model) -> Floats:
    """The values of a model's parameters (q,), in the order of its index: W, 1, us, and shares. Others are corrections, and 0."""
    index = model.index
    values = np.zeros(index.size)
    values[index.power] = model.power_w
    if model.stalls and model.stall_of is not None:
        values[index.stall_of], values[index.stall] = model.stall_of, model.stall
    if model.drift is not None and model.idle_drift is not None:
        values[index.drift], values[index.idle_drift] = model.drift, model.idle_drift
    if model.sensor:
        kernel = model.kernel
        values[index.lag], values[index.second] = measured_ns(kernel.lag_ns) / US, kernel.second_ns / US
        values[index.blur], values[index.skew] = model.wider, kernel.skew
        values[index.layout] = model.layout.value
        for where, shift in zip(index.shift, model.shift_us, strict=True):
            values[where] = shift - (kernel.lag_ns + kernel.second_ns) / US
    return values


def unpacked(like: Model, values: Floats) -> Model:
    """The model with these parameters; whatever is no parameter as in `like`."""
    index = like.index
    lag, second = lag_of_ns(US * float(values[index.lag][0])), US * float(values[index.second][0])
    kernel = like.kernel.with_lags(lag, second if like.second else like.kernel.second_ns)
    kernel = replace(kernel, skew=float(np.clip(values[index.skew][0], -MOST_SKEW, MOST_SKEW)))
    model = replace(
        like,
        power_w=values[index.power],
        kernel=kernel,
        wider=float(values[index.blur][0]),
        layout=replace(like.layout, value=values[index.layout]),
        drift=values[index.drift],
        idle_drift=values[index.idle_drift],
        shift_us=tuple(values[where] + (kernel.lag_ns + kernel.second_ns) / US for where in index.shift),
    )
    if not like.stalls:
        return model
    return replace(model, stall_of=values[index.stall_of], stall=float(values[index.stall][0]))
