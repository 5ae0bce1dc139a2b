"""The design matrices of NeuralPower's published scripts, kept as a baseline (arXiv 1710.05420)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from neuralpower.features.layers import Layer

Floats = NDArray[np.float64]

_BASE = {
    "conv": ("batch", "out_h", "out_w", "kernel_w", "in_c", "out_c", "in_h"),
    "pool": ("batch", "out_h", "out_w", "out_c", "kernel_h", "in_h"),
    "fc": ("batch", "out_c", "in_h", "in_w", "in_c"),
}
_SPECIAL = {
    "conv": (
        ("out_h", "out_w", "out_c", "kernel_h", "kernel_w", "in_c"),
        ("batch", "out_h", "out_w", "out_c", "kernel_h", "kernel_w", "in_c"),
        ("batch", "out_h", "out_w", "kernel_h", "kernel_w", "in_c"),
        ("batch", "out_h", "out_w", "out_c"),
        ("kernel_h", "kernel_w", "in_c", "out_c"),
        ("batch", "in_h", "in_w", "in_c"),
        ("batch", "in_w", "in_c"),
        ("batch", "in_h", "in_c"),
    ),
    # The three products of the pool's matrix are not named in print; these are its operations, writes and reads.
    "pool": (
        ("batch", "out_h", "out_w", "out_c", "kernel_h", "kernel_w"),
        ("batch", "out_h", "out_w", "out_c"),
        ("batch", "in_h", "in_w", "out_c"),
    ),
    "fc": (("batch", "out_c", "in_h", "in_w", "in_c"),),
}


def original_matrix(kind: str, target: str, layers: Sequence[Layer]) -> Floats:
    """The original matrix of a layer type and target, shape (layers, columns), without the constant.

    Runtime: monomials of the base sizes to degree 3 (fc: 2), and products. Power: monomials of the sizes and their binary
    logarithms to degree 2, and the same products (fc: none). Columns: conv 127 and 127, pool 86 and 93, fc 21 and 65.
    """
    base = _sizes(layers, _BASE[kind])
    special = [np.prod(_sizes(layers, names), axis=0) for names in _SPECIAL[kind]]
    if target == "runtime":
        columns = _monomials(base, 2 if kind == "fc" else 3) + special
    else:
        columns = _monomials([*base, *np.log2(base)], 2) + (special if kind != "fc" else [])
    return np.column_stack(columns)


def _sizes(layers: Sequence[Layer], names: Sequence[str]) -> list[Floats]:
    return [np.array([getattr(layer, name) for layer in layers], dtype=np.float64) for name in names]


def _monomials(columns: Sequence[Floats], degree: int) -> list[Floats]:
    return [
        np.prod(chosen, axis=0)
        for size in range(1, degree + 1)
        for chosen in combinations_with_replacement(columns, size)
    ]
