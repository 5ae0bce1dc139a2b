"""What a recording holds that attribution needs: readings of each rail, stretches that have a name, engines with their inferences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuralpower.attribution.results import Systematic
from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.inspector.told import IDLE
from neuralpower.features.layers import Layer
from neuralpower.profiler.description import UNPROFILED
from neuralpower.profiler.marks import spans
from neuralpower_align.activity.classes import Baseline, EngineRuns, slices_of
from neuralpower_align.activity.unnamed import BEHIND_NS
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.readings.channel_readings import rail_readings, volt_of
from neuralpower_wire import Epoch, Ticks, explained

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REPEATED_SHARE = 0.95
"""Rule: one layer that makes up so much of an engine's time, in eight copies or more, is a repeated layer."""
GAIN, LARGEST_GAIN, OFFSET_UV, LARGEST_OFFSET_UV = 0.001, 0.0025, 40.0, 80.0
"""Chip: typical and largest tolerance, of TI's SBOS576B (`Systematic`)."""
BASELINES = {"device idle": "device-idle", "context idle": "context-idle", "gap": "gap"}
BEFORE_NS = 2_000_000
"""Chip: readings so long before a thing saw nothing of it: the longest delay looked for. Behind it many lags must have gone by."""


class RecordingSource(Protocol):
    """What is asked of a recording."""

    @property
    def streams(self) -> list[bytes]: ...
    @property
    def simulated(self) -> bool: ...
    def ticks(self, stream: bytes | None = None) -> Ticks: ...
    def epochs(self, stream: bytes | None = None) -> list[Epoch]: ...
    def inferences(self) -> Sequence[Any]: ...
    def engines(self) -> Mapping[str, Mapping[str, Any]]: ...


@dataclass(frozen=True)
class Rails:
    """Readings of each rail, an epoch a stretch, and what they are of."""

    names: tuple[str, ...]
    readings: tuple[tuple[ChannelReadings, ...], ...]
    board: str
    systematic: Systematic | None

    @property
    def first_ns(self) -> int:
        """When the first was read."""
        return min(int(piece.read_ns[0]) for rail in self.readings for piece in rail)

    @property
    def last_ns(self) -> int:
        """When the last was read."""
        return max(int(piece.read_ns[-1]) for rail in self.readings for piece in rail)

    def without(self, begin_ns: Ints, end_ns: Ints) -> Rails:
        """The readings that saw nothing of stretches (m,) in order, whatever the sensor's delay and lag; all where none would be left."""
        rails = []
        for rail in self.readings:
            # Of readings with stamps the window is not known yet: it is taken to be no longer than a hole.
            behind_ns = max(piece.hole_ns for piece in rail) if rail[0].stamped else BEHIND_NS
            low, high = begin_ns - BEFORE_NS, end_ns + behind_ns
            kept = [
                piece.take(np.searchsorted(low, piece.read_ns, "right") == np.searchsorted(high, piece.read_ns))
                for piece in rail
            ]
            rails.append(tuple(piece for piece in kept if piece.read_ns.size))
        return replace(self, readings=tuple(rails)) if all(rails) else self

    def total(self) -> tuple[Ints, Floats]:
        """All rails together where each was read: times rising, and W. Rails are taken at the first one's times."""
        read_ns = np.concatenate([piece.read_ns for piece in self.readings[0]])
        power = np.concatenate([piece.power_w for piece in self.readings[0]])
        read_ns, first = np.unique(read_ns, return_index=True)
        power = power[first]
        for rail in self.readings[1:]:
            at = np.concatenate([piece.read_ns for piece in rail])
            power = power + np.interp(read_ns, at, np.concatenate([piece.power_w for piece in rail]))
        return read_ns, power


def rails_of(recording: RecordingSource, rail: str | None, notes: list[str]) -> Rails:
    """The rails whose sum is the total, or one by its name, of the longest tick stream. InputError where there is none."""
    streams = sorted(recording.streams, key=lambda stream: len(recording.ticks(stream)))
    if not streams or not len(recording.ticks(streams[-1])):
        raise InputError("the recording holds no ticks")
    if len(streams) > 1:
        notes.append(f"{len(streams) - 1} shorter tick streams, which have clocks of their own, were left out")
    ticks, epochs = recording.ticks(streams[-1]), recording.epochs(streams[-1])
    names = (rail,) if rail else next((epoch.totals for epoch in epochs if epoch.totals), ())
    if rail:
        check_rail(rail, epochs)
    by_rail: dict[str, list[ChannelReadings]] = {name: [] for name in names}
    for epoch, mine in explained(ticks, epochs):
        if epoch is None:
            continue
        found = {name: rail_readings(epoch, mine, name, notes) for name in names}
        if all(each is not None for each in found.values()):
            for name, each in found.items():
                if each is not None:
                    by_rail[name].append(each)
    if not names or not all(by_rail.values()):
        raise InputError(
            f"the recording has no reading of {f'rail {rail}' if rail else 'the total power of the board'}"
        )
    readings = tuple(tuple(sorted(by_rail[name], key=lambda piece: int(piece.read_ns[0]))) for name in names)
    return Rails(tuple(names), readings, epochs[0].board, _systematic(epochs, names, readings))


def check_rail(rail: str, epochs: Sequence[Epoch]) -> None:
    """Raises InputError where no epoch has such a rail."""
    known = {name for epoch in epochs for name in epoch.rails()}
    if rail not in known:
        raise InputError(f"no rail {rail!r} in this recording; there are {', '.join(sorted(known))}")


def _systematic(
    epochs: Sequence[Epoch], names: Sequence[str], readings: Sequence[Sequence[ChannelReadings]]
) -> Systematic | None:
    """The chips' tolerance for these rails together; None where the shunts are not known."""
    constant = 0.0
    for name in names:
        shunts = [c for e in epochs for c in e.channels if c.rail == name and c.quantity == "shunt_uv" and c.shunt_uohm]
        bus = [i for i, c in enumerate(epochs[0].channels) if c.rail == name and c.quantity == "bus_uv"]
        if not shunts or not bus:
            return None
        constant += volt_of(readings[list(names).index(name)], shunts[0]) / shunts[0].shunt_uohm
    return Systematic(GAIN, LARGEST_GAIN, OFFSET_UV * constant, LARGEST_OFFSET_UV * constant)


@dataclass(frozen=True)
class MeasuredEngine:
    """An engine with its inferences, and which of its layers are copies of one (empty: none).

    `profiled`: the hash of the engine whose inferences without the profiler these are, "" for any other. They have no layers. `idle`:
    positions of the entries that are no layers but the time between two.
    """

    body: Mapping[str, Any]
    geometry: tuple[Layer | None, ...]
    copies: Ints
    runs: EngineRuns
    profiled: str = ""
    idle: frozenset[int] = frozenset()


def measured_engines(recording: RecordingSource, first_ns: int, last_ns: int, notes: list[str]) -> list[MeasuredEngine]:
    """Engines with the inferences that lie within the readings, do not overlap others, and name every layer; those without the
    profiler last."""
    bodies = recording.engines()
    kept: dict[str, list[Any]] = {}
    free_from, dropped = first_ns, 0
    for inference in sorted(recording.inferences(), key=lambda each: int(each.begin_ns)):
        body = bodies.get(inference.engine)
        fits = free_from <= inference.begin_ns <= inference.end_ns <= last_ns
        if body is None or not fits or len(inference.durations_ns) != len(body["layers"]) or not body["layers"]:
            dropped += 1
            continue
        free_from = inference.end_ns
        kept.setdefault(inference.engine, []).append(inference)
    if dropped:
        notes.append(
            f"{dropped} inferences left out: outside the readings, overlapping another, or of an undescribed engine"
        )
    if all(profiled_of(bodies[name]) for name in kept):
        raise InputError("the recording holds no inference of a described engine during its ticks")
    found = [_one(bodies[name], inferences, notes) for name, inferences in kept.items()]
    return sorted(found, key=lambda each: bool(each.profiled))


def named_stretches(recording: RecordingSource, measured: Sequence[MeasuredEngine]) -> list[Baseline]:
    """Stretches that marks name, none overlapping another or an inference: baselines that no inference touches, and all of the
    time between inferences in which something else ran."""
    records = getattr(recording, "records", None)
    if records is None:
        return []
    begin = np.sort(np.concatenate([each.runs.begin_ns for each in measured]))
    end = np.sort(np.concatenate([each.runs.end_ns for each in measured]))
    by_hash = {each.body["hash"]: number for number, each in enumerate(measured)}
    by_name = {each.body["name"]: number for number, each in enumerate(measured)}
    found: list[Baseline] = []
    free_from = -(2**62)
    for span in spans(records(), "baseline", "aside"):
        low, high = np.searchsorted(end, span.begin_ns, side="right"), np.searchsorted(begin, span.end_ns)
        if span.kind == "aside":
            starts = [max(span.begin_ns, free_from), *end[low:high].tolist()]
            stops = [*begin[low:high].tolist(), span.end_ns]
            pairs = zip(starts, stops, strict=True)
            found += [Baseline("aside", start, stop) for start, stop in pairs if stop > start]
            free_from = max(free_from, span.end_ns)
        elif span.name in BASELINES and low == high and span.begin_ns >= free_from:
            engine = str(span.more.get("engine", ""))
            number = by_hash.get(engine, by_name.get(engine, 0))
            found.append(Baseline(BASELINES[span.name], span.begin_ns, span.end_ns, number))
            free_from = span.end_ns
    return found


def profiled_of(body: Mapping[str, Any]) -> str:
    """The hash of the engine of which this one holds the inferences without the profiler, or ""."""
    inspector = body["inspector"]
    return str(inspector.get(UNPROFILED, "")) if isinstance(inspector, Mapping) else ""


def _one(body: Mapping[str, Any], inferences: Sequence[Any], notes: list[str]) -> MeasuredEngine:
    begin = np.array([each.begin_ns for each in inferences], np.int64)
    end = np.array([each.end_ns for each in inferences], np.int64)
    profiled = profiled_of(body)
    if profiled:
        runs = EngineRuns.sliced(begin, end, slices_of(float((end - begin).mean())))
        return MeasuredEngine(body, (None,), np.zeros(0, np.int64), runs, profiled)
    durations = np.stack([np.asarray(each.durations_ns, np.int64) for each in inferences])
    geometry = _geometry(body, notes)
    copies = _copies(geometry, durations.mean(axis=0))
    idle = _idle(body)
    alike = np.arange(len(body["layers"]))
    for same in (
        copies,
        np.array(sorted(idle), np.int64),
    ):  # between layers the device is in one state, wherever that is
        if same.size:
            alike[same] = same[0]
    alike = np.unique(alike, return_inverse=True)[1].reshape(-1)
    return MeasuredEngine(body, geometry, copies, EngineRuns(begin, end, durations, alike), idle=idle)


def _idle(body: Mapping[str, Any]) -> frozenset[int]:
    """The positions of entries that are the time between two layers."""
    inspector = body["inspector"]
    entries = inspector.get("Layers") if isinstance(inspector, Mapping) else None
    if not isinstance(entries, (list, tuple)) or len(entries) != len(body["layers"]):
        return frozenset()
    return frozenset(
        at for at, each in enumerate(entries) if isinstance(each, Mapping) and each.get("LayerType") == IDLE
    )


def _geometry(body: Mapping[str, Any], notes: list[str]) -> tuple[Layer | None, ...]:
    """The layers as the engine's information has them, in the order of the durations; None where it does not tell."""
    names = list(body["layers"])
    try:
        layers = layers_from_engine(body["inspector"], body["name"])
    except InputError as error:
        notes.append(str(error))
        return (None,) * len(names)
    if [layer.name for layer in layers] == names:
        return tuple(layers)
    return tuple(_of_names(layers, names))


def _of_names(layers: Sequence[Layer], names: Sequence[str]) -> Iterator[Layer | None]:
    """The layer of each name: of several of one name the next; None where there are not as many of both, for nothing tells which is whose."""
    told, listed = Counter(layer.name for layer in layers), Counter(names)
    left: dict[str, list[Layer]] = {}
    for layer in layers:
        left.setdefault(layer.name, []).append(layer)
    for name in names:
        yield left[name].pop(0) if told[name] == listed[name] else None


def _copies(geometry: Sequence[Layer | None], mean_ns: Floats) -> Ints:
    """The positions of the one layer of which an engine is made, or none."""
    kinds: dict[tuple[str | int, ...], list[int]] = {}
    for position, layer in enumerate(geometry):
        if layer is not None and layer.kind not in ("reformat", "unclassified"):
            kinds.setdefault((layer.layer_type, *layer.shape), []).append(position)
    most = max(kinds.values(), key=lambda positions: float(mean_ns[positions].sum()), default=[])
    if len(most) < 8 or mean_ns[most].sum() < REPEATED_SHARE * mean_ns.sum():
        return np.zeros(0, np.int64)
    return np.array(most, np.int64)
