"""Which terms a model may choose from: a dictionary for each layer type and target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.terms import Term, evaluate, hinge, log2, plain, roofline

Floats = NDArray[np.float64]

KINDS = ("conv", "pool", "fc")
TARGETS = ("runtime", "power")


@dataclass(frozen=True)
class Dictionary:
    """The terms that a model may choose from, over the quantities in ``columns``.

    physical
        Quantities that enter as they are: the special terms F_s of NeuralPower (operations, memory accesses).
    powers
        Quantities whose monomials Π x^q with Σq ≤ K enter, K being the degree.
    logarithms
        Quantities whose binary logarithms enter likewise.
    hinges
        Quantities that enter as log2(x) and as max(0, log2(x) - k) for each whole octave k inside the training data:
        a piecewise linear function of log2(x), for an efficiency that rises and then saturates.
    ridge
        Two quantities (operations, traffic) that enter as max(operations, 2^k·traffic) for each octave k of their ratio.
    rates, capped
        The bounds of a prediction (``polynomial.Bounds``): quantities that nothing works off faster than was measured, and
        whether the largest value measured is a limit.
    """

    columns: tuple[str, ...]
    physical: tuple[str, ...] = ()
    powers: tuple[str, ...] = ()
    logarithms: tuple[str, ...] = ()
    hinges: tuple[str, ...] = ()
    ridge: tuple[str, str] | None = None
    rates: tuple[str, ...] = ()
    capped: bool = False

    def terms(self, degree: int, x: Floats) -> list[Term]:
        """All terms to the given degree, without repetition. Octaves are taken from `x`, shape (rows, columns)."""
        column = {name: x[:, index] for index, name in enumerate(self.columns)}
        terms = [plain(name) for name in self.physical]
        terms += [Term(((log2(name), 1),)) for name in self.hinges]
        for name in self.hinges:
            terms += [Term(((hinge(name, k), 1),)) for k in _octaves(column[name])]
        if self.ridge:
            operations, traffic = self.ridge
            ratio = column[operations] / column[traffic]
            terms += [Term(((roofline(operations, traffic, k), 1),)) for k in _octaves(ratio)]
        terms += monomials(self.powers, degree)
        terms += monomials([log2(name) for name in self.logarithms], degree)
        return list(dict.fromkeys(terms))

    def matrix(self, terms: Sequence[Term], x: Floats) -> Floats:
        """The terms' values at `x` of shape (rows, columns): shape (rows, terms)."""
        return evaluate(terms, {name: x[:, index] for index, name in enumerate(self.columns)}, len(x))


def monomials(features: Sequence[str], degree: int) -> list[Term]:
    """All products of one to `degree` features, in ascending degree; the constant is left out."""
    listed = []
    for size in range(1, degree + 1):
        for chosen in combinations_with_replacement(features, size):
            listed.append(Term(tuple((name, chosen.count(name)) for name in dict.fromkeys(chosen))))
    return listed


def _octaves(values: Floats) -> range:
    """The whole octaves that have at least 2 % of the values on either side."""
    low, high = np.quantile(np.log2(values), [0.02, 0.98])
    return range(int(np.ceil(low)), int(np.floor(high)) + 1)


_CONV = ("batch", "in_c", "out_c", "in_side", "out_side", "kernel_side", "stride", "groups", "element_bytes",
         "out_pixels", "filters", "window", "operations", "unrolled", "inputs", "outputs", "weights", "bytes", "intensity")  # fmt: skip
_POOL = ("batch", "out_c", "in_side", "out_side", "kernel_side", "stride", "element_bytes",
         "out_pixels", "operations", "inputs", "outputs", "bytes", "intensity")  # fmt: skip
_FC = ("batch", "in_features", "out_c", "element_bytes",
       "operations", "inputs", "outputs", "weights", "bytes", "intensity")  # fmt: skip
_CONV_SIZES = ("batch", "out_side", "kernel_side", "in_c", "out_c", "in_side")
_POOL_SIZES = ("batch", "out_side", "kernel_side", "out_c", "in_side")
_FC_SIZES = ("batch", "in_features", "out_c")
_RIDGE = ("operations", "bytes")

DICTIONARIES: dict[tuple[str, str], Dictionary] = {
    ("conv", "runtime"): Dictionary(
        columns=_CONV,
        physical=("operations", "bytes", "unrolled", "inputs", "outputs", "weights"),
        powers=_CONV_SIZES,
        hinges=("operations", "out_pixels", "in_c", "filters", "window", "bytes", "unrolled"),
        ridge=_RIDGE,
        rates=_RIDGE,
    ),
    ("conv", "power"): Dictionary(
        columns=_CONV,
        logarithms=(*_CONV_SIZES, "groups", "stride"),
        hinges=("operations", "out_pixels", "in_c", "filters", "window", "intensity", "bytes"),
        capped=True,
    ),
    ("pool", "runtime"): Dictionary(
        columns=_POOL,
        physical=("operations", "bytes", "inputs", "outputs"),
        powers=_POOL_SIZES,
        hinges=("operations", "bytes"),
        ridge=_RIDGE,
        rates=_RIDGE,
    ),
    ("pool", "power"): Dictionary(
        columns=_POOL,
        logarithms=(*_POOL_SIZES, "stride"),
        hinges=("operations", "out_pixels", "out_c", "bytes"),
        capped=True,
    ),
    ("fc", "runtime"): Dictionary(
        columns=_FC,
        physical=("operations", "bytes", "weights"),
        powers=_FC_SIZES,
        hinges=("operations", "out_c", "bytes"),
        ridge=_RIDGE,
        rates=_RIDGE,
    ),
    ("fc", "power"): Dictionary(
        columns=_FC, logarithms=_FC_SIZES, hinges=("operations", "out_c", "bytes"), capped=True
    ),
}
"""(layer type, target) -> the terms to choose from.

Runtime adds up, so its terms are amounts of work and the monomials of sizes. Power is a rate that saturates: its terms are
logarithms, which grow as slowly. Both have hinges, because a GPU's efficiency rises with the size of its work and then stays.
"""
