"""A single layer in PyTorch, for repeating it: from its geometry alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

from ...errors import InputError
from ...features.layers import Layer

SETS = 6
"""Copies take inputs and weights from so many sets in turn, so that a cache does not hold them all; what one layer's takes more than
:data:`MOST_BYTES` has fewer."""
MOST_BYTES = 2 << 30


def calls(layer: Layer, copies: int, kind: Any, device: str) -> Callable[[], None]:
    """What runs so many copies of a layer on the current stream, on random numbers.

    Raises:
        InputError: a layer that PyTorch does not have, or not with these sizes.
    """
    import torch

    draw = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Any:
        made = torch.randn(*shape, generator=draw).to(device, kind)
        wide = made.dim() == 4 and kind == torch.float16
        return made.contiguous(memory_format=torch.channels_last) if wide else made

    shapes, function = _function(layer)
    size = sum(_count(shape) for shape in shapes) * kind.itemsize
    sets = [
        tuple(noise(*shape) for shape in shapes) for _ in range(max(1, min(SETS, copies, MOST_BYTES // max(size, 1))))
    ]
    with torch.no_grad():
        answer = tuple(function(*sets[0]).shape)
    if layer.kind in ("conv", "pool") and answer[1:] != (layer.out_c, layer.out_h, layer.out_w):
        raise InputError(f"layer {layer.name}: PyTorch gives {answer}, not the sizes that it has in its network")

    def enqueue() -> None:
        with torch.no_grad():
            for given in islice(cycle(sets), copies):
                function(*given)

    return enqueue


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _function(layer: Layer) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    """The shapes of its operands, and what is called with them."""
    from torch.nn import functional

    stride, pad = (layer.stride_h, layer.stride_w), (layer.pad_h, layer.pad_w)
    data = (layer.batch, layer.in_c, layer.in_h, layer.in_w)
    kernel = (layer.kernel_h, layer.kernel_w)
    if layer.kind == "conv":
        weight = (layer.out_c, layer.in_c // layer.groups, *kernel)
        dilation, groups = (layer.dilation_h, layer.dilation_w), layer.groups
        return [data, weight], lambda x, w: functional.conv2d(x, w, None, stride, pad, dilation, groups)
    if layer.kind == "pool":
        if "Max" in layer.layer_type:
            return [data], lambda x: functional.max_pool2d(x, kernel, stride, pad)
        return [data], lambda x: functional.avg_pool2d(x, kernel, stride, pad)
    if layer.kind == "fc":
        return [(layer.batch, layer.in_c), (layer.out_c, layer.in_c)], functional.linear
    if layer.kind == "matmul":
        left, right = (layer.batch, layer.in_h, layer.in_c), (layer.batch, layer.in_c, layer.out_c)
        return [left, right], lambda x, y: x @ y
    return _beside(layer, data)


def _beside(layer: Layer, data: tuple[int, ...]) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    """What has no model of its own: by the name of ONNX's operator."""
    import torch
    from torch.nn import functional

    rows = (layer.batch * layer.in_h * layer.in_w, layer.in_c)
    shaped: dict[str, tuple[list[tuple[int, ...]], Callable[..., Any]]] = {
        "Relu": ([data], torch.relu),
        "Gelu": ([data], functional.gelu),
        "Sigmoid": ([data], torch.sigmoid),
        "Add": ([data, data], torch.add),
        "Mul": ([data, data], torch.mul),
        "Softmax": ([rows], lambda x: functional.softmax(x, -1)),
        "LayerNormalization": ([rows], lambda x: functional.layer_norm(x, (layer.in_c,))),
    }
    if layer.layer_type not in shaped:
        raise InputError(f"layer {layer.name}: a {layer.layer_type or layer.kind} cannot be repeated")
    return shaped[layer.layer_type]
