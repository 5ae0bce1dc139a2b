"""What the measured layers near a new one say of it, beside the formula: kriging of what the formula leaves.

Libraries choose algorithms by rules that no short formula tells, and layers that are alike are treated alike. So what the formula leaves of the
training layers, in octaves, is carried over to a new layer by how near they are in the logarithms of their sizes; far from all of them nothing
is added (kriging, or a Gaussian process, about the formula; Krige 1951).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_OCTAVES = 3.0
"""What one layer leaves counts no farther than this: a layer that takes twenty times as long says less of its neighbours."""
POINTS, POINTS_OF_MANY, MANY = 800, 400, 20_000
"""So many training layers stand for all; of more than MANY layers fewer, since a million predictions ask each of them."""
TRIED = 400
"""Of so many is it found how far they reach."""
SHAPES = ("smooth", "rough")
KERNELS = (("smooth", 1.0), ("rough", 1.0), ("smooth", 3.0), ("rough", 3.0))
"""Shapes and reaches to try, in root-mean-square deviations of the logarithms: Matérn's of 3/2 (smooth), and of 1/2, the exponential (rough)."""
NOISES = (0.02, 0.2)
"""Scatter of a single layer about its neighbours, as a share of the variance: what kriging does not pass on."""
AT_ONCE = 4_000
"""Rows whose distances are held together."""


@dataclass(frozen=True)
class Kriging:
    """Octaves to add to a formula's prediction: Σ_i weight_i · k(distance to layer i).

    `columns`: quantities whose logarithms tell how near layers are, divided by their `scales` in training; `points`: the training layers, one tuple of
    quantities each; `weights`: what each says, in octaves. k is 1 at no distance and falls with the distance over `reach` by the `kernel`:
    ``smooth`` or ``rough``.
    """

    columns: tuple[str, ...]
    scales: tuple[float, ...]
    points: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    kernel: str
    reach: float

    @cached_property
    def _places(self) -> Floats:
        return places(np.array(self.points), np.array(self.scales))

    def at(self, column: Mapping[str, Floats]) -> Floats:
        """Octaves, (rows,), for quantities (rows,)."""
        rows = len(next(iter(column.values())))
        found = np.empty(rows)
        for begin in range(0, rows, AT_ONCE):
            some = slice(begin, begin + AT_ONCE)
            x = np.column_stack([column[name][some] for name in self.columns])
            here = places(x, np.array(self.scales))
            found[some] = alike(here, self._places, self.kernel, self.reach) @ np.array(self.weights)
        return found

    def moves(self) -> float:
        """By how many octaves it moves the training layers, as a standard deviation."""
        return float(np.std(self.at(dict(zip(self.columns, np.array(self.points).T, strict=True)))))


def places(x: Floats, scales: Floats) -> Floats:
    """Where layers lie, so that distances between them are root-mean-square deviations; x and the result are (rows, columns)."""
    return np.asarray(np.log(x) / (scales * np.sqrt(len(scales))))


def alike(one: Floats, other: Floats, kernel: str, reach: float) -> Floats:
    """k of the distances between two sets of places, (rows, columns) each: (rows of one, rows of the other)."""
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]  # it has no stubs

    distance = cdist(one, other) / reach
    if kernel == "rough":
        return np.asarray(np.exp(-distance))
    distance *= np.sqrt(3.0)
    return np.asarray((1 + distance) * np.exp(-distance))


def _weights(here: Floats, left: Floats, noise: Floats, kernel: str, reach: float) -> Floats:
    """What each of the layers says, (rows,), of what is `left` of them, (rows,), of which `noise` (rows,) is its own."""
    from scipy.linalg import solve  # type: ignore[import-untyped]  # it has no stubs

    matrix = alike(here, here, kernel, reach)
    matrix[np.diag_indices_from(matrix)] += noise
    return np.asarray(solve(matrix, left, assume_a="pos", check_finite=False))


@dataclass(frozen=True)
class Nearness:
    """How far layers reach and what is their own, by which held-out layers err least, with that error and predictions (units,)."""

    kernel: str
    reach: float
    noise: float
    error: float
    held_out: Floats


def choose(
    x: Floats,
    left: Sequence[Floats],
    trust: Floats,
    parts: Sequence[tuple[Bools, Bools]],
    judge: Callable[[Floats], tuple[float, Floats]],
    seed: int,
    kernels: Sequence[tuple[str, float]] = KERNELS,
) -> Nearness | None:
    """The best of the kernels for held-out layers; None where there are too few layers.

    x: quantities (units, columns). left: of each part, what its formula leaves of all units, octaves, (units,). trust: how much each
    counts. kernels: to try; of several the best one with each of NOISES. parts: (training, test) of each. judge: octaves to add, (units,), nan where no part held a unit out -> the error, and predictions (units,).
    """
    scales = _scales(x)
    used = np.flatnonzero(scales > 0)
    if not len(used):
        return None
    here = places(x[:, used], scales[used])
    random = np.random.default_rng(seed)
    drawn = [random.permutation(np.flatnonzero(train)) for train, _ in parts]

    def tried(kernel: str, reach: float, noise: float, most: int = TRIED) -> Nearness:
        added = np.full(len(x), np.nan)
        for (_, test), every, octaves in zip(parts, drawn, left, strict=True):
            mine = np.sort(every[:most])
            bounded = np.clip(octaves[mine], -MOST_OCTAVES, MOST_OCTAVES)
            weights = _weights(here[mine], bounded, noise / trust[mine], kernel, reach)
            added[test] = alike(here[test], here[mine], kernel, reach) @ weights
        error, held_out = judge(added)
        return Nearness(kernel, reach, noise, error, held_out)

    found = [tried(*shape, NOISES[0]) for shape in kernels]
    best = min(found, key=lambda each: each.error)
    if len(kernels) == 1:
        return best
    best = min([best, *(tried(best.kernel, best.reach, noise) for noise in NOISES[1:])], key=lambda each: each.error)
    # What held-out units err by says how far intervals reach: as many layers tell them as will tell new ones.
    return tried(best.kernel, best.reach, best.noise, POINTS)


def fit(
    columns: Sequence[str], x: Floats, left: Floats, trust: Floats, choice: Nearness, most: int, seed: int
) -> Kriging:
    """As chosen, from at most so many of all units: quantities (units, columns), what the formula leaves of them, (units,), and how much each counts."""
    scales = _scales(x)
    used = np.flatnonzero(scales > 0)
    some = np.sort(np.random.default_rng(seed).permutation(len(x))[:most])
    points = x[np.ix_(some, used)]
    bounded = np.clip(left[some], -MOST_OCTAVES, MOST_OCTAVES)
    here = places(points, scales[used])
    weights = _weights(here, bounded, choice.noise / trust[some], choice.kernel, choice.reach)
    return Kriging(
        tuple(columns[at] for at in used.tolist()), tuple(scales[used].tolist()), tuple(map(tuple, points.tolist())),
        tuple(weights.tolist()), choice.kernel, choice.reach,
    )  # fmt: skip


def _scales(x: Floats) -> Floats:
    """Standard deviations of the logarithms, (columns,); 0 of what does not vary."""
    scales: Floats = np.log(x).std(axis=0)
    return np.where(scales > 1e-9, scales, 0.0)
