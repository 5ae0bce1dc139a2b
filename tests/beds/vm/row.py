"""A line of the table of what was judged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing judged."""

    what: str
    found: str
    wanted: str
    passed: bool
