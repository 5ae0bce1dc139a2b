"""What NeuralPower's authors published for their own hardware: context for a table, never a comparison."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published model: terms, RMSPE in percent, RMSE in ms (runtime) or W (power)."""

    source: str
    kind: str
    target: str
    terms: int
    rmspe_percent: float
    rmse: float


_PAPER = "NeuralPower, Titan X"
_THESIS = "thesis, Jetson TX1"

PUBLISHED = (
    Published(_PAPER, "conv", "runtime", 60, 39.97, 1.019),
    Published(_PAPER, "conv", "power", 75, 7.35, 10.9172),
    Published(_PAPER, "pool", "runtime", 31, 11.41, 0.0686),
    Published(_PAPER, "pool", "power", 30, 6.16, 6.8618),
    Published(_PAPER, "fc", "runtime", 17, 41.92, 0.7474),
    Published(_PAPER, "fc", "power", 15, 9.00, 10.5868),
    Published(_THESIS, "conv", "runtime", 44, 20.00, 0.437),
    Published(_THESIS, "conv", "power", 48, 21.69, 0.825),
    Published(_THESIS, "pool", "runtime", 53, 19.34, 0.2307),
    Published(_THESIS, "pool", "power", 37, 13.81, 0.315),
    Published(_THESIS, "fc", "runtime", 12, 32.64, 0.871),
    Published(_THESIS, "fc", "power", 31, 7.72, 0.103),
)
"""Their RMSPE is on the training rows, on other hardware and other layers."""
