"""What is found of a recording: powers of layers and of all else, with their intervals, and where the energy went."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neuralpower_align.clock.scan_clock import Sensor
from neuralpower_align.fit.estimate import Estimate
from neuralpower_align.result.units import Units

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """A power and its standard error, W; nan where nothing was measured."""

    power_w: float
    se_w: float


@dataclass(frozen=True)
class EnginePower:
    """Of one engine. Per layer (n,): its unit; power of the unit and its standard error, W, with covariance (n, n) of single layers
    (neighbours that are copies of one layer are one in it).

    `layer_w` (n,): each layer's own estimate, resolved or not. `units`: what was told apart. Energy of all layers of a mean
    inference, J, with its standard error; `window_j` is all energy between its anchors. `withheld`: why nothing should be made of the powers, "" if something may. Launch: from the begin anchor to the first layer; tail: from the last to the end anchor. `between_ns`: the gap between two kernels of this engine, with its standard error.
    """

    unit: Ints
    power_w: Floats
    power_se_w: Floats
    layer_w: Floats
    covariance: Floats
    units: Units
    energy_j: float
    energy_se_j: float
    launch: Level
    tail: Level
    gap: Level
    withheld: str = ""
    window_j: float = float("nan")
    window_se_j: float = float("nan")
    between_ns: float = 0.0
    between_se_ns: float = 0.0


@dataclass(frozen=True)
class Balance:
    """Where the measured energy went, J: measured = layers + gaps + idle + unattributed, exactly.

    The launch gaps between the layers of an inference are counted with the layers, launch and tail with the gaps.
    """

    measured_j: float
    layers_j: float
    gaps_j: float
    idle_j: float

    @property
    def unattributed_j(self) -> float:
        """What no class explains."""
        return self.measured_j - self.layers_j - self.gaps_j - self.idle_j


@dataclass(frozen=True)
class Fitted:
    """One rail: the sensor from which the fit set out, what was found, and by how much its variances were widened, 1 or more."""

    sensor: Sensor
    found: Estimate
    inflation: float


@dataclass(frozen=True)
class RailAttribution:
    """Everything that was found; `rails`: what was fitted, their sum is what the rest is about."""

    engines: tuple[EnginePower, ...]
    idle: Level
    device_idle: Level
    context_idle: Level
    rails: tuple[Fitted, ...]
    balance: Balance
    launch_gap_ns: float
    notes: tuple[str, ...] = field(default=())
