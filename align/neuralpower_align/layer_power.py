"""Power of the layers of all engines of a recording with their intervals: the whole way from readings to units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.sensing import sensor_of
from neuralpower_align.acquire.stamped import stamped_sensor
from neuralpower_align.activity.classes import BASELINES, Baseline, Classes, EngineRuns
from neuralpower_align.activity.layout import GAP, US
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.activity.unnamed import named_only
from neuralpower_align.clock.scan_clock import ChannelReadings, Sensor
from neuralpower_align.fit.estimate import estimate
from neuralpower_align.fit.pace import Pace
from neuralpower_align.model.nuisance import Model
from neuralpower_align.result.balance import balance_of, declared_gaps
from neuralpower_align.result.energy_error import realised_variance
from neuralpower_align.result.engine_power import Gap, engine_power, level_of, seconds_of
from neuralpower_align.result.levels import Levels, over_own_time
from neuralpower_align.result.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.result.results import Balance, EnginePower, Fitted, Level, RailAttribution
from neuralpower_align.result.trust import contradiction, inflation_of, seen_by

Floats = npt.NDArray[np.float64]

__all__ = [
    "BASELINES",
    "Balance",
    "Baseline",
    "Classes",
    "EnginePower",
    "EngineRuns",
    "Fitted",
    "Level",
    "RailAttribution",
    "layer_power",
]

EVEN_W = 2.0**-13
"""Chip: readings are taken to the nearest tenth of a milliwatt or so, of which chips tell far more: the last digits of a number, which depend on how
it was calculated, then decide nothing (which of two maxima is followed, where a search ends)."""
GAP_STEP_NS = 100.0
"""Tuning: of the difference that tells how energies change with the gap between kernels."""
LEAST_SHARE, MOST_BESIDE = 0.8, 3.0
"""Rule: no layer draws less than the idle board, but for its errors; readings are means over a conversion and a sensor's lag, so that a short
layer may draw more than any of them, but not several times as much."""

ACQUIRED, FITTED = 0.05, 0.95
"""Tuning: shares of the time after which the sensor is acquired and all is fitted."""
TOLD_S = 0.1
"""Rule: that so much time was left out is worth a note."""


def layer_power(
    engines: Sequence[EngineRuns],
    rails: Sequence[Sequence[ChannelReadings]],
    sensors: Sequence[Sensor | None] = (),
    baselines: Sequence[Baseline] = (),
    half_width: float = HALF_WIDTH,
    group_error: float = GROUP_ERROR,
    near: Sequence[Fitted] = (),
    pace: Pace | None = None,
) -> RailAttribution:
    """Attribute the power of some rails together to the layers of all engines.

    rails: the stretches of readings of each rail; their powers are added up, their errors taken as independent. sensors: what is known
    of each rail's sensor, nearly right; near: what was found of each rail of other classes, from the same stretches of readings. Without
    either the sensor is acquired. pace: is told how far it is. Raises Unattributable if inferences overlap, readings
    lack, or these never change.
    """
    rails = [[replace(each, power_w=EVEN_W * np.rint(each.power_w / EVEN_W)) for each in rail] for rail in rails]
    classes = Classes.of(engines)
    plan = classes.schedule(engines, baselines)
    rails, unnamed_s = named_only(plan, classes, rails, baselines)
    fitted: list[Fitted] = []
    levels: list[Levels] = []
    pace, laid = pace or Pace(), plan
    for number, readings in enumerate(rails):
        own = pace.part(number / len(rails), (number + 1) / len(rails))
        known = near[number] if number < len(near) else None
        sensor, before, layout = sensors[number] if number < len(sensors) else None, None, classes.layout
        if known is not None:
            before, layout = known.found, layout.with_values(known.found.model.layout)
            sensor = replace(before.sensor, ambiguous=known.sensor.ambiguous)
            windows = [piece.window_ns for piece in before.pieces]
            readings = [replace(each, window_ns=windows[0]) if each.stamped else each for each in readings]
        elif sensor is None:
            alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
            if all(piece.stamped for piece in readings):
                readings, sensor = stamped_sensor(plan.activity, readings, alone)
            else:
                sensor = sensor_of(plan.activity, readings, alone)
        found = estimate(
            plan, readings, sensor, classes.is_layer(), layout, near=before, pace=own.part(ACQUIRED, FITTED)
        )
        wider = inflation_of(found.clusters, found.covariance, found.scattered, classes)
        mine = plan.placed(found.model.layout)
        laid = laid if fitted else mine
        fitted.append(Fitted(sensor, found, wider))
        levels.append(over_own_time(found, mine))
    gaps = [_gap(fitted[0], levels[0], number, each) for number, each in enumerate(engines)]
    sums = _summed(fitted, levels, plan, engines, classes, gaps)
    contradicted = contradiction(engines, fitted)
    highest_w = sum(max(float(np.max(each.power_w)) for each in rail) for rail in rails)
    range_w = possible_w(sums.power_w, classes, highest_w)
    rows = [
        engine_power(
            sums.power_w, sums.covariance, classes, number, engine, half_width, group_error, seen_by(engine, fitted),
            contradicted, sums.scattered, sums.held, sums.variances_j2[number], gaps[number], range_w,
        )
        for number, engine in enumerate(engines)
    ]  # fmt: skip
    ran = laid.activity.occupied_s(int(laid.edges_ns[1]), int(laid.edges_ns[-1]))
    wander = sum(2e-9 * rail.found.noise.slow * rail.found.noise.slow_ns for rail in fitted)
    declared, notes = declared_gaps(sums.power_w, (sums.covariance, sums.scattered), classes, ran, wander)
    if unnamed_s >= TOLD_S:
        notes.append(f"{unnamed_s:.1f} s of idling of which no mark says what it was were left out")
    return RailAttribution(
        engines=tuple(rows),
        idle=level_of(sums.power_w, sums.covariance, classes.context_idle if unnamed_s else classes.idle, laid),
        device_idle=level_of(sums.power_w, sums.covariance, classes.device_idle, laid),
        context_idle=level_of(sums.power_w, sums.covariance, classes.context_idle, laid),
        rails=tuple(fitted),
        balance=balance_of(laid, rails, classes, declared),
        launch_gap_ns=US * float(fitted[0].found.model.layout.value[GAP]),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Summed:
    """All rails together: powers (c,) of all classes and their covariances (c, c), and variances (e, 2), J^2, of each engine's energies."""

    power_w: Floats
    covariance: Floats
    held: Floats
    scattered: Floats
    variances_j2: Floats


def _summed(
    fitted: Sequence[Fitted],
    levels: Sequence[Levels],
    plan: Schedule,
    engines: Sequence[EngineRuns],
    classes: Classes,
    gaps: Sequence[Gap],
) -> _Summed:
    """Errors of rails are taken as independent. The gap between kernels is that of the first rail."""
    wider = [rail.inflation for rail in fitted]
    power = np.sum([each.power_w for each in levels], axis=0)
    layout = fitted[0].found.model.layout
    seconds, by_gap = [], []
    for number, (engine, gap) in enumerate(zip(engines, gaps, strict=True)):
        here = seconds_of(classes, number, engine, gap.ns)
        beside = seconds_of(classes, number, engine, gap.ns + GAP_STEP_NS)
        seconds.append(here)
        of_gap = np.zeros(layout.size) if engine.whole else layout.of_gap(number)
        by_gap.append(np.outer((beside - here) @ power * (US / GAP_STEP_NS), of_gap))
    flat, changes = np.concatenate(seconds), np.concatenate(by_gap)
    variances = sum(
        realised_variance(rail.found, plan, flat, own.change, None if number else changes) * rail.inflation
        for number, (rail, own) in enumerate(zip(fitted, levels, strict=True))
    )
    return _Summed(
        power_w=power,
        covariance=np.sum([w * each.covariance for w, each in zip(wider, levels, strict=True)], axis=0),
        held=np.sum([w * each.held for w, each in zip(wider, levels, strict=True)], axis=0),
        scattered=np.sum([each.scattered for each in levels], axis=0),
        variances_j2=np.reshape(variances, (-1, 2)),
    )


def _gap(rail: Fitted, levels: Levels, number: int, engine: EngineRuns) -> Gap:
    """Between the kernels of an engine."""
    if engine.whole:
        return Gap(0.0, 0.0, np.zeros(levels.power_w.size))
    return gap_of(rail.found.model, rail.found.covariance, levels, number, rail.inflation)


def gap_of(model: Model, covariance: Floats, levels: Levels, number: int, inflation: float) -> Gap:
    """Between the kernels of engine `number`, from the covariance (q, q) of all parameters of a model."""
    change, where = model.layout.of_gap(number), model.index.layout
    variance = float(change @ covariance[where, where] @ change)
    return Gap(
        US * model.layout.gap_us(number), US**2 * variance * inflation, US * inflation * levels.with_layout @ change
    )


def possible_w(power_w: Floats, classes: Classes, highest_w: float) -> tuple[float, float]:
    """Between what a layer's power lies: the least that the board draws idle, and far more than any reading (`highest_w`) beside that."""
    levels = [power_w[each] for each in (classes.context_idle, classes.device_idle, *classes.gap.tolist())]
    least = min((float(each) for each in levels if each > 0), default=0.0)
    return LEAST_SHARE * least, least + MOST_BESIDE * max(highest_w - least, 0.0)
