"""What the product says of a run: `neuralpower attribute` of its recording, and the daemon's running estimates of the same logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.worlds.runs.make import Made

from neuralpower.attribution import attribute
from neuralpower.attribution.results import EngineAttribution
from neuralpower.recordings.recording import Recording
from neuralpower_align.result.resolution import HALF_WIDTH, Z95
from neuralpower_wire import Kind, Record
from neuralpower_wire.estimates import EngineEstimate
from neuralpowerd.config import EstimatesTable
from neuralpowerd.live.estimates_stream import EstimatesStream

from .score import Told

LOOK_TICKS = 250
"""The daemon's process looks at the logs four times a second,"""
EVERY_NS = 2_000_000_000
"""and tells what it knows so often."""
SETTLED_NS = 18_000_000_000
"""What ran before has been worked on so long after: the clock is looked at 8 s ahead, inferences are waited for, chunks take up to 5 s."""


@dataclass(frozen=True)
class Batch:
    """By the hash of each engine what is told, and the sensor, µs."""

    engines: dict[str, Told]
    delay_us: float
    lag_us: float
    notes: tuple[str, ...]


def by_batch(folder: Path) -> Batch:
    """Attribute the recording in a folder."""
    found = attribute(Recording(folder))
    engines = {name: _of_batch(each) for name, each in found.engines.items()}
    return Batch(engines, found.delay_s * 1e6, found.lag_s * 1e6, found.notes)


def _of_batch(each: EngineAttribution) -> Told:
    return Told(
        each.name,
        np.array([layer.unit for layer in each.layers]),
        np.array([layer.resolved for layer in each.layers]),
        np.array(each.unit_power_w),
        np.array(each.unit_se_w),
        each.energy_per_inference_j,
        each.energy_se_j,
        each.withheld,
        each.runtime_s,
    )


@dataclass(frozen=True)
class Streamed:
    """What the running estimates told once all that ran was worked on, and `later`, behind the idling; `told_after_s` from
    the first inference until anything was told, nan: never."""

    engines: dict[str, Told]
    later: dict[str, Told]
    told_after_s: float
    state: str


def by_stream(made: Made) -> Streamed:
    """Feed ticks and records as the daemon's process takes them, with the daemon's window."""
    stream = EstimatesStream(
        EstimatesTable().window_s, lambda number: made.epoch if number == made.epoch.number else None
    )
    records, next_ns, told_ns = _Until(made), 0, 0
    settled: dict[str, Told] | None = None
    first_ns = min(record.body["begin_ns"] for record in made.records if record.kind is Kind.INFERENCE)
    for first in range(0, len(made.ticks), LOOK_TICKS):
        ticks = made.ticks[first : first + LOOK_TICKS]
        t_ns = int(ticks["t_ns"][-1])
        for record in records.before(t_ns) if stream.online is not None else ():
            stream.take_record(record)
        stream.take_ticks(ticks)
        if t_ns >= next_ns and not told_ns:
            next_ns = t_ns + EVERY_NS
            told_ns = t_ns if any(not each.withheld for each in _told(made, stream).values()) else 0
        if settled is None and t_ns >= made.ended_ns + SETTLED_NS:
            settled = _told(made, stream)
    state = "" if stream.online is None else f"{stream.online.state} {stream.online.why}".strip()
    later = _told(made, stream)
    return Streamed(settled or later, later, (told_ns - first_ns) * 1e-9 if told_ns else float("nan"), state)


class _Until:
    """Records in the order of time."""

    def __init__(self, made: Made) -> None:
        self._records, self._at = made.records, 0

    def before(self, t_ns: int) -> Iterator[Record]:
        """Those up to a moment that were not given yet."""
        while self._at < len(self._records) and self._records[self._at].t_ns <= t_ns:
            self._at += 1
            yield self._records[self._at - 1]


def _told(made: Made, stream: EstimatesStream) -> dict[str, Told]:
    """Of the engines that have layers; those without the profiler are no units."""
    names = {record.body["hash"]: record.body["name"] for record in made.records if record.kind is Kind.ENGINE}
    found = {each.engine: each for each in stream.estimates() if each.engine in made.truth.engines}
    return {
        engine: _of_stream(names[engine], found.get(engine), len(made.truth.engines[engine].layers))
        for engine in made.truth.engines
    }


def _of_stream(name: str, each: EngineEstimate | None, layers: int) -> Told:
    if each is None or not len(each.unit) or not np.isfinite(each.power_w).any():
        why = "no inference seen" if each is None else each.why or f"{each.state}: nothing told"
        nothing = np.array([np.nan])
        return Told(name, np.zeros(layers, np.int64), np.zeros(layers, np.bool_), nothing, nothing, np.nan, np.nan, why)
    unit = each.unit.astype(np.int64)
    at = np.unique(unit, return_index=True)[1]
    alone = np.bincount(unit)[unit] == 1
    resolved = alone & (Z95 * each.power_se_w <= HALF_WIDTH * each.power_w)
    return Told(name, unit, resolved, each.power_w[at], each.power_se_w[at], each.energy_j, each.energy_se_j)
