"""What an attribution says: layers, engines, the sensor, and where the energy went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from neuralpower.features.layers import Layer
from neuralpower_align.layer_power import Balance, Level

NAN = float("nan")
UNKNOWN = Level(NAN, NAN)


@dataclass(frozen=True)
class LayerPower:
    """One layer of an engine: nan where a thing was not measured.

    `unit` numbers what could be told apart, in order; `members` is how many layers share it. A layer that shares its unit has
    the unit's mean power, and a standard error widened by how far from it a layer may be. `count`: inferences.
    `repeats`: in how many copies the layer ran in the engine. `geometry` is None where the engine does not tell it.
    `resolved`: whether it is told for itself, its 95 % half-width at most 20 % of its power. `withheld`: why its power is not given, as a
    sentence, "" if it is; a layer with a reason has no power, whatever it was made with.
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
    withheld: str = ""

    def __post_init__(self) -> None:
        if self.withheld:
            _set(self, power_w=NAN, power_se_w=NAN, resolved=False)

    @property
    def energy_j(self) -> float:
        """Energy of one execution; nothing for a layer that takes no time."""
        return 0.0 if self.runtime_s == 0.0 and not self.withheld else self.power_w * self.runtime_s

    @property
    def energy_se_j(self) -> float:
        """Standard error of the energy: power's and runtime's, taken as independent."""
        if self.runtime_s == 0.0 and not self.withheld:
            return 0.0
        return float(np.hypot(self.power_se_w * self.runtime_s, self.power_w * self.runtime_se_s))


@dataclass(frozen=True)
class WholeInference:
    """A mean inference from anchor to anchor, launch and tail included: time, s, and energy, J, with standard errors.

    `withheld`: why its energy is not given, "" if it is; with a reason it is nan, whatever it was made with.
    """

    inferences: int
    runtime_s: float
    runtime_se_s: float
    energy_j: float
    energy_se_j: float
    withheld: str = ""

    def __post_init__(self) -> None:
        if self.withheld:
            _set(self, energy_j=NAN, energy_se_j=NAN)


@dataclass(frozen=True)
class Unprofiled:
    """What the profiler costs: the same engine's inferences with it and without. Errors of ratios take the two as independent."""

    profiled: WholeInference
    unprofiled: WholeInference

    def without_energies(self, reason: str) -> Unprofiled:
        """The same with both energies withheld."""
        return Unprofiled(replace(self.profiled, withheld=reason), replace(self.unprofiled, withheld=reason))

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
        return NAN, NAN
    return above / below, float(np.hypot(above_se, above / below * below_se) / abs(below))


@dataclass(frozen=True)
class EngineAttribution:
    """An engine's layers. `measured_energy_j` is what the readings say of a mean inference, without any attribution.

    `unit_power_w`, `unit_se_w`: of each unit, in order, nan of one that is not told. `energy_j`, `energy_se_j`: of all layers of an
    inference, told or not, with what their errors have in common; nan where only the layers' own energies are known. `launch`: from the
    begin anchor to the first layer, `tail`: from the last to the end anchor, `gap`: between inferences. `unprofiled`: beside the inferences
    without the profiler, if there were any. `whole`: a mean inference with the profiler. `unit_covariance_w2`: of the units' powers, whose
    neighbours err against each other.

    `withheld`: why nothing is made of its powers, as a sentence, "" if something is. An engine with a reason has no power and no energy but the
    measured one, nor have its layers, whatever they were made with; runtimes stay.
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
    energy_j: float = NAN
    energy_se_j: float = NAN
    launch: Level = UNKNOWN
    tail: Level = UNKNOWN
    gap: Level = UNKNOWN
    unit_power_w: tuple[float, ...] = ()
    unit_se_w: tuple[float, ...] = ()
    withheld: str = ""
    unprofiled: Unprofiled | None = None
    whole: WholeInference | None = None
    unit_covariance_w2: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.withheld:
            return
        reason, unknown = self.withheld, (NAN,) * len(self.unit_power_w)
        _set(
            self,
            layers=tuple(replace(layer, withheld=reason) for layer in self.layers),
            **dict.fromkeys(("gap_power_w", "condition", "energy_j", "energy_se_j"), NAN),
            **dict.fromkeys(("launch", "tail", "gap"), UNKNOWN),
            unit_power_w=unknown,
            unit_se_w=unknown,
            unit_covariance_w2=(),
            unprofiled=self.unprofiled and self.unprofiled.without_energies(reason),
            whole=self.whole and replace(self.whole, withheld=reason),
        )

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
        """Share of the layers' time that is in layers told for themselves; nan of an engine that is withheld."""
        resolved = sum(layer.runtime_s * layer.repeats for layer in self.layers if layer.resolved)
        return resolved / self.runtime_s if self.runtime_s and not self.withheld else NAN

    @property
    def energy_per_inference_j(self) -> float:
        """Energy of all layers of one inference; nan where it is withheld, or where nobody knows that of some layer."""
        own = float(sum(layer.energy_j * layer.repeats for layer in self.layers))
        return own if np.isnan(self.energy_j) else self.energy_j

    @property
    def power_w(self) -> float:
        """Energy over time."""
        return self.energy_per_inference_j / self.runtime_s if self.runtime_s else NAN

    @property
    def layers_withheld(self) -> tuple[LayerPower, ...]:
        """The layers whose power is not given, for the engine's reason or one of their own."""
        return tuple(layer for layer in self.layers if layer.withheld)


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


@dataclass(frozen=True)
class Attribution:
    """What a recording says of each engine by its hash, and of the sensor; nan or None where it was not estimated.

    Where an engine is withheld nobody knows how much of `balance` is layers and how much gaps: both are nan in it.
    """

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

    def __post_init__(self) -> None:
        if self.withheld and self.balance is not None:
            _set(self, balance=replace(self.balance, layers_j=NAN, gaps_j=NAN))

    @property
    def withheld(self) -> dict[str, str]:
        """Hash of each engine that is withheld -> why."""
        return {key: engine.withheld for key, engine in self.engines.items() if engine.withheld}


def _set(frozen: object, **values: object) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)
