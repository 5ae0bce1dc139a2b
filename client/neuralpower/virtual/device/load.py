"""An engine as the virtual GPU sees it: mean time and power of each layer, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...features.inspector.engine import layers_from_engine
from ...features.layers import Layer
from ...profiler.description import content_hash, layer_names
from ..networks.graph import Json
from .hardware import Hardware

_SLICE_NS = 150_000
"""Equal layers in a row share a timeline record of about this length: shorter than any conversion that could tell."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Load:
    """An engine of L layers, A of which take time (a NoOp takes none).

    duration_ns (A,) and compute_share (A,) as in :class:`Cost`; power_w (A, 3) above idle. `active` (A,) are their
    positions in the engine, `slices` (G,) where among them each timeline record starts. `repeats` is L where all
    layers are the same, else 1.
    """

    name: str
    hash: str
    inspector: Json
    layers: list[str]
    repeats: int
    active: Indices
    slices: Indices
    duration_ns: Floats
    compute_share: Floats
    power_w: Floats

    @classmethod
    def of(cls, name: str, inspector: Json, hardware: Hardware) -> Load:
        """What `hardware` makes of the engine.

        Raises:
            InputError: the engine tells nothing of its layers, or has none that takes time.
        """
        layers = layers_from_engine(inspector, name)
        names = layer_names(inspector)
        if [layer.name for layer in layers] != names:
            raise InputError(f"{name}: the engine's layers cannot be simulated one by one")
        keys = [_geometry(layer) for layer in layers]
        costs = {key: hardware.cost(layer) for key, layer in dict(zip(keys, layers, strict=True)).items()}
        each = [costs[key] for key in keys]
        active = np.flatnonzero([cost.duration_s > 0 for cost in each])
        if not len(active):
            raise InputError(f"{name}: no layer of this engine takes any time")
        repeats = len(layers) if len(layers) > 1 and len(costs) == 1 else 1
        duration_ns = np.array([each[i].duration_s for i in active]) * 1e9
        per_slice = max(1, int(_SLICE_NS / duration_ns[0])) if repeats > 1 else 1
        return cls(
            name,
            content_hash(inspector),
            inspector,
            names,
            repeats,
            active,
            np.arange(0, len(active), per_slice),
            duration_ns,
            np.array([each[i].compute_share for i in active]),
            np.array([each[i].power_w for i in active]),
        )


def _geometry(layer: Layer) -> tuple[object, ...]:
    """All of a layer but its name: equal layers cost the same."""
    return tuple(value for key, value in vars(layer).items() if key != "name")
