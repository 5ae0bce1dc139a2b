"""Of one engine, from the powers of all classes and their covariance: units, energy of an inference, and what is withheld."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.classes import Classes, Engine
from neuralpower_align.excitation import MOST_UNSEEN, Excitation
from neuralpower_align.resolution import resolved_units
from neuralpower_align.results import EnginePower, Level
from neuralpower_align.schedule import Schedule

Floats = npt.NDArray[np.float64]

LEAST_BESIDE = 5e-3
"""Of so small a share of an inference before and after its layers no power can be told: it counts as the layers'."""


def engine_power(
    power_w: Floats,
    covariance: Floats,
    classes: Classes,
    number: int,
    engine: Engine,
    half_width: float,
    group_error: float,
    excited: Sequence[Excitation] = (),
    contradicted: str = "",
    scattered: Floats | None = None,
) -> EnginePower:
    """Of engine `number`, from powers (c,) and covariance (c, c) of all classes; `scattered` (c, c): covariance from the scatter of
    seconds. `excited`: how windows lay in its inferences; `contradicted`: why the fit cannot be believed."""
    # Copies of one layer in a row, thousands in a repeated-layer engine, are one: their power is one unknown.
    first = np.append(0, np.flatnonzero(np.diff(engine.alike)) + 1)
    run = np.repeat(np.arange(first.size), np.diff(np.append(first, engine.alike.size)))
    layers = classes.layers[number][engine.alike[first]]
    seconds = np.add.reduceat(engine.durations_ns.mean(axis=0), first) * 1e-9
    gap = int(classes.gap[number])
    # In the launch gaps that were laid with each layer the board draws what it draws between inferences.
    ran = np.add.reduceat((engine.durations_ns > 0).mean(axis=0), first) * classes.launch_gap_ns(engine) * 1e-9
    excess = ran / np.maximum(seconds, 1e-12)
    change = np.zeros((layers.size, power_w.size))
    change[np.arange(layers.size), layers] = 1 + excess
    change[:, gap] -= excess
    own, own_covariance = change @ power_w, change @ covariance @ change.T
    units = resolved_units(own, own_covariance, seconds, half_width, group_error)
    hidden = max((each.unseen for each in excited), default=0.0)
    window = np.zeros(power_w.size)
    np.add.at(window, layers, seconds + ran)
    spent, inside = float((engine.end_ns - engine.begin_ns).mean()) * 1e-9, float(window.sum())
    if spent - inside > LEAST_BESIDE * spent:
        window[[classes.launch[number], classes.tail[number]]] = (spent - inside) / 2
    else:
        window *= spent / max(inside, 1e-12)
    scatter = covariance if scattered is None else scattered
    withheld = contradicted
    if hidden > MOST_UNSEEN:
        withheld = f"{hidden:.0%} of an inference were never seen: its period is locked to the chip's scan"
    told = units.told & (not withheld)
    units = replace(units, told=told)
    return EnginePower(
        unit=units.unit[run],
        withheld=withheld,
        power_w=units.power_w[units.unit][run],
        power_se_w=units.power_se_w[units.unit][run],
        layer_w=own[run],
        covariance=own_covariance,
        units=units,
        energy_j=float(own @ seconds),
        energy_se_j=_sum_error(seconds @ change, covariance, scatter),
        launch=level_of(power_w, covariance, int(classes.launch[number])),
        tail=level_of(power_w, covariance, int(classes.tail[number])),
        gap=level_of(power_w, covariance, gap),
        window_j=float(window @ power_w),
        window_se_j=_sum_error(window, covariance, scatter),
    )


def _sum_error(weights: Floats, covariance: Floats, scattered: Floats) -> float:
    """Standard error of a weighted sum of powers: slow changes matter most for such, so the scatter of seconds has its say for itself."""
    return float(np.sqrt(max(0.0, *(float(weights @ each @ weights) for each in (covariance, scattered)))))


def level_of(power_w: Floats, covariance: Floats, number: int, plan: Schedule | None = None) -> Level:
    """Of one class; nan if the plan has none of it."""
    error = float(np.sqrt(max(covariance[number, number], 0.0)))
    if plan is not None and not np.any(plan.classes == number):
        return Level(float("nan"), float("nan"))
    return Level(float(power_w[number]), error)
