"""What an attribution says: layers, engines, the sensor, and where the energy went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neuralpower.features.layers import Layer
from neuralpower_align.layer_power import Balance, Level

Z95 = 1.959963984540054
UNKNOWN = Level(float("nan"), float("nan"))


@dataclass(frozen=True)
class LayerPower:
    """One layer of an engine: nan where a thing was not measured.

    `unit` numbers what could be told apart, in order; `members` is how many layers share it. A layer that shares its unit has
    the unit's mean power, and a standard error widened by how far from it a layer may be. `count`: inferences.
    `repeats`: in how many copies the layer ran in the engine. `geometry` is None where the engine does not tell it.
    `resolved`: whether it is told for itself, its 95 % half-width at most 20 % of its power.
    """

    name: str
    kind: str
    unit: int
    members: int
    count: int
    repeats: int
    runtime_s: float
    runtime_se_s: float
    power_w: float
    power_se_w: float
    geometry: Layer | None = None
    resolved: bool = False

    @property
    def energy_j(self) -> float:
        """Energy of one execution; nothing for a layer that takes no time."""
        return 0.0 if self.runtime_s == 0.0 else self.power_w * self.runtime_s

    @property
    def energy_se_j(self) -> float:
        """Standard error of the energy: power's and runtime's, taken as independent."""
        if self.runtime_s == 0.0:
            return 0.0
        return float(np.hypot(self.power_se_w * self.runtime_s, self.power_w * self.runtime_se_s))


@dataclass(frozen=True)
class WholeInference:
    """A mean inference from anchor to anchor, launch and tail included: time, s, and energy, J, with standard errors."""

    inferences: int
    runtime_s: float
    runtime_se_s: float
    energy_j: float
    energy_se_j: float


@dataclass(frozen=True)
class Unprofiled:
    """What the profiler costs: the same engine's inferences with it and without. Errors of ratios take the two as independent."""

    profiled: WholeInference
    unprofiled: WholeInference

    @property
    def time_ratio(self) -> tuple[float, float]:
        """Time with the profiler over time without, and its standard error."""
        one, other = self.profiled, self.unprofiled
        return _ratio(one.runtime_s, one.runtime_se_s, other.runtime_s, other.runtime_se_s)

    @property
    def energy_ratio(self) -> tuple[float, float]:
        """Energy with the profiler over energy without, and its standard error."""
        one, other = self.profiled, self.unprofiled
        return _ratio(one.energy_j, one.energy_se_j, other.energy_j, other.energy_se_j)


def _ratio(above: float, above_se: float, below: float, below_se: float) -> tuple[float, float]:
    if not below:
        return float("nan"), float("nan")
    return above / below, float(np.hypot(above_se, above / below * below_se) / abs(below))


@dataclass(frozen=True)
class EngineAttribution:
    """An engine's layers. `measured_energy_j` is what the readings say of a mean inference, without any attribution.

    `unit_power_w`, `unit_se_w`: of each unit, in order. `energy_se_j`: of the energy of all layers of an inference, with what
    their errors have in common. `launch`: from the begin anchor to the first layer, `tail`: from the last to the end anchor, `gap`: between
    inferences. `withheld`: why the layers' powers are not given, "" if they are. `unprofiled`: beside the inferences without the profiler, if there were any.
    `whole`: a mean inference with the profiler. `unit_covariance_w2`: of the units' powers, whose neighbours err against each other.
    """

    hash: str
    name: str
    method: str
    layers: tuple[LayerPower, ...]
    inferences: int
    measured_energy_j: float
    gap_power_w: float
    condition: float
    residual_w: float
    simulated: bool
    energy_se_j: float = float("nan")
    launch: Level = UNKNOWN
    tail: Level = UNKNOWN
    gap: Level = UNKNOWN
    unit_power_w: tuple[float, ...] = ()
    unit_se_w: tuple[float, ...] = ()
    withheld: str = ""
    unprofiled: Unprofiled | None = None
    whole: WholeInference | None = None
    unit_covariance_w2: tuple[tuple[float, ...], ...] = ()

    @property
    def repeated(self) -> bool:
        """Whether this engine is one layer, repeated."""
        return len(self.layers) == 1 and self.layers[0].repeats > 1

    @property
    def units(self) -> int:
        """What could be told apart."""
        return len({layer.unit for layer in self.layers})

    @property
    def runtime_s(self) -> float:
        """Time of all layers of one inference, launch gaps left out."""
        return sum(layer.runtime_s * layer.repeats for layer in self.layers)

    @property
    def resolved_time_share(self) -> float:
        """Share of the layers' time that is in layers told for themselves."""
        resolved = sum(layer.runtime_s * layer.repeats for layer in self.layers if layer.resolved)
        return resolved / self.runtime_s if self.runtime_s else float("nan")

    @property
    def energy_per_inference_j(self) -> float:
        """Energy of all layers of one inference that have one."""
        return float(np.nansum([layer.energy_j * layer.repeats for layer in self.layers]))

    @property
    def power_w(self) -> float:
        """Energy over time."""
        return self.energy_per_inference_j / self.runtime_s if self.runtime_s else float("nan")


@dataclass(frozen=True)
class Baselines:
    """Power of what is not a layer: nothing runs (device idle), an engine is loaded and the clocks are as in the run (context
    idle). nan where the recording does not say when that was."""

    device_idle: Level = UNKNOWN
    context_idle: Level = UNKNOWN


@dataclass(frozen=True)
class Systematic:
    """How far all powers may be off together by the chip's tolerance: a share of the power and a constant, W.

    Typical and largest values of TI's SBOS576B: gain 0.1 and 0.25 %, offset of the shunt's input 40 and 80 uV.
    """

    gain: float
    largest_gain: float
    offset_w: float
    largest_offset_w: float

    def half_width_w(self, power_w: float) -> float:
        """At most so far off, W."""
        return self.largest_gain * abs(power_w) + self.largest_offset_w


@dataclass(frozen=True)
class Attribution:
    """What a recording says of each engine by its hash, and of the sensor; nan or None where it was not estimated."""

    method: str
    engines: Mapping[str, EngineAttribution]
    delay_s: float
    lag_s: float
    scan_period_s: float | None
    launch_gap_s: float
    idle_power_w: float
    residual_w: float
    balance: Balance | None
    board: str
    simulated: bool
    notes: tuple[str, ...]
    rails: tuple[str, ...] = ()
    baselines: Baselines = Baselines()
    systematic: Systematic | None = None
