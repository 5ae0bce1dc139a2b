"""The zoo by name."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import InputError
from . import zoo, zoo_later
from .graph import Json

NETWORKS: dict[str, Callable[[], Json]] = {
    "lenet5": zoo.lenet5,
    "alexnet": zoo.alexnet,
    "vgg11": lambda: zoo.vgg(1, 1, 2, 2, 2),
    "vgg13": lambda: zoo.vgg(2, 2, 2, 2, 2),
    "vgg16": lambda: zoo.vgg(2, 2, 3, 3, 3),
    "nin": zoo.nin,
    "resnet18": lambda: zoo.resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34": lambda: zoo.resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50": lambda: zoo.resnet((3, 4, 6, 3), bottleneck=True),
    "resnext50": lambda: zoo.resnet((3, 4, 6, 3), bottleneck=True, groups=32, width=4),
    "squeezenet1.0": lambda: zoo.squeezenet("1.0"),
    "squeezenet1.1": lambda: zoo.squeezenet("1.1"),
    "mobilenet_v1": zoo.mobilenet_v1,
    "mobilenet_v2": zoo.mobilenet_v2,
    "googlenet": zoo.googlenet,
    "densenet121": zoo.densenet121,
    "shufflenet_v2": zoo.shufflenet_v2,
}
"""Name to builder of the engine's inspector JSON (TensorRT 10, fp16, batch 1)."""


LATER: dict[str, Callable[[], Json]] = {
    "resnet101": lambda: zoo.resnet((3, 4, 23, 3), bottleneck=True),
    "wide_resnet50_2": lambda: zoo.resnet((3, 4, 6, 3), bottleneck=True, width=128),
    "inception_v3": zoo_later.inception_v3,
    "mobilenet_v3_large": zoo_later.mobilenet_v3_large,
    "mnasnet1_0": zoo_later.mnasnet1_0,
    "efficientnet_b0": zoo_later.efficientnet_b0,
}
"""More of them, which the tables of the models' accuracy do not draw from."""


def build(name: str) -> Json:
    """The engine JSON of the zoo's network `name`, a point in it written as such or as torchvision does, `_`; InputError where there is none."""
    known = NETWORKS | LATER
    written = {each.replace(".", "_"): each for each in known}
    found = written.get(name.replace(".", "_"))
    if found is None:
        raise InputError(f"no network {name!r} in the zoo; there are {', '.join(known)}")
    return known[found]()
