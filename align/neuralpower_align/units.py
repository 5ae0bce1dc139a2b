"""Units: neighbouring layers that the data cannot tell apart are one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def schur(gram: Floats, moment: Floats, kept: Ints) -> tuple[Floats, Floats]:
    """Normal equations of the `kept` unknowns with all others solved out: (k, k) and (k,)."""
    others = np.setdiff1d(np.flatnonzero(np.any(gram[kept] != 0.0, axis=0)), kept)
    inner = gram[np.ix_(others, others)]
    inner = inner + np.eye(others.size) * 1e-12 * max(float(np.trace(inner)), 1e-300)
    cross = gram[np.ix_(kept, others)]
    solved = np.linalg.solve(inner, np.column_stack([cross.T, moment[others]]))
    return gram[np.ix_(kept, kept)] - cross @ solved[:, :-1], moment[kept] - cross @ solved[:, -1]


def resolve(gram: Floats, moment: Floats, variance: float, largest_se_w: float) -> Ints:
    """Merge neighbours until every unit's power is known to `largest_se_w` and is not negative, or one unit is left.

    gram (n, n), moment (n,): normal equations of the layers of one engine in order, others solved out. variance: of a
    reading, W^2. The least known units are merged first, some at a time, each with the neighbour whose estimate trades off most against its own.
    A layer's own estimate decides nothing unless it is negative, which no layer can be. Returns the unit of each layer (n,).
    """
    unit = np.arange(len(moment))
    while True:
        size = int(unit[-1]) + 1
        member = np.zeros((unit.size, size))
        member[np.arange(unit.size), unit] = 1.0
        reduced = member.T @ gram @ member
        scale = max(float(np.trace(reduced)) / size, 1e-300)
        inverse = np.linalg.inv(reduced + np.eye(size) * 1e-9 * scale)
        power = inverse @ (member.T @ moment)
        error = np.sqrt(np.maximum(variance * np.diag(inverse), 0.0))
        bad = np.flatnonzero((error > largest_se_w) | (power < 0.0))
        if size == 1 or bad.size == 0:
            return unit
        root = np.sqrt(np.diag(inverse))
        touched: set[int] = set()
        for worst in bad[np.argsort(-error[bad])][: 1 + bad.size // 4].tolist():
            neighbours = np.array([other for other in (worst - 1, worst + 1) if 0 <= other < size])
            partner = int(neighbours[np.argmin(inverse[worst, neighbours] / root[neighbours])])
            if worst not in touched and partner not in touched:
                touched |= {worst, partner}
                member[:, min(worst, partner)] += member[:, max(worst, partner)]
                member[:, max(worst, partner)] = 0.0
        unit = np.unique(np.argmax(member, axis=1), return_inverse=True)[1].reshape(-1)
