"""Names that somebody else chose (engines, layers, rails, marks, hosts), made fit for where they are shown; one function for each place.

A name is data: it moves no cursor, begins no line, is no formula and no path. What is stored keeps it as it came.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

FORMULA = ("=", "+", "-", "@")
"""A table program takes a cell that begins so for a formula, after white space too."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNSEEN = re.compile(r"[^\n\t\x20-\x7e]")


def printable(name: str) -> str:
    """The name in one line of a terminal or log: what is no visible character is written as its escape, as ``\\x1b``.

    Control characters, line ends, and those that turn the direction of what follows.
    """
    return name if name.isprintable() else "".join(_visible(character) for character in name)


def csv_name(name: str) -> str:
    """The name in a cell of a CSV file: printable, and behind an apostrophe where it would be a formula."""
    shown = printable(name)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA) else shown


def page_text(page: str) -> str:
    """A page of HTML without control characters, which no escaping of markup takes out."""
    return _CONTROL.sub("\ufffd", page)


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


class _Lines:
    """A text stream that passes lines on with all but visible characters, line ends and tabs escaped. Otherwise it is the one beneath."""

    def __init__(self, beneath: TextIO) -> None:
        self.beneath = beneath

    def write(self, text: str) -> int:
        """Write `text`, escaped; returns its length."""
        self.beneath.write(_UNSEEN.sub(lambda found: _visible(found[0]), text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


@contextmanager
def visible_output() -> Iterator[None]:
    """While this lasts, nothing that is printed reaches a terminal but as visible characters. Who draws asks for :func:`drawn_on`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(TextIO, _Lines(before[0])), cast(TextIO, _Lines(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def drawn_on(stream: TextIO) -> TextIO:
    """The stream beneath, for cursors and colours of our own; names go there through :func:`printable`."""
    beneath: TextIO = getattr(stream, "beneath", stream)
    return beneath
