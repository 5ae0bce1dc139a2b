"""The one way in which bytes of others are refused."""

from __future__ import annotations


class WireError(ValueError):
    """A message or document breaks the format; the text says what. Nothing of it may be used."""
