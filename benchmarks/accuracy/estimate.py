"""The methods that are scored, each a function of the recording alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from neuralpower_align.least_squares import Engine, solve
from neuralpower_align.sensor import Readings, Search
from neuralpower_align.window_mean import window_mean
from neuralpower_align.windows import layer_windows

from .estimated import Estimated
from .world import Recording

Ints = npt.NDArray[np.int64]

LONGEST_LAG_NS = 2e6


def estimate(recording: Recording) -> Estimated:
    """Least squares."""
    chip = recording.chip
    alike = np.arange(recording.durations_ns.shape[1], dtype=np.int64)
    engine = Engine(recording.begin_ns, recording.end_ns, recording.durations_ns, alike)
    longest_lag_ns = max(LONGEST_LAG_NS, 2 * chip.averaging * chip.scan_ns if chip.averaging > 1 else 0.0)
    readings = Readings(_read_ns(recording), recording.power_w, chip.conversion_ns, chip.scan_ns)
    solution = solve([engine], [readings], search=Search(longest_lag_ns=longest_lag_ns))
    found = solution.engines[0]
    _, first = np.unique(found.unit, return_index=True)
    power_w, se_w = found.power_w, found.power_se_w
    energy = float(power_w @ recording.durations_ns.mean(axis=0)) * 1e-9
    return Estimated(
        found.unit, power_w, se_w, power_w[first], se_w[first], solution.sensor.delay_ns, solution.sensor.lag_ns,
        energy_j=energy, unattributed_share=solution.balance.unattributed_j / solution.balance.measured_j,
        gap_w=found.gap_power_w, mismatch=solution.unexplained,
    )  # fmt: skip


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
