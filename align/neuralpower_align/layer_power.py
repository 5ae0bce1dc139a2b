"""Power of the layers of all engines of a recording with their intervals: the whole way from readings to units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuralpower_align.balance import balance_of, declared_gaps
from neuralpower_align.classes import BASELINES, Baseline, Classes, Engine
from neuralpower_align.engine_power import engine_power, level_of
from neuralpower_align.estimate import estimate
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
    covariance, scattered = np.zeros((plan.count, plan.count)), np.zeros((plan.count, plan.count))
    for number, readings in enumerate(rails):
        known = sensors[number] if number < len(sensors) else None
        if known is None:
            alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
            known = sensor_of(plan.activity, readings, alone)
        sensor = known
        found = estimate(plan, readings, sensor, classes.is_layer())
        inflation = inflation_of(found, classes)
        fitted.append(Fitted(sensor, found, inflation))
        power += found.power_w
        covariance += found.power_covariance * inflation
        scattered += found.scattered[: plan.count, : plan.count]
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
        )
        for number, engine in enumerate(engines)
    ]
    likely = np.sum([rail.found.model.slope_w for rail in fitted], axis=0)
    unknown = np.sqrt(np.diag(covariance)) > 0.5 * float(np.mean(likely[classes.is_layer()]))
    declared, notes = declared_gaps(np.where(unknown, likely, power), covariance, classes)
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
