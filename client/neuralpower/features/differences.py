"""Where two descriptions of a network disagree about the layers that have operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

from neuralpower.features.layers import Layer

_NAMES = ("name", "layer_type", "note", "precision")
GEOMETRY = tuple(field.name for field in fields(Layer) if field.name not in _NAMES)
"""What is compared: kind and all sizes."""


@dataclass(frozen=True)
class Difference:
    """A layer of one network and the nearest unmatched one of the other; None where there is none of its kind left.

    ``differing`` names the sizes that differ.
    """

    first: Layer | None
    second: Layer | None
    differing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """``equal`` layers are the same in both; ``precisions`` of them differ in precision alone."""

    equal: int
    precisions: int
    differences: tuple[Difference, ...]


def geometry(layer: Layer) -> tuple[str | int, ...]:
    """Kind and sizes, in the order of ``GEOMETRY``."""
    return tuple(getattr(layer, name) for name in GEOMETRY)


def compare(first: Sequence[Layer], second: Sequence[Layer]) -> Comparison:
    """Match the layers of two networks that have operations, wherever they stand: builders may order branches as they like."""
    left, right = [x for x in first if _compared(x)], [x for x in second if _compared(x)]
    shared = Counter(map(geometry, left)) & Counter(map(geometry, right))
    same = Counter((geometry(x), x.precision) for x in left) & Counter((geometry(x), x.precision) for x in right)
    known = all(layer.precision for layer in (*left, *right))
    unmatched = _beyond(right, shared)
    found = []
    for layer in _beyond(left, shared):
        of_kind = [other for other in unmatched if other.kind == layer.kind]
        nearest = min(of_kind, key=lambda other: len(_differing(layer, other)), default=None)
        if nearest is not None:
            unmatched.remove(nearest)
        found.append(Difference(layer, nearest, _differing(layer, nearest) if nearest else ()))
    found += [Difference(None, layer) for layer in unmatched]
    return Comparison(shared.total(), shared.total() - same.total() if known else 0, tuple(found))


def _compared(layer: Layer) -> bool:
    """Normalisations and look-ups are not: a builder joins them with what stands around them."""
    return layer.working and layer.kind not in ("norm", "embedding")


def _beyond(layers: Sequence[Layer], shared: Counter[tuple[str | int, ...]]) -> list[Layer]:
    """The layers left when those shared are taken, first ones first."""
    left = shared.copy()
    beyond = []
    for layer in layers:
        if left[geometry(layer)]:
            left[geometry(layer)] -= 1
        else:
            beyond.append(layer)
    return beyond


def _differing(one: Layer, other: Layer) -> tuple[str, ...]:
    return tuple(name for name in GEOMETRY if getattr(one, name) != getattr(other, name))
