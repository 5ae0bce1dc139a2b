"""Twenty networks of torchvision, exported by both exporters: the work that torch counts, in seconds, and few layers of kind other."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from test_features_torch import exported, flops_by_torch, multiplying

from neuralpower.features.network import load_network

SECONDS = 5.0
"""A command that shows a network answers within this; a graph of 6,000 nodes takes 2 on two cores."""

OTHERS = {
    "alexnet": 0, "vgg16": 0, "resnet18": 0, "resnet50": 0, "resnext50_32x4d": 0, "mobilenet_v2": 0, "mnasnet1_0": 0, "convnext_tiny": 0, "swin_t": 0,
    "vit_b_16": 1, "squeezenet1_1": 8, "mobilenet_v3_large": 8, "mobilenet_v3_small": 9, "googlenet": 9, "inception_v3": 15, "shufflenet_v2_x1_0": 16,
    "efficientnet_b0": 16, "regnet_y_400mf": 16, "efficientnet_v2_s": 30, "densenet121": 62, "maxvit_t": 33, "swin_v2_t": 0,
}  # fmt: skip
"""Layers of kind other: concatenations, the gates of squeeze and excitation, and what turns patches into tokens."""

ALONE = {"swin_v2_t": "cpb_mlp"}
"""A module whose products have no input of the network, only weights: an engine holds their results, which torch computes each time."""

UNTRAINED = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def torchvision_or_skip() -> Any:
    try:
        import onnxscript  # noqa: F401  # the newer exporter needs it
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchvision or onnxscript is not installed: {error}")
    return torchvision


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_network_of_torchvision_has_the_work_that_torch_counts(tmp_path: Path, name: str) -> None:
    """Convolutions, products and attention have the counter's operations from TorchScript and from dynamo, within seconds."""
    torchvision = torchvision_or_skip()
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    model = getattr(torchvision.models, name)(weights=None, **UNTRAINED.get(name, {})).eval()
    shape = (1, 3, 299, 299) if name == "inception_v3" else (1, 3, 224, 224)
    files = [exported(torch, model, shape, tmp_path, dynamo=dynamo) for dynamo in (False, True)]
    expected = flops_by_torch(torch, model, shape, without=ALONE.get(name, ""))
    for file in files:
        begun = time.process_time()
        network = load_network(file)
        assert time.process_time() - begun < SECONDS
        layers = network.layers
        assert any("need weights alone" in note for note in network.notes) == (name in ALONE)
        assert multiplying(layers) == expected
        assert not any(layer.kind == "unclassified" for layer in layers)
        assert sum(layer.kind == "other" for layer in layers) <= OTHERS[name]
