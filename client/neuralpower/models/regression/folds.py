"""Folds for cross-validation that keep a network, and a layer configuration, on one side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: multiplying by it spreads bits (Knuth)."""


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
    hashed = np.zeros(len(whole), dtype=np.uint64)
    for column in whole.T:
        hashed = (hashed ^ column.copy().view(np.uint64)) * _ODD
        hashed ^= hashed >> np.uint64(29)
    _, first, inverse = np.unique(hashed, return_index=True, return_inverse=True)
    if not np.array_equal(whole[first[inverse]], whole):  # two rows of one hash, or a nan
        return labels(whole.view(np.dtype((np.void, whole.itemsize * whole.shape[1]))).reshape(-1).tolist())
    return relabelled(inverse.reshape(-1))


def assign(groups: Ints, folds: int, seed: int) -> Ints:
    """A fold for each row, whole groups together, folds of about equal size; which group goes where is drawn from `seed`.

    There are fewer folds when there are fewer groups.
    """
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = [(0, number) for number in range(min(folds, len(names)))]
    fold_of = np.empty(len(names), dtype=np.int64)
    sorted_sizes, at = sizes[order], 0
    while at < len(order):
        size = int(sorted_sizes[at])
        alike = int(np.searchsorted(-sorted_sizes, -size, side="right")) - at
        if alike > len(filled) and max(filled)[0] - filled[0][0] < size:
            # Groups of one size go round the folds in the order in which these are filled.
            turn = sorted(filled)
            places = np.arange(alike) % len(turn)
            fold_of[order[at : at + alike]] = np.array([number for _, number in turn])[places]
            given = np.bincount(places, minlength=len(turn)).tolist()
            filled = [(rows + size * count, number) for (rows, number), count in zip(turn, given, strict=True)]
            heapify(filled)
            at += alike
            continue
        rows, least = filled[0]
        fold_of[order[at]] = least
        heapreplace(filled, (rows + size, least))
        at += 1
    return fold_of[np.searchsorted(names, groups)]


def splits(fold: Ints, configurations: Ints) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(training rows, test rows) for each fold. A row whose configuration is also in the test rows is in neither."""
    for number in np.unique(fold):
        test = fold == number
        yield ~test & ~np.isin(configurations, configurations[test]), test
