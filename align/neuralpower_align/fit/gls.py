"""Generalised least squares: normal equations summed over blocks whose noise is related within.

Each block adds A' V^-1 A and A' V^-1 r, with A the derivative columns and r the residual at the present values; the solution is the step
of one Gauss-Newton round, and the inverse of the sum is the covariance. The slopes of each stretch of about a second are kept
apart beside: how they scatter says what the covariance really is, whatever the model of the noise (a sandwich over clusters).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.model.noise import Noise, Root
from neuralpower_align.model.nuisance import Model, columns_and_residual
from neuralpower_align.model.rows import Design

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

CLUSTER_NS = 1e9
RIDGE = 1e-10
BOUND_ROUNDS = 30
"""Of finding which bounds bind; few do at a time."""


@dataclass
class Normal:
    """Sums over blocks: gram (q, q), slope (q,), squared whitened residual, logarithm of the covariances' determinants, rows, and
    the slope of each cluster of time."""

    gram: Floats
    slope: Floats
    square: float = 0.0
    determinant: float = 0.0
    rows: int = 0
    clusters: dict[tuple[int, int], tuple[Floats, int]] = field(default_factory=dict)

    @classmethod
    def empty(cls, size: int) -> Normal:
        """Of nothing."""
        return cls(np.zeros((size, size)), np.zeros(size))


def accumulate(
    normal: Normal, model: Model, design: Design, noise: Noise, averaging: int, root: Root | None = None
) -> Root:
    """Add some blocks; gives what whitened them. `root`: that, where the same blocks at another point make the noise."""
    numbers, both = columns_and_residual(model, design)
    size = numbers.size
    root = root or noise.root(design, averaging)
    both = root.whitened(both)
    flat = both.reshape(-1, size + 1)
    gram = flat.T @ flat
    normal.gram[np.ix_(numbers, numbers)] += gram[:size, :size]
    normal.slope[numbers] += gram[:size, size]
    normal.square += float(gram[size, size])
    normal.determinant += root.determinant
    slopes = (both[..., -1:].transpose(0, 2, 1) @ both[..., :-1])[:, 0]
    normal.rows += design.rows.size
    cluster = (design.at_ns.mean(axis=1) // CLUSTER_NS).astype(np.int64)
    for name in np.unique(cluster).tolist():
        mine = cluster == name
        before, rows = normal.clusters.get((design.piece, name), (np.zeros(normal.slope.size), 0))
        before = np.array(before)
        before[numbers] += slopes[mine].sum(axis=0)
        normal.clusters[design.piece, name] = (before, rows + design.rows[mine].size)
    return root


def inverted(total: Floats) -> Floats:
    """Inverse of normal equations (q, q), symmetric; what nothing touched is not known at all."""
    scale = np.sqrt(np.maximum(np.diag(total), 1e-30))
    ridge = np.where(np.diag(total) > 0, RIDGE, 1.0)
    inverse = np.linalg.inv(total / np.outer(scale, scale) + np.diag(ridge)) / np.outer(scale, scale)
    return np.asarray((inverse + inverse.T) / 2, np.float64)


def within(best: Floats, covariance: Floats, least: Floats, most: Floats) -> tuple[Floats, Bools]:
    """The best values (q,) if each lies between `least` and `most` (q,), and which of them are held at a bound.

    What others become follows from the covariance (q, q). A bound that no longer binds when others are held is let go (the active sets of a
    quadratic programme).
    """
    bound = np.clip(best, least, most)
    held = np.flatnonzero(bound != best)
    found = best
    for _ in range(BOUND_ROUNDS):
        if not held.size:
            break
        pull = np.linalg.solve(covariance[np.ix_(held, held)], bound[held] - best[held])
        found = best + covariance[:, held] @ pull
        found[held] = bound[held]
        # Down from its most and up from its least, or it would leave the bound by itself.
        pushed = held[np.where(bound[held] >= most[held], pull < 0, pull > 0) | (least[held] == most[held])]
        beyond = np.setdiff1d(np.flatnonzero((found < least) | (found > most)), held)
        if pushed.size == held.size and not beyond.size:
            break
        bound[beyond] = np.clip(found, least, most)[beyond]
        held = np.union1d(pushed, beyond)
    which = np.zeros(best.size, np.bool_)
    which[held] = True
    return np.asarray(np.clip(found, least, most), np.float64), which


@dataclass(frozen=True)
class Step:
    """A Gauss-Newton step (q,), the covariance (q, q) that the model gives, that from the scatter of clusters, and the
    logarithm of the likelihood after the step."""

    change: Floats
    covariance: Floats
    scattered: Floats
    likelihood: float

    def widened(self, where: slice, more: Floats) -> Step:
        """The same with more covariance of some parameters."""
        covariance, scattered = np.array(self.covariance), np.array(self.scattered)
        covariance[where, where] += more
        scattered[where, where] += more
        return replace(self, covariance=covariance, scattered=scattered)


def solve(normal: Normal, precision: Floats, away: Floats) -> Step:
    """The step to the best values, with what was known beforehand.

    A parameter that nothing touched stays where it is. Clusters count by how far their slopes lie from what the whole gives
    them for their share of the rows, which takes the step into account to first order.
    """
    inverse = inverted(normal.gram + precision)
    change = inverse @ (normal.slope + precision @ away)
    slopes = np.array([slope - rows / normal.rows * normal.slope for slope, rows in normal.clusters.values()])
    freedom = len(slopes) / max(len(slopes) - 1, 1)
    scattered = inverse @ (freedom * slopes.T @ slopes + precision) @ inverse
    gain = float(change @ (normal.slope + precision @ away))
    return Step(
        change, inverse, scattered, (gain - normal.square - float(away @ precision @ away) - normal.determinant) / 2
    )
