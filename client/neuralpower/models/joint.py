"""Layers and what is beside them, fitted together to networks that were measured whole while their layers were not.

    T = Σ_k f_k · (layers of kind k, as their models say) + a + b · (modelled layers) + c · (other layers) + d · (bytes that those move)
        + e · (concatenations) + g · (bytes that those move)

and likewise for the energy. Few networks tell few numbers: each starts from what the measured layers say of it and moves only as far as the
networks ask (ridge regression). f_k starts at 1; a and b at 0; another layer at what pools take that move next to nothing, and at the
fastest bytes; a concatenation, which copies piece by piece what others read as it lies, may cost more than that and not less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.design import KINDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROW_ERROR = 0.15
"""Relative error of a network's whole that none of these numbers explains."""
FACTOR_ERROR = 0.15
"""How far the layers of a kind may be off together: in a network they find their data in the cache, and other neighbours."""
LAUNCH_ERROR = 0.5
"""How far what a launch takes beside or within layers may be from the shortest layer, as a share of that."""
BYTE_ERROR = 1.0
"""Likewise for a byte of another layer, which may find its data in the cache or read them in small pieces."""
JOIN_ERROR, JOINED_BYTE_ERROR = 0.5, 2.0
"""Likewise for what a concatenation, and a byte of it, may cost beside other layers."""
INFERENCES = 3.0
"""Launches that the start of an inference may cost."""
PARTS = len(KINDS)
"""The first columns of a network's counts: its layers by kind; then 1, modelled layers, other layers, their bytes, concatenations, their bytes."""
NUMBERS = PARTS + 6
"""So many in all."""


@dataclass(frozen=True)
class JointStart:
    """What the numbers start from: a launch, s or J, and a byte moved, s/B or J/B."""

    launch: float
    byte: float

    def numbers(self) -> tuple[Floats, Floats]:
        """The numbers and how far each may be from its start, (NUMBERS,) each."""
        first = np.array([*[1.0] * PARTS, 0.0, 0.0, self.launch, self.byte, 0.0, 0.0])
        error = np.array(
            [*[FACTOR_ERROR] * PARTS, INFERENCES * self.launch, LAUNCH_ERROR * self.launch, LAUNCH_ERROR * self.launch,
             BYTE_ERROR * self.byte, JOIN_ERROR * self.launch, JOINED_BYTE_ERROR * self.byte]
        )  # fmt: skip
        return first, error


def fit_joint(counts: Floats, whole: Floats, start: JointStart) -> Floats:
    """The numbers (NUMBERS,) for networks whose `counts` are (n, NUMBERS) and whose whole is (n,), s or J. Only b may be negative."""
    from scipy.optimize import lsq_linear  # type: ignore[import-untyped]  # it has no stubs

    first, error = start.numbers()
    rows = counts / (ROW_ERROR * whole)[:, None] * error
    left = (1 - counts @ first / whole) / ROW_ERROR
    low = -first / error
    low[PARTS + 1] = -np.inf
    found = lsq_linear(
        np.vstack([rows, np.eye(len(first))]), np.concatenate([left, np.zeros(len(first))]), bounds=(low, np.inf)
    )
    return np.asarray(first + error * found.x)


def by_others(counts: Floats, whole: Floats, start: JointStart, groups: Ints) -> Floats:
    """What is said of each network, (n,), by those of other groups (n,): a network at another batch size is of the same."""
    said = np.empty(len(whole))
    for group in np.unique(groups):
        mine = groups == group
        said[mine] = counts[mine] @ fit_joint(counts[~mine], whole[~mine], start)
    return said


def alike(shapes: Sequence[tuple[object, ...]]) -> Ints:
    """A number for each network, the same for those whose layers differ in nothing but the batch size."""
    numbers: dict[tuple[object, ...], int] = {}
    return np.array([numbers.setdefault(shape, len(numbers)) for shape in shapes], dtype=np.int64)
