"""What a page is made of: sections of blocks. The template knows how each looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from markupsafe import Markup

from neuralpower import interval

DASH = "–"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    type: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    type: ClassVar[str] = "text"


@dataclass(frozen=True)
class Facts:
    """Label and value, line by line."""

    rows: Sequence[tuple[str, str]]
    type: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Notes:
    """Short remarks."""

    rows: Sequence[str]
    type: ClassVar[str] = "notes"


@dataclass(frozen=True)
class Figure:
    """An SVG to be put in as it is, and what it shows."""

    svg: Markup
    caption: str
    type: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Row:
    """Cells of a table, or one cell as wide as all; style `same` joins it to the next row, `context` makes it quiet."""

    cells: Sequence[str]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """`right`: the columns of numbers. `folded`: the line to click on, for tables that few will read."""

    columns: Sequence[str]
    rows: Sequence[Row]
    right: Sequence[int]
    caption: str = ""
    folded: str = ""
    type: ClassVar[str] = "table"


Block = Heading | Text | Facts | Notes | Figure | Table


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    blocks: Sequence[Block]
    text: str = ""


@dataclass(frozen=True)
class Headline:
    """One large number at the top."""

    label: str
    value: str
    unit: str = ""


@dataclass
class Page:
    """Everything on the page, top to bottom."""

    title: str
    lead: str
    simulated: bool
    figures: list[Headline] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, never in powers of ten; a dash for what is not known."""
    if value is None or not np.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    places = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{places}f}".replace(",", "\u202f").replace("-", "−")


def fixed(value: float | None, places: int) -> str:
    """A number with so many decimals, so that a column lines up; a dash for what is not known."""
    if value is None or not np.isfinite(value):
        return DASH
    return f"{value:,.{places}f}".replace(",", "\u202f").replace("-", "−")


def known_to(value: float, half_width: float) -> tuple[str, str]:
    """A value and the half-width of its 95 % interval as two cells (:mod:`neuralpower.interval`)."""
    value_text, half_text = (_set(cell) for cell in interval.cells(value, half_width))
    return value_text, half_text


def plus_minus(value: float, half_width: float, unit: str) -> str:
    """The same as one text."""
    shown, half_text = known_to(value, half_width)
    return DASH if shown == DASH else f"{shown} ± {half_text} {unit}"


def _set(cell: str) -> str:
    if cell == interval.UNKNOWN:
        return DASH
    whole, point, rest = cell.partition(".")
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    grouped = f"{int(digits):,}".replace(",", "\u202f") if digits.isdigit() else digits
    return f"{sign}{grouped}{point}{rest}".replace("-", "−")


def percent(share: float | None, places: int = 1, sign: bool = False) -> str:
    """A share as a percentage."""
    if share is None or not np.isfinite(share):
        return DASH
    return f"{share * 100:{'+' if sign else ''}.{places}f} %".replace("-", "−")
