"""The physics of the virtual device behaves like a GPU's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower.features.layers import Layer
from neuralpower.virtual.device.hardware import Hardware

CONV = Layer("c", "conv", 1, 64, 56, 56, 64, 56, 56, 3, 3, pad_h=1, pad_w=1, precision="FP16")
HARDWARE = Hardware()

sizes = st.sampled_from([1, 2, 3, 4, 6, 8])


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 56), st.sampled_from([1, 3, 5, 7]))
def test_no_layer_beats_the_machine(in_8: int, out_8: int, side: int, kernel: int) -> None:
    """Time is at least launch, arithmetic at peak rate, and half of the bytes at full bandwidth; power is positive, rails add up."""
    layer = replace(
        CONV,
        in_c=8 * in_8,
        out_c=8 * out_8,
        in_h=side,
        in_w=side,
        out_h=side,
        out_w=side,
        kernel_h=kernel,
        kernel_w=kernel,
    )
    cost = HARDWARE.cost(layer)
    peak_s = layer.macs() / (HARDWARE.tensor_macs * HARDWARE.sms * HARDWARE.clock_hz)
    assert cost.duration_s >= max(HARDWARE.launch_s, peak_s, layer.memory_accesses() / HARDWARE.bandwidth)
    assert 0 <= cost.compute_share <= 1
    board, gpu, soc = cost.power_w
    assert gpu > 0 and soc > 0 and gpu + soc < board < 20


def test_output_channels_are_quantised_by_tiles() -> None:
    """One channel more than fills the tiles costs a step, and the channels after it nothing."""
    times = [HARDWARE.cost(replace(CONV, out_c=n)).duration_s for n in (256, 257, 280)]
    assert times[1] > 1.05 * times[0]
    assert times[2] == pytest.approx(times[1], rel=0.03)


def test_depthwise_is_far_from_peak() -> None:
    """A depthwise convolution does fewer multiply-accumulates per second than a dense one, by far."""
    dense, depthwise = CONV, replace(CONV, groups=64)
    rates = [layer.macs() / HARDWARE.cost(layer).duration_s for layer in (dense, depthwise)]
    assert rates[0] > 5 * rates[1]


def test_a_large_fully_connected_layer_is_bound_by_memory() -> None:
    """VGG's first fully connected layer takes about the time of reading its weights, whatever the clock."""
    layer = Layer("f", "fc", 1, 25088, 1, 1, 4096, 1, 1, precision="FP16")
    cost = HARDWARE.cost(layer)
    assert cost.duration_s == pytest.approx(2 * layer.weights() / HARDWARE.bandwidth, rel=0.1)
    assert cost.compute_share < 0.2


def test_noop_takes_no_time() -> None:
    """What TensorRT reports with 0 ms costs nothing."""
    cost = HARDWARE.cost(Layer("n", "other", layer_type="NoOp"))
    assert cost.duration_s == 0 and not cost.power_w.any()


def test_a_seed_is_a_device() -> None:
    """The same seed gives the same device, another seed another one, near the nominal."""
    assert Hardware.drawn(3) == Hardware.drawn(3) != Hardware.drawn(4)
    drawn = np.array([Hardware.drawn(seed).bandwidth for seed in range(50)])
    assert drawn.mean() == pytest.approx(HARDWARE.bandwidth, rel=0.05)
