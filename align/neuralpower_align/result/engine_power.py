"""Of one engine, from the powers of all classes and their covariance: units, energy of an inference, and what is withheld."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import Classes, EngineRuns
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.result.hierarchy import shrunk
from neuralpower_align.result.resolution import resolved_units
from neuralpower_align.result.results import EnginePower, Level
from neuralpower_align.sensor.excitation import MOST_UNSEEN, Excitation

Floats = npt.NDArray[np.float64]

LEAST_BESIDE = 5e-3
"""Rule: of so small a share of an inference before and after its layers no power can be told: it counts as the layers'."""


CERTAIN = 2.0
"""Rule: a power this many standard errors outside what a layer can draw is none."""


@dataclass(frozen=True)
class Gap:
    """Between the kernels of an engine, ns, with its variance, ns^2, and its covariance with the powers of all classes (c,), W ns."""

    ns: float
    variance: float
    with_power: Floats


def engine_power(
    power_w: Floats,
    covariance: Floats,
    classes: Classes,
    number: int,
    engine: EngineRuns,
    half_width: float,
    group_error: float,
    excited: Sequence[Excitation] = (),
    contradicted: str = "",
    scattered: Floats | None = None,
    held: Floats | None = None,
    variances_j2: Floats | None = None,
    gap: Gap | None = None,
    range_w: tuple[float, float] = (-np.inf, np.inf),
) -> EnginePower:
    """Of engine `number`, from powers (c,) and covariance (c, c) of all classes; `scattered` (c, c): covariance from the scatter of
    seconds. `excited`: how windows lay in its inferences; `contradicted`: why the fit cannot be believed. `held` (c, c): the covariance
    if all but powers were known; None: layers are taken for themselves, whatever they have in common. `variances_j2` (2,): of the
    energies of :func:`seconds_of`; None: from the covariances, in which slow power of its own counts as error. `gap`: between kernels.
    `range_w`: what a layer can draw; a unit outside is not told."""
    gap = gap or Gap(0.0, 0.0, np.zeros(power_w.size))
    count = classes.layers[number].size
    launch, tail, between = count, count + 1, count + 2
    beside = [int(each[number]) for each in (classes.launch, classes.tail, classes.gap)]
    mine = np.concatenate([classes.layers[number], beside])
    theirs = np.ix_(mine, mine)
    power, errors, pull = power_w[mine], covariance[theirs], np.eye(mine.size)
    if held is not None:
        spent: Floats = np.asarray(np.bincount(engine.alike, engine.durations_ns.mean(axis=0), count) * 1e-9)
        power, alone, pull = shrunk(power, held[theirs], np.arange(count), spent)
        errors = alone + pull @ (errors - held[theirs]) @ pull.T
    scatter = errors if scattered is None else pull @ scattered[theirs] @ pull.T
    # Copies of one layer in a row, thousands in a repeated-layer engine, are one: their power is one unknown.
    first = np.append(0, np.flatnonzero(np.diff(engine.alike)) + 1)
    run = np.repeat(np.arange(first.size), np.diff(np.append(first, engine.alike.size)))
    layers = engine.alike[first]
    seconds = np.add.reduceat(engine.durations_ns.mean(axis=0), first) * 1e-9
    # In the launch gaps that were laid with each layer the board draws what it draws between inferences.
    ran = np.add.reduceat((engine.durations_ns > 0).mean(axis=0), first) * 1e-9
    share = ran / np.maximum(seconds, 1e-12)
    excess = share * gap.ns
    change = np.zeros((layers.size, mine.size))
    change[np.arange(layers.size), layers] = 1 + excess
    change[:, between] -= excess
    own = change @ power
    by_gap = share * (power[layers] - power[between])
    with_gap = np.outer(change @ pull @ gap.with_power[mine], by_gap)
    own_covariance = change @ errors @ change.T + with_gap + with_gap.T + gap.variance * np.outer(by_gap, by_gap)
    units = resolved_units(own, own_covariance, seconds, half_width, group_error)
    hidden = max((each.unseen for each in excited), default=0.0)
    withheld = contradicted
    if hidden > MOST_UNSEEN:
        withheld = f"{hidden:.0%} of an inference were never seen: its period is locked to the chip's scan"
    low, high = (units.power_w + each * CERTAIN * units.power_se_w for each in (1, -1))
    units = replace(units, told=units.told & (low > range_w[0]) & (high < range_w[1]) & (not withheld))
    weights = seconds_of(classes, number, engine, gap.ns)[:, mine]
    error_j = [_sum_error(each, errors, scatter) for each in weights] if variances_j2 is None else np.sqrt(variances_j2)
    return EnginePower(
        unit=units.unit[run],
        withheld=withheld,
        power_w=units.power_w[units.unit][run],
        power_se_w=units.power_se_w[units.unit][run],
        layer_w=own[run],
        covariance=own_covariance,
        units=units,
        energy_j=float(weights[0] @ power),
        energy_se_j=float(error_j[0]),
        launch=level_of(power, errors, launch),
        tail=level_of(power, errors, tail),
        gap=level_of(power, errors, between),
        window_j=float(weights[1] @ power),
        window_se_j=float(error_j[1]),
        between_ns=gap.ns,
        between_se_ns=float(np.sqrt(max(gap.variance, 0.0))),
    )


def seconds_of(classes: Classes, number: int, engine: EngineRuns, gap_ns: float = 0.0) -> Floats:
    """Weights (2, c), s, of the powers of all classes in the energy of a mean inference: of its layers, and of all between its anchors."""
    layers, count = classes.layers[number], classes.layers[number].size
    spent = np.bincount(engine.alike, engine.durations_ns.mean(axis=0), count) * 1e-9
    between = np.bincount(engine.alike, (engine.durations_ns > 0).mean(axis=0), count) * gap_ns * 1e-9
    weights = np.zeros((2, classes.count))
    weights[:, layers] = spent + between
    weights[0, classes.gap[number]] = -between.sum()
    whole, inside = float((engine.end_ns - engine.begin_ns).mean()) * 1e-9, float(weights[1].sum())
    if whole - inside > LEAST_BESIDE * whole:
        weights[1, [classes.launch[number], classes.tail[number]]] = (whole - inside) / 2
    else:
        weights[1] *= whole / max(inside, 1e-12)
    return weights


def _sum_error(weights: Floats, covariance: Floats, scattered: Floats) -> float:
    """Standard error of a weighted sum of powers: slow changes matter most for such, so the scatter of seconds has its say for itself."""
    return float(np.sqrt(max(0.0, *(float(weights @ each @ weights) for each in (covariance, scattered)))))


def level_of(power_w: Floats, covariance: Floats, number: int, plan: Schedule | None = None) -> Level:
    """Of one class; nan if the plan has none of it."""
    error = float(np.sqrt(max(covariance[number, number], 0.0)))
    if plan is not None and not np.any(plan.classes == number):
        return Level(float("nan"), float("nan"))
    return Level(float(power_w[number]), error)
