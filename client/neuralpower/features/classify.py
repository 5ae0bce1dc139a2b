"""What kind of layer an operation is, decided by its geometry: one rule for engine JSON and for ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from neuralpower.features.layers import LARGEST, ImpossibleLayer, Layer

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
    """A window that slides over the data; each field has a number for each of its one, two or three dimensions, and ``pad`` is the padding before the data.

    A field that is not given is 1, or 0 for ``pad``, in each dimension of the kernel.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    def flat(self) -> tuple[tuple[int, int], ...]:
        """Kernel, stride, pad and dilation, each as (h, w); of one dimension, the height alone."""
        ones, none = (1,) * len(self.kernel), (0,) * len(self.kernel)
        fields = ((self.kernel, 1), (self.stride or ones, 1), (self.pad or none, 0), (self.dilation or ones, 1))
        return tuple((field[0], (*field, blank)[1]) for field, blank in fields)


def convolution(operation: Operation, data: Shape, output: Shape, window: Sliding, groups: int) -> Layer:
    """A convolution from N,C and one, two or three dimensions of data. One whose kernel covers its whole input is a fully connected layer.

    That holds for a 1×1 kernel on a 1×1 map, the form TensorRT gives to most fully connected layers.
    """
    _check_groups(operation, data, output, groups)
    covers = tuple(data[2:]) == window.kernel and not any(window.pad) and set(output[2:]) == {1}
    if groups == 1 and covers and len(data) < 5:
        return fully_connected(operation, data[0], prod(data[1:]), output[1])
    if len(data) < 5:
        return _windowed("conv", operation, data, output, window, groups)
    weights = prod(window.kernel) * (data[1] // groups) * output[1]
    return _volume("conv3d", operation, data, output, window, (2 * prod(output) // output[1] * weights, weights))


def transposed(operation: Operation, data: Shape, output: Shape, window: Sliding, groups: int) -> Layer:
    """A transposed convolution from N,C and one, two or three dimensions: each input meets the whole kernel, N·Cin·Hin·Win·Kh·Kw·Cout/groups."""
    _check_groups(operation, data, output, groups)
    if len(data) < 5:
        return _windowed("deconv", operation, data, output, window, groups)
    weights = prod(window.kernel) * (data[1] // groups) * output[1]
    work = 2 * prod(data) // data[1] * weights, weights
    return _volume("conv3d", operation, data, output, window, work, "transposed")


def _check_groups(operation: Operation, data: Shape, output: Shape, groups: int) -> None:
    if groups > 0 and (data[1] % groups or output[1] % groups):
        raise ImpossibleLayer(
            operation.name, f"{groups} groups, which do not divide its {data[1]} and {output[1]} channels"
        )


def pooling(operation: Operation, data: Shape, output: Shape, window: Sliding) -> Layer:
    """A pooling layer from N,C and one, two or three dimensions of data."""
    if len(data) < 5:
        return _windowed("pool", operation, data, output, window, 1)
    return _volume("pool3d", operation, data, output, window, (prod(output) * prod(window.kernel), 0))


def global_pooling(operation: Operation, data: Shape) -> Layer:
    """A pooling layer that reduces each map (or line, or volume) to one value."""
    return pooling(operation, data, (*data[:2], *(1 for _ in data[2:])), Sliding(tuple(data[2:])))


def matrix_product(operation: Operation, batch: int, rows: int, inner: int, columns: int) -> Layer:
    """``batch`` products of an activation [rows, inner] with another [inner, columns]."""
    return Layer(
        operation.name,
        "matmul",
        batch=batch,
        in_c=inner,
        in_h=rows,
        in_w=1,
        out_c=columns,
        out_h=rows,
        out_w=1,
        precision=operation.precision,
        layer_type=operation.layer_type,
        note=operation.note,
    )


def attention(operation: Operation, query: Shape, key: Shape, value: Shape) -> Layer:
    """Scaled dot-product attention: queries [.., heads, L, E], keys [.., S, E], values [.., S, V]; 2·(L·S·E + L·S·V) operations for each head of the queries.

    The softmax between the two products is not counted.
    """
    *heads, rows, width = query
    inner, out = value[-2:]
    flops = 2 * prod(heads) * rows * inner * (width + out)
    output = (*heads, rows, out)
    moved = prod(query) + prod(key) + prod(value) + prod(output)
    return _told("attention", operation, query, output, flops, 0, moved)


NORM_FLOPS = 7
"""Operations of a normalisation for each element: two sums, a difference and its square, then scale by the deviation, by a weight, and shift."""


def normalisation(operation: Operation, data: Shape, weights: int) -> Layer:
    """A normalisation by statistics of the data themselves: ``NORM_FLOPS`` operations for each element, which is read and written once."""
    return _told("norm", operation, data, data, NORM_FLOPS * prod(data), weights, 2 * prod(data) + weights)


def embedding(operation: Operation, rows: Shape, output: Shape) -> Layer:
    """A look-up of rows of a table by computed indices of shape ``rows``: no operations; an index, a row read and a row written for each."""
    return _told("embedding", operation, rows, output, 0, 0, prod(rows) + 2 * prod(output))


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
    """A layer without counts of its own (``other``, ``reformat``, ``unclassified``), with the sizes of its tensors where they are known."""
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
    batch, in_c, in_h, in_w = (*data, 1)[:4]
    _, out_c, out_h, out_w = (*output, 1)[:4]
    kernel, stride, pad, dilation = window.flat()
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
        *kernel,
        *stride,
        *pad,
        *dilation,
        groups,
        operation.precision,
        operation.layer_type,
        operation.note,
    )


def _volume(
    kind: str, operation: Operation, data: Shape, output: Shape, window: Sliding, work: tuple[int, int], told: str = ""
) -> Layer:
    """A window over depth, height and width; ``work`` is operations and weights. The window stands in the note."""
    flops, weights = work
    by = "x".join(map(str, window.kernel))
    note = "; ".join(filter(None, (told, f"window {by}", operation.note)))
    noted = Operation(operation.name, operation.layer_type, operation.precision, note)
    return _told(kind, noted, data, output, flops, weights, prod(data) + weights + prod(output))


def _told(
    kind: str, operation: Operation, data: Shape, output: Shape, flops: int, weights: int, accesses: int
) -> Layer:
    """A layer whose counts its sizes do not tell."""
    plain = not_modelled(kind, operation, data, output)
    if 0 in (*data, *output):
        raise ImpossibleLayer(operation.name, f"a {kind} layer with an impossible size of 0")
    return replace(plain, told_flops=flops, told_weights=weights, told_accesses=accesses)


def _nchw(shape: Shape) -> tuple[int, int, int, int]:
    """A shape read as N,C,H,W: missing dimensions are 1, those beyond the fourth count into the last."""
    if not shape or min(shape) < 1 or prod(shape) >= LARGEST:
        return 0, 0, 0, 0
    batch, channels, height, *rest = (*shape, 1, 1, 1)
    return batch, channels, height, prod(rest)
