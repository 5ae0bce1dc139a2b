"""Terms, dictionaries and the original design matrices."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower.features import Layer
from neuralpower.models.judging.original import original_matrix
from neuralpower.models.regression.design import DICTIONARIES, monomials
from neuralpower.models.regression.quantities import QUANTITIES, RATES, measure, rates
from neuralpower.models.regression.terms import Term, check_feature, evaluate, hinge, log2, roofline, step, tiles


def layer(kind: str, **sizes: int) -> Layer:
    given_sizes = {"batch": 1, "in_c": 64, "in_h": 28, "in_w": 28, "out_c": 64, "out_h": 28, "out_w": 28} | sizes
    return Layer("x", kind, **given_sizes)


CONV = layer("conv", kernel_h=3, kernel_w=3, batch=2, groups=4)


@pytest.mark.parametrize(
    ("kind", "target", "columns"),
    [
        ("conv", "runtime", 127),
        ("conv", "power", 127),
        ("fc", "runtime", 21),
        ("fc", "power", 65),
        ("pool", "runtime", 86),
        ("pool", "power", 93),
    ],
)
def test_original_matrices_have_the_published_columns(kind: str, target: str, columns: int) -> None:
    """The baseline's matrices are as wide as those of the original scripts."""
    assert original_matrix(kind, target, [layer(kind), layer(kind, batch=2)]).shape == (2, columns)


def test_original_convolution_matrix_ends_in_its_products() -> None:
    """The eight special columns are the documented products, and the original ignores groups."""
    products = original_matrix("conv", "runtime", [CONV])[0, -8:]
    n, c, side = 2, 64, 28
    assert products.tolist() == [
        side * side * c * 9 * c,
        n * side * side * c * 9 * c,
        n * side * side * 9 * c,
        n * side * side * c,
        9 * c * c,
        n * side * side * c,
        n * side * c,
        n * side * c,
    ]


@given(st.integers(1, 6), st.integers(1, 4))
def test_monomials_are_all_of_them_once(features: int, degree: int) -> None:
    """There are C(features + degree, degree) - 1 monomials, all different and none above the degree."""
    terms = monomials([f"x{'abcdef'[i]}" for i in range(features)], degree)
    assert len(set(terms)) == len(terms) == comb(features + degree, degree) - 1
    assert max(sum(power for _, power in term.exponents) for term in terms) == degree


def test_a_term_is_its_formula() -> None:
    """A product of each form of feature has the value that its name says."""
    term = Term((("in_c", 2), (log2("out_c"), 1), (hinge("in_c", 5), 1), (roofline("operations", "bytes", -1), 1)))
    assert term.name == "in_c^2*log2(out_c)*max(0,log2(in_c)-5)*max(operations,2^-1*bytes)"
    columns = {"in_c": [64.0, 16.0], "out_c": [8.0, 8.0], "operations": [3.0, 9.0], "bytes": [10.0, 10.0]}
    values = evaluate([term], {name: np.array(column) for name, column in columns.items()}, 2)
    assert values[:, 0].tolist() == [64.0**2 * 3 * 1 * 5, 0.0]


def test_tiles_round_up_and_steps_split() -> None:
    """A started tile counts as a whole one; a step is 1 on its side of the bound, and the bound itself is below."""
    terms = [Term(((tiles("pixels", 5), 1), (step("in_c", ">", 96.5), 1))), Term(((step("in_c", "<=", 64), 1),))]
    assert [term.name for term in terms] == ["ceil(pixels/2^5)*[in_c>96.5]", "[in_c<=64]"]
    columns = {"pixels": np.array([49.0, 64.0, 65.0]), "in_c": np.array([97.0, 96.0, 64.0])}
    assert evaluate(terms, columns, 3).tolist() == [[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]


def test_rates_are_quantities_over_a_runtime() -> None:
    """What a layer works off in a second follows from the runtime that is predicted for it, and only where it is known."""
    found = rates({"operations": np.array([6.0]), "bytes": np.array([4.0])}, np.array([2.0]))
    assert {name: values[0] for name, values in found.items()} == {
        "operation_rate": 3.0,
        "byte_rate": 2.0,
        "launch_rate": 0.5,
    }


@pytest.mark.parametrize(
    "feature",
    [
        "in_d",
        "log2(in_d)",
        "log2(in_c",
        "max(0,log2(in_c)*3)",
        "max(in_c,2^1*no)",
        "[in_d>3]",
        "[in_c=3]",
        "ceil(in_c/2^x)",
        "",
        "1",
    ],
)
def test_unknown_features_are_refused(feature: str) -> None:
    """A feature that is no formula over the named quantities is an error."""
    with pytest.raises(ValueError, match="unknown feature"):
        check_feature(feature, ["in_c"])


def test_every_dictionary_is_made_of_features_that_can_be_read_back() -> None:
    """All terms of all dictionaries pass the check of a loaded model, and have finite values."""
    for (kind, _), dictionary in DICTIONARIES.items():
        kernel = 1 if kind == "fc" else 3
        layers = [
            layer(kind, in_c=c, out_c=c, batch=n, kernel_h=kernel, kernel_w=kernel) for c in (8, 512) for n in (1, 4)
        ]
        column = dictionary.named(measure(layers, dictionary.columns))
        column |= rates(column, np.arange(1.0, len(layers) + 1))
        terms = dictionary.terms(3, column)
        assert terms
        for term in terms:
            for feature, _ in term.exponents:
                check_feature(feature, (*dictionary.columns, *RATES))
        assert np.isfinite(dictionary.matrix(terms, column)).all()


def test_quantities_know_groups() -> None:
    """Operations, weights and the window of a grouped convolution count only the channels of a group."""
    names = ("window", "operations", "weights", "filters", "unrolled", "intensity")
    window, operations, weights, filters, unrolled, intensity = measure([CONV], names)[0]
    assert (window, weights, filters) == (9 * 16, 9 * 16 * 64, 16)
    assert operations == 2 * 28 * 28 * 64 * window
    assert unrolled == 2 * 28 * 28 * 9 * 64
    moved = 4 * (2 * 28 * 28 * 64 * 2 + weights)
    assert intensity == pytest.approx(operations / moved)


def test_quantities_of_a_pool_are_positive() -> None:
    """Every quantity that a pool's models use has a logarithm."""
    columns = DICTIONARIES["pool", "power"].columns
    assert (measure([layer("pool", kernel_h=3, kernel_w=3)], columns) > 0).all()
    assert set(columns) <= set(QUANTITIES)
