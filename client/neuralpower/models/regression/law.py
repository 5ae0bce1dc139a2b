"""How a machine goes on beyond what was measured: a launch plus work over rates, fitted to the same rows as the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 5
"""Least squares under weights from the last round; more change nothing that counts."""
FARTHEST = 3.0
"""A value this many times the law's pulls no more if it is still farther off: the law is for what most layers do."""


@dataclass(frozen=True)
class Law:
    """constant + Σ slope·quantity, nothing of it negative: launch + operations/rate + bytes/rate for a runtime, s; for a power, W,
    what is drawn without work and what each operation and byte a second adds.
    """

    constant: float
    slopes: Mapping[str, float]

    @classmethod
    def of(
        cls, column: Mapping[str, Floats], names: Sequence[str], y: Floats, weights: Floats, expected: Floats
    ) -> Law:
        """The law of least relative error both ways, for quantities and values (rows,) that count by `weights` (rows,) and of which
        so much is `expected` at first (rows,).
        """
        from scipy.optimize import nnls  # type: ignore[import-untyped]  # it has no stubs

        used = [name for name in names if name in column]
        matrix = np.column_stack([np.ones(len(y)), *(column[name] for name in used)])
        scale = matrix.max(axis=0)
        found = np.zeros(len(scale))
        for _ in range(ROUNDS):
            root = np.sqrt(weights) / np.maximum(expected, y / FARTHEST)
            found = nnls(matrix / scale * root[:, None], y * root)[0] / scale
            expected = np.maximum(matrix @ found, 1e-3 * y)
        return cls(float(found[0]), {name: float(slope) for name, slope in zip(used, found[1:], strict=True)})

    def at(self, column: Mapping[str, Floats]) -> Floats:
        """The law's values, (rows,)."""
        first = next(iter(column.values()))
        return np.asarray(
            sum((slope * column[name] for name, slope in self.slopes.items()), np.full(len(first), self.constant))
        )
