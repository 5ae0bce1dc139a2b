"""The zoo written as ONNX, which real builders are tried with, is the zoo that is described."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from tests.worlds import zoo_onnx

from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.features.onnx.fused import layers_from_onnx
from neuralpower.virtual.networks import known


def geometries(layers: list[Layer]) -> list[tuple[str | int, ...]]:
    """Of the convolutions and fully connected layers, in an order that does not hang on who wrote them."""
    found = [(each.kind, each.in_c, each.out_c, each.in_h, each.kernel_h, each.kernel_w, each.stride_h, each.groups)
             for each in layers if each.kind in ("conv", "fc")]  # fmt: skip
    return sorted(found)


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1.1", "shufflenet_v2", "mobilenet_v2", "mobilenet_v3_large"])
def test_the_models_are_sound_and_have_the_descriptions_layers(name: str, tmp_path: Path) -> None:
    """onnx's own checker takes them; their layers are those of the engine's description."""
    path = zoo_onnx.write(name, tmp_path / "net.onnx")
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    assert geometries(layers_from_onnx(path)) == geometries(layers_from_engine(known.build(name)))


def test_a_quantised_model_has_int8_layers(tmp_path: Path) -> None:
    """Each convolution and fully connected layer."""
    path = zoo_onnx.write("squeezenet1.1", tmp_path / "net.onnx", quantised=True)
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    assert {each.precision for each in layers_from_onnx(path) if each.kind == "conv"} == {"INT8"}
