"""The layers of a described network, each as an engine of its own that repeats it."""

from __future__ import annotations

from ..features.inspector.engine import layers_from_engine
from .networks.graph import Json, Tensor
from .sweep import Probe


def probes_of(engine: Json, name: str) -> list[Probe]:
    """The convolutions, pools and fully connected layers of an engine's JSON, each geometry once."""
    found: dict[tuple[str | int, ...], Probe] = {}
    for entry, layer in zip(engine["Layers"], layers_from_engine(engine, name), strict=True):
        if layer.modelled and layer.shape not in found:
            source, result = _tensor(entry["Inputs"][0]), _tensor(entry["Outputs"][0])
            label = layer.name.partition(" + ")[0].strip("/").replace("/", ".")
            found[layer.shape] = Probe(f"{name} {label}", layer.kind, source, result, entry["LayerType"], entry)
    return list(found.values())


def _tensor(described: Json) -> Tensor:
    _, channels, height, width = described["Dimensions"]
    return Tensor(described["Name"], channels, height, width)
