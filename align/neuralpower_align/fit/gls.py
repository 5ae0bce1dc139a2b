"""Generalised least squares: normal equations summed over blocks whose noise is related within.

Each block adds A' V^-1 A and A' V^-1 r, with A the derivative columns and r the residual at the present values; the solution is the step
of one Gauss-Newton round, and the inverse of the sum is the covariance. The slopes of each stretch of about a second are kept
apart beside: how they scatter says what the covariance really is, whatever the model of the noise (a sandwich over clusters).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neuralpower_align.model.noise import Noise, Root
from neuralpower_align.model.nuisance import Model, columns_and_residual
from neuralpower_align.model.rows import Design

Floats = npt.NDArray[np.float64]

CLUSTER_NS = 1e9
"""Prior: what readings have in common beside the model, they have within a second; between seconds the sandwich takes them as independent."""


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
