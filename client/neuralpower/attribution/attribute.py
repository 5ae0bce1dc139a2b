"""From a recording to power, energy and runtime per layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower.attribution.results import (
    NAN,
    UNKNOWN,
    Attribution,
    Baselines,
    EngineAttribution,
    LayerPower,
    Unprofiled,
    WholeInference,
)
from neuralpower.attribution.sources import (
    MeasuredEngine,
    Rails,
    RecordingSource,
    measured_engines,
    named_stretches,
    rails_of,
)
from neuralpower.attribution.states import at_one_clock
from neuralpower.errors import InputError
from neuralpower.interval import Z95
from neuralpower_align import layer_power as align
from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.errors import Unattributable
from neuralpower_align.fit.pace import Pace
from neuralpower_align.result.energy import energy_between
from neuralpower_align.result.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.sensor.steady import steady_power
from neuralpower_align.sensor.window_mean import window_mean

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

METHODS = ("least-squares", "window-mean")
STEADY_NS = 15e6
"""Rule: an engine of one repeated layer that runs at least so long is read directly."""
SETTLED_LAGS = 8.0
"""Rule: of an engine that is read directly, readings count once exp(-8) is left of what ran before."""
READ, LAYERED = 0.03, 0.85
"""Tuning: shares of the time after which the recording is read, and the layers are fitted where all inferences are fitted once more."""
NOT_TOLD = "its power is not known to {:.3g} %, alone or together with its neighbours"
"""Why a layer of an engine that is told has no power."""


def attribute(
    recording: RecordingSource,
    method: str = "least-squares",
    *,
    rail: str | None = None,
    half_width: float = HALF_WIDTH,
    group_error: float = GROUP_ERROR,
    told: Callable[[float], None] | None = None,
) -> Attribution:
    """Attribute a recording's power to layers.

    method: `least-squares` (layers told apart by how much of each sensor window they filled; sensor, stalls and drift fitted
    with them; engines of one repeated layer read directly) or `window-mean` (the baseline: readings that fall into a layer's window).
    rail: only this one instead of the board's total. half_width: a layer is resolved if its 95 % half-width is at most this share
    of its power; group_error: others are grouped until their standard error is at most this share. What of an engine is not known so
    well has a reason, `withheld`, and no power; an engine whose powers cannot be believed has one for all.
    told: is told the share of the work that is done, which only grows.
    Linear algebra of the whole process has one thread meanwhile.
    Raises InputError where the recording holds no ticks, no inferences, or not the power asked for.
    """
    check_method(method)
    from threadpoolctl import threadpool_limits

    # The matrices are small: further threads mostly wait for each other, on a busy machine long. How many there are may decide how sums are
    # split, and so how they are rounded.
    with threadpool_limits(1, user_api="blas"):
        return _attribute(recording, method, rail, half_width, group_error, Pace(told))


def check_method(method: str) -> None:
    """Raises InputError where there is no such method."""
    if method not in METHODS:
        raise InputError(f"no method {method!r}; there are {', '.join(METHODS)}")


def _attribute(
    recording: RecordingSource, method: str, rail: str | None, half_width: float, group_error: float, pace: Pace
) -> Attribution:
    notes: list[str] = []
    rails = rails_of(recording, rail, notes)
    measured = measured_engines(recording, rails.first_ns, rails.last_ns, notes)
    measured, rails = at_one_clock(measured, rails, notes)
    if method == "window-mean":
        return _by_window_mean(recording, rails, measured, notes)
    layered, blind = ([e for e in measured if bool(e.profiled) == plain] for plain in (False, True))
    named = named_stretches(recording, measured)
    try:
        seen = _without(rails, blind)
        layers, last = pace.part(READ, LAYERED if blind else 1.0), pace.part(LAYERED, 1.0)
        found = align.layer_power(
            [e.runs for e in layered], seen.readings, (), named, half_width, group_error, pace=layers
        )
        # What ran within a slice is not known, so what is fitted with slices says nothing of layers.
        near = found.rails if _same_pieces(seen, rails) else ()
        whole = found
        if blind:
            whole = align.layer_power([e.runs for e in measured], rails.readings, (), named, near=near, pace=last)
    except Unattributable as error:
        raise InputError(str(error)) from None
    every = {}
    for number, each in enumerate(layered):
        engine = _engine(each, found, number, rails, half_width, group_error)
        every[engine.hash] = replace(
            engine,
            unprofiled=_unprofiled(measured, found, whole, number),
            whole=_whole(each, found.engines[number]),
        )
    first = found.rails[0].found
    clocks = [piece.clock for piece in first.pieces if piece.clock is not None]
    notes += [*found.notes, *_sensor_notes(found), *_meaning(rails, layered)]
    kernel = first.model.kernel
    return Attribution(
        method=method,
        engines=every,
        delay_s=first.delay_ns * 1e-9,
        lag_s=(kernel.lag_ns + kernel.second_ns) * 1e-9,
        scan_period_s=clocks[0].period_ns * 1e-9 if clocks else None,
        launch_gap_s=found.launch_gap_ns * 1e-9,
        idle_power_w=found.idle.power_w,
        residual_w=first.residual_w,
        balance=found.balance,
        board=rails.board,
        simulated=recording.simulated,
        notes=tuple(notes),
        rails=rails.names,
        baselines=Baselines(found.device_idle, found.context_idle),
        systematic=rails.systematic,
    )


def _sensor_notes(found: align.RailAttribution) -> list[str]:
    notes = []
    for fitted in found.rails:
        if any(piece.clock is None and piece.unplaced_ns for piece in fitted.found.pieces):
            notes.append(
                "the place of readings in the chip's scan could not be recovered: few layers can be told apart"
            )
        if fitted.sensor.ambiguous:
            notes.append(f"sensor: {fitted.sensor.ambiguous}")
    return notes


def _meaning(rails: Rails, measured: Sequence[MeasuredEngine]) -> list[str]:
    notes = ["on a total rail, a layer's power includes the host's work while it runs"] if len(measured) else []
    if len(rails.names) > 1:
        notes.append(f"the total is the sum of {', '.join(rails.names)}, their errors taken as independent")
    return notes


def _engine(
    each: MeasuredEngine, found: align.RailAttribution, number: int, rails: Rails, half_width: float, group_error: float
) -> EngineAttribution:
    """One engine of the solution; one that is a repeated layer is read directly instead if it runs long enough."""
    mine, runs = found.engines[number], each.runs
    first = found.rails[0].found
    lag_ns = first.model.kernel.lag_ns + first.model.kernel.second_ns
    slowest = max(piece.window_ns + piece.scan_ns * piece.averaging for piece in rails.readings[0])
    slowest = max(slowest, *(piece.window_ns for piece in first.pieces))
    read_ns, power_w = rails.total()
    shift = int(first.delay_ns + lag_ns + slowest / 2)
    hole_ns = max(piece.hole_ns for piece in rails.readings[0])
    whole = energy_between(read_ns, power_w, runs.begin_ns + shift, runs.end_ns + shift, max_gap_ns=hole_ns)
    measured_j = float(np.nanmean(whole)) if np.isfinite(whole).any() else NAN
    power, error, method = mine.power_w, mine.power_se_w, "least-squares"
    energy = (NAN if each.copies.size else mine.energy_j, mine.energy_se_j)
    told = mine.units.told
    units_w, units_w2 = np.where(told, mine.units.power_w, NAN), mine.units.covariance
    units_se_w = np.where(told, mine.units.power_se_w, NAN)
    if each.copies.size and runs.durations_ns.sum(axis=1).mean() >= STEADY_NS:
        settle = max(first.delay_ns, 0.0) + slowest + SETTLED_LAGS * lag_ns
        windows = layer_windows(runs.begin_ns, runs.end_ns, runs.durations_ns, between_ns=mine.between_ns)
        steady = steady_power(read_ns, power_w, windows[:, 0, 0], windows[:, -1, 1], settle)
        if steady.readings >= 2:
            mean_ns = runs.durations_ns[:, each.copies].mean()
            # In the gaps between its kernels the board draws what it draws between inferences.
            gaps, beside_w = mine.between_ns / mean_ns, steady.power_w - mine.gap.power_w
            parts = (1 + gaps) * steady.power_se_w, gaps * mine.gap.se_w, beside_w * mine.between_se_ns / mean_ns
            power, error = (
                np.full_like(power, each) for each in (steady.power_w + gaps * beside_w, np.hypot.reduce(parts))
            )
            method, units_w, units_se_w, units_w2 = "direct", power[:1], error[:1], error[:1, None] ** 2
            energy, told = (NAN, float(error[0] * runs.durations_ns.sum(axis=1).mean() * 1e-9)), np.ones_like(told)
    reasons = ["" if told[unit] else NOT_TOLD.format(100 * group_error) for unit in mine.unit.tolist()]
    layers = _layers(each, mine.unit, power, error, mine.gap.power_w, half_width, reasons)
    return EngineAttribution(
        hash=each.body["hash"],
        name=each.body["name"],
        method=method,
        layers=layers,
        inferences=len(runs.begin_ns),
        measured_energy_j=measured_j,
        gap_power_w=mine.gap.power_w,
        condition=mine.units.condition,
        residual_w=first.residual_w,
        simulated=bool(each.body["simulated"]),
        energy_j=energy[0],
        energy_se_j=energy[1],
        launch=mine.launch,
        tail=mine.tail,
        gap=mine.gap,
        unit_power_w=tuple(units_w.tolist()),
        unit_se_w=tuple(units_se_w.tolist()),
        unit_covariance_w2=tuple(map(tuple, units_w2.tolist())),
        withheld=mine.withheld,
    )


def _without(rails: Rails, blind: Sequence[MeasuredEngine]) -> Rails:
    """The readings that saw no inference without the profiler."""
    if not blind:
        return rails
    return rails.without(
        *(np.sort(np.concatenate([getattr(e.runs, n) for e in blind])) for n in ("begin_ns", "end_ns"))
    )


def _same_pieces(some: Rails, others: Rails) -> bool:
    """Whether a sensor found for the stretches of one has a clock for each of the other."""
    return [len(rail) for rail in some.readings] == [len(rail) for rail in others.readings]


def _unprofiled(
    measured: Sequence[MeasuredEngine], found: align.RailAttribution, whole: align.RailAttribution, number: int
) -> Unprofiled | None:
    """An engine's inferences as found, beside those that ran without the profiler; None where there are none of these."""
    mine = measured[number].body["hash"]
    other = next((i for i, each in enumerate(measured) if each.profiled == mine), None)
    if other is None:
        return None
    return Unprofiled(_whole(measured[number], found.engines[number]), _whole(measured[other], whole.engines[other]))


def _whole(each: MeasuredEngine, found: align.EnginePower) -> WholeInference:
    seconds = (each.runs.end_ns - each.runs.begin_ns) * 1e-9
    error = float(np.std(seconds, ddof=1) / np.sqrt(seconds.size)) if seconds.size > 1 else NAN
    return WholeInference(seconds.size, float(seconds.mean()), error, found.window_j, found.window_se_j, found.withheld)


def _layers(
    each: MeasuredEngine,
    unit: Ints,
    power: Floats,
    error: Floats,
    gap_power_w: float,
    half_width: float,
    reasons: Sequence[str],
) -> tuple[LayerPower, ...]:
    """Rows for the layers of an engine; one row where it is a repeated layer. `reasons`: why each power is withheld, "" where it is not."""
    durations: Floats = np.asarray(each.runs.durations_ns * 1e-9, np.float64)
    names = each.body["layers"]
    if each.copies.size:
        at, spent = int(each.copies[0]), np.asarray(durations[:, each.copies].mean(axis=1), np.float64)
        copies = int(each.copies.size)
        return (_row(each, at, str(names[at]), 0, 1, copies, spent, power[at], error[at], half_width, reasons[at]),)
    mean_s = durations.mean(axis=0)
    counted = (mean_s > 0) & ~np.isin(np.arange(mean_s.size), list(each.idle))
    members = np.bincount(unit, counted, int(unit.max()) + 1).astype(int)
    wider = np.hypot(error, apart(unit, mean_s, power, gap_power_w))
    return tuple(
        _row(
            each, i, str(name), int(unit[i]), max(int(members[unit[i]]), 1), 1, durations[:, i], power[i], wider[i],
            half_width, reasons[i],
        )
        for i, name in enumerate(names) if i not in each.idle
    )  # fmt: skip


def apart(unit: Ints, seconds: Floats, power_w: Floats, gap_power_w: float) -> Floats:
    """How far a layer's power may be from its unit's (n,), W, as a standard deviation; 0 for a layer that is a unit.

    Nothing is known of a layer within its unit but that it draws between what gaps draw and the most that any unit of the engine
    draws: a standard deviation of that range over sqrt(12). Its unit's power is the mean over time with shares w, so the
    variance of the difference is (1 - 2 w_i + sum w^2) of that: a layer that is most of its unit has about the unit's power.
    """
    share = seconds / np.maximum(np.bincount(unit, seconds), 1e-300)[unit]
    freedom = np.where(share < 1.0, 1 - 2 * share + np.bincount(unit, share**2)[unit], 0.0)
    most = np.nanmax(power_w, initial=gap_power_w)
    return np.where(freedom > 0, max(most - gap_power_w, 0.0) * np.sqrt(np.maximum(freedom, 0.0) / 12), 0.0)


def _row(
    each: MeasuredEngine,
    at: int,
    name: str,
    unit: int,
    members: int,
    repeats: int,
    spent_s: Floats,
    power: float,
    error: float,
    half_width: float,
    withheld: str,
) -> LayerPower:
    """A layer's row from its time in each inference (m,)."""
    geometry = each.geometry[at]
    mean = float(spent_s.mean())
    deviation = float(np.std(spent_s, ddof=1) / np.sqrt(spent_s.size)) if spent_s.size > 1 else NAN
    kind = geometry.kind if geometry else "unclassified"
    missing = mean == 0.0
    resolved = not missing and members == 1 and Z95 * error <= half_width * power
    return LayerPower(
        name=name,
        kind=kind,
        unit=unit,
        members=members,
        count=spent_s.size,
        repeats=repeats,
        runtime_s=mean,
        runtime_se_s=deviation,
        power_w=NAN if missing else float(power),
        power_se_w=NAN if missing else float(error),
        geometry=geometry,
        resolved=bool(resolved),
        withheld=withheld,
    )


def _by_window_mean(
    recording: RecordingSource, rails: Rails, measured: Sequence[MeasuredEngine], notes: list[str]
) -> Attribution:
    read_ns, power_w = rails.total()
    engines, missed, total = {}, 0, 0
    for each in (each for each in measured if not each.profiled):
        runs = each.runs
        windows = layer_windows(runs.begin_ns, runs.end_ns, runs.durations_ns)
        if each.copies.size:
            whole = np.stack([windows[:, :1, 0], windows[:, -1:, 1]], axis=-1)
            one, one_error, _ = window_mean(read_ns, power_w, whole)
            mean, error = np.full(windows.shape[1], one[0]), np.full(windows.shape[1], one_error[0])
        else:
            mean, error, _ = window_mean(read_ns, power_w, windows)
        layers = _layers(each, np.arange(windows.shape[1]), mean, error, NAN, HALF_WIDTH, [""] * windows.shape[1])
        hole_ns = max(piece.hole_ns for piece in rails.readings[0])
        whole_j = energy_between(read_ns, power_w, runs.begin_ns, runs.end_ns, max_gap_ns=hole_ns)
        measured_j = float(np.nanmean(whole_j)) if np.isfinite(whole_j).any() else NAN
        missed += sum(1 for layer in layers if np.isnan(layer.power_w))
        total += len(layers)
        engines[each.body["hash"]] = EngineAttribution(
            hash=each.body["hash"],
            name=each.body["name"],
            method="window-mean",
            layers=layers,
            inferences=len(runs.begin_ns),
            measured_energy_j=measured_j,
            gap_power_w=NAN,
            condition=NAN,
            residual_w=NAN,
            simulated=bool(each.body["simulated"]),
        )
    notes.append(
        f"window-mean is a baseline: {missed} of {total} layers met no reading, and readings are taken for present power"
    )
    return Attribution(
        method="window-mean",
        engines=engines,
        delay_s=NAN,
        lag_s=NAN,
        scan_period_s=None,
        launch_gap_s=NAN,
        idle_power_w=NAN,
        residual_w=NAN,
        balance=None,
        board=rails.board,
        simulated=recording.simulated,
        notes=tuple(notes),
        rails=rails.names,
        baselines=Baselines(UNKNOWN, UNKNOWN),
    )
