"""± as people read it: two digits, the value to match, and a dash for what nobody knows."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuralpower.interval import Z95, cells, half, plus_minus
from neuralpower_align import resolution

nan, inf = math.nan, math.inf


def test_half_of_a_95_percent_interval_is_one_number() -> None:
    """What resolves a layer and what is shown of it are the same."""
    assert Z95 == resolution.Z95


@pytest.mark.parametrize(
    ("value", "half_width", "shown"),
    [
        (8.760, 2.724, "8.8 ± 2.7 W"),
        (0.5362, 0.0003628, "0.53620 ± 0.00036 W"),
        (12345.0, 678.0, "12340 ± 680 W"),
        (9.96, 9.96, "10 ± 10 W"),
        (8.8, 0.0996, "8.80 ± 0.10 W"),
        (-3.585, 14.0, "-4 ± 14 W"),
        (-0.001, 2.0, "0.0 ± 2.0 W"),
        (8.8, 0.0, "8.800 ± 0.000 W"),
        (0.0, 0.0, "0.000 ± 0.000 W"),
        (1e-12, 1e-15, "(1.0000 ± 0.0010)e-12 W"),
        (3e12, 2.5e10, "(3.000 ± 0.025)e12 W"),
        (8.76, nan, "8.760 ± - W"),
        (8.76, inf, "8.760 ± - W"),
        (8.76, -1.0, "8.760 ± - W"),
        (nan, nan, "-"),
        (nan, 1.0, "-"),
        (inf, 1.0, "-"),
        (-inf, nan, "-"),
    ],
)
def test_what_is_shown(value: float, half_width: float, shown: str) -> None:
    """Two significant digits of the half-width; never nan, never an infinity."""
    assert plus_minus(value, half_width, "W") == shown


def test_a_half_width_alone_has_two_digits() -> None:
    """As in a stopping rule's percentage."""
    assert [half(value) for value in (1.2345, 123.4, 0.0, nan, inf, -1.0)] == ["1.2", "120", "0", "-", "-", "-"]


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, allow_nan=False, allow_infinity=False))
@example(1e300, 1e-300)
@example(5e-324, 5e-324)
@example(1.7976931348623157e308, 1.7976931348623157e308)
@example(0.0, 1e-30)
def test_value_and_half_width_have_the_same_decimals(value: float, half_width: float) -> None:
    """Of any two numbers: the last digit of both is the same place, and both are what was given, rounded there."""
    shown, spread = map(Decimal, cells(value, half_width))
    assert shown.as_tuple().exponent == spread.as_tuple().exponent
    place = Decimal(1).scaleb(int(shown.as_tuple().exponent))
    told = max(place, Decimal(10) ** (Decimal(half_width).adjusted() - 1) if half_width else place)
    float_error = abs(Decimal(value)) * Decimal("1e-14")
    assert abs(shown - Decimal(value)) <= told / 2 + float_error
    if half_width and (not value or half_width / abs(value) > 1e-12):
        assert len(str(int(spread.scaleb(-spread.adjusted() + 1)))) == 2
        assert abs(spread / Decimal(half_width) - 1) <= Decimal("0.0501")


@given(st.floats(), st.floats())
def test_nothing_but_numbers_and_dashes_comes_out(value: float, half_width: float) -> None:
    """Whatever was computed, no nan and no infinity is printed, and an unknown value has no interval."""
    shown, spread = cells(value, half_width)
    for cell in (shown, spread):
        assert cell == "-" or math.isfinite(float(cell))
    assert spread == "-" or shown != "-"
    assert "nan" not in plus_minus(value, half_width) + half(half_width)
