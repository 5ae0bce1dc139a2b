"""Values with their 95 % intervals, as people read them: what ± means, and to how many digits both are shown.

Tables, pages and plots show the half-width of the 95 % interval; JSON and datasets keep standard errors, in fields whose names say so (`_se_`).
"""

from __future__ import annotations

from math import floor, isfinite, log10

Z95 = 1.959963984540054
"""Half-width of a 95 % interval in standard errors, of errors that are normal."""
MEANING = "± is the half-width of the 95 % interval (1.96 standard errors)"
"""For one line of each output that shows any."""
UNKNOWN = "-"
DIGITS = 4
"""Significant digits of a value whose interval nobody knows."""
MOST_DIGITS = 9
"""Zeros before or behind the point beyond which both are written in powers of ten."""
FLOAT_DIGITS = 15


def cells(value: float, half_width: float) -> tuple[str, str]:
    """A value and the half-width of its interval, in any one unit, as two cells of a table.

    The half-width has two significant digits and the value as many decimals: `8.8` and `2.7`, `0.53620` and `0.00036`, `12340` and
    `680`. What is not finite, or a half-width below zero, is not known: a dash; the value then has four digits. Very small and very
    large numbers share a power of ten. A half-width too small to change the value as a float is shown as zeros.
    """
    if not isfinite(value):
        return UNKNOWN, UNKNOWN
    if not (isfinite(half_width) and half_width >= 0):
        return _written(value, _decimals(value, DIGITS)), UNKNOWN
    decimals = _decimals(half_width, 2) if half_width else _decimals(value, DIGITS)
    top = max(_exponent(value), _exponent(half_width))
    decimals = min(decimals, FLOAT_DIGITS - top)
    if decimals > MOST_DIGITS or top >= MOST_DIGITS:
        return _scaled(value, decimals, top), _scaled(half_width, decimals, top)
    return _fixed(value, decimals), _fixed(half_width, decimals)


def plus_minus(value: float, half_width: float, unit: str = "") -> str:
    """`8.8 ± 2.7 W` as one text; a dash for what is not known, and no unit behind a dash alone."""
    shown, half = cells(value, half_width)
    if shown == UNKNOWN:
        return UNKNOWN
    behind = f" {unit}" if unit else ""
    if half != UNKNOWN and "e" in shown:
        (mantissa, power), spread = shown.split("e"), half.split("e")[0]
        return f"({mantissa} ± {spread})e{power}{behind}"
    return f"{shown} ± {half}{behind}"


def half(half_width: float) -> str:
    """A half-width on its own, to two significant digits."""
    if not (isfinite(half_width) and half_width >= 0):
        return UNKNOWN
    return _written(half_width, _decimals(half_width, 2)) if half_width else "0"


def _exponent(value: float) -> int:
    return floor(log10(abs(value))) if value else -400


def _decimals(value: float, digits: int) -> int:
    """Decimals that show so many significant digits, counted after rounding: 9.96 to two is 10. Negative: whole tens, hundreds, ..."""
    return digits - 1 - int(f"{value:.{digits - 1}e}".split("e")[1])


def _written(value: float, decimals: int) -> str:
    top = _exponent(value)
    scaled = value and (decimals > MOST_DIGITS or top >= MOST_DIGITS)
    return _scaled(value, decimals, top) if scaled else _fixed(value, decimals)


def _fixed(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):.{max(decimals, 0)}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def _scaled(value: float, decimals: int, power: int) -> str:
    """In units of 10^power, with the decimals that so many of 1 become."""
    # In two steps: 10^-power of a subnormal number is no float.
    mantissa = value * 10.0 ** (-power // 2) * 10.0 ** (-power - -power // 2)
    return f"{_fixed(mantissa, max(decimals + power, 0))}e{power}"
