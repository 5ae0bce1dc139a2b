"""What the demo runs: networks to learn from, one to keep back, and single layers that fill the space between."""

from __future__ import annotations

TRAINING = (
    "alexnet",
    "vgg11",
    "nin",
    "resnet18",
    "squeezenet1.1",
    "googlenet",
    "mobilenet_v2",
    "densenet121",
    "lenet5",
)
HELD_OUT = "resnet34"
"""Its measurements are never shown to the models."""
SHOWN = "resnet18"
"""The network whose layers are printed, with the truth beside them."""
SECONDS_EACH = 4.5
"""For each network: some 400-2000 inferences, enough for the layers of the larger ones to be told apart."""
SWEEP_SIZE = (44, 14, 12)
"""Convolutions, pools and fully connected layers, each repeated for 20 ms or more."""
SWEEP_SECONDS = 0.45
"""For each repeated layer: twenty inferences, some 400 ticks well inside them."""
