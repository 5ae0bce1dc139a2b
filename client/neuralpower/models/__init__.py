"""Sparse polynomial models of a layer's runtime and power, and what follows from them for a network.

The names below are the public API (docs/python.md); each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuralpower.dataset import Dataset, dataset_of, read_dataset, row, write_dataset
    from neuralpower.features.layers import Layer
    from neuralpower.features.network import load_network
    from neuralpower.models.estimator_file import load, save
    from neuralpower.models.network import predict_network
    from neuralpower.models.regression.design import Dictionary
    from neuralpower.models.regression.lasso import SparsePolynomial
    from neuralpower.models.six import SixModels

__all__ = ["Dataset", "Dictionary", "Layer", "SixModels", "SparsePolynomial", "dataset_of", "load", "load_network",
           "predict_network", "read_dataset", "row", "save", "write_dataset"]  # fmt: skip

_LAZY = {
    "Dataset": "neuralpower.dataset",
    "Dictionary": "neuralpower.models.regression.design",
    "Layer": "neuralpower.features.layers",
    "SixModels": "neuralpower.models.six",
    "SparsePolynomial": "neuralpower.models.regression.lasso",
    "dataset_of": "neuralpower.dataset",
    "load": "neuralpower.models.estimator_file",
    "load_network": "neuralpower.features.network",
    "predict_network": "neuralpower.models.network",
    "read_dataset": "neuralpower.dataset",
    "row": "neuralpower.dataset",
    "save": "neuralpower.models.estimator_file",
    "write_dataset": "neuralpower.dataset",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
