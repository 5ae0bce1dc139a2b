"""Layers that a runtime of our own writes into its description: an entry of the inspector's list whose key `Layer` holds the layer's fields.

TensorRT's inspector tells geometry in keys that differ by layer type and version, and has none for much of what other runtimes run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from neuralpower.features.layers import ImpossibleLayer, Layer

KEY = "Layer"
IDLE = "Idle"
"""Type of an entry for the time between two layers, in which nothing of the network runs."""
IDLE_NOTE = "between two layers"

_FIELDS = {field.name: field for field in fields(Layer) if field.name != "name"}
_TYPES: dict[str, type] = {"int": int, "str": str}


def told(layer: Layer, name: str) -> dict[str, Any]:
    """The entry of a layer under a name; fields that are as they are by default are left out."""
    given = {
        field.name: getattr(layer, field.name)
        for field in _FIELDS.values()
        if field.default is MISSING or getattr(layer, field.name) != field.default
    }
    return {"Name": name, "LayerType": layer.layer_type, KEY: given}


def told_layer(entry: Mapping[str, Any], name: str) -> Layer | None:
    """The layer that an entry tells; None where it tells none. Raises ImpossibleLayer where what it tells is no layer."""
    given = entry.get(KEY)
    if given is None:
        return None
    if not isinstance(given, dict) or "kind" not in given:
        raise ImpossibleLayer(name, f"its key {KEY} holds no layer")
    for key, value in given.items():
        if key not in _FIELDS or type(value) is not _TYPES[str(_FIELDS[key].type)]:
            raise ImpossibleLayer(name, f"its key {KEY} has a field {key[:60]!r} that no layer has so")
    return Layer(name, **given)
