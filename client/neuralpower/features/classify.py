"""What kind of layer an operation is, decided by its geometry: one rule for engine JSON and for ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from neuralpower.features.layers import LARGEST, Layer

Shape = Sequence[int]


@dataclass(frozen=True)
class Operation:
    """What a source says about an operation beside its geometry."""

    name: str
    layer_type: str
    precision: str = ""
    note: str = ""


@dataclass(frozen=True)
class Sliding:
    """A window that slides over height and width; each field is (h, w), and ``pad`` is the padding before the data."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


def convolution(operation: Operation, data: Shape, output: Shape, window: Sliding, groups: int) -> Layer:
    """A convolution from N,C,H,W shapes. One whose kernel covers its whole input is a fully connected layer.

    That holds for a 1×1 kernel on a 1×1 map, the form TensorRT gives to most fully connected layers.
    """
    if groups == 1 and tuple(data[2:]) == window.kernel and window.pad == (0, 0) and tuple(output[2:]) == (1, 1):
        return fully_connected(operation, data[0], prod(data[1:]), output[1])
    return _windowed("conv", operation, data, output, window, groups)


def pooling(operation: Operation, data: Shape, output: Shape, window: Sliding) -> Layer:
    """A pooling layer from N,C,H,W shapes."""
    return _windowed("pool", operation, data, output, window, 1)


def global_pooling(operation: Operation, data: Shape) -> Layer:
    """A pooling layer that reduces each map of an N,C,H,W shape to one value."""
    return pooling(operation, data, (data[0], data[1], 1, 1), Sliding((data[2], data[3])))


def fully_connected(operation: Operation, batch: int, features: int, outputs: int) -> Layer:
    """A fully connected layer: ``batch`` rows of ``features`` inputs, each giving ``outputs`` values."""
    return Layer(
        operation.name,
        "fc",
        batch=batch,
        in_c=features,
        in_h=1,
        in_w=1,
        out_c=outputs,
        out_h=1,
        out_w=1,
        precision=operation.precision,
        layer_type=operation.layer_type,
        note=operation.note,
    )


def not_modelled(kind: str, operation: Operation, data: Shape = (), output: Shape = ()) -> Layer:
    """A layer of kind ``other`` or ``unclassified``, with the sizes of its tensors where they are known."""
    batch, in_c, in_h, in_w = _nchw(data)
    out_batch, out_c, out_h, out_w = _nchw(output)
    return Layer(
        operation.name,
        kind,
        batch=batch or out_batch,
        in_c=in_c,
        in_h=in_h,
        in_w=in_w,
        out_c=out_c,
        out_h=out_h,
        out_w=out_w,
        precision=operation.precision,
        layer_type=operation.layer_type,
        note=operation.note,
    )


def _windowed(kind: str, operation: Operation, data: Shape, output: Shape, window: Sliding, groups: int) -> Layer:
    batch, in_c, in_h, in_w = data
    _, out_c, out_h, out_w = output
    return Layer(
        operation.name,
        kind,
        batch,
        in_c,
        in_h,
        in_w,
        out_c,
        out_h,
        out_w,
        *window.kernel,
        *window.stride,
        *window.pad,
        *window.dilation,
        groups,
        operation.precision,
        operation.layer_type,
        operation.note,
    )


def _nchw(shape: Shape) -> tuple[int, int, int, int]:
    """A shape read as N,C,H,W: missing dimensions are 1, those beyond the fourth count into the last."""
    if not shape or min(shape) < 1 or prod(shape) >= LARGEST:
        return 0, 0, 0, 0
    batch, channels, height, *rest = (*shape, 1, 1, 1)
    return batch, channels, height, prod(rest)
