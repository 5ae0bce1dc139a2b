"""Power, energy and runtime per layer of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuralpower.errors import InputError
from neuralpower.features.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower_align.energy import energy_between
from neuralpower_align.least_squares import Balance, Engine, Solution, solve
from neuralpower_align.sensor import Readings, Search
from neuralpower_align.steady import steady_power
from neuralpower_align.window_mean import window_mean
from neuralpower_align.windows import layer_windows
from neuralpower_wire import Epoch, Ticks, total_power_w

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

METHODS = ("least-squares", "window-mean")
STEADY_NS = 15e6
"""An engine of one repeated layer that runs at least so long is read directly."""
REPEATED_SHARE = 0.95
"""One layer that makes up so much of an engine's time, in eight copies or more, is a repeated layer."""
SETTLED_LAGS = 8.0


@dataclass(frozen=True)
class LayerPower:
    """One layer of an engine: nan where a thing was not measured.

    `unit` numbers what could be told apart, in order; `members` is how many layers share it. A layer that shares its unit has
    the unit's mean power, and a standard error widened by how far from it a layer may be. `count`: inferences.
    `repeats`: in how many copies the layer ran in the engine. `geometry` is None where the engine does not tell it.
    """

    name: str
    kind: str
    unit: int
    members: int
    count: int
    repeats: int
    runtime_s: float
    runtime_se_s: float
    power_w: float
    power_se_w: float
    geometry: Layer | None = None

    @property
    def energy_j(self) -> float:
        """Energy of one execution; nothing for a layer that takes no time."""
        return 0.0 if self.runtime_s == 0.0 else self.power_w * self.runtime_s

    @property
    def energy_se_j(self) -> float:
        """Standard error of the energy: power's and runtime's, taken as independent."""
        if self.runtime_s == 0.0:
            return 0.0
        return float(np.hypot(self.power_se_w * self.runtime_s, self.power_w * self.runtime_se_s))


@dataclass(frozen=True)
class EngineAttribution:
    """An engine's layers. `measured_energy_j` is what the readings say of a mean inference, without any attribution."""

    hash: str
    name: str
    method: str
    layers: tuple[LayerPower, ...]
    inferences: int
    measured_energy_j: float
    gap_power_w: float
    condition: float
    residual_w: float
    simulated: bool

    @property
    def repeated(self) -> bool:
        """Whether this engine is one layer, repeated."""
        return len(self.layers) == 1 and self.layers[0].repeats > 1

    @property
    def units(self) -> int:
        """What could be told apart."""
        return len({layer.unit for layer in self.layers})

    @property
    def runtime_s(self) -> float:
        """Time of all layers of one inference, launch gaps left out."""
        return sum(layer.runtime_s * layer.repeats for layer in self.layers)

    @property
    def energy_per_inference_j(self) -> float:
        """Energy of all layers of one inference that have one."""
        return float(np.nansum([layer.energy_j * layer.repeats for layer in self.layers]))

    @property
    def power_w(self) -> float:
        """Energy over time."""
        return self.energy_per_inference_j / self.runtime_s if self.runtime_s else float("nan")


@dataclass(frozen=True)
class Attribution:
    """What a recording says of each engine by its hash, and of the sensor; nan or None where it was not estimated."""

    method: str
    engines: Mapping[str, EngineAttribution]
    delay_s: float
    lag_s: float
    scan_period_s: float | None
    launch_gap_s: float
    idle_power_w: float
    residual_w: float
    balance: Balance | None
    board: str
    simulated: bool
    notes: tuple[str, ...]


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
class _Measured:
    """An engine with its inferences, and which of its layers are copies of one (empty: none)."""

    body: Mapping[str, Any]
    geometry: tuple[Layer | None, ...]
    copies: Ints
    runs: Engine


def attribute(recording: Source, method: str = "least-squares", largest_se: float = 0.1) -> Attribution:
    """Attribute a recording's power to layers.

    method: `least-squares` (layers told apart by how much of each sensor window they filled; sensor searched; engines of
    one repeated layer read directly) or `window-mean` (the baseline: readings that fall into a layer's window).
    largest_se: share of an engine's mean power above which a standard error makes neighbours one unit.
    Raises InputError where the recording holds no ticks, no inferences, or no known total power.
    """
    if method not in METHODS:
        raise InputError(f"attribution: no method {method!r}; there are {', '.join(METHODS)}")
    notes: list[str] = []
    pieces, board, longest_lag_ns = _pieces(recording, notes)
    measured = _measured(recording, pieces, notes)
    if method == "window-mean":
        return _by_window_mean(recording, pieces, measured, board, notes)
    solution = solve([each.runs for each in measured], pieces, largest_se, Search(longest_lag_ns=longest_lag_ns))
    read_ns, power_w = _joined(pieces)
    engines = {}
    for number, each in enumerate(measured):
        engines[each.body["hash"]] = _engine(each, solution, number, pieces, read_ns, power_w)
    sensor = solution.sensor
    scans = [scan.period_ns for scan in sensor.scans if scan is not None]
    if not scans:
        notes.append("the place of readings in the chip's scan could not be recovered: few layers can be told apart")
    if solution.unexplained:
        notes.append(
            "the sensor found does not explain the readings: layers' powers and intervals are not to be trusted"
        )
    notes.append("intervals are those of plain least squares: drift and a wrong sensor model are not in them")
    return Attribution(
        method, engines, sensor.delay_ns * 1e-9, sensor.lag_ns * 1e-9, scans[0] * 1e-9 if scans else None,
        solution.launch_gap_ns * 1e-9, solution.idle_power_w, solution.residual_w, solution.balance, board,
        recording.simulated, tuple(notes),
    )  # fmt: skip


def _pieces(recording: Source, notes: list[str]) -> tuple[list[Readings], str, float]:
    """The total power of the longest tick stream, an epoch a piece; the board; the longest lag worth searching, ns."""
    streams = sorted(recording.streams, key=lambda stream: len(recording.ticks(stream)))
    if not streams or not len(recording.ticks(streams[-1])):
        raise InputError("attribution: the recording holds no ticks")
    if len(streams) > 1:
        notes.append(f"{len(streams) - 1} shorter tick streams, which have clocks of their own, were left out")
    ticks, epochs = recording.ticks(streams[-1]), recording.epochs(streams[-1])
    pieces, board, longest_lag_ns = [], "", 2e6
    for epoch in epochs:
        mine = ticks[ticks["epoch"] == epoch.number]
        power = total_power_w(epoch, mine)
        known = np.isfinite(power)
        if not known.any():
            continue
        seen = [i for i, c in enumerate(epoch.channels) if c.rail in epoch.totals and c.quantity != "bus_uv"]
        offset = mine["readings"][:, seen]
        read = mine["t_ns"] + np.rint((offset["begin_ns"].mean(axis=1) + offset["end_ns"].mean(axis=1)) / 2).astype(
            np.int64
        )
        chips = [chip for chip in epoch.chips if chip.name in {epoch.channels[i].chip for i in seen}]
        window = max((chip.shunt_conversion_us * 1e3 for chip in chips), default=0.0)
        scan = max((float(chip.scan_ns) for chip in chips), default=0.0)
        averaging = max((chip.averaging for chip in chips), default=1)
        longest_lag_ns = max(longest_lag_ns, 2 * averaging * scan if averaging > 1 else 0.0)
        pieces.append(Readings(read[known], power[known], window, scan))
        board = board or epoch.board
    if not pieces:
        raise InputError("attribution: the recording has no reading of the board's total power")
    return sorted(pieces, key=lambda piece: int(piece.read_ns[0])), board, longest_lag_ns


def _joined(pieces: Sequence[Readings]) -> tuple[Ints, Floats]:
    """All readings in the order of time, later ones of one moment dropped."""
    read_ns = np.concatenate([piece.read_ns for piece in pieces])
    power_w = np.concatenate([piece.power_w for piece in pieces])
    read_ns, first = np.unique(read_ns, return_index=True)
    return read_ns, power_w[first]


def _measured(recording: Source, pieces: Sequence[Readings], notes: list[str]) -> list[_Measured]:
    """Engines with the inferences that lie within the readings, do not overlap others, and name every layer."""
    first, last = int(pieces[0].read_ns[0]), int(max(piece.read_ns[-1] for piece in pieces))
    bodies = recording.engines()
    kept: dict[str, list[Any]] = {}
    free_from, dropped = first, 0
    for inference in sorted(recording.inferences(), key=lambda each: int(each.begin_ns)):
        body = bodies.get(inference.engine)
        fits = free_from <= inference.begin_ns <= inference.end_ns <= last
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


def _one(body: Mapping[str, Any], inferences: Sequence[Any], notes: list[str]) -> _Measured:
    durations = np.stack([np.asarray(each.durations_ns, np.int64) for each in inferences])
    geometry = _geometry(body, notes)
    copies = _copies(geometry, durations.mean(axis=0))
    alike = np.arange(len(body["layers"]))
    if copies.size:
        alike[copies] = copies[0]
        alike = np.unique(alike, return_inverse=True)[1].reshape(-1)
    begin = np.array([each.begin_ns for each in inferences], np.int64)
    end = np.array([each.end_ns for each in inferences], np.int64)
    return _Measured(body, geometry, copies, Engine(begin, end, durations, alike))


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


def _engine(
    each: _Measured, solution: Solution, number: int, pieces: Sequence[Readings], read_ns: Ints, power_w: Floats
) -> EngineAttribution:
    """One engine of the solution; one that is a repeated layer is read directly instead if it runs long enough."""
    found, sensor, runs = solution.engines[number], solution.sensor, each.runs
    slowest = max(piece.window_ns + piece.scan_ns for piece in pieces)
    settle = sensor.delay_ns + slowest + SETTLED_LAGS * sensor.lag_ns
    shift = int(sensor.delay_ns + sensor.lag_ns + slowest / 2)
    whole = energy_between(read_ns, power_w, runs.begin_ns + shift, runs.end_ns + shift, max_gap_ns=50_000_000)
    measured_j = float(np.nanmean(whole)) if np.isfinite(whole).any() else float("nan")
    power, error, method = found.power_w, found.power_se_w, "least-squares"
    if each.copies.size and runs.durations_ns.sum(axis=1).mean() >= STEADY_NS:
        windows = layer_windows(runs.begin_ns, runs.end_ns, runs.durations_ns, between_ns=solution.launch_gap_ns)
        steady = steady_power(read_ns, power_w, windows[:, 0, 0], windows[:, -1, 1], settle)
        if steady.readings >= 2:
            mean_ns = runs.durations_ns[:, each.copies].mean()
            gaps = solution.launch_gap_ns / (solution.launch_gap_ns + mean_ns)
            power = np.full_like(power, (steady.power_w - gaps * found.gap_power_w) / (1 - gaps))
            error, method = np.full_like(error, steady.power_se_w / (1 - gaps)), "direct"
    layers = _layers(each, found.unit, power, error, found.gap_power_w)
    return EngineAttribution(
        each.body["hash"], each.body["name"], method, layers, len(runs.begin_ns), measured_j, found.gap_power_w,
        found.condition, found.residual_w, bool(each.body["simulated"]),
    )  # fmt: skip


def _layers(each: _Measured, unit: Ints, power: Floats, error: Floats, gap_power_w: float) -> tuple[LayerPower, ...]:
    """Rows for the layers of an engine; one row where it is a repeated layer."""
    durations: Floats = np.asarray(each.runs.durations_ns * 1e-9, np.float64)
    names = each.body["layers"]
    if each.copies.size:
        at, spent = int(each.copies[0]), np.asarray(durations[:, each.copies].mean(axis=1), np.float64)
        return (_row(each, at, str(names[at]), 0, 1, int(each.copies.size), spent, power[at], error[at]),)
    mean_s = durations.mean(axis=0)
    members = np.bincount(unit, mean_s > 0, int(unit.max()) + 1).astype(int)
    wider = np.hypot(error, _apart(unit, mean_s, power, gap_power_w))
    return tuple(
        _row(each, i, str(name), int(unit[i]), max(int(members[unit[i]]), 1), 1, durations[:, i], power[i], wider[i])
        for i, name in enumerate(names)
    )


def _apart(unit: Ints, seconds: Floats, power_w: Floats, gap_power_w: float) -> Floats:
    """How far a layer's power may be from its unit's (n,), W, as a standard deviation; 0 for a layer that is a unit.

    Nothing is known of a layer within its unit but that it draws between what gaps draw and the most that any unit of the engine
    draws: a standard deviation of that range over sqrt(12). Its unit's power is the mean over time with shares w, so the
    variance of the difference is (1 - 2 w_i + sum w^2) of that: a layer that is most of its unit has about the unit's power.
    """
    share = seconds / np.maximum(np.bincount(unit, seconds), 1e-300)[unit]
    freedom = np.where(share < 1.0, 1 - 2 * share + np.bincount(unit, share**2)[unit], 0.0)
    most = np.nanmax(power_w, initial=gap_power_w)
    return np.where(freedom > 0, max(most - gap_power_w, 0.0) * np.sqrt(np.maximum(freedom, 0.0) / 12), 0.0)


def _row(
    each: _Measured,
    at: int,
    name: str,
    unit: int,
    members: int,
    repeats: int,
    spent_s: Floats,
    power: float,
    error: float,
) -> LayerPower:
    """A layer's row from its time in each inference (m,)."""
    geometry = each.geometry[at]
    mean = float(spent_s.mean())
    deviation = float(np.std(spent_s, ddof=1) / np.sqrt(spent_s.size)) if spent_s.size > 1 else float("nan")
    kind = geometry.kind if geometry else "unclassified"
    missing = mean == 0.0
    return LayerPower(
        name, kind, unit, members, spent_s.size, repeats, mean, deviation,
        float("nan") if missing else float(power), float("nan") if missing else float(error), geometry,
    )  # fmt: skip


def _by_window_mean(
    recording: Source, pieces: Sequence[Readings], measured: Sequence[_Measured], board: str, notes: list[str]
) -> Attribution:
    read_ns, power_w = _joined(pieces)
    engines, missed, total = {}, 0, 0
    for each in measured:
        runs = each.runs
        windows = layer_windows(runs.begin_ns, runs.end_ns, runs.durations_ns)
        if each.copies.size:
            whole = np.stack([windows[:, :1, 0], windows[:, -1:, 1]], axis=-1)
            one, one_error, _ = window_mean(read_ns, power_w, whole)
            mean, error = np.full(windows.shape[1], one[0]), np.full(windows.shape[1], one_error[0])
        else:
            mean, error, _ = window_mean(read_ns, power_w, windows)
        layers = _layers(each, np.arange(windows.shape[1]), mean, error, float("nan"))
        whole_j = energy_between(read_ns, power_w, runs.begin_ns, runs.end_ns, max_gap_ns=50_000_000)
        measured_j = float(np.nanmean(whole_j)) if np.isfinite(whole_j).any() else float("nan")
        missed += sum(1 for layer in layers if np.isnan(layer.power_w))
        total += len(layers)
        nan = float("nan")
        engines[each.body["hash"]] = EngineAttribution(
            each.body["hash"], each.body["name"], "window-mean", layers, len(runs.begin_ns), measured_j, nan, nan, nan,
            bool(each.body["simulated"]),
        )  # fmt: skip
    notes.append(
        f"window-mean is a baseline: {missed} of {total} layers met no reading, and readings are taken for present power"
    )
    nan = float("nan")
    return Attribution(
        "window-mean", engines, nan, nan, None, nan, nan, nan, None, board, recording.simulated, tuple(notes)
    )
