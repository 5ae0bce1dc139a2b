"""Power of the layers of all engines of a recording with their intervals: the whole way from readings to units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuralpower_align.balance import balance_of, declared_gaps
from neuralpower_align.classes import BASELINES, Baseline, Classes, Engine
from neuralpower_align.engine_power import engine_power, level_of
from neuralpower_align.estimate import estimate
from neuralpower_align.levels import over_own_time
from neuralpower_align.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.results import Balance, EnginePower, Fitted, LayerPower, Level
from neuralpower_align.scan_clock import ChannelReadings, Sensor
from neuralpower_align.sensing import sensor_of
from neuralpower_align.trust import FEWEST_CLUSTERS, contradiction, inflation_of, seen_by

__all__ = [
    "BASELINES",
    "FEWEST_CLUSTERS",
    "Balance",
    "Baseline",
    "Classes",
    "Engine",
    "EnginePower",
    "Fitted",
    "LayerPower",
    "Level",
    "_engine",
    "layer_power",
]

_engine = engine_power
"""The name it had."""


def layer_power(
    engines: Sequence[Engine],
    rails: Sequence[Sequence[ChannelReadings]],
    sensors: Sequence[Sensor | None] = (),
    baselines: Sequence[Baseline] = (),
    half_width: float = HALF_WIDTH,
    group_error: float = GROUP_ERROR,
) -> LayerPower:
    """Attribute the power of some rails together to the layers of all engines.

    rails: the stretches of readings of each rail; their powers are added up, their errors taken as independent. sensors: what is known
    of each rail's sensor, nearly right; where it is None it is acquired. Raises ValueError if inferences overlap or readings lack.
    """
    classes = Classes.of(engines)
    plan = classes.schedule(engines, baselines)
    fitted, power = [], np.zeros(plan.count)
    covariance, held, scattered = (np.zeros((plan.count, plan.count)) for _ in range(3))
    for number, readings in enumerate(rails):
        known = sensors[number] if number < len(sensors) else None
        if known is None:
            alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
            known = sensor_of(plan.activity, readings, alone)
        sensor = known
        found = estimate(plan, readings, sensor, classes.is_layer())
        inflation = inflation_of(found, classes)
        fitted.append(Fitted(sensor, found, inflation))
        levels = over_own_time(found, plan)
        power += levels.power_w
        covariance += levels.covariance * inflation
        held += levels.held * inflation
        scattered += levels.scattered
    contradicted = contradiction(engines, fitted)
    rows = [
        engine_power(
            power,
            covariance,
            classes,
            number,
            engine,
            half_width,
            group_error,
            seen_by(engine, fitted),
            contradicted,
            scattered,
            held,
        )
        for number, engine in enumerate(engines)
    ]
    ran = plan.activity.occupied_s(int(plan.edges_ns[1]), int(plan.edges_ns[-1]))
    wander = sum(2e-9 * rail.found.noise.slow * rail.found.noise.slow_ns for rail in fitted)
    declared, notes = declared_gaps(power, (covariance, scattered), classes, ran, wander)
    return LayerPower(
        engines=tuple(rows),
        idle=level_of(power, covariance, classes.idle, plan),
        device_idle=level_of(power, covariance, classes.device_idle, plan),
        context_idle=level_of(power, covariance, classes.context_idle, plan),
        rails=tuple(fitted),
        balance=balance_of(plan, rails, classes, declared),
        launch_gap_ns=classes.between_ns,
        notes=tuple(notes),
    )
