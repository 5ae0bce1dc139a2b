"""The sweep: single layers that fill the networks' domain, and engines that repeat them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.virtual.device.hardware import Hardware
from neuralpower.virtual.device.load import Load
from neuralpower.virtual.sweep import MOST_REPEATS, TARGET_S, halton, repeated, sweep

HARDWARE = Hardware.drawn(1)


@pytest.mark.parametrize("seed", range(3))
def test_every_probe_is_classified_as_meant(seed: int) -> None:
    """Features read each probe as the kind, kernel and size that it was made for."""
    for probe in sweep(seed, 60, 20, 15):
        layers = layers_from_engine(probe.engine(2), probe.name)
        assert [layer.kind for layer in layers] == [probe.kind] * 2, probe.name
        assert layers[0].name != layers[1].name
        assert (layers[0].in_c, layers[0].out_c) == (probe.source.c, probe.result.c)
        assert (layers[0].out_h, layers[0].precision) == (probe.result.h, "FP16")


def test_counts_are_as_asked_and_names_unique() -> None:
    """So many of each kind, no two alike, the same again for the same seed."""
    probes = sweep(4, 30, 9, 8)
    assert [sum(probe.kind == kind for probe in probes) for kind in ("conv", "pool", "fc")] == [30, 9, 8]
    assert len({probe.name for probe in probes}) == 47
    assert probes == sweep(4, 30, 9, 8) != sweep(5, 30, 9, 8)


def test_the_domain_is_covered() -> None:
    """Kernels, strides, depthwise and grouped convolutions, all pools, and fully connected layers small and large occur."""
    layers = [layers_from_engine(probe.engine(1), "")[0] for probe in sweep(2, 150, 40, 40)]
    convs = [layer for layer in layers if layer.kind == "conv"]
    assert {layer.kernel_h for layer in convs} == {1, 3, 5, 7, 11}
    assert {layer.stride_h for layer in convs} == {1, 2, 4}
    assert any(layer.depthwise for layer in convs) and any(1 < layer.groups < layer.in_c for layer in convs)
    assert any(layer.in_c == 3 for layer in convs) and max(layer.in_c for layer in convs) > 500
    pools = [layer for layer in layers if layer.kind == "pool"]
    assert {2, 3, 7} <= {layer.kernel_h for layer in pools} and any(layer.out_h == 1 for layer in pools)
    weights = [layer.weights() for layer in layers if layer.kind == "fc"]
    assert max(weights) / min(weights) > 100


def test_repeats_reach_the_target() -> None:
    """An engine runs for 20 ms or more, however short its layer."""
    for probe in sweep(3, 8, 4, 6):
        load = Load.of(probe.name, repeated(probe, HARDWARE, 3), HARDWARE)
        assert load.repeats <= MOST_REPEATS
        assert load.duration_ns.sum() * 1e-9 >= TARGET_S, probe.name


def test_halton_fills_evenly() -> None:
    """Each tenth of each axis gets its tenth of the points, far more evenly than chance would."""
    points = halton(6, [1])
    values = np.array([next(points) for _ in range(1000)])
    counts = np.array([np.histogram(values[:, axis], 10, (0, 1))[0] for axis in range(6)])
    assert values.min() >= 0 and values.max() < 1
    assert np.abs(counts - 100).max() < 3 * math.sqrt(100) / 2
