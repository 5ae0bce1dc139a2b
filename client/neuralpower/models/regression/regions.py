"""Regions of the training data in which a model errs in one direction: boxes that a person can read.

Libraries switch between algorithms at sizes that no formula tells (a 1×1 convolution of 96 to 224 channels may run four times as
long as its neighbours). Small regression trees on what a smooth model leaves find such boxes, as in RuleFit (Friedman and
Popescu 2008); the Lasso decides which of them stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.terms import Term, step

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Bounds = dict[tuple[str, str], float]
"""Of a box: (quantity, relation) -> where it ends."""


class Growth(NamedTuple):
    """How many trees, how many leaves each, rows that a leaf must hold in the sample it was found in (fewer are a matter of luck), and how many
    regions are offered, those that what is left follows most."""

    trees: int
    leaves: int
    smallest: int
    most: int


SUMS = Growth(30, 6, 12, 10_000)
"""For terms that add up: a region then costs as much for a small layer as for a large one."""
FACTORS = Growth(60, 8, 8, 200)
"""For terms that multiply: a region says by which factor its layers differ, which few rows tell."""
LEARNING = 0.1
SAMPLE, LARGEST_SAMPLE = 0.5, 2000
"""Each tree sees another half of the rows, and not more than so many."""


def regions_of(
    names: Sequence[str], x: Floats, y: Floats, weights: Floats, seed: int, growth: Growth = SUMS
) -> list[Term]:
    """Boxes as products of steps, from trees boosted on the weighted squared error of `y`.

    names, x: the quantities to split by and their values, shape (rows, names). y, weights: shape (rows,).
    """
    from sklearn import config_context
    from sklearn.tree import DecisionTreeRegressor

    random = np.random.default_rng(seed)
    everything = left = y - np.average(y, weights=weights)
    found: dict[Term, Bools] = {}
    size = min(int(SAMPLE * len(y)), LARGEST_SAMPLE)
    if size < 2 * growth.smallest:
        return []
    # As the trees hold it, so that they need not look at it again each time.
    single = np.ascontiguousarray(x, dtype=np.float32)
    # What scikit-learn checks of parameters and numbers takes longer than such a tree.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for number in range(growth.trees):
            sample = random.permutation(len(y))[:size]
            tree = DecisionTreeRegressor(
                max_leaf_nodes=growth.leaves, min_samples_leaf=growth.smallest, random_state=_seeded(number)
            )
            tree.fit(single[sample], left[sample], sample_weight=weights[sample], check_input=False)
            left = left - LEARNING * tree.tree_.predict(single).reshape(-1)
            _walk(tree.tree_, 0, {}, names, x, np.ones(len(y), dtype=bool), found)
    seen: set[bytes] = set()
    kept: list[tuple[float, Term]] = []
    for term, inside in found.items():
        # A region and what is outside of it say the same.
        marks = np.packbits(inside if inside[0] else ~inside).tobytes()
        if marks not in seen:
            seen.add(marks)
            # How much of the sum of squares the region explains alone.
            weight = float(weights[inside].sum())
            kept.append((float(weights[inside] @ everything[inside]) ** 2 / max(weight, 1e-300), term))
    best = sorted(range(len(kept)), key=lambda at: -kept[at][0])[: growth.most]
    return [kept[at][1] for at in sorted(best)]


@lru_cache(maxsize=FACTORS.trees)
def _first(number: int) -> tuple[np.random.RandomState, Any]:
    state = np.random.RandomState(number)
    return state, state.get_state(legacy=False)


def _seeded(number: int) -> np.random.RandomState:
    """``RandomState(number)``, whose making takes as long as a small tree."""
    state, beginning = _first(number)
    state.set_state(beginning)
    return state


def _walk(
    tree: Any,
    node: int,
    bounds: Bounds,
    names: Sequence[str],
    x: Floats,
    inside: Bools,
    found: dict[Term, Bools],
) -> None:
    """Note the box of each node below `node`, which `bounds` bound and whose rows are `inside`."""
    if bounds:
        found.setdefault(Term(tuple((step(*key, bound), 1) for key, bound in sorted(bounds.items()))), inside)
    for child, narrowed, rows in below(tree, node, bounds, names, x):
        _walk(tree, child, narrowed, names, x, inside & rows, found)


def below(
    tree: Any, node: int, bounds: Bounds, names: Sequence[str], x: Floats, value: Callable[[float], float] = float
) -> Iterator[tuple[int, Bounds, Bools]]:
    """Both nodes below `node`, none of a leaf: number, bounds of its box within `bounds`, and which rows of `x` it takes; `value`: of x, of what
    the tree has as a threshold."""
    if tree.children_left[node] < 0:
        return
    # Rounded to what is printed, so that the name of the box is the whole truth.
    split, bound = int(tree.feature[node]), float(f"{value(tree.threshold[node]):.4g}")
    above = x[:, split] > bound
    for child, relation, rows in ((tree.children_left, "<=", ~above), (tree.children_right, ">", above)):
        key = (names[split], relation)
        old = bounds.get(key, bound)
        yield int(child[node]), bounds | {key: min(old, bound) if relation == "<=" else max(old, bound)}, rows
