"""Groups of layers whose predictions scatter alike: boxes that a person can read, each with an interval of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.terms import Term, step

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST = 30
"""Rows of a group: of fewer, the outermost say little of where one in twenty lies."""
MOST = 8
"""Groups; a table of more is not read."""
CLEARLY = 0.02
"""A division that explains less than this share of the scatter's scatter is luck."""


def groups_of(names: Sequence[str], x: Floats, scatter: Floats) -> list[tuple[Term, Bools]]:
    """Boxes as products of steps, and which rows are in each, (rows,): a small regression tree on how far layers are off.

    names, x: the quantities to tell them apart by, (rows, names). scatter: absolute logarithms of measured over predicted, (rows,).
    None where the layers are too few or scatter alike.
    """
    from sklearn.tree import DecisionTreeRegressor

    if len(scatter) < 2 * FEWEST:
        return []
    # What is far off counts as twice as far as most, not as a hundred times.
    bounded = np.minimum(scatter, np.quantile(scatter, 0.95))
    tree = DecisionTreeRegressor(
        max_leaf_nodes=MOST,
        min_samples_leaf=FEWEST,
        min_impurity_decrease=CLEARLY * float(bounded.var()),
        random_state=0,
    ).fit(np.log2(x), bounded)
    found: list[tuple[Term, Bools]] = []
    _walk(tree.tree_, 0, {}, names, x, np.ones(len(scatter), dtype=bool), found)
    return found if len(found) > 1 else []


def _walk(tree: Any, node: int, bounds: dict[tuple[str, str], float], names: Sequence[str], x: Floats, inside: Bools,
          found: list[tuple[Term, Bools]]) -> None:  # fmt: skip
    """Note the leaves below `node`, which `bounds` bound and whose rows are `inside`."""
    if tree.children_left[node] < 0:
        found.append((Term(tuple((step(*key, bound), 1) for key, bound in sorted(bounds.items()))), inside))
        return
    # Rounded to what is printed, so that the box's name is the whole truth.
    split, bound = int(tree.feature[node]), float(f"{2 ** tree.threshold[node]:.4g}")
    above = x[:, split] > bound
    for child, relation, rows in ((tree.children_left, "<=", ~above), (tree.children_right, ">", above)):
        key = (names[split], relation)
        old = bounds.get(key, bound)
        narrowed = bounds | {key: min(old, bound) if relation == "<=" else max(old, bound)}
        _walk(tree, int(child[node]), narrowed, names, x, inside & rows, found)
