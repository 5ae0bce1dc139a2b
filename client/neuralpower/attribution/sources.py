"""What a recording holds that attribution needs: readings of each rail, stretches that have a name, engines with their inferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuralpower.attribution.results import Systematic
from neuralpower.errors import InputError
from neuralpower.features.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.profiler.marks import spans
from neuralpower_align.droop import supply
from neuralpower_align.layer_power import Baseline, Engine
from neuralpower_align.scan_clock import ChannelReadings, latched_ns, transfer_ns
from neuralpower_wire import Channel, Epoch, Flag, State, Ticks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REPEATED_SHARE = 0.95
"""One layer that makes up so much of an engine's time, in eight copies or more, is a repeated layer."""
GAIN, LARGEST_GAIN, OFFSET_UV, LARGEST_OFFSET_UV = 0.001, 0.0025, 40.0, 80.0
BASELINES = {"device idle": "device-idle", "context idle": "context-idle", "gap": "gap"}


class Source(Protocol):
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


def rails_of(recording: Source, rail: str | None, notes: list[str]) -> Rails:
    """The rails whose sum is the total, or one by its name, of the longest tick stream. InputError where there is none."""
    streams = sorted(recording.streams, key=lambda stream: len(recording.ticks(stream)))
    if not streams or not len(recording.ticks(streams[-1])):
        raise InputError("attribution: the recording holds no ticks")
    if len(streams) > 1:
        notes.append(f"{len(streams) - 1} shorter tick streams, which have clocks of their own, were left out")
    ticks, epochs = recording.ticks(streams[-1]), recording.epochs(streams[-1])
    names = (rail,) if rail else next((epoch.totals for epoch in epochs if epoch.totals), ())
    if rail and not any(rail in epoch.rails() for epoch in epochs):
        known = ", ".join(sorted({name for epoch in epochs for name in epoch.rails()}))
        raise InputError(f"attribution: no rail {rail!r} in this recording; there are {known}")
    by_rail: dict[str, list[ChannelReadings]] = {name: [] for name in names}
    for epoch in epochs:
        mine = ticks[ticks["epoch"] == epoch.number]
        found = {name: _readings(epoch, mine, name) for name in names}
        if all(each is not None for each in found.values()):
            for name, each in found.items():
                if each is not None:
                    by_rail[name].append(each)
    if not names or not all(by_rail.values()):
        raise InputError(
            f"attribution: the recording has no reading of {f'rail {rail}' if rail else 'the total power of the board'}"
        )
    readings = tuple(tuple(sorted(by_rail[name], key=lambda piece: int(piece.read_ns[0]))) for name in names)
    return Rails(tuple(names), readings, epochs[0].board, _systematic(epochs, names, readings))


def _readings(epoch: Epoch, ticks: Ticks, rail: str) -> ChannelReadings | None:
    """One rail's readings in one epoch; None without any."""
    of = {c.quantity: (i, c) for i, c in enumerate(epoch.channels) if c.rail == rail}
    place = next((of[name] for name in ("shunt_uv", "current_ua", "power_uw") if name in of), None)
    if place is None or (place[1].quantity != "power_uw" and "bus_uv" not in of):
        return None
    position, channel = place
    reading = ticks["readings"][:, position]
    value = _value(ticks, position, channel)
    good = np.isfinite(value)
    if channel.quantity == "power_uw":
        power, volt = value, 1.0
    else:
        bus = _value(ticks, *of["bus_uv"])
        good &= np.isfinite(bus)
        if not good.any():
            return None
        source = supply(bus[good], value[good])
        power, volt = source.power_w(value), source.volt
    if not good.any():
        return None
    chip = next((chip for chip in epoch.chips if chip.name == channel.chip), None)
    unit = 1e-6 / (channel.shunt_uohm * 1e-6) if channel.quantity == "shunt_uv" and channel.shunt_uohm else 1e-6
    counted = np.all(reading["flags"][good] & Flag.SCAN != 0)
    begin_ns, end_ns = (ticks["t_ns"][good] + reading[name][good].astype(np.int64) for name in ("begin_ns", "end_ns"))
    return ChannelReadings(
        read_ns=latched_ns(end_ns, transfer_ns(begin_ns, end_ns)),
        power_w=power[good],
        window_ns=chip.shunt_conversion_us * 1e3 if chip else 0.0,
        scan_ns=float(chip.scan_ns) if chip else 0.0,
        averaging=max(chip.averaging, 1) if chip else 1,
        scan=reading["scan"][good].astype(np.int64) if counted else None,
        span=reading["span"][good].astype(np.int64) if counted else None,
        step_w=channel.lsb * unit * volt,
        register=reading["value"][good].astype(np.int64),
    )


def _value(ticks: Ticks, position: int, channel: Channel) -> Floats:
    """The channel's quantity in SI units, nan where it is missing; a shunt voltage becomes the current through the shunt."""
    reading = ticks["readings"][:, position]
    value = (reading["value"] + np.int64(channel.offset)) * 1e-6
    if channel.quantity == "shunt_uv":
        value = value / (channel.shunt_uohm * 1e-6) if channel.shunt_uohm else np.full(len(ticks), np.nan)
    missing = (reading["state"] == State.MISSING) | (reading["flags"] & Flag.HELD != 0)
    return np.asarray(np.where(missing, np.nan, value), np.float64)


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
        step = max(piece.step_w for piece in readings[list(names).index(name)])
        volt = step / (shunts[0].lsb * 1e-6) * shunts[0].shunt_uohm * 1e-6 if shunts[0].lsb else float("nan")
        constant += volt / shunts[0].shunt_uohm
    return Systematic(GAIN, LARGEST_GAIN, OFFSET_UV * constant, LARGEST_OFFSET_UV * constant)


@dataclass(frozen=True)
class Measured:
    """An engine with its inferences, and which of its layers are copies of one (empty: none)."""

    body: Mapping[str, Any]
    geometry: tuple[Layer | None, ...]
    copies: Ints
    runs: Engine


def measured_engines(recording: Source, first_ns: int, last_ns: int, notes: list[str]) -> list[Measured]:
    """Engines with the inferences that lie within the readings, do not overlap others, and name every layer."""
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
    if not kept:
        raise InputError("attribution: the recording holds no inference of a described engine during its ticks")
    return [_one(bodies[name], inferences, notes) for name, inferences in kept.items()]


def named_stretches(recording: Source, measured: Sequence[Measured]) -> list[Baseline]:
    """The stretches that marks call a baseline and that no inference touches, none overlapping another."""
    records = getattr(recording, "records", None)
    if records is None:
        return []
    begin = np.sort(np.concatenate([each.runs.begin_ns for each in measured]))
    end = np.sort(np.concatenate([each.runs.end_ns for each in measured]))
    by_hash = {each.body["hash"]: number for number, each in enumerate(measured)}
    by_name = {each.body["name"]: number for number, each in enumerate(measured)}
    found: list[Baseline] = []
    free_from = -(2**62)
    for span in spans(records(), "baseline"):
        touched = np.searchsorted(begin, span.end_ns) != np.searchsorted(end, span.begin_ns, side="right")
        engine = str(span.more.get("engine", ""))
        if span.name in BASELINES and not touched and span.begin_ns >= free_from:
            number = by_hash.get(engine, by_name.get(engine, 0))
            found.append(Baseline(BASELINES[span.name], span.begin_ns, span.end_ns, number))
            free_from = span.end_ns
    return found


def _one(body: Mapping[str, Any], inferences: Sequence[Any], notes: list[str]) -> Measured:
    durations = np.stack([np.asarray(each.durations_ns, np.int64) for each in inferences])
    geometry = _geometry(body, notes)
    copies = _copies(geometry, durations.mean(axis=0))
    alike = np.arange(len(body["layers"]))
    if copies.size:
        alike[copies] = copies[0]
        alike = np.unique(alike, return_inverse=True)[1].reshape(-1)
    begin = np.array([each.begin_ns for each in inferences], np.int64)
    end = np.array([each.end_ns for each in inferences], np.int64)
    return Measured(body, geometry, copies, Engine(begin, end, durations, alike))


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
    by_name = {layer.name: layer for layer in layers}
    return tuple(by_name.get(name) for name in names)


def _copies(geometry: Sequence[Layer | None], mean_ns: Floats) -> Ints:
    """The positions of the one layer of which an engine is made, or none."""
    kinds: dict[tuple[str | int, ...], list[int]] = {}
    for position, layer in enumerate(geometry):
        if layer is not None and layer.modelled:
            kinds.setdefault((layer.layer_type, *layer.shape), []).append(position)
    most = max(kinds.values(), key=lambda positions: float(mean_ns[positions].sum()), default=[])
    if len(most) < 8 or mean_ns[most].sum() < REPEATED_SHARE * mean_ns.sum():
        return np.zeros(0, np.int64)
    return np.array(most, np.int64)
