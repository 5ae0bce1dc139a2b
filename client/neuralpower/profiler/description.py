"""What an engine is, as its inspector tells, under a hash of its content."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from neuralpower_wire.link import Engine

from .callback import bindings_of


def content_hash(inspector: dict[str, Any]) -> str:
    """SHA-256 of the inspector's document in canonical JSON: equal engines have equal hashes on every machine."""
    canonical = json.dumps(inspector, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def layer_names(inspector: dict[str, Any]) -> list[str]:
    """The names in execution order; an engine built without DETAILED verbosity lists nothing but names."""
    layers = inspector.get("Layers", [])
    return [layer if isinstance(layer, str) else str(layer.get("Name", "")) for layer in layers]


UNPROFILED = "Unprofiled"
"""Key in the description of an engine that stands for another one's inferences without the profiler: that one's hash."""


def unprofiled(engine: Engine) -> Engine:
    """The engine under which inferences without the profiler are sent: one layer, the whole inference.

    They have anchors and no durations, and run faster: counted as the same engine they would blur its layers.
    """
    layer = {"Name": "inference", "LayerType": "Inference", "Inputs": [], "Outputs": []}
    document = {"Layers": [layer], "Bindings": [], UNPROFILED: engine.hash}
    name = f"{engine.name[:240]} unprofiled"
    return Engine(content_hash(document), name, document, ["inference"], engine.simulated)


def describe(context: Any, engine: Any, name: str) -> Engine:
    """Ask the engine's inspector, with `context` bound so that dynamic shapes are the ones that run.

    Raises:
        ValueError: the inspector's answer is no JSON object.
    """
    bindings = bindings_of(context)
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    text = inspector.get_engine_information(bindings.LayerInformationFormat.JSON if bindings else None)
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("the engine inspector did not answer with a JSON object")
    simulated = bool(getattr(context, "simulated", False))
    title = name or str(getattr(engine, "name", "")) or "unnamed engine"
    return Engine(content_hash(document), title[:256], document, layer_names(document), simulated)
