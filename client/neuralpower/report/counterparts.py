"""Which measurement a prediction is held against: told by the layers themselves, since names occur twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from neuralpower.attribution import Attribution, EngineAttribution, LayerPower
from neuralpower.features.layers import Layer
from neuralpower.models.network import NetworkPrediction


def engine_of(prediction: NetworkPrediction, attribution: Attribution | None) -> EngineAttribution | None:
    """The measured engine of the predicted network's name; of several of one name the only one with the same modelled layers, at best in
    the same precision. None where none is, or nothing tells which."""
    named = [each for each in attribution.engines.values() if each.name == prediction.name] if attribution else []
    if len(named) < 2:
        return named[0] if named else None
    told = [each.layer for each in prediction.layers]
    geometries = [(each, [layer.geometry for layer in each.layers if layer.geometry]) for each in named]
    same, alike = (
        [each for each, layers in geometries if _shapes(layers, precise) == _shapes(told, precise)]
        for precise in (True, False)
    )
    return next((each[0] for each in (same, alike) if len(each) == 1), None)


def layers_of(prediction: NetworkPrediction, engine: EngineAttribution | None) -> list[LayerPower | None]:
    """The measured layer of each predicted one, by name: of several of one name the next; None where there are not as many of both."""
    measured: Sequence[LayerPower] = engine.layers if engine else ()
    told, listed = Counter(each.name for each in measured), Counter(each.layer.name for each in prediction.layers)
    left: dict[str, list[LayerPower]] = {}
    for each in measured:
        left.setdefault(each.name, []).append(each)
    names = [each.layer.name for each in prediction.layers]
    return [left[name].pop(0) if told[name] == listed[name] else None for name in names]


def _shapes(layers: Sequence[Layer], precise: bool) -> list[tuple[str | int, ...]]:
    """Kinds and sizes of the modelled layers, with their precision or without."""
    return [(layer if precise else replace(layer, precision="")).shape for layer in layers if layer.modelled]
