"""What a method says of a recording, in the form in which it is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimated:
    """Of n layers in u units, nan where a thing was withheld or is not estimated; powers W, energies J, times ns.

    `unit` (n,): 0 .. u - 1. `power_w`, `se_w` (n,): what is said of each layer. `unit_power_w`, `unit_se_w` (u,): energy of
    the unit's members over their time. `withheld`: unit -> why its power is. `sensor_covariance` (2, 2), ns^2: of delay and
    lag, the lag being the sum of all. `energy_j`: of all layers of a mean inference. `unattributed_share`: of the measured
    energy. `mismatch`: whether the residuals were found to contradict the sensor model.
    """

    unit: Ints
    power_w: Floats
    se_w: Floats
    unit_power_w: Floats
    unit_se_w: Floats
    delay_ns: float = float("nan")
    lag_ns: float = float("nan")
    sensor_covariance: Floats | None = None
    energy_j: float = float("nan")
    energy_se_j: float = float("nan")
    unattributed_share: float = float("nan")
    gap_w: float = float("nan")
    mismatch: bool = False
    withheld: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
