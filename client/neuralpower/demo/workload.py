"""What the demo runs: networks to learn from, one to keep back, and single layers that fill the space between."""

from __future__ import annotations

TRAINING = (
    "alexnet",
    "vgg11",
    "nin",
    "squeezenet1.1",
    "googlenet",
    "mobilenet_v2",
    "densenet121",
    "shufflenet_v2",
    "lenet5",
)
HELD_OUT = "resnet18"
"""Its measurements are never shown to the models, and neither are those of another network of its family."""
SHOWN = "alexnet"
"""The network whose layers are printed, with the truth beside them."""
REPEATED = "repeat:alexnet"
"""Its layers are also measured repeated, each in an engine of its own: attribution must agree with what is read off the rails."""
SECONDS_EACH = 4.5
"""For each network: some 400-2000 inferences, enough to tell the longer layers apart."""
SWEEP_SIZE = (44, 18, 20)
"""Convolutions, pools and fully connected layers, each repeated for 20 ms or more."""
SWEEP_SECONDS = 0.45
"""For each repeated layer: twenty inferences, some 400 ticks well inside them."""
IDLE_S = 0.15
"""Between engines: a hundred ticks of idle power, and long past any lag."""
