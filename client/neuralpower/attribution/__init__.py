"""Power, energy and runtime per layer of a recording, each with its interval (docs/attribution.md)."""

from __future__ import annotations

from neuralpower.attribution.attribute import METHODS, attribute
from neuralpower.attribution.kept import attributed
from neuralpower.attribution.results import (
    Attribution,
    Baselines,
    EngineAttribution,
    LayerPower,
    Systematic,
    Unprofiled,
    WholeInference,
)

__all__ = [
    "METHODS",
    "Attribution",
    "Baselines",
    "EngineAttribution",
    "LayerPower",
    "Systematic",
    "Unprofiled",
    "WholeInference",
    "attribute",
    "attributed",
]
