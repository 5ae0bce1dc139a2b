"""Groups of layers whose predictions scatter alike: boxes that a person can read, each with an interval of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.regions import Bounds, below
from neuralpower.models.regression.terms import Term, evaluate, step

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST = 40
"""Rows of a group: of fewer, the outermost say little of where one in twenty lies."""
MOST = 8
"""Groups of a kind; a table of more is not read."""
CLEARLY = 0.02
"""A division that explains less than this share of the scatter's scatter is luck."""


KINDS_OF_CONVOLUTION = (
    Term(((step("groups", "<=", 1), 1),)),
    Term(((step("filters", "<=", 1), 1), (step("groups", ">", 1), 1))),
    Term(((step("filters", ">", 1), 1), (step("groups", ">", 1), 1))),
)
"""Dense, depthwise, grouped: libraries run each by other kernels, so that none tells how the others scatter."""
FEWEST_OF_A_KIND = 8
"""Layers of a kind of convolution that make a group of its own, however wide its interval then is."""


def groups_of(names: Sequence[str], column: Mapping[str, Floats], scatter: Floats) -> list[tuple[Term, Bools]]:
    """Boxes as products of steps, and which rows are in each, (rows,): the kinds of convolutions, and in each a small regression tree on how
    far layers are off.

    names: the quantities to tell them apart by. column: quantity -> values (rows,). scatter: absolute logarithms of measured over
    predicted, (rows,). Nothing where the layers are too few or scatter alike.
    """
    everything = np.ones(len(scatter), dtype=bool)
    parts: list[tuple[Term, Bools]] = [(Term(()), everything)]
    if {"groups", "filters"} <= set(column):
        marks = evaluate(KINDS_OF_CONVOLUTION, column, len(scatter)) > 0
        kinds = [(kind, marks[:, place]) for place, kind in enumerate(KINDS_OF_CONVOLUTION)]
        if all(inside.sum() >= FEWEST_OF_A_KIND for _, inside in kinds):
            parts = kinds
        elif min(marks[:, 0].sum(), (~marks[:, 0]).sum()) >= FEWEST_OF_A_KIND:
            parts = [kinds[0], (Term(((step("groups", ">", 1), 1),)), ~marks[:, 0])]
    x = np.column_stack([column[name] for name in names]) if names else np.zeros((len(scatter), 0))
    found = [group for where, inside in parts for group in _divided(names, x, scatter, where, inside)]
    return found if len(found) > 1 else []


def _divided(names: Sequence[str], x: Floats, scatter: Floats, where: Term, inside: Bools) -> list[tuple[Term, Bools]]:
    """The leaves of a tree within a box."""
    from sklearn.tree import DecisionTreeRegressor

    if inside.sum() < 2 * FEWEST or not names:
        return [(where, inside)]
    # What is far off counts as twice as far as most, not as a hundred times.
    bounded = np.minimum(scatter[inside], np.quantile(scatter[inside], 0.95))
    tree = DecisionTreeRegressor(
        max_leaf_nodes=MOST,
        min_samples_leaf=FEWEST,
        min_impurity_decrease=CLEARLY * float(bounded.var()),
        random_state=0,
    ).fit(np.log2(x[inside]), bounded)
    found: list[tuple[Term, Bools]] = []
    _walk(tree.tree_, 0, {}, names, x, inside, found)
    return [(Term((*where.exponents, *box.exponents)), rows) for box, rows in found]


def ends_of(ratios: Floats, level: float) -> tuple[float, float]:
    """Low and high between which a share `level` of a few layers' measured over predicted lie: Student's interval of the logarithm for
    one layer more.
    """
    from scipy.stats import t  # type: ignore[import-untyped]  # it has no stubs

    logs, rows = np.log(ratios), len(ratios)
    half = float(t.ppf(0.5 + level / 2, rows - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / rows))
    return float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half))


def _walk(tree: Any, node: int, bounds: Bounds, names: Sequence[str], x: Floats, inside: Bools,
          found: list[tuple[Term, Bools]]) -> None:  # fmt: skip
    """Note the leaves below `node`, which `bounds` bound and whose rows are `inside`."""
    if tree.children_left[node] < 0:
        found.append((Term(tuple((step(*key, bound), 1) for key, bound in sorted(bounds.items()))), inside))
        return
    for child, narrowed, rows in below(tree, node, bounds, names, x, np.exp2):
        _walk(tree, child, narrowed, names, x, inside & rows, found)
