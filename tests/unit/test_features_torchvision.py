"""Twenty networks of torchvision, exported by both exporters: the work that torch counts, in seconds, and few layers of kind other."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from tests.worlds.torch_networks import ALONE, OTHERS, exported, flops_by_torch, multiplying, of_torchvision

from neuralpower.features.network import load_network

SECONDS = 5.0
"""A command that shows a network answers within this; a graph of 6,000 nodes takes 2 on two cores."""


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_network_of_torchvision_has_the_work_that_torch_counts(tmp_path: Path, name: str) -> None:
    """Convolutions, products and attention have the counter's operations from TorchScript and from dynamo, within seconds."""
    try:
        import onnxscript  # noqa: F401  # the newer exporter needs it
        import torch

        model, shape = of_torchvision(name)
    except (ImportError, OSError) as error:
        pytest.skip(f"torch, torchvision or onnxscript is not installed: {error}")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
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
        assert all(layer.precision for layer in layers)  # what computes shapes and indices has none
        assert sum(layer.kind == "other" for layer in layers) <= OTHERS[name]
