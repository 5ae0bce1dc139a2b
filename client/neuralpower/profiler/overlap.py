"""What of an engine cannot be told layer by layer: layers that overlap in time, and regions that count as one.

TensorRT reports one duration for each entry of the inspector's list, in order. Laying them one after another is right only
where one stream runs them all. A region (`{ForeignNode[...]}`, DLA) is one entry whatever it holds: a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REGIONS = (("ForeignNode", "a fused region; profiling verbosity DETAILED tells its layers from TensorRT 10 on"),
           ("DLA", "runs on the DLA; its time lies on the copy behind it"))  # fmt: skip
"""Part of a layer's name or type -> why it is a group."""


class OverlapError(ValueError):
    """Layers of the engine run at the same time, so that durations in order say nothing of when each ran."""


@dataclass(frozen=True)
class Region:
    """An entry that stands for several layers of the network: its position, its name, and why."""

    position: int
    name: str
    reason: str


def refuse_overlap(engine: Any, inspector: dict[str, Any], name: str) -> None:
    """Raise OverlapError where layers of `engine` may run at the same time, with what to do about it."""
    auxiliary = getattr(engine, "num_aux_streams", 0) or 0
    advice = "build it with max_aux_streams = 0 (trtexec --maxAuxStreams=0)"
    if auxiliary > 0:
        raise OverlapError(f"engine {name!r} uses {auxiliary} auxiliary streams, so its layers overlap; {advice}")
    streams = {layer["StreamId"] for layer in _detailed(inspector) if isinstance(layer.get("StreamId"), int)}
    if len(streams) > 1:
        raise OverlapError(f"engine {name!r} runs its layers on {len(streams)} streams, where they overlap; {advice}")


def regions(inspector: dict[str, Any]) -> list[Region]:
    """The entries that are groups of layers, in order."""
    found = []
    for position, entry in enumerate(inspector.get("Layers", [])):
        layer = entry if isinstance(entry, dict) else {"Name": str(entry)}
        told = f"{layer.get('Name', '')} {layer.get('LayerType', '')}"
        reason = next((why for part, why in REGIONS if part.lower() in told.lower()), None)
        if reason:
            found.append(Region(position, str(layer.get("Name", "")), reason))
    return found


def silent(inspector: dict[str, Any]) -> list[int]:
    """Positions of the entries that do nothing (`NoOp`): a version may leave them out of its report."""
    entries = enumerate(inspector.get("Layers", []))
    return [at for at, entry in entries if isinstance(entry, dict) and entry.get("LayerType") == "NoOp"]


def _detailed(inspector: dict[str, Any]) -> list[dict[str, Any]]:
    return [layer for layer in inspector.get("Layers", []) if isinstance(layer, dict)]
