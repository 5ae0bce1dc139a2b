"""What was learnt of parameters: one information filter, for the batch, which adds all rows at one point, and for the stream, which adds chunks for ever.

The sums are those of gls.py, written about one reference point x0, since the stream's blocks are expanded where the estimate was when they came:

    gram = sum A' V^-1 A        slope = sum A' V^-1 (r + A (x - x0)),  x the expansion of each block, r its residual there

so that the best values are x0 + (gram + prior)^-1 (slope + prior's); the batch's x0 is where its rows are expanded. `scatter` is the sum of s s' over
stretches of about a second, s their slopes at the estimate of the time: the middle of the sandwich. Three linear maps keep the stream's size
constant: a parameter that no further row touches is eliminated (Schur complement), classes are renumbered when engines come and go, and the drift
functions are re-expanded when the time that they span grows. All keep gram, slope and scatter consistent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.fit.gls import Normal

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RIDGE = 1e-10
"""Tuning: of scaled normal equations, whose diagonal is 1; far above rounding and far below what any reading tells."""
BOUND_ROUNDS = 30
"""Tuning: most rounds of finding which bounds bind; few do at a time."""


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
class Solved:
    """Best values less x0 (q,), the covariance (q, q) that the model gives, and that from the scatter of seconds, empty where it was not asked for."""

    off: Floats
    covariance: Floats
    scattered: Floats

    def widened(self, more: Floats, where: slice = slice(None)) -> Solved:
        """The same with more covariance of some parameters."""
        covariance, scattered = np.array(self.covariance), np.array(self.scattered)
        covariance[where, where] += more
        scattered[where, where] += more
        return replace(self, covariance=covariance, scattered=scattered)

    def held_at(self, value: Floats, held: Ints) -> Floats:
        """Best values less x0 (q,) if those numbered `held` (h,) were those of `value` (q,)."""
        pull = np.linalg.solve(self.covariance[np.ix_(held, held)], value[held] - self.off[held])
        best = self.off + self.covariance[:, held] @ pull
        best[held] = value[held]
        return np.asarray(best, np.float64)


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

    @classmethod
    def of(cls, normal: Normal) -> Information:
        """Of rows that were expanded at x0. Nearly all of their slope is gone at the best values, to first order."""
        return cls.empty(normal.slope.size).add(normal, np.zeros(normal.slope.size), normal.slope)

    @property
    def nbytes(self) -> int:
        """What the sums take, bytes."""
        return self.gram.nbytes + self.slope.nbytes + self.scatter.nbytes

    def add(self, normal: Normal, off: Floats, taken: Floats | None = None) -> Information:
        """With rows that were expanded at x0 + `off` (q,); `taken` (q,): what the step from there to the estimate takes from the sum of their slopes.

        Without it their seconds are not in the scatter.
        """
        scatter = self.scatter
        if taken is not None and normal.clusters:
            # Each stretch has its share of what the step takes from all slopes.
            slopes = np.array([slope - rows / normal.rows * taken for slope, rows in normal.clusters.values()])
            scatter = scatter + slopes.T @ slopes
        return Information(
            self.gram + normal.gram,
            self.slope + normal.slope + normal.gram @ off,
            scatter,
            self.square + normal.square,
            self.rows + normal.rows,
            self.clusters + len(normal.clusters),
        )

    def forget(self, share: float) -> Information:
        """What was learnt counts `share` of what it did."""
        sums = (self.gram, self.slope, self.scatter, self.square, self.rows, self.clusters)
        return Information(*(share * each for each in sums))  # type: ignore[arg-type]  # in the order of the fields

    def solve(self, precision: Floats, away: Floats, scattered: bool = False) -> Solved:
        """The best values with what was known beforehand: `precision` (q, q), its centre `away` (q,) from x0. A parameter that nothing touched stays
        where it is. `scattered`: with the sandwich covariance."""
        inverse = inverted(self.gram + precision)
        best = inverse @ (self.slope + precision @ away)
        if not scattered:
            return Solved(best, inverse, np.zeros((0, 0)))
        freedom = self.clusters / max(self.clusters - 1, 1)
        return Solved(best, inverse, inverse @ (freedom * self.scatter + precision) @ inverse)

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

    def _sums(self, gram: Floats, slope: Floats, scatter: Floats) -> Information:
        return Information(gram, slope, scatter, self.square, self.rows, self.clusters)
