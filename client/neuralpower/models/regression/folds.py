"""Folds for cross-validation that keep a network, and a layer configuration, on one side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapreplace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def labels(values: Sequence[object]) -> Ints:
    """A number for each distinct value, in order of first appearance: shape (rows,)."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def relabelled(numbers: Ints) -> Ints:
    """The same as :func:`labels` for whole numbers, (rows,)."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[inverse.reshape(-1)]


def configurations_of(x: NDArray[np.float64]) -> Ints:
    """A number for each distinct row of `x`, in order of first appearance: shape (rows,)."""
    whole = np.ascontiguousarray(x)
    return labels(whole.view(np.dtype((np.void, whole.itemsize * whole.shape[1]))).reshape(-1).tolist())


def assign(groups: Ints, folds: int, seed: int) -> Ints:
    """A fold for each row, whole groups together, folds of about equal size; which group goes where is drawn from `seed`.

    There are fewer folds when there are fewer groups.
    """
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = [(0, number) for number in range(min(folds, len(names)))]
    fold_of = np.empty(len(names), dtype=np.int64)
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        rows, least = filled[0]
        fold_of[group] = least
        heapreplace(filled, (rows + size, least))
    return fold_of[np.searchsorted(names, groups)]


def splits(fold: Ints, configurations: Ints) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(training rows, test rows) for each fold. A row whose configuration is also in the test rows is in neither."""
    for number in np.unique(fold):
        test = fold == number
        yield ~test & ~np.isin(configurations, configurations[test]), test
