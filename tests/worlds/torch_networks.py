"""PyTorch networks with what torch itself counts of them, and their ONNX files from both exporters: what tests and the bed for exports share.

torchvision's networks are built with random weights. Where its own operators do not load beside the torch that is installed, they are
done without: no network here calls one.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from neuralpower.features.layers import Layer

OTHERS = {
    "alexnet": 0, "vgg16": 0, "resnet18": 0, "resnet50": 0, "resnext50_32x4d": 0, "mobilenet_v2": 0, "mnasnet1_0": 0, "convnext_tiny": 0, "swin_t": 0,
    "vit_b_16": 1, "squeezenet1_1": 8, "mobilenet_v3_large": 8, "mobilenet_v3_small": 9, "googlenet": 9, "inception_v3": 15, "shufflenet_v2_x1_0": 16,
    "efficientnet_b0": 16, "regnet_y_400mf": 16, "efficientnet_v2_s": 30, "densenet121": 62, "maxvit_t": 33, "swin_v2_t": 0,
}  # fmt: skip
"""Networks of torchvision, and how many layers of kind other there may be: concatenations, the gates of squeeze and excitation, and what
turns patches into tokens."""

ALONE = {"swin_v2_t": "cpb_mlp"}
"""A module whose products have no input of the network, only weights: an engine holds their results, which torch computes each time."""

UNTRAINED = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
LARGER = {"inception_v3": 299}
"""Sides of the picture where it is not 224."""


def make_resnet18() -> Any:
    """ResNet-18 in plain torch."""
    from torch import nn

    class Block(nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        def __init__(self, inside: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
            short = nn.Sequential(nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            self.down = short if inside != width else nn.Identity()

        def forward(self, x: Any) -> Any:
            out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
            return (out + self.down(x)).relu_()

    plan = [
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        (512, 512, 1),
    ]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, *(Block(*each) for each in plan), *head)


def make_mixed() -> Any:
    """Grouped, depthwise, dilated and strided convolutions, pools, squeeze and excitation, two linear layers."""
    from torch import nn

    class Gate(nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        def __init__(self, width: int) -> None:
            super().__init__()
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 8, 1), nn.SiLU(), nn.Conv2d(8, width, 1)
            )

        def forward(self, x: Any) -> Any:
            return x * self.gate(x).sigmoid()

    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 32, 3, groups=32, padding="same"), nn.Hardswish(), Gate(32),
        nn.Conv2d(32, 48, (1, 5), padding=(0, 4), dilation=2, groups=4), nn.AvgPool2d(2), nn.Dropout(), nn.AdaptiveAvgPool2d((7, 7)),
        nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def make_small_vit() -> Any:
    """A vision transformer: patches by a convolution, a class token, two encoder layers with their own attention."""
    import torch
    from torch import nn

    class Small(nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 32, 32, 32)
            self.token = nn.Parameter(torch.zeros(1, 1, 32))
            self.place = nn.Parameter(torch.zeros(1, 50, 32))
            one = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(one, 2, enable_nested_tensor=False)
            self.head = nn.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
            return self.head(self.encoder(x)[:, 0])

    return Small()


def make_shuffle() -> Any:
    """Channel shuffles by computed sizes, and halves by chunk."""
    import torch
    from torch import nn

    class Unit(nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(
                nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
            )

        def forward(self, x: Any) -> Any:
            first, second = x.chunk(2, 1)
            x = torch.cat([first, self.branch(second)], 1)
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    return nn.Sequential(
        nn.Conv2d(3, 16, 8, 8), Unit(), Unit(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    )


def make_dimensions() -> Any:
    """Transposed, one- and three-dimensional convolutions of one picture, joined in a product of two activations."""
    from torch import nn

    class Mixed(nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(3, 8, 4, 4), nn.ConvTranspose2d(8, 4, 4, 2, 1)
            self.line, self.volume = nn.Conv1d(4, 6, 5, 2), nn.Conv3d(1, 2, 3, padding=1)

        def forward(self, x: Any) -> Any:
            up = self.up(self.down(x))
            line, volume = self.line(up.flatten(2)), self.volume(up.unsqueeze(1))
            return line @ line.transpose(1, 2), volume

    return Mixed()


OWN = {
    "small_vit": (make_small_vit, {"conv", "fc", "norm", "attention", "other"}, 2),
    "shuffle": (make_shuffle, {"conv", "pool", "fc", "other"}, 3),
    "mixed": (make_mixed, {"conv", "pool", "fc", "other"}, 1),
    "dimensions": (make_dimensions, {"conv", "deconv", "conv3d", "matmul"}, 0),
}
"""Networks of ours: what makes one, the kinds that it has, and how many layers of kind other there may be."""


def of_our_own(name: str) -> tuple[Any, tuple[int, ...]]:
    """A network of ours for inference, and the shape of its input."""
    import torch

    model, shape = OWN[name][0]().eval(), (2, 3, 224, 224)
    model(torch.zeros(*shape))  # a lazy layer learns its size
    return model, shape


def flops_by_torch(torch: Any, model: Any, shape: tuple[int, ...], without: str = "") -> int:
    """What torch's counter says with attention as products, without computing anything; modules of the name ``without`` left out."""
    from torch.utils.flop_counter import FlopCounterMode

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.to("meta")(torch.zeros(*shape, device="meta"))
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    parts = counter.get_flop_counts().items()
    left_out = sum(sum(each.values()) for name, each in parts if without and name.rpartition(".")[2] == without)
    return int(counter.get_total_flops() - left_out)


def exported(torch: Any, model: Any, shape: tuple[int, ...], folder: Path, *, dynamo: bool) -> Path:
    """The network as ONNX, from one of torch's two exporters; both warn of themselves, the older one that it is the older."""
    file = folder / f"{'dynamo' if dynamo else 'script'}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(*shape),), str(file), dynamo=dynamo, verbose=False)
    return file


def multiplying(layers: list[Layer]) -> int:
    return sum(2 * layer.macs() for layer in layers)


def torchvision() -> Any:
    """The package torchvision, with or without its own operators. Raises ImportError where it or torch is not installed."""
    import torch

    try:
        import torchvision  # type: ignore[import-not-found,unused-ignore]  # not on every machine
    except RuntimeError:  # built for another torch: its operators are not there, and their shapes cannot be told
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _stand_in(torch)
        import torchvision
    return torchvision


def _stand_in(torch: Any) -> None:
    """Declare what torchvision declares again when it is imported, and let what it says of its own operators pass."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)  # a library ends with its object
    before = torch.library.register_fake

    def register_fake(op: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return before(op, *args, **kwargs)

    torch.library.register_fake = register_fake


_KEPT: list[Any] = []


def of_torchvision(name: str) -> tuple[Any, tuple[int, ...]]:
    """A network of torchvision for inference, and the shape of its input."""
    model = getattr(torchvision().models, name)(weights=None, **UNTRAINED.get(name, {})).eval()
    side = LARGER.get(name, 224)
    return model, (1, 3, side, side)
