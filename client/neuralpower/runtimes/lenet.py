"""LeNet-5 in PyTorch, for the zoo: torch.hub's image networks begin with AlexNet. `torch:neuralpower.runtimes.lenet:lenet5`."""

from __future__ import annotations

from typing import Any

INPUT_SHAPE = (1, 1, 32, 32)


def lenet5() -> Any:
    """LeCun et al. 1998 with ReLU, its weights random."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10), nn.Softmax(1),
    )  # fmt: skip
