"""Units: neighbouring layers that the data cannot tell apart are one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """The unit of each layer (n,), power (u,) W and covariance (u, u) W^2 of the units, and which are known well enough (u,), if that was asked."""

    unit: Ints
    power_w: Floats
    covariance: Floats
    told: npt.NDArray[np.bool_] = field(default_factory=lambda: np.ones(0, np.bool_))

    @property
    def power_se_w(self) -> Floats:
        """Standard error of each unit's power (u,), W."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def condition(self) -> float:
        """Condition number of the correlations between units, 1 where each is told for itself."""
        root = np.maximum(self.power_se_w, 1e-300)
        return float(np.linalg.cond(self.covariance / np.outer(root, root)))
