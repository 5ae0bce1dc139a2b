"""Which terms a model may choose from: a dictionary for each layer type and target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.terms import Term, evaluate, hinge, log2, plain, roofline, step, tiles

Floats = NDArray[np.float64]

KINDS = ("conv", "pool", "fc")
TARGETS = ("runtime", "power")

TILE_ROWS, TILE_COLUMNS = range(5, 9), range(5, 8)
"""Octaves of the tile sides that a matrix product may be cut into; which of them matter is for the Lasso to find."""


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
    ridges
        Pairs of quantities (a, b) that enter as max(a, 2^k·b) for each octave k of their ratio.
    cases
        (condition, amounts): a kind of layer that machines treat apart, with a share of its own in each amount of work.
    together
        (conditions, amounts): the same in the law alone, for layers of which all of several conditions hold.
    tiled
        Whether the tiles of a matrix product enter: their number, and that times the length of the dot product.
    nested
        Rates (``quantities.RATES``) that enter as they are, with the same kinds of layers told apart, and as hinges.
    regions, amounts
        Quantities by which regions of the training data with an error of their own are told apart (:mod:`.regions`), and
        the amounts of work whose share they may change, beside a constant.
    rates, capped
        The bounds of a prediction (``polynomial.Bounds``): quantities that nothing works off faster than was measured, and
        whether the largest value measured is a limit.
    law
        What the target grows in proportion to beyond the training data, beside a constant (:mod:`.law`).
    whole_law
        Whether every amount of work (physical, ridges, cases, tiles) may stand in the law, not only what `law` names.
    logarithmic
        Whether the terms are the exponent of two by themselves (:meth:`by_sizes`), without a law.
    factors
        Whether the terms multiply (:meth:`proportional`): rates then enter by their logarithms alone, since a rate of which the
        runtime model is not sure would else count without end.
    """

    columns: tuple[str, ...]
    physical: tuple[str, ...] = ()
    powers: tuple[str, ...] = ()
    logarithms: tuple[str, ...] = ()
    hinges: tuple[str, ...] = ()
    ridges: tuple[tuple[str, str], ...] = ()
    cases: tuple[tuple[str, tuple[str, ...]], ...] = ()
    together: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    tiled: bool = False
    nested: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    capped: bool = False
    law: tuple[str, ...] = ()
    whole_law: bool = False
    logarithmic: bool = False
    factors: bool = False

    @classmethod
    def plain(cls, columns: int) -> Dictionary:
        """Monomials of so many quantities x0, x1, …, for data that are not layers."""
        names = tuple(f"x{index}" for index in range(columns))
        return cls(columns=names, powers=names)

    def terms(self, degree: int, column: Mapping[str, Floats]) -> list[Term]:
        """All terms to the given degree, without repetition. Octaves are taken from `column`: quantity -> values (rows,)."""
        nested = [name for name in self.nested if name in column]
        plainly = [] if self.factors else nested
        terms = [plain(name) for name in (*self.physical, *plainly)]
        for condition, amounts in self.cases:
            terms.append(Term(((condition, 1),)))
            terms += [Term(((condition, 1), (name, 1))) for name in (*amounts, *plainly)]
        for name in (*self.hinges, *nested):
            terms.append(Term(((log2(name), 1),)))
            terms += [Term(((hinge(name, k), 1),)) for k in _octaves(column[name])]
        for one, other in self.ridges:
            terms += [Term(((roofline(one, other, k), 1),)) for k in _octaves(column[one] / column[other])]
        terms += _tiles() if self.tiled else []
        terms += monomials(self.powers, degree)
        terms += monomials([log2(name) for name in self.logarithms], degree)
        return list(dict.fromkeys(terms))

    def amounts_of_work(self, column: Mapping[str, Floats]) -> list[Term]:
        """The amounts a law is made of (:mod:`.law`)."""
        terms = [plain(name) for name in self.law if name in column]
        if self.whole_law:
            terms += [plain(name) for name in self.physical]
            terms += [
                Term(((condition, 1), *more)) for condition, amounts in self.cases for more in _alone_and(amounts)
            ]
            for conditions, amounts in self.together:
                marks = [(condition, 1) for condition in conditions]
                terms += [Term((*marks, *more)) for more in _alone_and(amounts)]
            for one, other in self.ridges:
                terms += [Term(((roofline(one, other, k), 1),)) for k in _octaves(column[one] / column[other])]
            terms += _tiles() if self.tiled else []
        return list(dict.fromkeys(terms))

    def proportional(self) -> Dictionary:
        """The terms of what multiplies a law: logarithms of all quantities with their hinges, monomials of those of sizes, and cases."""
        sizes = (
            *(name for name in self.columns if name not in ("batch", "element_bytes")),
            *(["batch"] if "batch" in self.columns else []),
        )
        work = tuple(log2(name) for name in ("operations", "bytes", "out_pixels") if name in self.columns)
        return replace(
            self,
            physical=(),
            powers=(),
            logarithms=self.powers or self.logarithms,
            hinges=sizes,
            ridges=(),
            cases=tuple((condition, work) for condition, _ in self.cases),
            tiled=False,
            regions=(*self.regions, "operations", "bytes", *self.nested),
            amounts=(log2("operations"),) if "operations" in self.columns else (),
            factors=True,
        )

    def by_sizes(self) -> Dictionary:
        """The same without rates in its terms, and with no law before them: where how long a layer runs is less sure than its sizes are."""
        return replace(self, nested=(), logarithmic=True)

    def matrix(self, terms: Sequence[Term], column: Mapping[str, Floats]) -> Floats:
        """The terms' values for quantities (rows,): shape (rows, terms)."""
        return evaluate(terms, column, len(next(iter(column.values()))))

    def named(self, x: Floats) -> dict[str, Floats]:
        """Quantity -> its values, for rows of shape (rows, columns)."""
        return {name: x[:, index] for index, name in enumerate(self.columns)}


def _alone_and(amounts: Sequence[str]) -> list[tuple[tuple[str, int], ...]]:
    return [(), *(((name, 1),) for name in amounts)]


def monomials(features: Sequence[str], degree: int) -> list[Term]:
    """All products of one to `degree` features, in ascending degree; the constant is left out."""
    listed = []
    for size in range(1, degree + 1):
        for chosen in combinations_with_replacement(features, size):
            listed.append(Term(tuple((name, chosen.count(name)) for name in dict.fromkeys(chosen))))
    return listed


def _tiles() -> list[Term]:
    """Tiles of (pixels × filters of a group), over all groups, that a matrix product is cut into; depthwise has none.

    A grouped convolution has so few filters in a group that one column of tiles holds them, and a price of its own.
    """
    product, grouped, listed = step("filters", ">", 1), step("groups", ">", 1), []
    for rows in TILE_ROWS:
        for columns in TILE_COLUMNS:
            count = [(product, 1), (tiles("pixels", rows), 1), (tiles("filters", columns), 1), ("groups", 1)]
            listed += [Term(tuple(count)), Term((*count, (tiles("window", 5), 1)))]
        count = [(grouped, 1), (product, 1), (tiles("pixels", rows), 1), ("groups", 1)]
        listed += [Term(tuple(count)), Term((*count, (tiles("window", 5), 1)))]
    return listed


def _octaves(values: Floats) -> range:
    """The whole octaves that have at least 2 % of the values on either side."""
    low, high = np.quantile(np.log2(values), [0.02, 0.98])
    return range(int(np.ceil(low)), int(np.floor(high)) + 1)


_CONV = ("batch", "in_c", "out_c", "in_side", "out_side", "kernel_side", "stride", "dilation", "groups", "element_bytes",
         "out_pixels", "pixels", "filters", "window", "operations", "unrolled", "inputs", "outputs", "weights", "bytes",
         "intensity", "inside", "alignment")  # fmt: skip
_POOL = ("batch", "out_c", "in_side", "out_side", "kernel_side", "stride", "element_bytes",
         "out_pixels", "operations", "inputs", "outputs", "bytes", "intensity", "averaging")  # fmt: skip
_FC = ("batch", "in_features", "out_c", "element_bytes",
       "operations", "inputs", "outputs", "weights", "bytes", "intensity")  # fmt: skip
_CONV_SIZES = ("batch", "out_side", "kernel_side", "in_c", "out_c", "in_side")
_POOL_SIZES = ("batch", "out_side", "kernel_side", "out_c", "in_side")
_FC_SIZES = ("batch", "in_features", "out_c")
_CONV_REGIONS = ("batch", "in_c", "out_c", "in_side", "out_side", "kernel_side", "stride", "dilation", "groups",
                 "element_bytes", "window", "out_pixels", "inside", "alignment")  # fmt: skip
_POOL_REGIONS = ("batch", "out_c", "in_side", "out_side", "kernel_side", "stride", "element_bytes", "averaging")
_FC_REGIONS = ("batch", "in_features", "out_c", "element_bytes")
_RIDGE = ("operations", "bytes")
_DEPTHWISE = step("filters", "<=", 1)
_STRIDED = step("stride", ">", 1)
_GROUPED = step("groups", ">", 1)
_WIDE = step("element_bytes", ">", 2)
_GLOBAL = step("out_side", "<=", 1)
_AVERAGING = step("averaging", ">", 1)
_APART = step("inside", "<=", 1)
_FUSED = step("inside", ">", 1)

DICTIONARIES: dict[tuple[str, str], Dictionary] = {
    ("conv", "runtime"): Dictionary(
        columns=_CONV,
        physical=("operations", "bytes", "unrolled", "inputs", "outputs", "weights"),
        powers=_CONV_SIZES,
        hinges=("operations", "out_pixels", "in_c", "filters", "window", "bytes", "unrolled"),
        ridges=(_RIDGE,),
        cases=(
            (_DEPTHWISE, ("operations", "bytes", "unrolled")),
            (_STRIDED, ("operations",)),
            (_WIDE, ("operations", "bytes", "unrolled")),
            (_APART, ("outputs",)),
            (_GROUPED, ("operations", "bytes", "unrolled", "outputs", "inputs", "weights", "groups")),
        ),
        # Kernels that do a depthwise convolution, bias and activation in one are others than those that do them one by one.
        together=(((_DEPTHWISE, _FUSED), ("outputs", "operations")),),
        tiled=True,
        regions=_CONV_REGIONS,
        amounts=("operations", "unrolled"),
        rates=_RIDGE,
        law=_RIDGE,
        whole_law=True,
    ),
    ("conv", "power"): Dictionary(
        columns=_CONV,
        logarithms=(*_CONV_SIZES, "groups", "stride"),
        hinges=("operations", "out_pixels", "in_c", "filters", "window", "intensity", "bytes"),
        cases=((_DEPTHWISE, ()), (_APART, ())),
        nested=("operation_rate", "byte_rate", "output_rate", "input_rate", "weight_rate", "launch_rate"),
        regions=_CONV_REGIONS,
        capped=True,
        law=("operation_rate", "byte_rate"),
    ),
    ("pool", "runtime"): Dictionary(
        columns=_POOL,
        physical=("operations", "bytes", "inputs", "outputs"),
        powers=_POOL_SIZES,
        hinges=("operations", "bytes"),
        ridges=(_RIDGE,),
        cases=((_WIDE, ("operations",)), (_GLOBAL, ("operations", "outputs")), (_AVERAGING, ("operations",))),
        regions=_POOL_REGIONS,
        amounts=("operations", "bytes"),
        rates=_RIDGE,
        law=_RIDGE,
        whole_law=True,
    ),
    ("pool", "power"): Dictionary(
        columns=_POOL,
        logarithms=(*_POOL_SIZES, "stride"),
        hinges=("operations", "out_pixels", "out_c", "bytes"),
        cases=((_AVERAGING, ()),),
        nested=("operation_rate", "byte_rate", "launch_rate"),
        regions=_POOL_REGIONS,
        capped=True,
        law=("operation_rate", "byte_rate"),
    ),
    ("fc", "runtime"): Dictionary(
        columns=_FC,
        physical=("operations", "bytes", "weights"),
        powers=_FC_SIZES,
        hinges=("operations", "out_c", "bytes"),
        ridges=(_RIDGE, ("operations", "in_features")),
        regions=_FC_REGIONS,
        amounts=("bytes",),
        rates=_RIDGE,
        law=_RIDGE,
        whole_law=True,
    ),
    ("fc", "power"): Dictionary(
        columns=_FC,
        logarithms=_FC_SIZES,
        hinges=("operations", "out_c", "bytes"),
        nested=("operation_rate", "byte_rate", "launch_rate"),
        regions=_FC_REGIONS,
        capped=True,
        law=("operation_rate", "byte_rate"),
    ),
}
"""(layer type, target) -> the terms to choose from.

Runtime adds up, so its terms are amounts of work and the monomials of sizes. Power is a rate that saturates: its terms are
logarithms, which grow as slowly, and what is worked off in a second at the predicted runtime, which is what draws it. Both have
hinges, because a GPU's efficiency rises with the size of its work and then stays.
"""


def with_clock(dictionary: Dictionary) -> Dictionary:
    """The same for data that vary the clock: work takes longer by the clock, moving does not; and what work draws grows with the clock."""
    amount = ("clocked",)
    columns = (*dictionary.columns, "gpu_mhz", *amount)
    if dictionary.nested:
        return replace(
            dictionary,
            columns=columns,
            logarithms=(*dictionary.logarithms, "gpu_mhz"),
            cases=(*dictionary.cases, (log2("gpu_mhz"), ())),
        )
    cases = tuple(
        (case, (*amounts, *amount) if "operations" in amounts else amounts) for case, amounts in dictionary.cases
    )
    return replace(
        dictionary,
        columns=columns,
        physical=(*dictionary.physical, *amount),
        hinges=(*dictionary.hinges, "gpu_mhz"),
        ridges=(*dictionary.ridges, ("clocked", "bytes")),
        cases=cases,
        amounts=(*dictionary.amounts, *amount),
        law=(*dictionary.law, *amount),
    )


def dictionary_of(kind: str, target: str) -> Dictionary:
    """The terms for a layer type and target; energy adds up like runtime and has its terms."""
    return DICTIONARIES[kind, "runtime" if target == "energy" else target]
