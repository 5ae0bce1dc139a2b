"""What was learnt of all parameters so far, in constant memory: an information filter beside the batch's normal equations.

The sums are those of gls.py, written about one reference point x0, since blocks are expanded where the estimate was when they came:

    gram = sum A' V^-1 A        slope = sum A' V^-1 (r + A (x - x0)),  x the expansion of each block, r its residual there

so that the best values are x0 + (gram + prior)^-1 (slope + prior's). `scatter` is the sum of s s' over stretches of about a second, s
their slopes at the estimate of the time: the middle of the sandwich. Three linear maps keep the size constant: a parameter that no
further row touches is eliminated (Schur complement), classes are renumbered when engines come and go, and the drift functions
are re-expanded when the time that they span grows. All keep gram, slope and scatter consistent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.fit.gls import RIDGE, Normal
from neuralpower_align.model.nuisance import DRIFTS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass
class Information:
    """Sums of q parameters: gram (q, q), slope (q,), scatter (q, q); whitened squared residuals, rows, and clusters counted."""

    gram: Floats
    slope: Floats
    scatter: Floats
    square: float = 0.0
    rows: float = 0.0
    clusters: float = 0.0

    @classmethod
    def empty(cls, size: int) -> Information:
        """Of nothing."""
        return cls(np.zeros((size, size)), np.zeros(size), np.zeros((size, size)))

    @property
    def nbytes(self) -> int:
        """What the sums take, bytes."""
        return self.gram.nbytes + self.slope.nbytes + self.scatter.nbytes

    def with_blocks(self, normal: Normal, off: Floats, best: Floats | None = None) -> Information:
        """With blocks that were expanded at x0 + `off` (q,); `best` (q,): the estimate with them, at which slopes scatter."""
        scatter = self.scatter
        if best is not None and normal.clusters:
            # Each stretch has its share of what the step takes from all slopes.
            taken = normal.gram @ (best - off) / normal.rows
            slopes = np.array([slope - rows * taken for slope, rows in normal.clusters.values()])
            scatter = scatter + slopes.T @ slopes
        return Information(
            self.gram + normal.gram,
            self.slope + normal.slope + normal.gram @ off,
            scatter,
            self.square + normal.square,
            self.rows + normal.rows,
            self.clusters + len(normal.clusters),
        )

    def without(self, number: int) -> Information:
        """Parameter `number` eliminated: what is known of the others stays what it was."""
        keep = np.delete(np.arange(self.slope.size), number)
        pivot = max(float(self.gram[number, number]), 1e-300)
        share = self.gram[keep, number] / pivot
        inner = np.ix_(keep, keep)
        gram = self.gram[inner] - np.outer(share, self.gram[number, keep])
        slope = self.slope[keep] - share * self.slope[number]
        cross = np.outer(share, self.scatter[number, keep])
        scatter = self.scatter[inner] - cross - cross.T + np.outer(share, share) * self.scatter[number, number]
        return self._sums(gram, slope, scatter)

    def placed(self, place: Ints, size: int) -> Information:
        """Parameter i at place[i] of `size`, nothing known of those between."""
        gram, slope, scatter = np.zeros((size, size)), np.zeros(size), np.zeros((size, size))
        gram[np.ix_(place, place)], slope[place], scatter[np.ix_(place, place)] = self.gram, self.slope, self.scatter
        return self._sums(gram, slope, scatter)

    def mapped(self, old_of_new: Floats) -> Information:
        """In other parameters: deviations from x0 of the old are `old_of_new` (q, q) times those of the new."""
        turn = old_of_new
        return self._sums(turn.T @ self.gram @ turn, turn.T @ self.slope, turn.T @ self.scatter @ turn)

    def aged(self, share: float) -> Information:
        """What was learnt counts `share` of what it did."""
        kept = share
        return Information(
            self.gram * kept, self.slope * kept, self.scatter * kept, self.square * kept, self.rows * kept, self.clusters * kept
        )  # fmt: skip

    def _sums(self, gram: Floats, slope: Floats, scatter: Floats) -> Information:
        return Information(gram, slope, scatter, self.square, self.rows, self.clusters)


@dataclass(frozen=True)
class Solved:
    """Best values less x0 (q,), the covariance (q, q) that the model gives, and that from the scatter of seconds."""

    off: Floats
    covariance: Floats
    scattered: Floats | None


def solved(known: Information, precision: Floats, away: Floats, scattered: bool = False) -> Solved:
    """The best values with what was known beforehand: `precision` (q, q), its centre `away` (q,) from x0."""
    total = known.gram + precision
    scale = np.sqrt(np.maximum(np.diag(total), 1e-30))
    ridge = np.where(np.diag(total) > 0, RIDGE, 1.0)
    inverse = np.linalg.inv(total / np.outer(scale, scale) + np.diag(ridge)) / np.outer(scale, scale)
    inverse = (inverse + inverse.T) / 2
    best = inverse @ (known.slope + precision @ away)
    if not scattered:
        return Solved(best, inverse, None)
    freedom = known.clusters / max(known.clusters - 1, 1)
    return Solved(best, inverse, inverse @ (freedom * known.scatter + precision) @ inverse)


def legendre_within(begin_ns: float, end_ns: float, new_begin_ns: float, new_end_ns: float) -> Floats:
    """1 and the drift functions over a new span (k, 1 + m) are those over the old one times this (1 + m, 1 + m)."""
    x = np.cos(np.pi * (np.arange(8) + 0.5) / 8)
    t = begin_ns + (x + 1) / 2 * (end_ns - begin_ns)
    new = 2 * (t - new_begin_ns) / max(new_end_ns - new_begin_ns, 1.0) - 1
    return np.asarray(np.linalg.lstsq(_legendre(x), _legendre(new), rcond=None)[0], np.float64)


def reexpanded(
    begin_ns: float,
    end_ns: float,
    new_begin_ns: float,
    new_end_ns: float,
    power_w: Floats,
    layer: Bools,
    drift: slice,
    idle_drift: slice,
    size: int,
) -> Floats:
    """How deviations with drift functions over [begin, end] follow from those over another span (q, q).

    The functions and 1 span all cubics, over whatever time. A new function is D_0 + sum_k D_k old_k: its constant part is a change of
    all layers' powers in proportion (of idling and gaps: alike). To first order in the drifts, whose reference is 0.
    """  # fmt: skip
    told = legendre_within(begin_ns, end_ns, new_begin_ns, new_end_ns)
    turn = np.eye(size)
    turn[drift, drift] = told[1:, 1:]
    turn[idle_drift, idle_drift] = told[1:, 1:]
    turn[: power_w.size, drift] = np.outer(np.where(layer, power_w, 0.0), told[0, 1:])
    turn[: power_w.size, idle_drift] = np.outer(np.where(layer, 0.0, 1.0), told[0, 1:])
    return turn


def _legendre(x: Floats) -> Floats:
    """1 and the drift functions (k, 1 + DRIFTS)."""
    return np.stack([np.ones_like(x), x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2], axis=-1)[:, : 1 + DRIFTS]
