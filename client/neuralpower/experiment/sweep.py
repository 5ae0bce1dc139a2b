"""Single layers that fill the space of what networks have, drawn one after another from a seed: however many are run, they are spread evenly.

Each kind has a sequence of its own (Halton's, :func:`halton`), and the kinds follow one another in a fixed pattern, so the first n
layers of a seed are always the same, whatever n is: a sweep that ended early goes on, and a longer one holds the shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from math import prod
from typing import NamedTuple, TypeVar

import numpy as np

from ..errors import InputError
from ..features.classify import (
    Operation,
    Sliding,
    convolution,
    fully_connected,
    matrix_product,
    normalisation,
    not_modelled,
    pooling,
)
from ..features.layers import Layer

_T = TypeVar("_T")

PREFIX = "sweep:"
PATTERN = ("conv", "conv", "pool", "conv", "fc", "conv", "other", "matmul", "conv", "norm", "conv", "pool", "conv", "fc",
           "softmax", "conv", "other", "matmul")  # fmt: skip
"""Convolutions are most of a network's time, and have most features."""
BATCHES = (1, 1, 2, 4, 8, 16, 32)
MOST_MACS, MOST_ELEMENTS, MOST_WEIGHTS = 3e10, 1.1e8, 1.1e8
"""Of one layer with its batch: milliseconds of a large GPU, and a share of its memory that leaves room for copies of the data."""
LEAST_MACS, LEAST_ELEMENTS = 1e6, 8e3
"""Smaller ones are all launch."""
_KERNELS = ((0.42, 1), (0.84, 3), (0.91, 5), (0.96, 7), (1.0, 11))
"""Cumulative share of each kernel size; the widest input it meets in networks is in :data:`_WIDEST`."""
_WIDEST = {1: 2048, 3: 1024, 5: 256, 7: 64, 11: 16}
_ELEMENTWISE = ("Relu", "Add", "Mul", "Gelu", "Sigmoid")
_LENGTHS = (16, 49, 64, 128, 196, 197, 256, 512, 1024)
_WIDTHS = (32, 64, 80, 128)


def spec(seed: int, first: int, count: int) -> str:
    """What `neuralpower profile` is asked to run for some layers of a sweep."""
    return f"{PREFIX}{seed}:{first}:{count}"


def layers_of(text: str) -> list[Layer]:
    """The layers that a spec names; InputError where it is none."""
    parts = text.removeprefix(PREFIX).split(":")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"{text}: write sweep:SEED:FIRST:COUNT")
    seed, first, count = map(int, parts)
    return list(islice(drawn(seed), first, first + count))


def drawn(seed: int) -> Iterator[Layer]:
    """Layers without end, all different."""
    kinds = list(dict.fromkeys(PATTERN))
    points = {kind: halton(7, [seed, number]) for number, kind in enumerate(kinds)}
    seen = set()
    for kind in cycle(PATTERN):
        while True:
            layer = _DRAWS[kind](next(points[kind]))
            if layer is not None and layer.name not in seen:
                break
        seen.add(layer.name)
        yield layer


def halton(dimensions: int, seed: list[int]) -> Iterator[list[float]]:
    """Points that fill the unit cube evenly: Halton's sequence with randomly permuted digits and a random shift."""
    rng = np.random.default_rng([*seed, 3])
    primes = (2, 3, 5, 7, 11, 13, 17)[:dimensions]
    digits = [[0, *(rng.permutation(base - 1) + 1).tolist()] for base in primes]
    shift = rng.random(dimensions).tolist()
    index = 0
    while True:
        index += 1
        point = []
        for base, order, move in zip(primes, digits, shift, strict=True):
            value, scale, rest = 0.0, 1.0, index
            while rest:
                scale /= base
                rest, digit = divmod(rest, base)
                value += order[digit] * scale
            point.append((value + move) % 1.0)
        yield point


class ConvShape(NamedTuple):
    """A convolution of one square image."""

    size: int
    channels: int
    out: int
    kernel: int
    stride: int
    groups: int

    @property
    def pad(self) -> int:
        """To each side."""
        return self.kernel // 2

    @property
    def side(self) -> int:
        """Of what comes out."""
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def weights(self) -> int:
        """How many."""
        return self.kernel**2 * self.channels * self.out // self.groups

    @classmethod
    def drawn(cls, point: list[float]) -> ConvShape:
        """As networks have them, from the first six coordinates of a point."""
        kernel = next(size for share, size in _KERNELS if point[0] < share)
        size, first = between(point[1], 7, 224), point[2] < 0.12 and kernel > 1
        channels = 3 if first else eights(point[2], 8, _WIDEST[kernel])
        out = eights(point[3], 16, 2048 if kernel == 1 else 1024)
        stride = 4 if kernel == 11 else 2 if point[4] < (0.8 if kernel == 7 else 0.25) else 1
        groups = 1
        if kernel in (3, 5) and not first and point[5] < 0.5:
            groups = channels if point[5] < 0.38 else 32 if channels % 32 == 0 else 1
            out = channels if groups > 1 else out
        return cls(size, channels, out, kernel, stride, groups)


class PoolShape(NamedTuple):
    """A pool of one square image; `everything`: over all of it."""

    everything: bool
    size: int
    channels: int
    kernel: int
    stride: int
    pad: int

    @property
    def side(self) -> int:
        """Of what comes out."""
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @classmethod
    def drawn(cls, point: list[float]) -> PoolShape:
        """As networks have them, from the first four coordinates of a point."""
        everything = point[0] < 0.25
        kernel, stride, pad = (
            (0, 1, 0) if everything else ((2, 2, 0), (3, 2, 1), (3, 1, 1), (7, 7, 0))[int(point[1] * 4)]
        )
        size = between(point[2], 6, 14) if everything else between(point[2], 7, 224)
        return cls(everything, size, eights(point[3], 16, 2048), kernel or size, stride, pad)


def _conv(point: list[float]) -> Layer | None:
    shape, batch = ConvShape.drawn(point), _one_of(point[6], BATCHES)
    size, channels, out, kernel, stride, groups = shape
    side, weights, pad = shape.side, shape.weights, shape.pad
    data, output = (batch, channels, size, size), (batch, out, side, side)
    if not _fits(weights * side * side * batch, data, output, weights, 1e5 if groups > 1 else LEAST_MACS):
        return None
    name = f"conv {kernel}x{kernel}/{stride} g{groups} {batch}x{channels}x{size}x{size} to {out}"
    window = Sliding((kernel, kernel), (stride, stride), (pad, pad))
    return convolution(Operation(name, "Conv"), data, output, window, groups)


def _pool(point: list[float]) -> Layer | None:
    shape, batch = PoolShape.drawn(point), _one_of(point[5], BATCHES)
    everything, size, channels, kernel, stride, pad = shape
    side = shape.side
    data, output = (batch, channels, size, size), (batch, channels, side, side)
    if side < (1 if everything else 2) or not _fits(LEAST_MACS, data, output):
        return None
    kind = "AveragePool" if everything or point[4] < 0.3 else "MaxPool"
    name = f"{kind} {kernel}x{kernel}/{stride} {batch}x{channels}x{size}x{size}"
    return pooling(Operation(name, kind), data, output, Sliding((kernel,) * 2, (stride,) * 2, (pad,) * 2))


def _fc(point: list[float]) -> Layer | None:
    inputs, outputs, rows = (
        eights(point[0], 64, 25088),
        between(point[1], 10, 4096),
        _one_of(point[2], (*BATCHES, 197)),
    )
    if not _fits(LEAST_MACS, (rows, inputs), (rows, outputs), inputs * outputs, least=0):
        return None
    return fully_connected(Operation(f"fc {rows}x{inputs} to {outputs}", "Gemm"), rows, inputs, outputs)


def _other(point: list[float]) -> Layer | None:
    kind, batch = _one_of(point[0], _ELEMENTWISE), _one_of(point[3], BATCHES)
    data = (batch, eights(point[1], 16, 2048), *(between(point[2], 7, 112),) * 2)
    if not _fits(LEAST_MACS, data, data):
        return None
    return not_modelled("other", Operation(f"{kind} {_by(data)}", kind, note="elementwise"), data, data)


def _norm(point: list[float]) -> Layer | None:
    rows, width = _one_of(point[0], BATCHES) * _one_of(point[1], _LENGTHS), eights(point[2], 64, 4096)
    if not _fits(LEAST_MACS, (rows, width), (rows, width)):
        return None
    return normalisation(Operation(f"layer norm {rows}x{width}", "LayerNormalization"), (rows, width), 0)


def _softmax(point: list[float]) -> Layer | None:
    length = _one_of(point[2], _LENGTHS)
    data = (_one_of(point[0], BATCHES) * _one_of(point[1], (1, 4, 8, 12, 16)) * length, length)
    if not _fits(LEAST_MACS, data, data):
        return None
    return not_modelled("other", Operation(f"softmax {_by(data)}", "Softmax", note="softmax"), data, data)


def _matmul(point: list[float]) -> Layer | None:
    """Queries times keys, or weights times values, of attention."""
    batch, heads = _one_of(point[0], BATCHES), _one_of(point[1], (1, 4, 8, 12, 16))
    length, width = _one_of(point[2], _LENGTHS), _one_of(point[3], _WIDTHS)
    inner, columns = (width, length) if point[4] < 0.5 else (length, width)
    count = batch * heads
    macs = count * length * inner * columns
    if not _fits(macs, (count, length, inner), (count, length, columns)):
        return None
    name = f"matmul {count} of {length}x{inner} by {columns}"
    return matrix_product(Operation(name, "MatMul"), count, length, inner, columns)


_DRAWS: dict[str, Callable[[list[float]], Layer | None]] = {
    "conv": _conv,
    "pool": _pool,
    "fc": _fc,
    "other": _other,
    "norm": _norm,
    "softmax": _softmax,
    "matmul": _matmul,
}


def _fits(
    macs: float,
    data: tuple[int, ...],
    output: tuple[int, ...],
    weights: int = 0,
    least_macs: float = LEAST_MACS,
    least: float = LEAST_ELEMENTS,
) -> bool:
    elements = max(prod(data), prod(output))
    return least_macs <= macs <= MOST_MACS and least <= elements <= MOST_ELEMENTS and weights <= MOST_WEIGHTS


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _one_of(share: float, several: tuple[_T, ...]) -> _T:
    return several[int(share * len(several))]


def between(share: float, low: int, high: int) -> int:
    """The integer at `share` of the way from `low` to `high` on a logarithmic scale."""
    return int(low * (high / low) ** share + 0.5)


def eights(share: float, low: int, high: int) -> int:
    """The same, in whole eights."""
    return max(8, 8 * round(between(share, low, high) / 8))
