"""What a network asks of the machine, layer by layer: features from engine JSON and from ONNX."""

from __future__ import annotations

from neuralpower.features.layers import KINDS, Layer

__all__ = ["KINDS", "Layer"]
