"""Layers that were measured twice: repeated in an engine of their own, read off the rails, and attributed within a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from neuralpower.attribution.results import Attribution, EngineAttribution, LayerPower
from neuralpower.interval import Z95

CHANCE = 0.05
"""Number: an interval of 95 % misses so often if it is right."""
UNUSUAL = 0.025
"""Rule: more misses than come by chance in one case out of forty are said to be too many."""
WANDER = 0.005
"""Board: by so much, as a standard deviation, the power of a device wanders from one time to another with temperature and clocks. The two
measurements lie apart in time, and neither interval holds it."""


@dataclass(frozen=True)
class LayerPair:
    """A layer of a network, and the engine that repeats a layer of its geometry."""

    network: str
    attributed: LayerPower
    repeated: LayerPower

    @property
    def off_w(self) -> float:
        """Attributed less repeated."""
        return self.attributed.power_w - self.repeated.power_w

    @property
    def se_w(self) -> float:
        """Standard error of that, both taken as independent, with :data:`WANDER`."""
        return math.hypot(self.attributed.power_se_w, self.repeated.power_se_w, WANDER * self.repeated.power_w)

    @property
    def agrees(self) -> bool:
        """Whether the 95 % interval of the difference holds zero."""
        return abs(self.off_w) <= Z95 * self.se_w


def pairs(attribution: Attribution) -> list[LayerPair]:
    """The layers of networks that are told for themselves and were also measured repeated, by their geometry.

    A layer that shares its unit is left out: what is known of it alone is too little to agree or disagree with.
    """
    engines = attribution.engines.values()
    repeated = {_key(layer): layer for _, layer in _layers(engines, True)}
    found = []
    for engine, layer in _layers(engines, False):
        key = _key(layer)
        if key in repeated and layer.members == 1:
            found.append(LayerPair(engine.name, layer, repeated[key]))
    return found


def most_missed(count: int) -> int:
    """How many of `count` right 95 % intervals miss at the most, but for one case in forty."""
    within, missed = 0.0, -1
    while within < 1 - UNUSUAL:
        missed += 1
        within += math.comb(count, missed) * CHANCE**missed * (1 - CHANCE) ** (count - missed)
    return missed


def sentence(found: list[LayerPair]) -> str:
    """How many agree, for people; nothing where there are none."""
    if not found:
        return ""
    agree = sum(pair.agrees for pair in found)
    return (
        f"repeated layers: {agree} of {len(found)} layers of networks agree with the same layer measured repeated, within their 95 % "
        f"intervals and a wander of {WANDER:.1%} between the two times; {most_missed(len(found))} may miss by chance"
    )


def _layers(engines: Iterable[EngineAttribution], repeated: bool) -> list[tuple[EngineAttribution, LayerPower]]:
    return [
        (engine, layer)
        for engine in engines
        if engine.repeated == repeated
        for layer in engine.layers
        if math.isfinite(layer.power_w)
        and math.isfinite(layer.power_se_w)
        and layer.geometry
        and layer.geometry.modelled
    ]


def _key(layer: LayerPower) -> tuple[str | int, ...]:
    return layer.geometry.shape if layer.geometry else ()
