"""Power of the layers of all engines of a recording with their intervals: the whole way from readings to units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.balance import balance_of, declared_gaps
from neuralpower_align.classes import BASELINES, Baseline, Classes, Engine
from neuralpower_align.energy_error import realised_variance
from neuralpower_align.engine_power import engine_power, level_of, seconds_of
from neuralpower_align.estimate import estimate
from neuralpower_align.levels import over_own_time
from neuralpower_align.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.results import Balance, EnginePower, Fitted, LayerPower, Level
from neuralpower_align.scan_clock import ChannelReadings, Sensor
from neuralpower_align.schedule import Schedule
from neuralpower_align.sensing import sensor_of
from neuralpower_align.trust import FEWEST_CLUSTERS, contradiction, inflation_of, seen_by
from neuralpower_align.unnamed import named_only

Floats = npt.NDArray[np.float64]

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
    "layer_power",
]

SHORTEST_START_NS = 50e3
"""Without a lag the slopes of lag and delay are one, and steps of both run away together: the fit sets out from no shorter lag."""


TOLD_S = 0.1
"""That so much time was left out is worth a note."""


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
    rails, unnamed_s = named_only(plan, classes, rails, baselines)
    fitted = []
    for number, readings in enumerate(rails):
        sensor = sensors[number] if number < len(sensors) else None
        if sensor is None:
            alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
            sensor = sensor_of(plan.activity, readings, alone)
        found = estimate(plan, readings, _set_out(sensor), classes.is_layer())
        fitted.append(Fitted(sensor, found, inflation_of(found, classes)))
    sums = _summed(fitted, plan, np.array([seconds_of(classes, i, each) for i, each in enumerate(engines)]))
    contradicted = contradiction(engines, fitted)
    rows = [
        engine_power(
            sums.power_w, sums.covariance, classes, number, engine, half_width, group_error, seen_by(engine, fitted),
            contradicted, sums.scattered, sums.held, sums.variances_j2[number],
        )
        for number, engine in enumerate(engines)
    ]  # fmt: skip
    ran = plan.activity.occupied_s(int(plan.edges_ns[1]), int(plan.edges_ns[-1]))
    wander = sum(2e-9 * rail.found.noise.slow * rail.found.noise.slow_ns for rail in fitted)
    declared, notes = declared_gaps(sums.power_w, (sums.covariance, sums.scattered), classes, ran, wander)
    if unnamed_s >= TOLD_S:
        notes.append(f"{unnamed_s:.1f} s of idling of which no mark says what it was were left out")
    return LayerPower(
        engines=tuple(rows),
        idle=level_of(sums.power_w, sums.covariance, classes.context_idle if unnamed_s else classes.idle, plan),
        device_idle=level_of(sums.power_w, sums.covariance, classes.device_idle, plan),
        context_idle=level_of(sums.power_w, sums.covariance, classes.context_idle, plan),
        rails=tuple(fitted),
        balance=balance_of(plan, rails, classes, declared),
        launch_gap_ns=classes.between_ns,
        notes=tuple(notes),
    )


def _set_out(sensor: Sensor) -> Sensor:
    """A sensor of no shorter lag than SHORTEST_START_NS, and as late as the one that is known."""
    more = max(SHORTEST_START_NS - sensor.lag_ns, 0.0)
    return replace(sensor, lag_ns=sensor.lag_ns + more, delay_ns=sensor.delay_ns - more)


@dataclass(frozen=True)
class _Summed:
    """All rails together: powers (c,) of all classes and their covariances (c, c), and variances (e, 2), J^2, of each engine's energies."""

    power_w: Floats
    covariance: Floats
    held: Floats
    scattered: Floats
    variances_j2: Floats


def _summed(fitted: Sequence[Fitted], plan: Schedule, seconds: Floats) -> _Summed:
    """Errors of rails are taken as independent; seconds (e, 2, c): weights of the energies of each engine."""
    levels = [over_own_time(rail.found, plan) for rail in fitted]
    wider = [rail.inflation for rail in fitted]
    flat = seconds.reshape(-1, plan.count)
    variances = sum(realised_variance(rail.found, plan, flat) * rail.inflation for rail in fitted)
    return _Summed(
        power_w=np.sum([each.power_w for each in levels], axis=0),
        covariance=np.sum([w * each.covariance for w, each in zip(wider, levels, strict=True)], axis=0),
        held=np.sum([w * each.held for w, each in zip(wider, levels, strict=True)], axis=0),
        scattered=np.sum([each.scattered for each in levels], axis=0),
        variances_j2=np.reshape(variances, (-1, 2)),
    )
