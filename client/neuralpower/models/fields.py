"""Fields of JSON objects, each of the type that it has to be. All raise ValueError, one line with the key, where one is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def value(container: object, key: str) -> Any:
    """Whatever it is; it has to be there."""
    if not isinstance(container, dict):
        raise ValueError(f"no object where {key!r} should be")
    if key not in container:
        raise ValueError(f"{key!r} is missing")
    return container[key]


def mapping(container: object, key: str) -> dict[str, Any]:
    """An object."""
    return _of(container, key, dict, "is not an object")


def entries(container: object, key: str) -> list[Any]:
    """A list of whatever."""
    return _of(container, key, list, "is not a list")


def text(container: object, key: str) -> str:
    """A text."""
    return _of(container, key, str, "is not a text")


def texts(container: object, key: str) -> list[str]:
    """A list of texts."""
    found = entries(container, key)
    if not all(isinstance(each, str) for each in found):
        raise ValueError(f"{key!r} is not a list of texts")
    return found


def flag(container: object, key: str) -> bool:
    """True or false."""
    return _of(container, key, bool, "is neither true nor false")


def integer(container: object, key: str, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    found = value(container, key)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise ValueError(f"{key!r} is {found!r}, not a whole number from {least} to {most}")
    return found


def number(container: object, key: str, least: float = -math.inf, above: float = -math.inf) -> float:
    """A finite number of `least` or more, and above `above`."""
    found = value(container, key)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise ValueError(f"{key!r} is {found!r}, not a number")
    if found < least or found <= above:
        raise ValueError(f"{key!r} is {found!r}, which is too small")
    return float(found)


def number_or_none(container: object, key: str) -> float | None:
    """A number of 0 or more, or null."""
    return None if value(container, key) is None else number(container, key, least=0.0)


def choice(container: object, key: str, choices: Sequence[str]) -> str:
    """One of some texts."""
    found = text(container, key)
    if found not in choices:
        raise ValueError(f"{key!r} is {found!r}, none of {', '.join(choices)}")
    return found


def _of(container: object, key: str, kind: type[T], else_it: str) -> T:
    found = value(container, key)
    if not isinstance(found, kind):
        raise ValueError(f"{key!r} {else_it}")
    return found
