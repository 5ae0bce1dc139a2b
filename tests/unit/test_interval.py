"""± as people read it: two digits, the value to match, and a dash for what nobody knows."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuralpower.attribution import Attribution, EngineAttribution, LayerPower, Unprofiled, WholeInference
from neuralpower.cli.measuring.live import Live
from neuralpower.cli.measuring.watch import estimate_line
from neuralpower.interval import MEANING, Z95, cells, half, plus_minus
from neuralpower.show.attribution import print_attribution
from neuralpower_align.result import resolution
from neuralpower_align.result.results import Level
from neuralpower_wire.estimates import EngineEstimate

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
        assert cell == "-" or Decimal(cell).is_finite()
    assert spread == "-" or shown != "-"
    assert "nan" not in plus_minus(value, half_width) + half(half_width)


def test_a_running_estimate_has_its_interval() -> None:
    """`watch` shows the half-width of the 95 % interval, as every other command does, and none of what is withheld."""
    unit, power = np.zeros(2, np.uint32), np.full(2, 8.0)
    known = EngineEstimate("ab" * 16, "running", "", 500, unit, power, power / 10, 0.01, 0.0005)
    live = Live()
    assert "10.00 ± 0.98 mJ an inference in its layers, 2 layers in 1 units" in estimate_line(live, known)
    gone = replace(known, why="locked", power_w=power * nan, power_se_w=power * nan, energy_j=nan, energy_se_j=nan)
    assert estimate_line(live, gone).endswith(": energy withheld: locked")


def test_attribute_says_once_what_it_means(capsys: pytest.CaptureFixture[str]) -> None:
    """Each ± of tables and lines has two digits, the value as many decimals; what ± is stands in one line."""
    layers = tuple(
        LayerPower(f"c{at}", "conv", at, 1, 90, 1, 1.234567e-4, se * 1e-4, 8.76543, se)
        for at, se in enumerate((1.39, 0.000185, 0.051, nan))
    )
    whole = WholeInference(9, 1e-3, 1e-6, 3.585e-3, 7e-3)
    engine = EngineAttribution(
        "ab" * 16, "net", "least-squares", layers, 90, 3e-3, 4.5, 3.0, 0.03, True, energy_j=0.5362e-3, energy_se_j=0.000185e-3,
        gap=Level(4.5, 0.0032), unprofiled=Unprofiled(whole, whole), whole=whole,
    )  # fmt: skip
    found = Attribution("least-squares", {engine.hash: engine}, 4e-4, 2e-4, None, 0.0, 4.5, 0.03, None, "b", True, ())
    print_attribution(found, [engine])
    printed = capsys.readouterr().out
    assert printed.count(MEANING) == 1 and "nan" not in printed
    for shown in ("0.53620 ± 0.00036 mJ", "gap 4.5000 ± 0.0063 W", "4 ± 14 mJ", "1.0000 ± 0.0020 ms"):
        assert shown in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("  c")]
    assert [row[-4:-2] for row in rows] == [
        ["8.8", "2.7"],
        ["8.76543", "0.00036"],
        ["8.77", "0.10"],
        ["8.765", "-"],
    ]
