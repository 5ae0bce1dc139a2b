"""The methods that are scored, each a function of the recording alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from tests.worlds.attribution.world import RAILS, Recording

from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.clock.scan_clock import ChannelReadings, Sensor, latched_ns, waits
from neuralpower_align.layer_power import Baseline, EngineRuns, RailAttribution, layer_power
from neuralpower_align.readings.droop import supply
from neuralpower_align.sensor.window_mean import window_mean

from .estimated import Estimated

Ints = npt.NDArray[np.int64]

STEP_UV, TRANSFER_BITS = 40, 48
NOTICED = 4.0
"""Standard errors by which the readings contradict one pole."""


def estimate(recording: Recording) -> Estimated:
    """Generalised least squares, everything unknown found from the recording."""
    return estimated(solve(recording))


def solve(recording: Recording, sensor: Sensor | None = None) -> RailAttribution:
    """What the estimator finds; `sensor`: where it sets out from, None: from scratch."""
    alike = np.arange(recording.durations_ns.shape[1], dtype=np.int64)
    engine = EngineRuns(recording.begin_ns, recording.end_ns, recording.durations_ns, alike)
    baselines = [Baseline(each.kind, each.begin_ns, each.end_ns) for each in recording.baselines]
    return layer_power([engine], [[readings_of(recording)]], [sensor], baselines)


def readings_of(recording: Recording) -> ChannelReadings:
    """The total rail: current times the voltage that the supply has at that current, when the chip answered."""
    chip = recording.chip
    ampere = np.asarray(recording.shunt.value_uv / chip.shunt_uohm, np.float64)
    source = supply(np.asarray(recording.bus.value_uv * 1e-6, np.float64), ampere)
    transfer = TRANSFER_BITS * 1e9 / chip.bus_hz
    begin, end = (
        np.stack([getattr(recording.bus, name), getattr(recording.shunt, name)], axis=1).ravel()
        for name in ("begin_ns", "end_ns")
    )
    return ChannelReadings(
        latched_ns(recording.shunt.end_ns, transfer),
        source.power_w(ampere),
        chip.conversion_ns,
        chip.scan_ns,
        chip.averaging,
        step_w=STEP_UV / chip.shunt_uohm * source.volt,
        register=recording.shunt.value_uv,
        waits_ns=waits(begin, end, transfer) if chip.driver == "waiting" else None,
        place=1 / (2 * len(RAILS)),
    )


def estimated(found: RailAttribution) -> Estimated:
    """In the form in which it is scored; what is not told is withheld."""
    engine, fitted = found.engines[0], found.rails[0].found
    told = engine.units.told
    sensor = found.rails[0].sensor
    clocks = np.diag([sensor.delay_se_ns**2, 0.0])
    told_sensor = not sensor.ambiguous
    known = told_sensor and np.isfinite(clocks).all() and any(piece.clock is not None for piece in fitted.pieces)
    return Estimated(
        unit=engine.unit,
        power_w=engine.power_w,
        se_w=engine.power_se_w,
        unit_power_w=np.where(told, engine.units.power_w, np.nan),
        unit_se_w=np.where(told, engine.units.power_se_w, np.nan),
        delay_ns=fitted.delay_ns if told_sensor else float("nan"),
        lag_ns=fitted.lag_ns if told_sensor else float("nan"),
        sensor_covariance=fitted.sensor_covariance + clocks if known else None,
        energy_j=float("nan") if engine.withheld else engine.energy_j,
        energy_se_j=engine.energy_se_j,
        unattributed_share=found.balance.unattributed_j / found.balance.measured_j,
        gap_w=engine.gap.power_w,
        mismatch=abs(fitted.split_z) > NOTICED,
        withheld=tuple((int(unit), engine.withheld or "not resolved") for unit in np.flatnonzero(~told)),
        notes=found.notes,
    )


def by_window_mean(recording: Recording) -> Estimated:
    """What others do: readings that fall into a layer's window; a layer that met none gets the mean of all that did."""
    windows = layer_windows(recording.begin_ns, recording.end_ns, recording.durations_ns)
    power, error, _ = window_mean(_read_ns(recording), recording.power_w, windows)
    met = np.isfinite(power)
    power = np.where(met, power, power[met].mean() if met.any() else np.nan)
    unit = np.arange(power.size, dtype=np.int64)
    energy = float(power @ recording.durations_ns.mean(axis=0)) * 1e-9
    return Estimated(unit, power, error, power, error, energy_j=energy)


def _read_ns(recording: Recording) -> Ints:
    """When the chip answered for the shunt's register (k,): its 16 bits, with their acknowledges, are the last 18 of a transfer."""
    return np.asarray(recording.shunt.end_ns - 18 * 10**9 // recording.chip.bus_hz, np.int64)


METHODS: Mapping[str, Callable[[Recording], Estimated]] = {"least-squares": estimate, "window-mean": by_window_mean}
