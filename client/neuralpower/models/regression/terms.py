"""Terms of a sparse sum: products of powers of features, each with a name that is its own formula."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_POWER = 8

_NAME = r"[a-z][a-z0-9_]*"
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_PLAIN = re.compile(rf"({_NAME})")
_LOG2 = re.compile(rf"log2\(({_NAME})\)")
_HINGE = re.compile(rf"max\(0,log2\(({_NAME})\)([+-]\d{{1,2}})\)")
_ROOFLINE = re.compile(rf"max\(({_NAME}),2\^(-?\d{{1,2}})\*({_NAME})\)")
_TILES = re.compile(rf"ceil\(({_NAME})/2\^(\d{{1,2}})\)")
_STEP = re.compile(rf"\[({_NAME})(>|<=)({_NUMBER})\]")


@dataclass(frozen=True)
class Term:
    """A product of features raised to positive powers: ``(("in_c", 2), ("log2(out_side)", 1))``.

    A feature is one of

    - ``in_c``                  a quantity,
    - ``log2(in_c)``            its binary logarithm,
    - ``max(0,log2(in_c)-5)``   a hinge: how many octaves it lies above 2^5,
    - ``max(operations,2^4*bytes)``  a roofline: the slower of computing and moving, where the ridge is 2^4 operations a byte,
    - ``ceil(pixels/2^6)``      in how many tiles of 2^6 it is worked off, the last one perhaps half empty,
    - ``[in_c>96.5]``           1 where that holds and 0 elsewhere, also ``[in_c<=96.5]``.
    """

    exponents: tuple[tuple[str, int], ...]

    @cached_property
    def name(self) -> str:
        """The term as a formula: ``in_c^2*log2(out_side)``."""
        return "*".join(feature if power == 1 else f"{feature}^{power}" for feature, power in self.exponents)


def plain(quantity: str) -> Term:
    """The quantity itself."""
    return Term(((quantity, 1),))


def log2(quantity: str) -> str:
    """The feature log2(quantity)."""
    return f"log2({quantity})"


def hinge(quantity: str, knot: int) -> str:
    """The feature max(0, log2(quantity) - knot)."""
    return f"max(0,log2({quantity}){-knot:+d})"


def roofline(operations: str, traffic: str, ridge: int) -> str:
    """The feature max(operations, 2^ridge · traffic)."""
    return f"max({operations},2^{ridge}*{traffic})"


def tiles(quantity: str, octave: int) -> str:
    """The feature ceil(quantity / 2^octave)."""
    return f"ceil({quantity}/2^{octave})"


def step(quantity: str, relation: str, bound: float) -> str:
    """The feature that is 1 where the quantity is above (``>``) or not above (``<=``) the bound, else 0."""
    return f"[{quantity}{relation}{bound:g}]"


def check_feature(feature: str, quantities: Sequence[str]) -> None:
    """Raises ValueError when `feature` is no formula over the named quantities."""
    if not feature_quantities(feature) or any(name not in quantities for name in feature_quantities(feature)):
        raise ValueError(f"unknown feature {feature!r}")


def feature_quantities(feature: str) -> list[str]:
    """The quantities that a feature is made of; none where it is no formula."""
    for form in (_PLAIN, _LOG2, _HINGE, _ROOFLINE, _TILES, _STEP):
        match = form.fullmatch(feature)
        if match:
            return [part for part in match.groups() if part[0].isalpha()]
    return []


def evaluate(terms: Sequence[Term], columns: Mapping[str, Floats], rows: int) -> Floats:
    """The terms' values: shape (rows, terms). `columns` maps a quantity to its values, shape (rows,)."""
    features: dict[str, Floats] = {}
    matrix = np.ones((rows, len(terms)), order="F")  # it is filled column by column
    for index, term in enumerate(terms):
        for feature, power in term.exponents:
            if feature not in features:
                features[feature] = _feature(feature, columns)
            matrix[:, index] *= features[feature] if power == 1 else features[feature] ** power
    return matrix


def _feature(feature: str, columns: Mapping[str, Floats]) -> Floats:
    if match := _PLAIN.fullmatch(feature):
        return columns[feature]
    if match := _LOG2.fullmatch(feature):
        return np.asarray(np.log2(columns[match[1]]))
    if match := _HINGE.fullmatch(feature):
        return np.asarray(np.maximum(0.0, np.log2(columns[match[1]]) + int(match[2])))
    if match := _ROOFLINE.fullmatch(feature):
        return np.asarray(np.maximum(columns[match[1]], 2.0 ** int(match[2]) * columns[match[3]]))
    if match := _TILES.fullmatch(feature):
        return np.asarray(np.ceil(columns[match[1]] / 2.0 ** int(match[2])))
    if match := _STEP.fullmatch(feature):
        above = columns[match[1]] > float(match[3])
        return np.asarray(above if match[2] == ">" else ~above, dtype=np.float64)
    raise ValueError(f"unknown feature {feature!r}")
