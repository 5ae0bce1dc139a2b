"""EdgeProfiler's files: raw recordings, its preprocessed tables, and desktop latencies without power.

raw            ``<net>_power_log.log`` (time,mV,mA, or tegrastats' lines), ``trt_profiling/trt_layer_latency.json``
               ({layer: [[ms, stamp]]}), ``trt_profiling/trt_engine_info.json``; ``idling_power.json`` (µW) in the folder or the one above
preprocessed   ``power_runtime_mapping_layerwise.csv`` (µW, ms per layer and cycle), ``trt_engine_info.json``
desktop        ``trt_layer_latency.json`` ({layer: [ms]}), ``trt_engine_info.json``, in a folder of the network's name or in
               ``trt_profiling`` below it, as its repository publishes them; runtime only

All such folders below the one that is named are read, at any depth. Power is the board's, idle included, by that project's own rule: the
mean of the samples in [stamp - ms, stamp] (docs/dataset.md says why that is only a baseline).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import dataset_of, why_implausible
from neuralpower.documents import Pairs, read_json, read_pairs, read_text, whole_lines
from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.importers import tegrastats
from neuralpower.importers.imported import Imported, MeasuredLayer, NetworkJoin, distinct, folders_below
from neuralpower.importers.window_mean import window_mean
from neuralpower.profiler.description import content_hash

_ENGINE = "trt_engine_info.json"
_LATENCY = "trt_layer_latency.json"
_TABLE = "power_runtime_mapping_layerwise.csv"
_PROFILING = "trt_profiling"
TOO_LITTLE = f"below {tegrastats.LEAST_W:g} W, which no running board draws: are its columns mV and mA?"
_EPOCH = datetime(1970, 1, 1)

Cycle = TypeVar("Cycle")


@dataclass(frozen=True)
class _Found:
    """One network's layers and measurements by name, the engine's content hash, and what was left out."""

    layers: list[Layer]
    measured: list[tuple[str, MeasuredLayer]]
    engine: str
    left_out: list[str] = field(default_factory=list)


def read(path: Path) -> Imported:
    """Every network under ``path``. Raises InputError when there is none, or the only one is broken.

    Of several networks a broken one is left out with its reason; those of one name are told apart by their folders.
    """
    if not path.is_dir():
        raise InputError(
            f"{path}: {'not a folder' if path.exists() else 'no such folder'}; EdgeProfiler data is a folder"
        )
    folders = [folder for folder in folders_below(path) if kind_of(folder)]
    if not folders:
        raise InputError(f"{path}: no EdgeProfiler data: neither {_LATENCY} nor {_TABLE} in it or below")
    names = distinct([_owner(folder) for folder in folders], path.absolute(), lambda folder: folder.name)
    rows: list[dict[str, object]] = []
    seen: list[str] = []
    skipped: list[str] = []
    idle: dict[str, float] = {}
    for folder, network in zip(folders, names, strict=True):
        kind = kind_of(folder)
        try:
            found = {"raw": _raw, "preprocessed": _preprocessed, "desktop": _desktop}[kind](folder)
            watts, doubt = idle_power_w(folder) if kind == "raw" else (None, [])
        except InputError as error:
            if len(folders) == 1:
                raise
            skipped.append(str(error))
            continue
        join = NetworkJoin(network, "layer-profile" if kind == "desktop" else "window-mean", found.engine)
        join.add(found.layers, found.measured)
        rows += join.rows
        skipped += found.left_out + doubt + join.skipped
        seen.append(f"{folder}: {kind}, network {network}, {len(join.rows)} of {len(found.layers)} layers measured")
        if watts is not None:
            idle[network] = watts
    if not seen:
        raise InputError(skipped[0])
    provenance = {"importer": "edgeprofiler", "path": str(path), "idle_power_w": idle}
    return Imported(dataset_of(rows, provenance), seen, skipped)


def kind_of(folder: Path) -> str:
    """``raw``, ``preprocessed`` or ``desktop`` by what a folder holds; "" when it is none of them."""
    if (folder / _PROFILING / _LATENCY).is_file():
        return "raw" if _logs(folder) else ""
    if (folder / _TABLE).is_file():
        return "preprocessed"
    within_raw = folder.name == _PROFILING and _logs(folder.absolute().parent)
    return "desktop" if (folder / _LATENCY).is_file() and not within_raw else ""


def _logs(folder: Path) -> list[Path]:
    """The power logs of a raw folder; a log of idling, which its recorder writes too, is none of a network."""
    return [log for log in sorted(folder.glob("*_power_log*.log")) if "idling" not in log.name]


def _owner(folder: Path) -> Path:
    """The folder that has the network's name."""
    whole = folder.absolute()
    return whole.parent if whole.name == _PROFILING else whole


def idle_power_w(folder: Path) -> tuple[float | None, list[str]]:
    """The board's idle power from ``idling_power.json`` in a raw folder or above it; None when there is none, or one that cannot be,
    which a line says."""
    for place in (folder, folder.absolute().parent):
        file = place / "idling_power.json"
        if file.is_file():
            document = read_json(file)
            microwatts = document.get("avg_idle_power") if isinstance(document, dict) else None
            if not isinstance(microwatts, (int, float)) or isinstance(microwatts, bool):
                raise InputError(f"{file}: no number avg_idle_power")
            watts = float(microwatts) * 1e-6
            if why := why_implausible("power_w", watts):
                return None, [f"{file}: an idle power that is {why}: left out; avg_idle_power is in µW"]
            return watts, []
    return None, []


def power_log(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Times (n,) in ns and watts (n,) of a power log, in order of time, and what was left out of it.

    Lines ``YYYYMMDD-HH:MM:SS.ffffff,mV,mA``, or those of tegrastats, told by their content. A last line without its end may be cut and
    is left out, as are powers that cannot be. Raises InputError on a line of neither form.
    """
    text = read_text(file) if file.stat().st_size else ""
    if tegrastats.is_log(text):
        log = tegrastats.parse(file, text)
        undated = [f"{file}: {len(log.undated_w)} lines without a time: left out"] if log.undated_w else []
        return log.time_ns, log.power_w, [*log.left_out, *undated]
    samples: list[tuple[int, float]] = []
    lines, left_out = whole_lines(file, text)
    reasons: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and not any(letter.isdecimal() for letter in line)):
            continue  # nothing, or names of the columns
        try:
            stamp, millivolts, milliamperes = line.split(",")
            time_ns, watts = stamp_ns(stamp), float(millivolts) * float(milliamperes) * 1e-6
        except ValueError:
            raise InputError(f"{file}: line {number} is neither time,mV,mA nor tegrastats': {line[:60]!r}") from None
        if why := why_implausible("power_w", watts) or (TOO_LITTLE if watts < tegrastats.LEAST_W else ""):
            reasons[why] += 1
        else:
            samples.append((time_ns, watts))
    left_out += [f"{file}: {count} samples with a power that is {why}: left out" for why, count in reasons.items()]
    samples.sort(key=lambda sample: sample[0])
    return np.array([s[0] for s in samples], dtype=np.int64), np.array([s[1] for s in samples], np.float64), left_out


def stamp_ns(stamp: str) -> int:
    """``20241121-00:00:01.50`` in nanoseconds since 1970, its wall clock taken as it is; microseconds at best. ValueError where it is none."""
    whole = stamp.strip()
    since = datetime.strptime(whole if "." in whole else f"{whole}.0", "%Y%m%d-%H:%M:%S.%f") - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def _raw(folder: Path) -> _Found:
    logs = _logs(folder)
    if len(logs) != 1:
        raise InputError(
            f"{folder}: {len(logs)} files *_power_log*.log, where one is needed: {', '.join(log.name for log in logs)}"
        )
    sample_ns, sample_w, left_out = power_log(logs[0])
    file = folder / _PROFILING / _LATENCY
    layers, engine = _layers(folder / _PROFILING / _ENGINE)
    measured = []
    for name, cycles in _apart(_latencies(file), layers):
        try:
            runtimes_ms = [float(ms) for ms, _ in cycles]
            end_ns = np.array([stamp_ns(stamp) for _, stamp in cycles], dtype=np.int64)
            # Whole microseconds, as the stamps have.
            widths_us = [round(ms * 1000) if not why_implausible("runtime_s", ms * 1e-3) else 0 for ms in runtimes_ms]
            begin_ns = end_ns - np.array(widths_us, dtype=np.int64) * 1000
        except (TypeError, ValueError, AttributeError, OverflowError):
            raise InputError(f"{file}: {name}: not a list of [ms, stamp]") from None
        powers = window_mean(sample_ns, sample_w, begin_ns, end_ns)
        measured.append((name, MeasuredLayer([ms * 1e-3 for ms in runtimes_ms], powers[~np.isnan(powers)].tolist())))
    return _Found(layers, measured, engine, left_out + _without_power(logs[0], sample_ns, measured))


def _without_power(log: Path, sample_ns: NDArray[np.int64], measured: Sequence[tuple[str, MeasuredLayer]]) -> list[str]:
    """What the layers lack that no sample of the log was taken in: a log of another time has none for any."""
    bare = sum(not each.powers_w for _, each in measured)
    if not bare:
        return []
    if not sample_ns.size:
        return [f"{log}: no sample of power in it: runtimes only"]
    return [f"{log}: no sample within the windows of {bare} of {len(measured)} layers: these have runtimes only"]


def _desktop(folder: Path) -> _Found:
    """Runtimes alone; where each has a stamp beside it but there is no power log, the stamps are of no use."""
    file = folder / _LATENCY
    layers, engine = _layers(folder / _ENGINE)
    measured, stamped = [], False
    for name, cycles in _apart(_latencies(file), layers):
        try:
            pairs = [cycle for cycle in cycles if isinstance(cycle, list)]
            stamped |= bool(pairs)
            runtimes_ms = [float(cycle[0] if isinstance(cycle, list) else cycle) for cycle in cycles]
        except (IndexError, TypeError, ValueError, OverflowError):
            raise InputError(f"{file}: {name}: not a list of milliseconds, or of [ms, stamp]") from None
        measured.append((name, MeasuredLayer([ms * 1e-3 for ms in runtimes_ms])))
    return _Found(
        layers, measured, engine, [f"{folder}: no *_power_log.log beside it: runtimes only"] if stamped else []
    )


def _preprocessed(folder: Path) -> _Found:
    """The table names some layers that the engine lacks under that name: those are known by their type alone."""
    file = folder / _TABLE
    cycles: dict[str, list[tuple[float, float | None]]] = {}
    types: dict[str, str] = {}
    lines, left_out = whole_lines(file, read_text(file))
    try:
        for number, line in enumerate(csv.DictReader(lines), 2):
            try:
                name, watts = line["layer_name"], line["layer_power_including_idle_power_micro_watt"]
                types[name] = line["layer_type"]
                cycle = float(line["layer_run_time"]) * 1e-3, float(watts) * 1e-6 if watts else None
                cycles.setdefault(name, []).append(cycle)
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{file}: line {number} lacks a layer's name, type, power or run time") from None
    except csv.Error as error:
        raise InputError(f"{file}: broken CSV: {error}") from None
    layers, engine = _layers(folder / _ENGINE)
    known = {layer.name for layer in layers}
    unlisted = [{"Name": name, "LayerType": kind} for name, kind in types.items() if name not in known]
    if unlisted:
        layers += layers_from_engine({"Layers": unlisted}, str(file))
    measured = [
        (name, MeasuredLayer([ms for ms, _ in each], [watts for _, watts in each if watts is not None]))
        for name, each in _apart(list(cycles.items()), layers)
    ]
    return _Found(layers, measured, engine, left_out)


def _apart(measured: Sequence[tuple[str, list[Cycle]]], layers: Sequence[Layer]) -> list[tuple[str, list[Cycle]]]:
    """The cycles of each layer. Those of k layers of one name are recorded in one list, in turn: each k-th is of one of them, where the
    list is k times as long as those of other layers."""
    listed, lists = Counter(layer.name for layer in layers), Counter(name for name, _ in measured)
    usual = {len(cycles) for name, cycles in measured if listed[name] == 1}
    apart: list[tuple[str, list[Cycle]]] = []
    for name, cycles in measured:
        each, rest = divmod(len(cycles), max(listed[name], 1))
        if listed[name] > 1 and lists[name] == 1 and not rest and each and (each in usual or not usual):
            apart += [(name, cycles[at :: listed[name]]) for at in range(listed[name])]
        else:
            apart.append((name, cycles))
    return apart


def _layers(file: Path) -> tuple[list[Layer], str]:
    document = read_json(file)
    return layers_from_engine(document, str(file)), content_hash(document) if isinstance(document, dict) else ""


def _latencies(file: Path) -> list[tuple[str, list[Any]]]:
    """(name, cycles) as the file has them; lists within lists of runtimes are one list."""
    document = read_pairs(file)
    if not isinstance(document, Pairs) or not all(
        isinstance(cycles, list) and not isinstance(cycles, Pairs) for _, cycles in document
    ):
        raise InputError(f"{file}: not EdgeProfiler's layer latencies: an object of lists is needed")
    return [(name, _flat(cycles)) for name, cycles in document]


def _flat(cycles: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for cycle in cycles:
        runtimes = isinstance(cycle, list) and cycle and all(isinstance(each, (int, float, list)) for each in cycle)
        flat += _flat(cycle) if runtimes else [cycle]
    return flat
