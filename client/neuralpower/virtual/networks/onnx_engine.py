"""An ONNX model as the engine that a TensorRT builder would make of it: what its inspector would tell, DETAILED."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ...features.layers import Layer
from ...features.onnx.fused import layers_from_onnx
from .graph import Json

_FORMATS = {"fp32": "Row major linear FP32", "fp16": "Row major linear FP16 format", "int8": "Row major Int8 format"}


def engine_from_onnx(
    path: str | os.PathLike[str], batch: int = 1, precision: str = "fp16", input_shape: Sequence[int] | None = None
) -> Json:
    """The inspector's document of the model at `path`; InputError where it is none or its shapes are not known."""
    layers = layers_from_onnx(path, batch, input_shape)
    return engine_of_layers(layers, precision)


def engine_of_layers(layers: Sequence[Layer], precision: str = "fp16") -> Json:
    """The inspector's document of layers in execution order, all computed in `precision`."""
    names = _unique([layer.name for layer in layers])
    entries = [_entry(layer, name, _FORMATS[precision]) for layer, name in zip(layers, names, strict=True)]
    return {"Layers": entries, "Bindings": ["input", f"{names[-1]}_output"]}


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} [{seen[name]}]")
    return found


def _entry(layer: Layer, name: str, form: str) -> Json:
    source: tuple[int, ...]
    result: tuple[int, ...]
    source, result = (
        (layer.batch, layer.in_c, layer.in_h, layer.in_w),
        (layer.batch, layer.out_c, layer.out_h, layer.out_w),
    )
    layer_type, body = _body(layer)
    inputs = [_tensor(f"{name}_input", source, form)]
    if layer.kind == "matmul":
        source, second = (layer.batch, layer.in_h, layer.in_c), (layer.batch, layer.in_c, layer.out_c)
        inputs = [_tensor(f"{name}_input", source, form), _tensor(f"{name}_second", second, form)]
        result = (layer.batch, layer.in_h, layer.out_c)
    return {
        "Name": name,
        "LayerType": layer_type,
        "Inputs": inputs,
        "Outputs": [_tensor(f"{name}_output", result, form)],
        **body,
        "StreamId": 0,
        "Metadata": f"[ONNX Layer: {layer.name}]",
    }


def _tensor(name: str, shape: tuple[int, ...], form: str) -> Json:
    return {
        "Name": name,
        "Location": "Device",
        "Dimensions": list(shape) if all(shape) else [],
        "Format/Datatype": form,
    }


def _body(layer: Layer) -> tuple[str, dict[str, Any]]:
    """The layer's type and what the inspector tells of its geometry."""
    window = {
        "PrePadding": [layer.pad_h, layer.pad_w],
        "PostPadding": [layer.pad_h, layer.pad_w],
        "Stride": [layer.stride_h, layer.stride_w],
    }
    if layer.kind in ("conv", "fc", "deconv"):
        kernel = [layer.kernel_h, layer.kernel_w]
        plain = kernel == [1, 1] and layer.stride_h == 1 and layer.groups == 1
        backwards = layer.kind == "deconv"
        return "CaskDeconvolution" if backwards else "CaskGemmConvolution" if plain else "CaskConvolution", {
            "ParameterType": "Deconvolution" if backwards else "Convolution",
            "Kernel": kernel,
            **window,
            "Dilation": [layer.dilation_h, layer.dilation_w],
            "OutMaps": layer.out_c,
            "Groups": layer.groups,
            "Weights": {"Type": "Half", "Count": layer.weights()},
        }
    if layer.kind == "pool":
        kind = "MAX" if "Max" in layer.layer_type else "AVERAGE"
        return "CaskPooling", {
            "ParameterType": "Pooling",
            "PoolingType": kind,
            "WindowSize": [layer.kernel_h, layer.kernel_w],
            **window,
        }
    if layer.kind == "matmul":
        return "MatrixMultiply", {"ParameterType": "MatrixMultiply"}
    if layer.kind == "other":
        return "PointWiseV2", {"ParameterType": "PointWise"}
    return "Myelin", {}  # a region of which an inspector tells nothing
