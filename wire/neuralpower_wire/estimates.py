"""The `estimates` message: what the layers of each engine draw, as far as it is known by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .batch import Batch, column, header_count, header_text
from .errors import WireError
from .topics import ESTIMATES

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.uint32]

STATES = ("waiting", "acquiring", "running")
MAX_ENGINES, MAX_LAYERS = 64, 8192
"""Engines of one message, and layers of one engine."""


@dataclass(frozen=True)
class EngineEstimate:
    """Of one engine: a state of :data:`STATES`; `why` it waits, or why its energy is withheld; inferences counted so far.

    Per layer (n,), empty until it runs: its unit, the unit's power and standard error, W, nan where withheld. Energy of all layers of a
    mean inference and its standard error, J, nan where withheld or not known.
    """

    engine: str
    state: str
    why: str
    inferences: int
    unit: Units
    power_w: Floats
    power_se_w: Floats
    energy_j: float = float("nan")
    energy_se_j: float = float("nan")


def estimates_to_batch(first: int, engines: Sequence[EngineEstimate]) -> Batch:
    """The message number `first`."""
    rows = [
        {
            "hash": each.engine,
            "state": each.state,
            "why": each.why[:256],
            "inferences": each.inferences,
            "layers": len(each.unit),
            "energy_j": each.energy_j,
            "energy_se_j": each.energy_se_j,
        }
        for each in engines
    ]
    columns = {
        "unit": np.concatenate([np.zeros(0, "<u4"), *(each.unit.astype("<u4") for each in engines)]).astype("<u4"),
        "power_w": np.concatenate([np.zeros(0), *(each.power_w for each in engines)]).astype("<f8"),
        "power_se_w": np.concatenate([np.zeros(0), *(each.power_se_w for each in engines)]).astype("<f8"),
    }
    return Batch(ESTIMATES, {"first": first, "count": len(rows), "engines": rows}, columns)


def batch_to_estimates(batch: Batch) -> tuple[int, list[EngineEstimate]]:
    """Number and engines of an `estimates` message; WireError where it is not one."""
    first = header_count(batch.header, "first", 2**63)
    rows = batch.header.get("engines")
    if not isinstance(rows, list) or len(rows) > MAX_ENGINES or not all(isinstance(row, dict) for row in rows):
        raise WireError(f"engines must be a list of at most {MAX_ENGINES} maps")
    counts = [header_count(row, "layers", MAX_LAYERS) for row in rows]
    ends = np.cumsum([0, *counts]).tolist()
    unit = column(batch, "unit", "<u4", ends[-1])
    power, error = (column(batch, name, "<f8", ends[-1]) for name in ("power_w", "power_se_w"))
    parts = zip(rows, ends[:-1], ends[1:], strict=True)
    return first, [_engine(row, unit[a:b], power[a:b], error[a:b]) for row, a, b in parts]


def _engine(row: Mapping[str, Any], unit: Units, power_w: Floats, power_se_w: Floats) -> EngineEstimate:
    state = header_text(row, "state")
    if state not in STATES:
        raise WireError(f"state must be one of {', '.join(STATES)}")
    return EngineEstimate(
        engine=header_text(row, "hash"),
        state=state,
        why=header_text(row, "why"),
        inferences=header_count(row, "inferences", 2**63),
        unit=unit,
        power_w=power_w,
        power_se_w=power_se_w,
        energy_j=_number(row, "energy_j"),
        energy_se_j=_number(row, "energy_se_j"),
    )


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    if not isinstance(value, float):
        raise WireError(f"{name} must be a number")
    return value
