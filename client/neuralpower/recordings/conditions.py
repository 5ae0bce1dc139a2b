"""What the GPU was like while each engine of a recording ran: its clock, its temperature, and why it was held back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuralpower_wire import Kind

from .recording import Recording

CLOCK, TEMPERATURE, THROTTLE = "clock_hz.", "temperature_c.", "throttle_reasons."
_GPU = ("gpu", "gv11b", "gp10b", "ga10b", "gb10b")
"""What names of a GPU's clocks and sensors hold: NVML's, and those of devfreq and thermal zones on a Jetson."""
BENIGN = frozenset({"", "none", "idle", "application-clocks", "display-clocks"})
"""Reasons that hold nothing back."""


@dataclass(frozen=True)
class EngineConditions:
    """Means over the time in which an engine ran; nan where nothing was written down. `throttled`: reasons that held its clocks back, or ""."""

    clock_hz: float = math.nan
    temperature_c: float = math.nan
    throttled: str = ""


def conditions_of(recording: Recording) -> dict[str, EngineConditions]:
    """By the engine's hash, from conditions that were written down between its first and its last inference."""
    seen = [(record.t_ns, record.body) for record in recording.records(Kind.CONDITION)]
    times = np.array([t for t, _ in seen], np.int64)
    spans: dict[str, tuple[int, int]] = {}
    for each in recording.inferences():
        low, high = spans.get(each.engine, (each.begin_ns, each.end_ns))
        spans[each.engine] = min(low, each.begin_ns), max(high, each.end_ns)
    found = {}
    for engine, (begin, end) in spans.items():
        at = slice(int(np.searchsorted(times, begin)), int(np.searchsorted(times, end, side="right")))
        found[engine] = of_bodies([body for _, body in seen[at]])
    return found


def of_bodies(bodies: list[Mapping[str, Any]]) -> EngineConditions:
    """Of some conditions records."""
    reasons = sorted({reason for body in bodies for reason in throttled(body)})
    return EngineConditions(_mean(bodies, CLOCK), _mean(bodies, TEMPERATURE), ", ".join(reasons))


def throttled(body: Mapping[str, Any]) -> list[str]:
    """The reasons for which clocks of any GPU were held back, in the driver's words; none where nothing held them."""
    told = [str(value) for key, value in body.items() if key.startswith(THROTTLE)]
    return [each for value in told for each in map(str.strip, value.split(",")) if each not in BENIGN]


def of_gpu(body: Mapping[str, Any], prefix: str) -> float:
    """The first GPU's clock or temperature, nan where it is not told; of its clocks the one that computes."""
    keys = sorted(key for key in body if key.startswith(prefix) and any(part in key.lower() for part in _GPU))
    chosen = next((key for key in keys if key.endswith(".sm")), keys[0] if keys else "")
    value = body.get(chosen)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _mean(bodies: list[Mapping[str, Any]], prefix: str) -> float:
    values = [value for body in bodies if math.isfinite(value := of_gpu(body, prefix))]
    return float(np.mean(values)) if values else math.nan
