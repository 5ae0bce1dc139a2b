"""Shapes of an ONNX operator's outputs by own rules: where ONNX's inference gives none, and for windows, where it trusts what a file declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from neuralpower.features.layers import Unreadable

Shape = tuple[int, ...]
Given = Mapping[str, Any]
"""Attributes of a node."""


def padding(given: Given, data: Sequence[int], output: Sequence[int], kernel: Sequence[int]) -> Shape:
    """Padding before the data in each dimension; ``auto_pad`` SAME is worked out from the sizes of data and output (without N and C)."""
    rank = len(kernel)
    automatic = given.get("auto_pad", "NOTSET")
    if not automatic.startswith("SAME"):
        return tuple(_listed(given, "pads", 2 * rank, 0))[:rank] if automatic == "NOTSET" else (0,) * rank
    strides, dilations = _listed(given, "strides", rank, 1), _listed(given, "dilations", rank, 1)
    sizes = zip(data, output, kernel, strides, dilations, strict=True)
    total = [max(0, (out - 1) * stride + dilation * (k - 1) + 1 - size) for size, out, k, stride, dilation in sizes]
    return tuple((amount + (automatic == "SAME_LOWER")) // 2 for amount in total)


def window(given: Given, kernel: Sequence[int]) -> tuple[Shape, Shape]:
    """Strides and dilations, one for each dimension of the kernel."""
    rank = len(kernel)
    return tuple(_listed(given, "strides", rank, 1)), tuple(_listed(given, "dilations", rank, 1))


def slid(given: Given, data: Sequence[int], kernel: Sequence[int]) -> Shape:
    """Output sizes of a window over data (without N and C): floor or ceil((size + pads - dilation·(k - 1) - 1) / stride) + 1."""
    strides, dilations = window(given, kernel)
    if len(data) != len(kernel):
        raise Unreadable(f"a window of {len(kernel)} dimensions over data of {len(data)}")
    if min((*strides, *dilations, *kernel)) < 1:
        raise Unreadable("a window with a size, stride or dilation of 0")
    automatic = given.get("auto_pad", "NOTSET")
    if automatic.startswith("SAME"):
        return tuple(-(-size // stride) for size, stride in zip(data, strides, strict=True))
    pads = _listed(given, "pads", 2 * len(kernel), 0) if automatic == "NOTSET" else [0] * 2 * len(kernel)
    found = []
    for axis, (size, k, stride, dilation) in enumerate(zip(data, kernel, strides, dilations, strict=True)):
        before, after = pads[axis], pads[axis + len(kernel)]
        room = size + before + after - dilation * (k - 1) - 1
        steps = -(-room // stride) if given.get("ceil_mode") else room // stride
        if given.get("ceil_mode") and steps * stride >= size + before:  # a window that would begin behind the data
            steps -= 1
        if room < 0:
            raise Unreadable(f"a window of {dilation * (k - 1) + 1} over data of {size + before + after}")
        found.append(steps + 1)
    return tuple(found)


def _convolution(given: Given, shapes: Sequence[Shape]) -> Shape:
    data, weight = shapes[:2]
    if len(data) < 3 or len(weight) != len(data):
        raise Unreadable(f"weights of {len(weight)} dimensions on data of {len(data)}")
    _check_kernel(given, weight)
    channels = weight[1] * given.get("group", 1)
    if channels != data[1]:
        raise Unreadable(f"weights for {channels} channels on data with {data[1]}")
    return (data[0], weight[0], *slid(given, data[2:], weight[2:]))


def _check_kernel(given: Given, weight: Shape) -> None:
    told = tuple(given.get("kernel_shape") or weight[2:])
    if told != tuple(weight[2:]):
        raise Unreadable(f"a kernel of {'x'.join(map(str, told))} with weights of {'x'.join(map(str, weight[2:]))}")


def _transposed(given: Given, shapes: Sequence[Shape]) -> Shape:
    data, weight = shapes[:2]
    rank = len(data) - 2
    if rank < 1 or len(weight) != len(data):
        raise Unreadable(f"weights of {len(weight)} dimensions on data of {len(data)}")
    _check_kernel(given, weight)
    if weight[0] != data[1]:
        raise Unreadable(f"weights for {weight[0]} channels on data with {data[1]}")
    told = given.get("output_shape")
    strides, dilations = window(given, weight[2:])
    extra = _listed(given, "output_padding", rank, 0)
    automatic = given.get("auto_pad", "NOTSET")
    pads = _listed(given, "pads", 2 * rank, 0) if automatic == "NOTSET" else [0] * 2 * rank
    if told:
        sizes = tuple(told)[-rank:]
    elif automatic.startswith("SAME"):
        sizes = tuple(size * stride for size, stride in zip(data[2:], strides, strict=True))
    else:
        sizes = tuple(
            strides[i] * (data[2 + i] - 1)
            + extra[i]
            + dilations[i] * (weight[2 + i] - 1)
            + 1
            - pads[i]
            - pads[i + rank]
            for i in range(rank)
        )
    return (data[0], weight[1] * given.get("group", 1), *sizes)


def _pooling(given: Given, shapes: Sequence[Shape]) -> Shape:
    return (*shapes[0][:2], *slid(given, shapes[0][2:], tuple(given.get("kernel_shape", ()))))


def _global(given: Given, shapes: Sequence[Shape]) -> Shape:
    return (*shapes[0][:2], *(1 for _ in shapes[0][2:]))


def _matmul(given: Given, shapes: Sequence[Shape]) -> Shape:
    first, second = operands("MatMul", given, shapes)
    lead = broadcast([first[:-2], second[:-2]])
    rows = () if len(shapes[0]) == 1 else (first[-2],)
    columns = () if len(shapes[1]) == 1 else (second[-1],)
    return (*lead, *rows, *columns)


def _gemm(given: Given, shapes: Sequence[Shape]) -> Shape:
    first, second = operands("Gemm", given, shapes)
    return (first[0], second[1])


def operands(op_type: str, given: Given, shapes: Sequence[Shape]) -> tuple[Shape, Shape]:
    """Both matrices of a product, [.., M, K] and [.., K, N]. Raises Unreadable where they do not fit."""
    first, second = shapes[:2]
    if op_type == "Gemm" and (len(first), len(second)) != (2, 2):
        raise Unreadable("a Gemm of what is no matrix")
    if not first or not second:
        raise Unreadable("a product with a scalar")
    first = (1, *first) if len(first) == 1 else first
    second = (*second, 1) if len(second) == 1 else second
    if given.get("transA"):
        first = (*first[:-2], first[-1], first[-2])
    if given.get("transB"):
        second = (*second[:-2], second[-1], second[-2])
    if first[-1] != second[-2]:
        raise Unreadable(f"a product of {first[-1]} columns with {second[-2]} rows")
    return first, second


def broadcast(shapes: Sequence[Sequence[int]]) -> Shape:
    """The shape that several tensors take together, as numpy does it. Raises Unreadable where they do not fit."""
    rank = max(map(len, shapes), default=0)
    filled = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    found = []
    for sizes in zip(*filled, strict=True):
        wide = set(sizes) - {1}
        if len(wide) > 1:
            raise Unreadable(f"sizes {' and '.join(map(str, sorted(wide)))} that do not fit together")
        found.append(wide.pop() if wide else 1)
    return tuple(found)


def _same(given: Given, shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


def _elementwise(given: Given, shapes: Sequence[Shape]) -> Shape:
    return broadcast(shapes)


def _reshaped(given: Given, shapes: Sequence[Shape]) -> Shape:
    """Of a Reshape whose sizes are an attribute, as before ONNX's fifth set of operators."""
    told, data = list(given.get("shape") or ()), shapes[0]
    if not told:
        raise Unreadable("sizes that are not known")
    sizes = [data[at] if size == 0 else size for at, size in enumerate(told)]
    if -1 in sizes:
        known = prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = prod(data) // known if known else 0
    if min(sizes) < 0:
        raise Unreadable("a size below 0")
    return tuple(sizes)


def _attention(given: Given, shapes: Sequence[Shape]) -> Shape:
    """Queries, keys, values; heads side by side in the last of three dimensions, or in one of four."""
    query, _, value = shapes[:3]
    if len(query) == 3:
        return (*query[:2], value[2] // given.get("kv_num_heads", 1) * given.get("q_num_heads", 1))
    return (*query[:3], value[-1])


WINDOWED: Mapping[str, Callable[[Given, Sequence[Shape]], Shape]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "LpPool": _pooling,
    "GlobalAveragePool": _global,
    "GlobalMaxPool": _global,
    "MatMul": _matmul,
    "Gemm": _gemm,
}
"""Operators with work: the rule is the word on their shape."""

PLAIN: Mapping[str, Callable[[Given, Sequence[Shape]], Shape]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Where", "PRelu"), _elementwise),
    **dict.fromkeys(
        (
            "Relu", "Clip", "Sigmoid", "Tanh", "Erf", "Gelu", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Silu", "Softplus", "Softmax",
            "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "LRN",
            "Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear", "SimplifiedLayerNormalization",
            "RotaryEmbedding",
        ),
        _same,
    ),
    "Reshape": _reshaped,
    "Attention": _attention,
}  # fmt: skip
"""Operators whose shape is plain where ONNX's inference gives none."""


def _listed(given: Given, name: str, count: int, blank: int) -> list[int]:
    found = list(given.get(name) or [blank] * count)
    if len(found) != count:
        raise Unreadable(f"{len(found)} {name}, where its window needs {count}")
    return found
