"""The Lasso along falling penalties, from second moments alone: one Gram matrix serves all folds and all penalties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv  # type: ignore[import-untyped]  # it has no stubs

Floats = NDArray[np.float64]

RIDGE = 1e-7
"""Added to the squared coefficients: a trace of it makes the solution unique where columns say nearly the same."""
ENTERING = 8
"""Terms that may enter at once; one at a time where that does not settle."""
SLACK = 1e-6
"""A term enters when its correlation exceeds the penalty by more than this share of the highest penalty."""


@dataclass(frozen=True)
class Moments:
    """Sums of weighted products of the columns [1, terms, target], shape (terms + 2, terms + 2).

    Moments of disjoint rows add up, so those of a fold's training rows are those of all rows less those of its test rows.
    """

    products: Floats

    @classmethod
    def of(cls, matrix: Floats, y: Floats, weights: Floats) -> Moments:
        """Moments of terms (rows, terms) and targets (rows,) under weights (rows,)."""
        weighted = np.column_stack([np.ones(len(y)), matrix, y]) * np.sqrt(weights)[:, None]
        return cls(weighted.T @ weighted)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.products - other.products)

    def only(self, terms: NDArray[np.intp]) -> Moments:
        """The moments of some of the terms."""
        chosen = np.concatenate([[0], terms + 1, [len(self.products) - 1]])
        return Moments(self.products[np.ix_(chosen, chosen)])


def _solved(matrix: Floats, right: Floats) -> Floats:
    """The solution for a symmetric matrix, by Cholesky where rounding left it positive."""
    _, found, failed = dposv(matrix, right, lower=1)
    return np.asarray(np.linalg.solve(matrix, right) if failed else found)


class Lasso:
    """min over b, c of Σ w (y - b - Σ_j c_j f_j)² / (2 Σ w) + α Σ_j s_j |c_j|, with s_j the terms' weighted deviations.

    An active-set method: for the terms at hand and their signs the minimum is a linear system; a term that reaches zero on the
    way leaves, one whose correlation with the residual exceeds α enters, and the next penalty begins at the solution of the last.
    It ends at the minimum itself, where coordinate descent creeps along near-equal columns.

    Args:
        moments: of the terms and the target.
        factor: what α is multiplied by for each term, beside s_j, shape (terms,); 1 where not given.

    Attributes:
        scales: the terms' weighted standard deviations, infinite for constant ones, shape (terms,).
    """

    def __init__(self, moments: Moments, factor: Floats | None = None) -> None:
        total = moments.products[0, 0]
        mean = moments.products[0, 1:] / total
        centred = moments.products[1:, 1:] / total - np.outer(mean, mean)
        variance = np.diag(centred)[:-1]
        constant = variance <= 1e-12 * (variance + mean[:-1] ** 2)
        self.scales = np.where(constant, np.inf, np.sqrt(np.maximum(variance, 0.0)))
        self._mean, self._level = mean[:-1], float(mean[-1])
        self._gram = centred[:-1, :-1] / np.outer(self.scales, self.scales) + RIDGE * np.eye(len(variance))
        self._correlation = centred[:-1, -1] / self.scales
        self._factor = np.ones(len(self.scales)) if factor is None else factor
        self._highest = float((np.abs(self._correlation) / self._factor).max(initial=0.0))
        self._coefficients = np.zeros(len(self.scales))

    def follow(self, shares: Floats) -> tuple[Floats, Floats]:
        """Coefficients, shape (terms, penalties), and intercepts, (penalties,), for the terms as they were given.

        `shares` are penalties in falling order, as shares of the least that leaves no term; each call goes on from the last.
        """
        found = np.zeros((len(self.scales), len(shares)))
        for number, share in enumerate(shares):
            if self._highest > 0.0:
                self._solve(share * self._highest)
            found[:, number] = self._coefficients
        found /= self.scales[:, None]
        return found, self._level - self._mean @ found

    def _solve(self, penalty: float) -> None:
        c = self._coefficients
        active = c.nonzero()[0]
        signs = np.sign(c[active])
        most = 40 + 4 * len(c)
        for step in range(most):
            if len(active):
                active, signs, left = self._descend(active, signs, penalty)
                if left:
                    continue
            # Rows of a symmetric matrix lie together, its columns do not.
            gradient = self._correlation - c[active] @ self._gram.take(active, 0)
            excess = np.abs(gradient) - (penalty + SLACK * self._highest) * self._factor
            excess[active] = -1.0
            entering = (excess > 0).nonzero()[0]
            if not len(entering):
                return
            if len(entering) > ENTERING:
                entering = entering[np.argpartition(-excess[entering], ENTERING)[:ENTERING]]
            if step > most // 8:
                entering = entering[[int(excess[entering].argmax())]]
            active = np.concatenate([active, entering])
            signs = np.concatenate([signs, np.sign(gradient[entering])])

    def _descend(
        self, active: NDArray[np.intp], signs: Floats, penalty: float
    ) -> tuple[NDArray[np.intp], Floats, bool]:
        """Towards the minimum for these terms and signs, as far as no coefficient changes its sign; True where one left."""
        c = self._coefficients
        aim = _solved(
            self._gram.reshape(-1).take(active[:, None] * len(c) + active),
            self._correlation[active] - penalty * self._factor[active] * signs,
        )
        now = c[active]
        against = (aim * signs <= 0).nonzero()[0]
        if not len(against):
            c[active] = aim
            return active, signs, False
        reach = np.abs(now[against]) / np.maximum(np.abs(now[against] - aim[against]), 1e-300)
        step = float(reach.min())
        moved = now + step * (aim - now)
        stays = np.ones(len(active), dtype=bool)
        stays[against[reach <= step * (1 + 1e-12)]] = False
        c[active] = np.where(stays, moved, 0.0)
        return active[stays], signs[stays], True
