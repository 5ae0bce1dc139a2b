"""Layers beside the work (kinds ``other`` and ``reformat``): for which of them the mean one may stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.features.layers import BESIDE

PRODUCTS = (
    "deconv",
    "convtranspose",
    "convolution",
    "matmul",
    "matrixmultiply",
    "gemm",
    "einsum",
    "attention",
    "lstm",
    "gru",
    "rnn",
)
"""Parts of layer types that multiply and accumulate: their time grows with work, of which a mean reformat knows nothing."""


def multiplies(layer_type: str) -> bool:
    """Whether a layer is a product by its type: a transposed convolution, a product of two activations, a recurrent layer."""
    name = layer_type.lower().replace("_", "")
    return any(part in name for part in PRODUCTS)


def means(dataset: Dataset) -> NDArray[np.bool_]:
    """Which rows, (rows,), are of kinds ``other`` and ``reformat`` and no products: the mean one is of these."""
    names = dataset["layer_type"].tolist()
    known = {name: multiplies(name) for name in set(names)}
    products = np.array([known[name] for name in names], dtype=bool)
    return np.asarray(np.isin(dataset["kind"], BESIDE) & ~products)
