"""A network of the zoo, built by another builder than its own: one that writes it down for another framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from unittest import mock

from neuralpower.virtual.networks import known, zoo, zoo_later
from neuralpower.virtual.networks.graph import NetworkBuilder

_Builder = TypeVar("_Builder", bound=NetworkBuilder)


def built(name: str, builder: Callable[[int, int], _Builder]) -> _Builder:
    """The builder, made of channels and size of the input, after the zoo's network `name` was built with it."""
    made: list[_Builder] = []

    def begin(channels: int = 3, size: int = 224) -> _Builder:
        made.append(builder(channels, size))
        return made[0]

    with mock.patch.object(zoo, "NetworkBuilder", begin), mock.patch.object(zoo_later, "NetworkBuilder", begin):
        known.build(name)
    return made[0]
